"""langmerge/grid: which models, jobs and paths a configuration means, and the messages for one that
means nothing.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
import yaml

from langmerge.errors import UserError
from langmerge.grid.folders import Folders
from langmerge.grid.grid import Grid
from langmerge.merging.recipe import DIFFERENCES, read_recipe
from langmerge.model import Model
from langmerge.yamls import read_yaml
from support.paths import ROOT


def make(config, folder=ROOT / "config") -> Grid:
    return Grid(config, Folders(folder), source="config/config.yaml")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of config/, in which a test may write."""
    return Path(shutil.copytree(ROOT / "config", tmp_path / "config"))


def edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


# ---- the set of models


def test_the_default_run_is_the_union_of_its_experiments(config):
    grid = make(config)
    merges = [model for model in grid.models.values() if model.is_merge]
    weights = len(config["weights"])
    sweep = 2 * 4 * weights
    assert 1 in config["weights"]  # so that the papers' setting of linear and task arithmetic is part of the sweep
    assert len(merges) == sweep + 2 * 4 + 2  # dare and breadcrumbs, each language; two multilingual merges
    references = {model.id for model in grid.models.values() if not model.is_merge}
    assert {"mini/base/none/w0", "mini/instruct/none/w0", "mini/adapted/eu/w1", "mini/joint/eu/w1"} <= references


def test_ids_say_what_a_model_is(config):
    ids = make(config).models
    assert "mini/linear/eu/w0.25" in ids
    assert "mini/task_arithmetic/ca+es+eu+gl/w0.25" in ids
    assert ids["mini/linear/eu/w1"] == Model("mini", "linear", ("eu",), 1.0)


def test_a_cell_of_two_experiments_is_one_and_is_evaluated_for_both(config):
    grid = make(config)
    assert grid.expansion.languages["mini/linear/eu/w0.5"] == ["eu"]  # the sweep: its target
    assert grid.expansion.languages["mini/linear/eu/w1"] == [
        "eu",
        "gl",
        "ca",
        "es",
        "en",
    ]  # the sweep and the papers' weights
    assert len(grid.results) == len(grid.models)  # shards: all


def test_targets_differ_per_kind_in_one_line(config):
    config["experiments"] = {"one": {"methods": ["linear"], "weights": {"each": [1], "multi": [0.25]}}}
    merges = [model.id for model in make(config).models.values() if model.is_merge]
    assert merges == [*(f"mini/linear/{code}/w1" for code in config["languages"]), "mini/linear/ca+es+eu+gl/w0.25"]


def test_one_language_has_no_multilingual_merge(config):
    config["languages"] = ["eu"]
    assert not [model for model in make(config).models.values() if len(model.target) > 1]


@pytest.mark.parametrize(
    ("given", "languages"),
    [("eu,gl", ["eu", "gl"]), ("eu", ["eu"]), (["eu", "es"], ["eu", "es"]), ("eu, gl", ["eu", "gl"])],
)
def test_languages_from_the_command_line(config, given, languages):
    config["languages"] = given
    assert make(config).languages == languages


def test_weights_from_the_command_line(config):
    config["weights"] = "0.5,1.25"
    sweep = {
        model.weight for model in make(config).models.values() if model.method == "linear" and model.target == ("eu",)
    }
    assert sweep == {0.5, 1.25, 1.0}  # w=1 is the papers' setting


def test_shards_by_language(config):
    config["shards"] = "language"
    grid = make(config)
    assert list(grid.tasks.shards(grid.models["mini/base/none/w0"])) == ["eu", "gl", "ca", "es", "en"]


def test_translation_tasks_come_from_the_language_file(config):
    names = [task["task"] for task in make(config).tasks.of("eu") if task["measure"] == "mt"]
    assert names == ["mini_translation_en_eu", "mini_translation_es_eu"]


# ---- recipes


