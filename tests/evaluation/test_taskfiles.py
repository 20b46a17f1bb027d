"""Own tasks: how they are found, and a key that follows all that determines their results."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import datasets.packaged_modules
import pytest

from langmerge.errors import UserError
from langmerge.evaluation.lookup import Lookup
from langmerge.evaluation.taskfiles import BUILDERS, SHIPPED, content_key, find, forget_files

FILES = {
    "mine.yaml": """
        task: mine
        include: base/_base.yaml
        dataset_path: json
        dataset_kwargs: {data_files: {test: data/test.jsonl, dev: ["data/dev*.jsonl"]}}
        test_split: test
        fewshot_split: dev
        process_docs: !function functions.kept
    """,
    "base/_base.yaml": """
        include: ../_deep.yaml
        doc_to_text: !function texts.question
        doc_to_target: "{{answer}}"
    """,
    "_deep.yaml": "output_type: generate_until\nmetric_list: [{metric: exact_match}]\n",
    "functions.py": "import helper\n\n\ndef kept(dataset):\n    return dataset.filter(helper.is_kept)\n",
    "helper.py": "def is_kept(doc):\n    return True\n",
    "base/texts.py": "def question(doc):\n    return doc['question']\n",
    "data/test.jsonl": '{"question": "a", "answer": "b"}\n',
    "data/dev1.jsonl": '{"question": "c", "answer": "d"}\n',
    "data/dev2.jsonl": '{"question": "e", "answer": "f"}\n',
    "group.yaml": """
        group: both
        task: [mine, other, belebele_eus_Latn]
        aggregate_metric_list: [{metric: acc, weight_by_size: false}]
    """,
    "other.yaml": "task: other\ndataset_path: folder\ntest_split: test\n",
    "folder/README.md": "no configurations\n",
    "folder/test.jsonl": '{"question": "g"}\n',
    "in_folder.yaml": """
        task: in_folder
        dataset_path: ./folder
        dataset_kwargs: {data_files: {test: test.jsonl}}
    """,
    "in_directory.yaml": "task: in_directory\ndataset_path: json\ndataset_kwargs: {data_dir: data}\n",
    "one_file.yaml": "task: one_file\ndataset_path: json\ndataset_kwargs: {data_files: data/test.jsonl}\n",
    "of_the_hub.yaml": """
        task: of_the_hub
        dataset_path: organisation/name
        dataset_kwargs: {data_files: {test: somewhere/test.jsonl}}
    """,
    "unused.yaml": "task: unused\n",
    "unused.py": "def unused(doc):\n    return doc\n",
}

NEEDED = {
    "mine": {
        *("mine.yaml", "base/_base.yaml", "_deep.yaml", "functions.py", "helper.py", "base/texts.py"),
        *("data/test.jsonl", "data/dev1.jsonl", "data/dev2.jsonl"),
    },
    "other": {"other.yaml", "folder/README.md", "folder/test.jsonl"},
    "in_folder": {"in_folder.yaml", "folder/test.jsonl"},
    "in_directory": {"in_directory.yaml", "data/test.jsonl", "data/dev1.jsonl", "data/dev2.jsonl"},
    "one_file": {"one_file.yaml", "data/test.jsonl"},
    "of_the_hub": {"of_the_hub.yaml"},
}
NEEDED["both"] = {"group.yaml", *NEEDED["mine"], *NEEDED["other"]}
"""The files that each task's results depend on."""

CHANGES: dict[str, Callable[[str], str]] = {
    ".yaml": lambda text: text.rstrip() + "\nmetadata: {version: 2}\n",
    ".py": lambda text: text.replace("return", "return not"),
    ".jsonl": lambda text: text.replace("question", "Question"),
    ".md": lambda text: text + "more\n",
}


def written(folder: Path, **changed: str) -> Path:
    """A folder with FILES, some of them changed."""
    for name, text in {**FILES, **changed}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def keys(folder: Path) -> dict[str, str | None]:
    return {name: content_key(name, [folder, SHIPPED]) for name in NEEDED}


def test_a_key_follows_the_content_of_each_file_that_the_task_needs_and_of_no_other(tmp_path):
    before = keys(written(tmp_path / "before"))
    assert None not in before.values()
    assert len({*before.values()}) == len(before)
    for number, name in enumerate(FILES):
        folder = written(tmp_path / f"changed{number}")
        path = folder / name
        text = path.read_text()
        path.write_text(CHANGES[path.suffix](text))
        assert path.read_text() != text
        after = keys(folder)
        assert {task for task in NEEDED if before[task] != after[task]} == {
            task for task, needed in NEEDED.items() if name in needed
        }, name


