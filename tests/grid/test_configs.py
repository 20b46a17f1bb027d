"""The papers' runs, config/paper.yaml and config/diploma.yaml: that they are what the papers'
tables need, and what was run for them.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import lm_eval
import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

from langmerge.errors import UserError
from langmerge.evaluation.settings import DATE
from langmerge.grid.folders import Folders
from langmerge.grid.grid import Grid
from langmerge.grid.tasks import ASKED
from langmerge.model import Model
from langmerge.training.recipe import complete
from support.paths import ROOT

CONFIG = ROOT / "config"
PUBLISHED = CONFIG / "published" / "merge_and_conquer"
STOCK = Path(lm_eval.__file__).parent / "tasks"
LANGUAGES = ["eu", "gl", "ca", "es"]
RUNS = {"paper": ["paper"], "extra": ["paper", "paper-extra"], "diploma": ["diploma"]}
VARIANTS = {
    "written": ["paper", "paper-as-written"],
    "thinking": ["paper-thinking"],
    "trained": ["paper-trained"],
}
"""The same models, evaluated in another way."""
REAL = [path.stem for path in sorted((CONFIG / "backbones").glob("*.yaml")) if path.stem != "mini"]


def make(run: str, folder: Path = CONFIG, **changes) -> Grid:
    """The grid of a run's files, put together as Snakemake does, and of --config's changes."""
    config: dict = {}
    for name in {**RUNS, **VARIANTS}[run]:
        update_config(config, yaml.safe_load((folder / f"{name}.yaml").read_text()))
    return Grid({**config, **changes}, Folders(folder), source=f"config/{run}.yaml")


@pytest.fixture(scope="module")
def paper() -> Grid:
    return make("paper")


@pytest.fixture(scope="module")
def extra() -> Grid:
    return make("extra")


@pytest.fixture(scope="module")
def diploma() -> Grid:
    return make("diploma")


# ---- the published tables


def published() -> dict[int, pd.DataFrame]:
    return {number: pd.read_csv(PUBLISHED / f"table{number}.csv", keep_default_na=False) for number in range(2, 9)}


def rows() -> list:
    return [
        pytest.param(number, row, id=f"table{number}-{index}")
        for number, table in published().items()
        for index, row in enumerate(table.to_dict("records"))
    ]


def models_of(number: int, row: dict) -> dict[str, list[str]]:
    """The models whose scores stand in a published row: {id: the languages that it was evaluated
    in}.
    """
    if number in (5, 6):
        return {merge(row["backbone"], row["method"], code): [code] for code in LANGUAGES}
    evaluated = [row["test_language"]] if "test_language" in row else [*LANGUAGES, "en"]
    if row["variant"] == "merge":
        language = row["test_language"] if row["language"] == "target" else row["language"]
        return {merge(row["backbone"], row["method"], language): evaluated}
    target = (row["language"],) if row["language"] else ()
    return {Model(row["backbone"], row["variant"], target).id: evaluated}


def merge(backbone: str, method: str, language: str) -> str:
    """The paper merges one language with w = 1 (nearswap: t = .5), and all four with .25."""
    if language == "multi":
        return Model(backbone, method, tuple(sorted(LANGUAGES)), 0.25).id
    return Model(backbone, method, (language,), 0.5 if method == "nearswap" else 1.0).id


@pytest.mark.parametrize(("number", "row"), rows())
def test_every_published_row_is_of_models_of_the_run(paper, number, row):
    for model, languages in models_of(number, row).items():
        assert model in paper.models
        assert set(languages) <= set(paper.expansion.languages[model])


@pytest.mark.parametrize(("experiment", "tables"), [("papers_weights", (3, 7)), ("four_methods", (5, 6))])
def test_an_experiment_has_the_cells_of_its_tables_and_no_others(paper, experiment, tables):
    merges = {
        model
        for number in tables
        for row in published()[number].to_dict("records")
        if row["method"]
        for model in models_of(number, row)
    }
    assert {model.id for model in paper.expansion.cells(paper.config["experiments"][experiment])} == merges


def test_nearswap_is_there_for_each_language_though_table_8_shows_one(paper):
    cells = {model.id for model in paper.expansion.cells(paper.config["experiments"]["nearswap"])}
    assert cells == {merge("llama-3.1-8b", "nearswap", code) for code in LANGUAGES}


def test_figure_1_is_a_sweep_of_two_methods_in_each_language(paper):
    cells = list(paper.expansion.cells(paper.config["experiments"]["sweep"]))
    assert {(cell.backbone, cell.method, cell.target, cell.weight) for cell in cells} == {
        ("llama-3.1-8b", method, (code,), weight)
        for method in ("linear", "task_arithmetic")
        for code in LANGUAGES
        for weight in (0.5, 1.0, 1.5, 2.0)
    }


def test_how_many_models_the_runs_have(paper, extra, diploma):
    merges = {
        name: sum(model.is_merge for model in grid.models.values())
        for name, grid in zip(RUNS, (paper, extra, diploma), strict=True)
    }
    weights, sweep, as_written = 2 * 3 * 5, 2 * 4 * 3, 5 + 2 * 2 * 4
    assert merges == {
        "paper": weights
        + 2 * 2 * 4
        + 4
        + sweep
        + as_written,  # Tables 3 and 7; DARE and Breadcrumbs; nearswap; Figure 1
        "extra": merges["paper"] + 2 * 4 + 4 + 2 * 4,  # TIES and DELLA, slerp, the instruct model as the base
        "diploma": 3 * 6,
    }
    references = Counter(model.method for model in paper.models.values() if not model.is_merge)
    assert references == {"base": 3, "instruct": 6, "adapted": 12, "joint": 1}


@pytest.mark.parametrize("run", ["paper", "diploma"])
def test_tables_and_figures_show_models_of_the_run(run, request):
    grid = request.getfixturevalue(run)
    for name, table in grid.config["tables"].items():
        backbones = [*table.get("backbones", []), *table.get("baselines", [])]
        assert set(backbones) <= set(grid.config["backbones"]), name
        assert set(table.get("methods", [])) <= set(grid.config["methods"]), name
        # Tables of the layout `best` find their weights themselves.
        for method in table.get("methods", []) if "weights" in table else []:
            weights = table["weights"].get(method, table["weights"])
            for kind, weight in weights.items():
                target = tuple(sorted(grid.languages)) if kind == "multi" else (grid.languages[0],)
                if weight != "best":
                    assert any(
                        Model(backbone, method, target, float(weight)).id in grid.models
                        for backbone in grid.config["backbones"]
                    )
    for figure in grid.config["figures"].values():
        assert figure.get("backbone", grid.config["backbones"][0]) in grid.config["backbones"]


# ---- what is merged


def parameters(grid: Grid, model: str, name: str) -> list:
    return [entry["parameters"][name] for entry in grid.recipes.merge(grid.models[model])["models"]]


def coefficients(recipe: dict) -> dict[str, float]:
    """Of each checkpoint in what a recipe for linear (normalised) or task_arithmetic gives."""
    weights = {entry["model"]: entry["parameters"]["weight"] for entry in recipe["models"]}
    total = sum(weights.values())
    if recipe["merge_method"] == "linear":
        return {name: weight / total for name, weight in weights.items()}
    assert recipe["merge_method"] == "task_arithmetic"
    return {recipe["base_model"]: 1 - total, **weights}


def test_linear_as_run_and_as_in_equation_1(paper):
    for weight in (0.5, 1, 1.5, 2):
        found = list(coefficients(paper.recipes.merge(paper.models[f"llama-3.1-8b/linear/eu/w{weight:g}"])).values())
        assert found == pytest.approx([1 / (1 + weight), weight / (1 + weight)])
    together = coefficients(paper.recipes.merge(paper.models["qwen3-14b/linear/ca+es+eu+gl/w0.25"]))
    assert list(together.values()) == pytest.approx([0.5, *[0.125] * 4])
    assert parameters(paper, "llama-3.1-8b/linear_equation1/eu/w1", "weight") == [0, 1]
    assert parameters(paper, "llama-3.1-8b/linear_equation1/ca+es+eu+gl/w0.25", "weight") == [0, *[0.25] * 4]


def test_equation_1_at_one_half_is_linear_as_run_at_1(paper):
    half = make(
        "paper",
        experiments={
            "half": {"backbones": ["llama-3.1-8b"], "methods": ["linear_equation1"], "weights": {"each": [0.5]}}
        },
    )
    assert coefficients(half.recipes.merge(half.models["llama-3.1-8b/linear_equation1/eu/w0.5"])) == pytest.approx(
        coefficients(paper.recipes.merge(paper.models["llama-3.1-8b/linear/eu/w1"]))
    )


def test_equation_1_with_more_than_there_is_is_refused():
    with pytest.raises(UserError, match=r"linear_equation1: 1-nw is -1"):
        make(
            "paper",
            experiments={
                "half": {"backbones": ["llama-3.1-8b"], "methods": ["linear_equation1"], "weights": {"multi": [0.5]}}
            },
        )


def test_dare_as_run_drops_nothing_and_as_written_half(paper):
    settings = {
        name: paper.recipes.merge(paper.models[f"qwen3-8b/{name}/gl/w1"])
        for name in ("dare", "dare_dropped", "dare_dropped_l1")
    }
    assert {recipe["merge_method"] for recipe in settings.values()} == {"dare_ties"}
    assert {recipe["base_model"] for recipe in settings.values()} == {
        str(paper.layout.model(Model("qwen3-8b", "base")))
    }
    densities = {
        name: {entry["parameters"]["density"] for entry in recipe["models"]} for name, recipe in settings.items()
    }
    assert densities == {"dare": {1.0}, "dare_dropped": {0.5}, "dare_dropped_l1": {0.5}}
    assert [recipe["parameters"] for recipe in settings.values()] == [{}, {}, {"rescale": True}]
    assert all(parameters(paper, f"qwen3-8b/{name}/gl/w1", "weight") == [1, 1] for name in settings)


def test_breadcrumbs_and_nearswap(paper):
    model = "llama-3.1-8b/breadcrumbs/ca/w1"
    assert [parameters(paper, model, name) for name in ("weight", "density", "gamma")] == [
        [1, 1],
        [0.9, 0.9],
        [0.01, 0.01],
    ]
    recipe = paper.recipes.merge(paper.models["llama-3.1-8b/nearswap/eu/w0.5"])
    assert recipe["base_model"] == str(paper.layout.model(Model("llama-3.1-8b", "instruct")))
    assert recipe["parameters"] == {"t": 0.5}


def test_what_is_in_the_authors_scripts_only(extra):
    ties = "llama-3.1-8b/ties/eu/w1"
    assert parameters(extra, ties, "weight") == [[0, 0.3, 0.7, 1], 1]
    assert parameters(extra, ties, "density") == [1, [1, 0.7, 0.1]]
    assert extra.recipes.merge(extra.models[ties])["parameters"] == {"normalize": True}
    della = extra.recipes.merge(extra.models["llama-3.1-8b/della/eu/w1"])
    assert [entry["parameters"] for entry in della["models"]] == [{"weight": 1, "density": 0.5, "epsilon": 0.1}] * 2
    assert della["parameters"] == {"lambda": 1, "rescale": True}
    slerp = extra.recipes.merge(extra.models["llama-3.1-8b/slerp/eu/w0.5"])
    assert (slerp["base_model"], slerp["parameters"]) == (
        str(extra.layout.model(Model("llama-3.1-8b", "instruct"))),
        {"t": 0.5},
    )
    for method in ("dare_instruct_base", "breadcrumbs_instruct_base"):
        recipe = extra.recipes.merge(extra.models[f"qwen3-8b/{method}/eu/w1"])
        assert (
            recipe["base_model"]
            == recipe["models"][0]["model"]
            == str(extra.layout.model(Model("qwen3-8b", "instruct")))
        )


def test_linear_over_task_arithmetic_models_is_task_arithmetic_at_a_quarter(extra):
    [cell] = extra.expansion.cells(extra.config["experiments"]["linear_over_task_arithmetic"])
    mean: Counter = Counter()
    for code in LANGUAGES:
        for name, share in coefficients(
            extra.recipes.merge(extra.models[f"llama-3.1-8b/task_arithmetic/{code}/w1"])
        ).items():
            mean[name] += share / 4
    assert coefficients(extra.recipes.merge(cell)) == pytest.approx(dict(mean))
    assert cell.id in make("paper").models  # so it costs nothing


def test_diploma_adds_alpha_times_the_instruction_vector_to_the_language_model(diploma):
    model = diploma.models["llama-3.2-1b/diploma/eu/w0.75"]
    base, instruct, adapted = (
        str(diploma.layout.model(each)) for each in (Model(model.backbone, "base"), *diploma.recipes.parents(model)[:2])
    )
    assert coefficients(diploma.recipes.merge(model)) == pytest.approx({base: -0.75, instruct: 0.75, adapted: 1})


@pytest.mark.parametrize("run", RUNS)
def test_merged_checkpoints_are_bfloat16_with_the_instruct_models_tokenizer(run, request):
    grid = request.getfixturevalue(run)
    for model in (model for model in grid.models.values() if model.is_merge):
        recipe = grid.recipes.merge(model)
        assert recipe["out_dtype"] == "bfloat16"
        assert recipe["tokenizer_source"] == str(grid.layout.model(Model(model.backbone, "instruct")))


# ---- what is evaluated


def asked(grid: Grid, backbone: str = "llama-3.1-8b", kind: str = "instruct") -> list[dict]:
    """The entries of all languages' tasks for one kind of a backbone's models."""
    return [task for code in grid.evaluated for task in grid.tasks.asked(backbone, kind, code)]


IFEVAL_AS_RUN = {"temperature": 0.6, "top_p": 0.9, "top_k": 0, "max_gen_toks": 512, "do_sample": True}


def test_examples_in_the_prompt(paper):
    for task in asked(paper):
        if task["measure"] == "ifeval":
            assert "fewshot" not in task
            assert task["seeds"] == [21, 22, 23]
            assert task["generation"] == IFEVAL_AS_RUN  # greedy answers do not depend on a seed
        else:
            assert task["fewshot"] == (0 if "xstorycloze" in task["task"] else 5)


def test_salamandra_has_two_examples_of_eus_reading_because_five_are_too_long(paper):
    shots = {
        name: {task["fewshot"] for task in asked(paper, name) if task["task"] == "eus_reading"}
        for name in paper.config["backbones"]
    }
    short = {name for name, found in shots.items() if found == {2}}
    assert short == {"salamandra-2b", "salamandra-7b"}
    assert all(found == {5} for name, found in shots.items() if name not in short)
    others = [task for task in asked(paper, "salamandra-7b") if task["task"] != "eus_reading"]
    assert others == [task for task in asked(paper) if task["task"] != "eus_reading"]


@pytest.mark.parametrize("run", ["paper", "diploma"])
def test_answers_are_asked_for_only_where_a_table_or_figure_shows_them(run, request):
    grid = request.getfixturevalue(run)
    for backbone in grid.config["backbones"]:
        measures = {kind: {task["measure"] for task in asked(grid, backbone, kind)} for kind in ASKED}
        assert measures["base"] == measures["adapted"] == {"benchmark", "mt"}
        written = {"ifeval"} if run == "paper" else {"ifeval", "safety"}
        assert measures["instruct"] == measures["joint"] == measures["merges"] == {"benchmark", "mt", *written}


def test_what_is_written_differs_from_what_was_run_in_two_settings():
    runs = {name: {task["task"]: task for task in asked(make(name))} for name in ("paper", "written")}
    assert runs["paper"].keys() == runs["written"].keys()
    changed = {name for name, task in runs["paper"].items() if task != runs["written"][name]}
    assert changed == {name for name in runs["paper"] if name.startswith(("xstorycloze_", "ifeval_"))}
    for name in changed:
        task = runs["written"][name]
        if name.startswith("ifeval"):
            assert task["generation"] == {**IFEVAL_AS_RUN, "max_gen_toks": 1280}
        else:
            assert task["fewshot"] == 5
    assert make("written").models.keys() == make("paper").models.keys()
    assert make("written").layout.root != make("paper").layout.root


def test_the_papers_models_are_trained_from_their_corpora():
    grid = make("trained")
    trained = [model for model in grid.expansion.reference_models if model.method == "adapted"]
    found = {model.target[0]: {**grid.recipes.corpora(model)} for model in trained}
    names = {"eu": "latxa-eu", "gl": "corpusnos-gl", "ca": "culturax-ca", "es": "culturax-es"}
    assert found == {code: {name: 0.92, "fineweb-en": 0.08} for code, name in names.items()}
    recipes = [grid.recipes.train(model) for model in trained]
    assert [[*recipe["held_out"]] for recipe in recipes] == [[code, "en"] for code in names]
    # As "Merge and Conquer" says; 2,097,152 tokens in a step.
    assert {(recipe["sequence_length"], recipe["batch_size"], recipe["learning_rate"]) for recipe in recipes} == {
        (8192, 256, 1e-5)
    }
    (diploma,) = [
        model
        for model in make("trained", languages=["eu"], backbones=["llama-3.1-8b-diploma"]).expansion.reference_models
        if model.method == "adapted"
    ]
    assert diploma.target == ("eu",)


def test_the_joint_baseline_is_trained_as_its_authors_did(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"models\.joint\.train\.data: data/magpie-en\.jsonl: no such file"):
        make("trained", languages=["eu"], backbones=["llama-3.1-8b-joint"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/magpie-en.jsonl").write_text('{"messages": []}\n')
    grid = make("trained", languages=["eu"], backbones=["llama-3.1-8b-joint"])
    joint = Model("llama-3.1-8b-joint", "joint", ("eu",))
    recipe = complete(grid.recipes.train(joint))
    assert recipe["from"] == str(grid.layout.model(Model(joint.backbone, "instruct")))
    assert grid.recipes.corpora(joint) == {"latxa-eu": 0.8, "data/magpie-en.jsonl": 0.2}
    # As in the authors' settings for axolotl: 128 GPUs with 2 sequences each, packed.
    published = {
        "sequence_length": 8192,
        "batch_size": 32 * 4 * 2,
        "learning_rate": 1e-5,
        "warmup_ratio": 0.1,
        "schedule": "cosine",
        "minimum_rate": 0.33,
        "weight_decay": 0.1,
        "adam_betas": [0.9, 0.95],
        "recompute": True,
    }
    assert published.items() <= recipe.items()


def test_what_a_language_says_of_its_training_goes_over_the_rest(tmp_path):
    folder = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    path = folder / "backbones" / "llama-3.1-8b-trained.yaml"
    content = yaml.safe_load(path.read_text())
    languages = content["models"]["adapted"]["languages"]
    languages["eu"]["train"]["tokens"] = 1000
    path.write_text(yaml.safe_dump(content))
    grid = make("trained", folder)
    tokens = {
        code: grid.recipes.train(grid.models[f"llama-3.1-8b-trained/adapted/{code}/w1"])["tokens"] for code in LANGUAGES
    }
    assert tokens == {"eu": 1000, **dict.fromkeys(["gl", "ca", "es"], 3800000000)}
    languages["eu"]["train"]["data"] = {"latxa_eu": 1}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"models\.adapted\.train: unknown corpus 'latxa_eu'.*Did you mean 'latxa-eu'"):
        make("trained", folder)


def test_thinking_is_on_in_a_run_of_its_own(paper):
    thinking = make("thinking")
    backbones = set(thinking.config["backbones"])
    assert backbones == {name for name in paper.config["backbones"] if name.startswith("qwen3")}
    for name in backbones:
        on = {task["task"]: task for task in asked(thinking, name)}
        off = {task["task"]: task for task in asked(paper, name) if task["task"] in on}
        assert on == {task: {**entry, "enable_thinking": True} for task, entry in off.items()}
    rows = {model for row in published()[4].to_dict("records") for model in models_of(4, row)}
    shown = {model.id for model in thinking.models.values() if model.method in ("instruct", "linear")}
    assert shown == {id for id in rows if id.split("/")[0] in backbones}


@pytest.mark.parametrize("run", ["paper", "extra", "written", "diploma"])
def test_nothing_thinks_and_no_prompt_depends_on_the_day(run):
    grid = make(run)
    entries = [task for name in grid.config["backbones"] for kind in ASKED for task in asked(grid, name, kind)]
    assert {task["enable_thinking"] for task in entries} == {False}
    assert {task["template"]["date_string"] for task in entries} == {DATE}


def test_the_exams_are_29_units_of_one_group(paper):
    exams = [task for task in asked(paper) if task.get("group") == "eus_exams_eu"]
    assert len({task["task"] for task in exams}) == len(exams) == 29
    assert {task["fewshot"] for task in exams} == {5}
    assert "eus_exams_eu" not in {task["task"] for task in asked(paper)}
    assert "eus_exams_eu" in {task["task"] for task in paper.tasks.of("eu")}


def test_translation_goes_from_english_and_spanish_or_from_all_others(paper):
    found = {task["task"] for code in paper.evaluated for task in paper.tasks.of(code) if task["measure"] == "mt"}
    pairs = [(source, target) for target in ("eu", "gl", "ca") for source in ("en", "es")]
    pairs += [(source, target) for target in ("es", "en") for source in (*LANGUAGES, "en") if source != target]
    assert found == {f"flores_{source}-{target}" for source, target in pairs}
    assert len(found) == 14


@pytest.mark.parametrize("target", [*LANGUAGES, "en"])
def test_flores_prompts_are_worded_as_in_lm_evals_own_tasks(paper, target):
    for task in (task for task in paper.tasks.of(target) if task["measure"] == "mt"):
        found = [path.read_text() for path in STOCK.glob(f"*_bench/flores_*/{task['task']}.yaml")]
        assert found
        for side, text in ((side, text) for side in ("source", "target") for text in found):
            assert f"{{{{sentence_{task['flores'][side]['code']}}}}}" in text
            assert f"{task['flores'][side]['name']} sentence:" in text


def test_flores_codes_are_those_of_flores():
    known = (STOCK / "spanish_bench/flores_es/create_yamls_flores_es.py").read_text()
    for code in (*LANGUAGES, "en", "cy", "sw"):
        assert yaml.safe_load((CONFIG / "languages" / f"{code}.yaml").read_text())["flores"] in known


@pytest.mark.parametrize("run", RUNS)
def test_every_task_is_in_the_catalogue(run, request):
    grid = request.getfixturevalue(run)
    assert all(grid.tasks.entry(task["task"])["dataset"] for code in grid.evaluated for task in grid.tasks.of(code))


# ---- models of a hub


def sources(backbone: str) -> list[dict]:
    """All sources that a backbone's file names, languages' own among them."""
    models = yaml.safe_load((CONFIG / "backbones" / f"{backbone}.yaml").read_text())["models"]
    own = [
        each
        for model in models.values()
        if isinstance(model.get("languages"), dict)
        for each in model["languages"].values()
    ]
    return [source for source in [*models.values(), *own] if "hub" in source]


def test_a_revision_is_a_whole_commit_and_the_same_wherever_a_model_is_named():
    catalogue = yaml.safe_load((CONFIG / "benchmarks.yaml").read_text()).values()
    pins = {(source["hub"], source.get("revision")) for backbone in REAL for source in sources(backbone)}
    pins |= {(entry["dataset"], entry.get("revision")) for entry in catalogue}
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for _, revision in pins if revision)
    assert len({name for name, _ in pins}) == len(pins)


def test_models_of_meta_and_qwen_are_pinned_and_the_rest_is_known_to_float(paper):
    pinned = {source["hub"] for backbone in REAL for source in sources(backbone) if "revision" in source}
    assert {name.split("/")[0] for name in pinned} == {"meta-llama", "Qwen"}
    assert len(pinned) == 6 + 4  # llama-3.1-8b-orai has the same two as llama-3.1-8b
    assert not pinned & set(paper.hub.unpinned)
    assert "HiTZ/eu_Llama-3.1-8B" in paper.hub.unpinned


@pytest.mark.parametrize("backbone", REAL)
def test_a_model_fits_on_the_gpus_that_its_evaluation_asks_for(paper, backbone):
    settings = paper.settings.backbone(backbone)
    evaluate, backend = settings["resources"]["evaluate"], settings["backend"]
    assert evaluate["gpu"] == backend.get("tensor_parallel_size", 1)
    assert settings["models"]["instruct"]["gb"] / evaluate["gpu"] < 0.8 * backend["gpu_memory_utilization"] * 80
    # Minutes; a limit is three times what is expected.
    paper.batches.limit = 24 * 60
    for batch in paper.batches:
        if batch.backbone == backbone:
            assert max(30, 2.5 * 60 * batch.hours) <= batch.minutes <= 24 * 60


# ---- Welsh and Swahili


def test_a_language_without_an_adapted_model_is_named(diploma):
    with pytest.raises(UserError, match=r"no model adapted to 'cy' \(.*config/backbones/llama-3.1-8b-orai.yaml"):
        make("diploma", languages="eu,cy,sw", backbones="llama-3.1-8b-orai")


def test_welsh_and_swahili_run_once_their_models_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in ("cy", "sw"):
        weights = tmp_path / f"models/{code}_Llama-3.1-8B/model.safetensors"
        weights.parent.mkdir(parents=True)
        weights.touch()
    folder = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    path = folder / "backbones" / "llama-3.1-8b-orai.yaml"
    content = yaml.safe_load(path.read_text())
    content["models"]["adapted"]["languages"] |= {
        code: {"path": f"models/{code}_Llama-3.1-8B"} for code in ("cy", "sw")
    }
    path.write_text(yaml.safe_dump(content))
    grid = make("diploma", folder, languages="eu,cy,sw", backbones="llama-3.1-8b-orai")
    recipe = grid.recipes.merge(grid.models["llama-3.1-8b-orai/diploma/cy/w1"])
    assert [entry["model"] for entry in recipe["models"]][1] == "models/cy_Llama-3.1-8B"
    assert {task["task"] for task in grid.tasks.of("cy")} == {"flores_en-cy"}
    assert {task["task"] for task in grid.tasks.of("sw")} >= {"belebele_swh_Latn", "xstorycloze_sw", "flores_en-sw"}
    assert (
        str(grid.layout.model(Model("llama-3.1-8b-orai", "joint", ("sw",))))
        == "results/cache/models/orai-nlp--Llama-swa-8B-DIPLomA@main"
    )