def test_linear_gives_the_instruct_model_weight_one_and_each_language_w(config):
    grid = make(config)
    recipe = grid.recipes.merge(grid.models["mini/linear/ca+es+eu+gl/w0.25"])
    assert [entry["parameters"]["weight"] for entry in recipe["models"]] == [1.0, 0.25, 0.25, 0.25, 0.25]
    assert recipe["models"][0]["model"].endswith("mini/instruct/none/w0") == recipe["tokenizer_source"].endswith(
        "instruct/none/w0"
    )
    assert "base_model" not in recipe


def test_task_arithmetic_and_dare_take_the_base(config):
    grid = make(config)
    recipe = grid.recipes.merge(grid.models["mini/dare/eu/w1"])
    assert recipe["base_model"].endswith("mini/base/none/w0")
    assert [entry["parameters"] for entry in recipe["models"]] == [{"weight": 1.0, "density": 0.5}] * 2


def test_rows_and_special_tokens_go_into_the_recipe(config):
    before = make(config)
    model, other = (before.models[f"mini/{method}/eu/w1"] for method in ("linear", "task_arithmetic"))
    keys = before.identity.model_key(model), before.identity.model_key(other)
    config["methods"]["linear"] |= {"rows": "common", "special_tokens": "instruct", "towers": "merge"}
    config["methods"]["linear"]["accept"] = ["rope_theta"]
    grid = make(config)
    recipe = grid.recipes.merge(model)
    assert (recipe["rows"], recipe["towers"], recipe["accept"]) == ("common", "merge", ["rope_theta"])
    assert recipe["special_tokens"] == recipe["tokenizer_source"]
    assert not {"rows", "special_tokens", "towers", "accept", "tokenizer"} & set(grid.recipes.merge(other))
    assert grid.identity.model_key(model) != keys[0]
    assert grid.identity.model_key(other) == keys[1]


def test_what_a_run_may_accept_is_what_a_recipe_may():
    methods = read_yaml(ROOT / "workflow/schemas/run.schema.yaml")["properties"]["methods"]
    assert methods["additionalProperties"]["properties"]["accept"]["items"]["enum"] == [*DIFFERENCES]


def test_a_vocabulary_of_all_models_goes_into_the_recipe(config):
    config["methods"]["linear"]["tokenizer"] = "union"
    grid = make(config)
    recipe = read_recipe(grid.recipes.merge(grid.models["mini/linear/eu/w1"]))
    assert recipe.by_token == "union"
    assert str(recipe.tokenizer_source).endswith("mini/instruct/none/w0")


def test_the_adapted_tokenizer_with_the_instruct_models_template(config):
    before = make(config)
    cell = before.models["mini/linear/eu/w1"]
    assert before.recipes.in_memory(cell)
    config["methods"]["linear"]["tokenizer"] = "adapted"
    with pytest.raises(
        UserError, match=r"linear\.tokenizer: adapted: mini/linear/ca\+es\+eu\+gl/w0.25 has 4 adapted models"
    ):
        make(config)
    config |= {"experiments": {"one": {"methods": ["linear", "task_arithmetic"]}}, "tables": {}, "figures": {}}
    grid = make(config)
    recipe = read_recipe(grid.recipes.merge(cell))
    adapted, instruct = (
        grid.layout.model(model) for model in (Model("mini", "adapted", ("eu",)), Model("mini", "instruct"))
    )
    assert (recipe.by_token, recipe.tokenizer_source, recipe.template_source) == ("source", adapted, instruct)
    assert not grid.recipes.in_memory(cell)
    assert grid.recipes.in_memory(grid.models["mini/task_arithmetic/eu/w1"])


def test_rows_and_special_tokens_of_another_kind_are_refused(config):
    config["methods"]["linear"]["rows"] = "all"
    with pytest.raises(UserError, match=r"methods\.linear\.rows: found 'all', expected common"):
        make(config)
    config["methods"]["linear"] |= {"rows": "common", "special_tokens": "eu"}
    with pytest.raises(UserError, match=r"methods\.linear\.special_tokens: found 'eu', expected instruct"):
        make(config)


