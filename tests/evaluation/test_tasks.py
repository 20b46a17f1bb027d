"""Every real task: YAML, loader and scoring, with a tiny model and no network.

The data sets are local and have the shape of the real ones (support/hub_data.py).
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import huggingface_hub
import pandas as pd
import pytest
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from langmerge.errors import UserError
from langmerge.evaluation.lookup import STOCK, Lookup, stock_index
from langmerge.evaluation.sealed import read_sealed
from langmerge.evaluation.taskfiles import SHIPPED, find, read
from support import hub_data
from support.paths import ROOT
from support.real_tasks import BENCHMARKS, DEVTEST, HALVES, IFEVAL, PAIRS, entries, flores, language


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    return hub_data.make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def results(data, world, tmp_path_factory) -> Path:
    """The folder of all tasks' results and samples.

    They are from one call of the command, unable to connect, with an empty cache.
    """
    out = tmp_path_factory.mktemp("out")
    arguments = [world / "model", out / "result.json", "--samples", out / "samples"]
    arguments += ["--tasks", json.dumps(entries()), "--datasets", json.dumps(data)]
    arguments += ["--backend", "{dtype: float32, batch_size: 16, max_length: 4096}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(out / "cache")}
    command = [sys.executable, "-P", ROOT / "tests/support/offline.py", ROOT / "scripts/evaluate.py", *arguments]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def scores(results) -> dict[str, dict]:
    return {score["task"]: score for score in read_sealed(results / "result.json")["scores"]}


def samples(results: Path, task: str) -> list[dict]:
    (path,) = (results / "samples").glob(f"{task}.*.jsonl.gz")
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def test_a_script_run_offline_cannot_connect(tmp_path):
    (tmp_path / "ask.py").write_text("import urllib.request; urllib.request.urlopen('http://localhost:9')")
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "tests/support/offline.py", tmp_path / "ask.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "this test has no network" in done.stderr


@pytest.mark.parametrize("task", BENCHMARKS)
def test_benchmark(results, scores, task):
    metric, shots, documents = BENCHMARKS[task]
    score = scores[task]
    assert score["metric"] == metric
    assert score["n"] == documents
    assert -100 <= score["value"] <= 100
    assert sum(part["n"] for part in score["parts"].values()) == documents
    answered = samples(results, task)
    assert len(answered) == documents
    for sample in answered:
        prompt = sample["arguments"][0][0]
        assert prompt.count("\n\n") >= shots
        assert shots or "\n\n" not in prompt


@pytest.mark.parametrize("task", HALVES)
def test_bertaqa_by_group(results, scores, data, task):
    _, code, group = task.split("_")
    wanted = hub_data.GROUPS[0] if group == "local" else hub_data.GROUPS[1]
    questions = [
        json.loads(line) for line in (Path(data["HiTZ/BertaQA"]) / code / "test.jsonl").read_text().splitlines()
    ]
    of_group = {question["question"] for question in questions if question["group"] == wanted}
    assert 0 < scores[task]["n"] == len(of_group) < len(questions)
    answered = samples(results, task)
    assert {sample["doc"]["question"] for sample in answered} == of_group
    for sample in answered:  # the example is of the same group too
        assert sum(question in sample["arguments"][0][0] for question in of_group) == 2


def test_eus_exams_is_the_plain_mean_over_exams(results, scores):
    by_exam: dict[str, list[float]] = {}
    for sample in samples(results, "eus_exams_eu"):
        by_exam.setdefault(sample["task"], []).append(sample["acc"])
    assert len(by_exam) == 29
    means = [sum(values) / len(values) for values in by_exam.values()]
    variances = [mean * (1 - mean) / (len(values) - 1) for mean, values in zip(means, by_exam.values(), strict=True)]
    assert scores["eus_exams_eu"]["value"] == pytest.approx(100 * sum(means) / 29)
    assert scores["eus_exams_eu"]["stderr"] == pytest.approx(100 * sum(variances) ** 0.5 / 29)


@pytest.mark.parametrize("task", IFEVAL)
def test_ifeval(scores, task):
    assert scores[task]["n"] == 2 * IFEVAL[task]  # two instructions a prompt
    assert 0 <= scores[task]["value"] <= 100


@pytest.mark.parametrize("pair", [*PAIRS, ("en", "cy")], ids="-".join)
def test_translation(results, scores, data, pair):
    task = f"flores_{pair[0]}-{pair[1]}"
    score = scores[task]
    assert (score["metric"], score["n"]) == ("bleu", DEVTEST)
    folder = Path(data["openlanguagedata/flores_plus"])
    texts = [sentences(folder / "devtest", code) for code in pair]
    assert [sample["target"] for sample in samples(results, task)] == [
        texts[1][sample["doc"]["id"]] for sample in samples(results, task)
    ]
    assert {sample["doc"][f"sentence_{hub_data.FLORES[pair[0]]}"] for sample in samples(results, task)} == set(
        texts[0].values()
    )
    examples = sentences(folder / "dev", pair[0]).values()
    assert len(samples(results, task)) == DEVTEST
    for sample in samples(results, task):
        assert sum(example in sample["arguments"][0][0] for example in examples) == 5


def sentences(folder: Path, code: str) -> dict[int, str]:
    (path,) = folder.glob(f"{hub_data.FLORES[code]}.*")
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)
    return dict(zip(table["id"], table["text"], strict=True))


def stock_pairs() -> list[Path]:
    """lm-eval's 14 tasks that the authors ran, by the names in their scripts."""
    benches = {"eu": "basque", "gl": "galician", "ca": "catalan", "es": "spanish"}
    home = {(source, target): source if source != "en" else target for source, target in PAIRS} | {
        ("es", code): "es" for code in ("eu", "gl", "ca", "en")
    }
    return [STOCK / f"{benches[code]}_bench/flores_{code}/flores_{'-'.join(pair)}.yaml" for pair, code in home.items()]