def test_a_key_follows_files_that_come_and_go(tmp_path):
    before = keys(written(tmp_path / "before"))
    folder = written(tmp_path / "more")
    (folder / "data/dev3.jsonl").write_text('{"question": "more"}\n')
    (folder / "folder/train.jsonl").write_text('{"question": "more"}\n')
    (folder / "folder/.DS_Store").write_text("hidden")
    (folder / "notes.txt").write_text("notes")
    after = keys(folder)
    assert {task for task in NEEDED if before[task] != after[task]} == {"mine", "other", "both", "in_directory"}


def test_a_key_does_not_depend_on_place_dates_and_comments(tmp_path, monkeypatch):
    before = keys(written(tmp_path / "before"))
    assert keys(written(tmp_path / "in [brackets] 'é' \"ñ\"")) == before
    folder = written(tmp_path / "commented")
    (folder / "mine.yaml").write_text("# A comment.\n" + (folder / "mine.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert keys(Path("commented")) == before


def test_the_first_folder_that_has_a_task_decides(tmp_path):
    mine = written(tmp_path / "mine")
    (mine / "bertaqa.yaml").write_text("task: bertaqa_eu_local\ndataset_path: json\n")
    assert find("bertaqa_eu_local", [mine, SHIPPED]).path == mine / "bertaqa.yaml"
    shipped = content_key("bertaqa_eu_local", [SHIPPED])
    assert shipped is not None
    assert content_key("bertaqa_eu_local", [mine, SHIPPED]) not in (None, shipped)


def test_lm_evals_own_tasks_have_no_key():
    assert content_key("belebele_eus_Latn", [SHIPPED]) is None
    assert content_key("belebele_eus_Latn", [Path("/nowhere"), SHIPPED]) is None


def test_tasks_of_the_package_have_a_key():
    assert (
        len({content_key(name, [SHIPPED]) for name in ("ifeval_eu", "ifeval_gl", "eus_exams_eu", "parafrases_gl")}) == 4
    )
    assert content_key("ifeval_eu", [SHIPPED]) is not None


def test_formats_are_those_of_datasets():
    assert {*datasets.packaged_modules._PACKAGED_DATASETS_MODULES} == BUILDERS


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        ({"data/test.jsonl": None}, "mine", r"mine\.yaml: task 'mine': .*'data/test\.jsonl': no such file in .*starts at the folder"),
        ({"data/test.jsonl": None}, "both", r"task 'mine': .*'data/test\.jsonl': no such file"),
        ({"data/dev1.jsonl": None, "data/dev2.jsonl": None}, "mine", r"'data/dev\*\.jsonl': no such file"),
        ({"folder/README.md": None, "folder/test.jsonl": None}, "in_folder", r"dataset_path: there is no folder .*/folder"),
        ({"functions.py": None}, "mine", r"module 'functions' .*neither the file .*functions\.py nor installed"),
        ({"functions.py": "def ("}, "mine", r"functions\.py is not Python"),
        ({"_deep.yaml": None}, "mine", r"_base\.yaml: include: there is no .*_deep\.yaml"),
        ({"_deep.yaml": "include: mine.yaml\n"}, "mine", r"includes itself"),
        ({"unused.yaml": "task: mine\n"}, "other", r"two files define 'mine': .*mine\.yaml and .*unused\.yaml"),
        ({"unused.yaml": "task: [\n"}, "other", r"unused\.yaml is not a YAML file of a task"),
        ({"group.yaml": "group: both\ntask: mine\n"}, "both", r"the group 'both' needs `task:` with a list"),
        (
            {"one_file.yaml": "task: one_file\ndataset_path: json\ndataset_kwargs: {data_files: 'https://a.org/b.jsonl'}\n"},
            "one_file",
            r"is an address; nothing is fetched",
        ),
        (
            {"in_directory.yaml": "task: in_directory\ndataset_path: json\ndataset_kwargs: {data_dir: gone}\n"},
            "in_directory",
            r"task 'in_directory': there are no data in .*gone",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_named(tmp_path, changes, task, message):
    folder = written(tmp_path / "tasks", **{name: text for name, text in changes.items() if text is not None})
    for name, text in changes.items():
        if text is None:
            (folder / name).unlink()
    for empty in ("folder", "data"):
        if not any((folder / empty).iterdir()):
            (folder / empty).rmdir()
    with pytest.raises(UserError, match=message):
        content_key(task, [folder, SHIPPED])


def test_a_checkpoint_of_an_editor_is_no_second_file(tmp_path):
    folder = written(tmp_path)
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "mine.yaml", folder / ".ipynb_checkpoints/mine-checkpoint.yaml")
    assert content_key("mine", [folder]) is not None


# ---- the same files, loaded


@pytest.fixture
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user cache"))


QUESTIONS = "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: question\n"

LOADING = """
from pathlib import Path
from datasets import Dataset

def load(data_files, data_dir, **_):
    assert Path(data_dir).is_dir()
    return {"test": Dataset.from_list([{"question": Path(data_files["test"]).read_text()}])}
"""


@pytest.mark.parametrize("name", ["plain", "with blanks, [brackets], 'quotes', \"more\", * ? and ñ"])
def test_a_task_loads_the_files_that_its_key_follows(tmp_path, monkeypatch, cache, name):
    written(
        tmp_path / name,
        **{
            "functions.py": "def kept(dataset):\n    return dataset\n",
            "mine_too.yaml": "include: mine.yaml\ntask: mine_too\n",
            "other.yaml": FILES["other.yaml"] + QUESTIONS,
            "folder_too.yaml": "task: folder_too\ndataset_path: ./folder\ntest_split: test\n"
            "dataset_kwargs: {data_files: {test: test.jsonl}}\n" + QUESTIONS,
            "directory_too.yaml": "task: directory_too\ndataset_path: json\ntest_split: test\n"
            "dataset_kwargs: {data_dir: data}\n" + QUESTIONS,
            "with_function.yaml": "task: with_function\ncustom_dataset: !function loading.load\ntest_split: test\n"
            "dataset_kwargs: {data_files: {test: test.jsonl}, data_dir: data}\n" + QUESTIONS,
            "loading.py": LOADING,
        },
    )
    monkeypatch.chdir(tmp_path)
    lookup = Lookup([Path(name)])

    def questions(task: str, split: str = "test") -> list[str]:
        (loaded,) = lookup.load({"task": task, "content": content_key(task, lookup.folders)}).values()
        return [doc["question"] for doc in loaded.dataset[split]]

    assert questions("mine") == questions("mine_too") == ["a"]
    assert questions("mine", "dev") == ["c", "e"]
    assert questions("other") == questions("folder_too") == ["g"]
    assert questions("directory_too") == ["a"]
    assert json.loads(questions("with_function")[0]) == {"question": "a", "answer": "b"}


@pytest.mark.parametrize("name", ["plain", "[brackets]"])
def test_a_folder_of_data_that_changes_is_read_again(tmp_path, cache, name):
    folder = written(tmp_path / name, **{"other.yaml": FILES["other.yaml"] + QUESTIONS})
    lookup = Lookup([folder])
    for text in ("g", "another question"):
        (folder / "folder/test.jsonl").write_text(json.dumps({"question": text}) + "\n")
        (task,) = lookup.load({"task": "other"}).values()
        assert [doc["question"] for doc in task.dataset["test"]] == [text]


def test_a_task_that_has_changed_since_the_run_was_planned_is_refused(tmp_path):
    folder = written(tmp_path)
    with pytest.raises(UserError, match=r"mine: its files have changed since this evaluation was planned"):
        Lookup([folder]).load({"task": "mine", "content": "0123456789ab"})


def test_a_group_finds_tasks_of_the_package_wherever_it_is(tmp_path):
    folder = written(tmp_path, **{"group.yaml": "group: both\ntask: [mine, parafrases_gl]\n"})
    key = content_key("both", [folder])
    assert key == content_key("both", [folder, SHIPPED]) == content_key("both", [Path("/nowhere"), folder, SHIPPED])
    (folder / "more").mkdir()
    (folder / "more/paraphrases.yaml").write_text("task: parafrases_gl\n")
    forget_files()
    assert content_key("both", [folder]) != key


@pytest.mark.parametrize("given", ["content", "data", "flores", "prompts"])
def test_an_entry_without_an_identity_of_its_files_gets_one(tmp_path, given):
    lookup = Lookup([written(tmp_path)])
    assert lookup.identified({"task": "mine"}) == {"task": "mine", "content": content_key("mine", lookup.folders)}
    assert lookup.identified({"task": "mine", given: "x"}) == {"task": "mine", given: "x"}
    assert lookup.identified({"task": "belebele_eus_Latn"}) == {"task": "belebele_eus_Latn"}


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "quiz.yaml"
    path.write_text("task: quiz\nmetric_list:\n  - metric: acc\n    metric: f1\nfunction: !function mine.answer\n")
    with pytest.raises(
        UserError, match=re.escape(f"{path}:4: metric: the key stands twice, first in line 3. Keep one.")
    ):
        find("quiz", [tmp_path])