def test_diploma_is_a_recipe_with_the_instruct_weight_as_alpha(config):
    config["methods"]["diploma"] = {"merge_method": "task_arithmetic", "instruct_weight": "w", "language_weight": 1}
    config["experiments"] = {"alpha": {"methods": ["diploma"], "weights": {"each": [0.6]}}}
    grid = make(config)
    recipe = grid.recipes.merge(grid.models["mini/diploma/eu/w0.6"])
    assert [entry["parameters"]["weight"] for entry in recipe["models"]] == [0.6, 1]


def test_parameters_can_differ_between_instruct_and_language(config):
    config["methods"]["ties"] = {
        "merge_method": "ties",
        "parameters": {"density": {"instruct": 1.0, "language": 0.7}, "normalize": True},
    }
    config["experiments"] = {"ties": {"methods": ["ties"], "weights": {"each": [1]}}}
    grid = make(config)
    recipe = grid.recipes.merge(grid.models["mini/ties/eu/w1"])
    assert [entry["parameters"]["density"] for entry in recipe["models"]] == [1.0, 0.7]
    assert recipe["parameters"] == {"normalize": True}


def test_slerp_takes_the_weight_as_its_t_and_instruct_as_its_base(config):
    config["methods"]["slerp"] = {"merge_method": "slerp", "base": "instruct", "parameters": {"t": "w"}}
    config["experiments"] = {"slerp": {"methods": ["slerp"], "weights": {"each": [0.5]}}}
    grid = make(config)
    recipe = grid.recipes.merge(grid.models["mini/slerp/eu/w0.5"])
    assert recipe["parameters"] == {"t": 0.5}
    assert recipe["base_model"] == recipe["models"][0]["model"]
    assert "mini/base/none/w0" not in [parent.id for parent in grid.recipes.parents(grid.models["mini/slerp/eu/w0.5"])]


# ---- fingerprints: what makes a result new, and what does not


def results(config, folder=ROOT / "config") -> set[str]:
    return {str(result.path) for result in make(config, folder).results}


def test_a_new_weight_or_method_leaves_every_result_as_it_is(config):
    before = results(config)
    config["weights"] = [*config["weights"], 1.25]
    config["methods"]["nearswap"] = {"merge_method": "nearswap", "base": "instruct", "parameters": {"t": 0.5}}
    config["experiments"]["swap"] = {"methods": ["nearswap"], "weights": {"each": [1]}}
    after = results(config)
    assert before < after
    assert len(after - before) == 2 * 4 + 4


def test_a_new_language_leaves_the_sweeps_of_the_others_as_they_are(config, folder):
    before = results(config, folder)
    (folder / "languages" / "cy.yaml").write_text("{name: Welsh, locale: cy, mt_sources: [en, es]}")
    config["languages"] = [*config["languages"], "cy"]
    kept = before & results(config, folder)
    assert {path for path in before if "/w0.5/" in path} <= kept
    config["shards"] = "language"
    assert len([path for path in results(config, folder) if "/adapted/eu/w1/" in path]) == 6


def test_options_of_figures_labels_and_limits_change_no_result(config, folder):
    before = results(config, folder)
    config["figures"]["figure1"]["options"] = {"width": 3}
    config["methods"]["linear"]["label"] = "LINEAR"
    config["live_merges"] = 1
    edit(folder / "backbones" / "mini.yaml", lambda content: content["resources"]["train"].update(mem_mb=9999))
    assert results(config, folder) == before


def test_settings_that_determine_numbers_change_the_results_they_determine(config, folder):
    before = results(config, folder)
    edit(folder / "backbones" / "mini.yaml", lambda content: content["models"]["adapted"]["train"].update(steps=151))
    after = results(config, folder)
    untouched = {path for path in before if "/base/" in path or "/instruct/" in path or "/joint/" in path}
    assert before & after == untouched
    config["tasks"][0]["fewshot"] = 2
    assert not results(config, folder) & after


# ---- how tasks are asked


IFEVAL = "mini_ifeval_eu"


def entries(grid: Grid, kind: str = "instruct", backbone: str = "mini", language: str = "eu") -> dict[str, dict]:
    return {task["task"]: task for task in grid.tasks.asked(backbone, kind, language)}