@pytest.mark.parametrize("path", stock_pairs(), ids=lambda path: path.stem)
def test_flores_is_asked_as_lm_eval_asks_it(data, path):
    pair = path.stem.removeprefix("flores_").split("-")
    ours = Lookup(datasets=data).load(flores(*pair))[path.stem]
    stock = load_yaml(path)
    for key in (
        "output_type",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "target_delimiter",
        "generation_kwargs",
    ):
        assert stock[key] == getattr(ours.config, key), key
    task = ConfigurableTask(
        config={**stock, "custom_dataset": lambda **_: ours.dataset}
    )  # its own data set is a script
    for mine, theirs in ((ours, task), (task, ours)):
        mine.set_fewshot_seed(1234)
        theirs.set_fewshot_seed(1234)
        assert len(list(ours.test_docs())) == DEVTEST
        for document in ours.test_docs():
            assert mine.doc_to_text(document) == theirs.doc_to_text(document)
            assert mine.doc_to_target(document) == theirs.doc_to_target(document)
            assert mine.fewshot_context(document, 5) == theirs.fewshot_context(document, 5)


@pytest.mark.parametrize(
    ("own", "stock"),
    [
        ("parafrases_gl", "parafrases_gl"),
        *((f"bertaqa_{code}_{group}", f"bertaqa_{code}") for code in ("eu", "en") for group in ("local", "global")),
    ],
)
def test_our_yaml_says_what_lm_evals_says(own, stock):
    mine, theirs = (
        (read(SHIPPED / f"{own}.yaml").settings),
        load_yaml(STOCK / stock_index()[stock], resolve_func=False),
    )
    differ = {"task", "tag", "process_docs", "validation_split", "dataset_name"}
    assert {key: value for key, value in mine.items() if key not in differ} == {
        key: value for key, value in theirs.items() if key not in differ
    }
    assert mine.get("dataset_name") == theirs["dataset_name"]


def test_paraphrases_are_joined_to_a_question(data):
    (task,) = Lookup(datasets=data).load({"task": "parafrases_gl"}).values()
    rows = datasets.Dataset.from_list(
        [
            {"Frase": "Chove en Lugo .", "Paráfrase": "En Lugo chove .", "Avaliación": 2},
            {"Frase": "", "Paráfrase": "Nada.", "Avaliación": 0},
            {"Frase": "Vai frío", "Paráfrase": None, "Avaliación": 1},
        ]
    )
    (document,) = task.config.process_docs(rows)
    assert task.doc_to_choice(document) == [
        "Chove en Lugo, verdadeiro? Non, en Lugo chove.",
        "Chove en Lugo, verdadeiro? Si, en Lugo chove.",
    ]
    assert task.doc_to_target(document) == 1