def by_model(config, folder) -> dict[str, str]:
    """Names of results, by model."""
    return {result.model.id: result.path.name for result in make(config, folder).results}


def test_settings_are_complete(config):
    found = entries(make(config))
    assert found[IFEVAL]["generation"] == {
        "temperature": 0.5,
        "top_p": 1,
        "top_k": 0,
        "max_gen_toks": 40,
        "do_sample": True,
    }
    assert found[IFEVAL]["template"] == {"date_string": "26 Jul 2024"}
    assert found[IFEVAL]["enable_thinking"] is False
    # Settings of a chat template do not belong to a task that is asked without one.
    assert not {"template", "enable_thinking"} & found["mini_grammar_eu"].keys()


def test_a_backbones_own_settings_change_its_tasks_and_names_and_no_others(config, folder):
    copy = yaml.safe_load((folder / "backbones" / "mini.yaml").read_text())
    (folder / "backbones" / "other.yaml").write_text(yaml.safe_dump(copy))
    config["backbones"] = ["mini", "other"]
    before, names = make(config, folder), by_model(config, folder)
    own = {"mini_ifeval_*": {"enable_thinking": True, "generation": {"max_gen_toks": 80}, "template": {"tone": "dry"}}}
    edit(folder / "backbones" / "other.yaml", lambda content: content.update(tasks=own))
    after = make(config, folder)
    assert entries(after, backbone="mini") == entries(before, backbone="mini")
    changed = entries(after, backbone="other")
    assert {task for task, entry in changed.items() if entry != entries(before)[task]} == {IFEVAL}
    assert changed[IFEVAL]["generation"] == {**entries(before)[IFEVAL]["generation"], "max_gen_toks": 80}
    assert changed[IFEVAL]["template"] == {"date_string": "26 Jul 2024", "tone": "dry"}
    assert changed[IFEVAL]["enable_thinking"] is True
    renamed = {id for id, name in by_model(config, folder).items() if name != names[id]}
    assert renamed == {id for id in names if id.startswith("other/")}


def test_settings_of_the_run_go_over_those_of_a_language_and_a_backbones_over_both(config, folder):
    config["tasks"] = [{"task": "{benchmark}", "measure": "benchmark", "metric": "acc", "fewshot": 5}]
    config["evaluation_languages"] = []
    config["experiments"] = {"one": {"methods": ["linear"], "weights": {"each": [1]}, "evaluate": "target"}}

    def shots() -> set[int]:
        return {entry["fewshot"] for task, entry in entries(make(config, folder)).items() if task == "xstorycloze_eu"}

    assert shots() == {0}  # config/languages/eu.yaml
    config["task_settings"] = {"xstorycloze_*": {"fewshot": 4}, "xstorycloze_eu": {"fewshot": 3}}
    assert shots() == {3}  # the later one
    edit(folder / "backbones" / "mini.yaml", lambda content: content.update(tasks={"*": {"fewshot": 2}}))
    assert shots() == {2}


def test_a_task_for_some_models_only(config):
    before = make(config)
    config["tasks"][-1]["models"] = ["instruct", "merges"]
    grid = make(config)
    for kind in ("base", "instruct", "adapted", "joint", "merges"):
        has = kind in ("instruct", "merges")
        assert (IFEVAL in entries(grid, kind)) == has
        kept = {task: entry for task, entry in entries(before, kind).items() if has or task != IFEVAL}
        assert entries(grid, kind) == kept  # who else is asked is no part of an entry
    names = {result.model.id: result.path.name for result in before.results}
    renamed = {result.model.id for result in grid.results if result.path.name != names[result.model.id]}
    assert renamed == {id for id, model in grid.models.items() if model.method in ("base", "adapted", "joint")}


def test_a_model_that_is_asked_nothing_has_no_result(config):
    for task in config["tasks"]:
        task["models"] = ["merges"]
    grid = make(config)
    assert {result.model.is_merge for result in grid.results} == {True}
    assert len(grid.results) == sum(model.is_merge for model in grid.models.values())


def test_a_group_is_taken_apart_and_its_catalogue_entry_is_its_members(config):
    config["tasks"] = [{"task": "eus_exams_eu", "measure": "benchmark", "metric": "acc", "languages": ["eu"]}]
    grid = make(config)
    result = next(iter(grid.results))
    assert len(grid.results.parts(result)) == len(set(grid.results.parts(result))) == 29
    assert [path.name for path in grid.tasks.datasets(grid.results.tasks_of(result)).values()] == [
        "HiTZ--EusExams@main"
    ]
    assert all(unit.sources == ["HiTZ--EusExams@main"] for unit in grid.tasks.units(result.model, result.shard))


# ---- mistakes


def test_unknown_keys_are_named_with_the_known_ones(config, folder):
    known = ["fewshot", "limit", "generation", "template", "enable_thinking", "chat_template"]
    edit(folder / "backbones" / "mini.yaml", lambda content: content.update(tasks={"*": {"few_shot": 2}}))
    assert_refused(
        config, "backbones/mini.yaml:", "tasks.*.few_shot: unknown key. Did you mean 'fewshot'?", *known, folder=folder
    )
    edit(folder / "backbones" / "mini.yaml", lambda content: content.pop("tasks"))
    edit(folder / "languages" / "eu.yaml", lambda content: content["benchmarks"].update(eus_trivia={"shots": 2}))
    assert_refused(config, "languages/eu.yaml:", "benchmarks.eus_trivia.shots: unknown key", *known, folder=folder)
    config["tasks"][-1]["generation"]["do_sample"] = True
    keys = ["temperature", "top_p", "top_k", "max_gen_toks", "until"]
    assert_refused(config, "tasks.4.generation.do_sample: unknown key", *keys)


def test_answers_that_are_sampled_in_an_unknown_way(config):
    del config["tasks"][-1]["generation"]["top_k"]
    assert_refused(config, "config/config.yaml: tasks", "mini_ifeval_eu: generation", "0.5, and top_k is not given")


def test_settings_for_a_task_that_there_is_not(config, folder):
    config["task_settings"] = {"eus_readng": {"fewshot": 2}}
    assert_refused(
        config, "config/config.yaml: task_settings.eus_readng: no task is called 'eus_readng'", "'eus_reading'"
    )
    del config["task_settings"]
    edit(folder / "backbones" / "mini.yaml", lambda content: content.update(tasks={"xstorycloz_*": {"limit": 2}}))
    assert_refused(config, "mini.yaml:", "tasks.xstorycloz_*: no task is called 'xstorycloz_*'", folder=folder)


@pytest.mark.parametrize("key", ["enable_thinking", "chat_template_args", "max_model_len"])
def test_settings_that_no_backend_has(config, folder, key):
    edit(folder / "backbones" / "mini.yaml", lambda content: content["backend"].update({key: {}}))
    words = [f"backend.{key}: unknown key", "max_length", "belong to `tasks`, as enable_thinking and template"]
    assert_refused(config, "backbones/mini.yaml:", *words, folder=folder)