def test_the_catalogue_names_the_data_sets_that_the_tasks_read():
    catalogue = yaml.safe_load((ROOT / "config/benchmarks.yaml").read_text())
    for task, entry in catalogue.items():
        asked = flores("en", "eu") if task == "flores" else {"task": task}
        if "prompts" in entry:
            asked |= {
                "language": task[-2:],
                "prompts": {"dataset": entry["dataset"], **entry["prompts"]},
                "judge": {"kind": "phrases"},
            }
        assert {config["dataset_path"] for config in Lookup().configs(asked, resolve=False)} == {entry["dataset"]}, task


@pytest.mark.parametrize("code", [path.stem for path in sorted((ROOT / "config/languages").glob("*.yaml"))])
def test_a_languages_benchmarks_are_in_the_catalogue(code):
    catalogue = yaml.safe_load((ROOT / "config/benchmarks.yaml").read_text())
    assert set(language(code).get("benchmarks", {})) <= set(catalogue)


def test_the_index_of_stock_tasks_agrees_with_lm_evals(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stock_index.cache_clear()
    first = stock_index()
    stock_index.cache_clear()
    assert stock_index() == first
    assert len(list(tmp_path.rglob("*.json"))) == 1
    some = ["belebele", "xstorycloze", "eus_exams", "eus_trivia", "galician_bench", "openbookqa", "glue", "ifeval"]
    theirs = TaskManager(include_path=[STOCK / folder for folder in some], include_defaults=False).task_index
    named = {name: task for name, task in theirs.items() if task.yaml_path and not task.cfg.get("class")}
    assert len(named) > 100
    assert {name: STOCK / first[name] for name in named} == {name: task.yaml_path for name, task in named.items()}


def test_a_folder_given_goes_before_ours_and_ours_before_lm_evals(tmp_path):
    def data(lookup: Lookup, task: str) -> list[str]:
        return [config["dataset_path"] for config in lookup.configs({"task": task}, resolve=False)]

    assert "parafrases_gl" in stock_index()
    assert find("parafrases_gl", Lookup().folders).path.parent == SHIPPED
    assert find("belebele_eus_Latn", Lookup().folders) is None
    assert data(Lookup(), "belebele_eus_Latn") == ["facebook/belebele"]
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(f"task: parafrases_gl\ndataset_path: me/{folder}\n")
    assert data(Lookup([tmp_path / "first", tmp_path / "second"]), "parafrases_gl") == ["me/first"]


def test_an_unknown_task_is_named_with_the_folders_that_were_searched(tmp_path):
    with pytest.raises(UserError, match=rf"no task 'nothing': not in {tmp_path}, .*Correct its name"):
        Lookup([tmp_path]).load({"task": "nothing"})


def test_data_that_was_not_fetched_is_named(data, tmp_path, monkeypatch):
    for constants in (
        datasets.config,
        huggingface_hub.constants,
    ):  # evaluate.py sets the variable before they are imported
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    without = {
        name: folder
        for name, folder in data.items()
        if name not in ("facebook/belebele", "openlanguagedata/flores_plus")
    }
    with pytest.raises(UserError, match=r"belebele_eus_Latn: its data \(facebook/belebele\).*prefetch"):
        Lookup(datasets=without).load({"task": "belebele_eus_Latn"})
    with pytest.raises(UserError, match=r"flores_en-eu: its data \(openlanguagedata/flores_plus\).*prefetch"):
        Lookup(datasets=without).load(flores("en", "eu"))
    with pytest.raises(UserError, match=r"/gone, the folder of facebook/belebele, is not there"):
        Lookup(datasets={"facebook/belebele": str(tmp_path / "gone")}).load({"task": "belebele_eus_Latn"})


def test_a_language_that_flores_lacks(data):
    entry = flores("en", "eu")
    entry["flores"]["target"] = {"code": "xxx_Latn", "name": "Nothing"}
    with pytest.raises(UserError, match=r"no file of the language xxx_Latn; it has: .*eus_Latn"):
        Lookup(datasets=data).load(entry)


def test_a_group_that_weights_by_size_is_refused():
    with pytest.raises(UserError, match=r"mmlu is a group whose score is not the plain mean"):
        Lookup().load({"task": "mmlu"})