def test_the_settings_of_a_backend_are_those_of_its_engines():
    schema = yaml.safe_load((ROOT / "workflow/schemas/backbone.schema.yaml").read_text())
    found = {"backend", "add_bos_token"}
    for name in ("transformers", "vllm"):
        tree = ast.parse((ROOT / f"scripts/langmerge/evaluation/engines/{name}.py").read_text())
        (engine,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Engine")]
        (made,) = [node for node in engine.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        found |= {argument.arg for argument in [*made.args.args, *made.args.kwonlyargs]} - {"self", "model"}
    assert {*schema["properties"]["backend"]["properties"]} == found


def test_a_kind_of_model_that_there_is_not(config):
    config["tasks"][0]["models"] = ["merged"]
    assert_refused(config, "tasks.0.models.0: found 'merged', expected one of", "Did you mean 'merges'")


def assert_refused(config, *parts: str, folder=ROOT / "config") -> None:
    with pytest.raises(UserError) as caught:
        make(config, folder)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_language_without_a_file(config):
    config["languages"].append("xx")
    assert_refused(
        config, "config/config.yaml", "unknown language 'xx'", "languages/xx.yaml", "ca, cy, en, es, eu, fr, gl, sw"
    )


def test_backbone_without_a_file(config):
    config["backbones"] = ["gpt-9"]
    assert_refused(config, "unknown backbone 'gpt-9'", "mini")


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_weight_that_is_none(config, weight):
    config["weights"].append(weight)
    assert_refused(config, "config/config.yaml: weights", "negative or not finite")


def test_weight_given_twice(config):
    config["experiments"]["papers_weights"]["weights"]["each"] = [1, 1.0]
    assert_refused(config, "experiments.papers_weights.weights.each", "twice")


def test_weight_that_is_a_word(config):
    config["weights"] = "0.5,heavy"
    assert_refused(config, "weights.1: found 'heavy', expected a number")


def test_unknown_key(config):
    config["langauges"] = ["eu"]
    assert_refused(config, "config/config.yaml: langauges: unknown key. Did you mean 'languages'?")


def test_unknown_method_in_an_experiment(config):
    config["experiments"]["sweep"]["methods"].append("magic")
    assert_refused(config, "experiments.sweep.methods", "unknown method 'magic'", "linear")


def test_unknown_merge_method(config):
    config["methods"]["linear"]["merge_method"] = "liner"
    assert_refused(config, "methods.linear.merge_method", "'liner'", "linear")


def test_unknown_parameter(config):
    config["methods"]["dare"]["parameters"]["densty"] = 0.5
    assert_refused(config, "methods.dare", "densty", "density")


def test_method_that_is_called_like_a_reference(config):
    config["methods"]["base"] = {"merge_method": "linear"}
    assert_refused(config, "methods.base", "reference model")


def test_method_that_needs_a_base_for_a_backbone_without_one(config, folder):
    def without_base(content):
        del content["models"]["base"]
        for model in content["models"].values():
            model.pop("train")
            model["path"] = "somewhere"

    edit(folder / "backbones" / "mini.yaml", without_base)
    assert_refused(config, "task_arithmetic", "needs the base model of mini", "mini.yaml", folder=folder)


def test_method_of_two_models_with_a_multilingual_target(config):
    config["methods"]["slerp"] = {"merge_method": "slerp", "base": "instruct", "parameters": {"t": 0.5}}
    config["experiments"]["slerp"] = {"methods": ["slerp"], "weights": {"multi": [0.25]}}
    assert_refused(config, "methods.slerp", "ca+es+eu+gl")


def test_language_file_that_is_not_yaml(config, folder):
    (folder / "languages" / "eu.yaml").write_text("name: [Basque")
    assert_refused(config, "eu.yaml is not YAML", folder=folder)


def test_language_file_with_an_unknown_key(config, folder):
    edit(folder / "languages" / "eu.yaml", lambda content: content.update(local="eu"))
    assert_refused(config, "eu.yaml:", "local: unknown key. Did you mean 'locale'?", folder=folder)


def test_two_languages_one_code(config):
    config["languages"] = ["eu", "eu"]
    assert_refused(config, "languages: 'eu' stands twice")


def test_other_data_of_the_miniature_make_other_tasks(config):
    sizes = [{**config["world"], "documents": documents} for documents in (8, 16)]
    assert make({**config, "world": sizes[0]}).tasks.of("eu") != make({**config, "world": sizes[1]}).tasks.of("eu")


def test_tables_that_are_not_named_any_more_and_those_of_votes_which_stay(config, tmp_path):
    folder = tmp_path / config["run"]
    for name in ("tables/best.md", "tables/old.md", "tables/votes.csv", "figures/votes.png", "figures/old.svg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    grid = make({**config, "results": str(tmp_path)})
    assert grid.jobs.unnamed() == [folder / "figures/old.svg", folder / "tables/old.md"]
