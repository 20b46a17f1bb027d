"""`langmerge publish` and `langmerge ask`: from a finished run to a model in people's hands.

The way back, into a run, is in tests/workflow/test_publish.py.
"""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from gguf import SpecialVocab
from huggingface_hub import ModelCard
from transformers import pipeline

from langmerge.commands import ask, publish
from langmerge.errors import UserError
from langmerge.evaluation.engines.protocol import Generating
from langmerge.evaluation.sealed import read_sealed, write_sealed
from langmerge.grid.grid import read_run
from langmerge.publishing.card import Card
from langmerge.publishing.folder import check_turn
from langmerge.publishing.parents import enumerated, parents_of
from support.commands import call
from support.hub import Hub, running_hub
from support.hub_run import using
from support.paths import ROOT
from support.project import Project
from support.publishing import (
    ADAPTED,
    ANSWER,
    CELL,
    FETCHED,
    QUESTION,
    REVISION,
    RUN,
    backbone_of,
    conversation,
    finish,
    publishable,
)
from support.vllm import RemoteEngine, make_environment

NAME = "lab/tiny-basque"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Project:
    """A run of two cells, evaluated."""
    project = publishable(tmp_path_factory.mktemp("run") / "a project")
    finish(project)
    return project


@pytest.fixture(scope="module")
def published(evaluated) -> Path:
    """The folder of the best cell, published as by default."""
    with chdir(evaluated.folder):
        call(publish, "config/config.yaml", "--best", "eu", "--threads", 1)
    return evaluated.folder / "results/tiny/published" / CELL


@pytest.fixture
def project(evaluated, tmp_path, monkeypatch) -> Project:
    """A copy of the run, in whose folder a test is called."""
    copied = evaluated.copy(tmp_path / "copied")
    shutil.rmtree(copied.folder / "results/tiny/published", ignore_errors=True)
    monkeypatch.chdir(copied.folder)
    return copied


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


def publish_cell(*options: str) -> Path:
    call(publish, "config/config.yaml", "--cell", CELL, "--threads", "1", *options)
    return Path("results/tiny/published") / CELL


def upload(published: Path, evaluated: Project, hub: Hub, tmp_path: Path, *options: str) -> None:
    with chdir(evaluated.folder), using(hub.url, tmp_path, hub.token):
        call(publish, "config/config.yaml", "--cell", CELL, "--upload", NAME, *options)


# ---- the folder


def test_what_is_published(published):
    assert {path.name for path in published.iterdir()} == {
        *("model.safetensors", "config.json", "generation_config.json", "langmerge.json", "mergekit_config.yml"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md", "LICENSE"),
    }
    recipe = yaml.safe_load((published / "mergekit_config.yml").read_text())
    assert recipe["tokenizer_source"] == "tiny-instruct"
    assert [entry["model"] for entry in recipe["models"]] == ["tiny-instruct", ADAPTED]


def test_the_weights_are_those_that_were_evaluated(evaluated, published):
    (result,) = (evaluated.folder / "results/tiny/scores" / CELL).glob("*.json")
    assert (
        json.loads((published / "langmerge.json").read_text())["merged_sha256"] == read_sealed(result)["merged_sha256"]
    )


def test_no_path_of_this_machine(evaluated, published):
    """The instruct model's tokenizer_config.json names its folder."""
    words = ("models of mine", "results/", str(evaluated.folder), str(Path.home()) + "/", "snakemake")
    texts = [path for path in published.rglob("*") if path.suffix != ".safetensors"]
    assert len(texts) == 9
    assert "models of mine" in (evaluated.folder / "models of mine/instruct/tokenizer_config.json").read_text()
    assert not [(path.name, word) for path in texts for word in words if word in path.read_text(encoding="utf-8")]


def test_a_conversation_ends_by_itself(published):
    assert conversation(published) == (ANSWER, True)


def test_a_pipeline_loads_it(published):
    chat = pipeline("text-generation", str(published))
    found = chat([{"role": "user", "content": QUESTION}], max_new_tokens=40, do_sample=False)
    assert found[0]["generated_text"][-1] == {"role": "assistant", "content": ANSWER}


def test_what_llama_cpp_reads_is_there(published):
    """By the reader of llama.cpp's own converter."""
    vocabulary = SpecialVocab(published, load_merges=True)
    assert vocabulary.merges
    assert {"bos", "eos"} <= {*vocabulary.special_token_ids}
    assert "<|im_start|>" in vocabulary.chat_template


@pytest.mark.vllm
def test_vllm_loads_it(published, tmp_path):
    engine = RemoteEngine(make_environment(), tmp_path / "vllm.log").open(published, dtype="bfloat16", max_length=256)
    turns = [{"role": "user", "content": QUESTION}]
    prompt = engine.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    (found,) = engine.generate(
        [Generating(prompt=prompt, until=[], max_tokens=40, temperature=0, top_p=1, top_k=0, seed=None)]
    )
    engine.close()
    assert (found.text, found.finished) == (ANSWER, True)


# ---- the card


def test_the_hubs_parsers_read_the_card(published):
    card = ModelCard.load(published / "README.md")
    assert (card.data.license, card.data.language, card.data.library_name) == ("apache-2.0", ["eu"], "transformers")
    assert (card.data.base_model, card.data.base_model_relation) == ([ADAPTED], "merge")  # the other is not on the hub
    found = {(own.dataset_name, own.metric_type): own.metric_value for own in card.data.eval_results}
    assert {*found} == {
        ("mini_grammar_eu (eu)", "acc"),
        ("mini_ifeval_eu (eu)", "inst_level_strict_acc"),
        ("mini_ifeval_eu (eu)", "in_language"),
    }
    assert all(0 <= value <= 100 for value in found.values())


def test_what_the_card_says(published):
    text = (published / "README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    heading = next(row for row in rows if "this model" in row)
    assert heading == ["Language", "Measure", "n", "base", "instruct", "adapted to Basque", "this model"]
    scores = next(row for row in rows if row[:2] == ["Basque", "Benchmarks (accuracy, %)"])
    assert scores[2] == "8"
    assert all("\\[" in score for score in scores[3:])
    for sentence in (
        "Weighted average of the models.",
        f"[{ADAPTED}](https://huggingface.co/{ADAPTED}), revision `{REVISION}`",
        "Evaluated weights of this method: 0.25, 1. The rule: the highest mean of Benchmarks in Basque",
        "The same rule has chosen it among all methods of the run.",
        "Shown to be worse by less than the margin, in points: Benchmarks in Basque (margin 90).",
        "Where an answer in Basque is asked for, ",
        "Not evaluated at all: MT, Safety.",
        "answers cut at the limit",
    ):
        assert sentence in text, sentence


def test_answers_that_are_gone(project):
    """Nothing is claimed about them."""
    shutil.rmtree(Path("results/tiny/samples", CELL))
    text = (publish_cell() / "README.md").read_text()
    assert [line.replace(" ", "") for line in text.splitlines() if line.endswith(" — |")] == [
        "|Basque|Benchmarks|—|",
        "|Basque|IFEval|—|",
    ]
    assert "\n\nNot shown: Benchmarks in Basque (margin 90). Each claim" in text


def test_a_cell_that_the_rule_has_not_chosen(project):
    call(publish, "config/config.yaml", "--cell", "tiny/linear/eu/w1", "--output", "elsewhere", "--name", "Ours")
    text = Path("elsewhere/README.md").read_text()
    assert "# Ours\n" in text
    assert "w = 0.25 is best; the publisher has chosen another one. Its publisher has named it." in text


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        (None, "It has the tokenizer, the chat template and the generation settings of tiny-instruct."),
        ("union", "It has the tokenizer of tiny-instruct with the tokens of all merged models, and its chat template"),
        ("adapted", f"It has the tokenizer of {ADAPTED}, and the chat template and the generation settings of tiny-in"),
    ],
)
def test_a_cell_with_more_than_languages(project, tokenizer, text):
    """Extra models and tokenizers are named, and a name of a language is text, whatever it holds."""
    backbone, known = backbone_of(project), yaml.safe_load((ROOT / "config/languages/eu.yaml").read_text())
    project.write(
        "backbones/tiny.yaml", backbone | {"models": backbone["models"] | {"extra": {"maths": {"hub": "a/b"}}}}
    )
    project.write("languages/eu.yaml", known | {"name": "Basque | <b>"})
    method = RUN["methods"]["linear"] | {"extra": {"maths": 0.5}} | ({"tokenizer": tokenizer} if tokenizer else {})
    project.configure(methods={"linear": method})
    grid = read_run("config/config.yaml")
    cell = grid.models[CELL]
    parents = parents_of(grid, cell)
    assert [(own.name, own.role) for own in parents[1:]] == [
        (ADAPTED, "adapted to Basque | <b>"),
        ("a/b", "extra model: maths"),
    ]
    found = Card(grid, cell, "Ours", parents, None, "", None, asked=True).introduction()
    assert r"models that were adapted to Basque \| \<b\>, and with maths." in found
    assert text in found


def test_names_in_a_sentence():
    assert [enumerated(names) for names in (["a"], ["a", "b"], ["a", "b", "c"], [])] == [
        "a",
        "a and b",
        "a, b and c",
        "",
    ]


# ---- refusals


def test_weights_that_were_not_evaluated(project):
    """The record of what was evaluated is another: as if a file of a model had changed since."""
    (result,) = Path("results/tiny/scores", CELL).glob("*.json")
    sealed = read_sealed(result)
    write_sealed(result, {**sealed, "merged_sha256": {"model.safetensors": "0" * 64}})
    with pytest.raises(UserError, match=r"not the one that was evaluated.*0000"):
        publish_cell()
    assert not Path("results/tiny/published", CELL).exists()


def test_of_a_run_that_merges_on_disk_the_sources_are_compared(project):
    (result,) = Path("results/tiny/scores", CELL).glob("*.json")
    sealed = {name: value for name, value in read_sealed(result).items() if name != "merged_sha256"}
    write_sealed(result, sealed)
    publish_cell("--output", "first")
    sealed["model"]["sources"][0]["sha256"] = {"model.safetensors": "0" * 64}
    write_sealed(result, sealed)
    with pytest.raises(UserError, match="not the one that was evaluated"):
        publish_cell("--output", "second")


def test_cells_that_are_not_evaluated_or_do_not_exist(project):
    (result,) = Path("results/tiny/scores", CELL).glob("*.json")
    result.unlink()
    with pytest.raises(UserError, match=r"linear/eu/w0.25 is not evaluated.*langmerge run"):
        publish_cell()
    with pytest.raises(UserError, match="tiny/instruct/none/w0: a reference model"):
        call(publish, "config/config.yaml", "--cell", "tiny/instruct/none/w0")
    with pytest.raises(UserError, match=r"no evaluated merge of gl"):
        call(publish, "config/config.yaml", "--best", "gl")
    with pytest.raises(UserError, match=r"--by nobest.*It has: best"):
        call(publish, "config/config.yaml", "--best", "eu", "--by", "nobest")


def test_a_licence_that_is_unknown_or_another(project):
    cards = {name: Path(name, "README.md") for name in ("models of mine/instruct", FETCHED)}
    cards[FETCHED].write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    conflict = r"apache-2.0: tiny-instruct; cc-by-nc-4.0: lab/tiny-eu.*--license"
    with pytest.raises(UserError, match=conflict):
        publish_cell()
    text = (publish_cell("--license", "cc-by-nc-4.0") / "README.md").read_text()
    assert "license: cc-by-nc-4.0\n" in text
    assert "Its publisher says so. The merged models: tiny-instruct: apache-2.0; lab/tiny-eu: cc-by-nc-4.0." in text
    cards["models of mine/instruct"].unlink()
    with pytest.raises(UserError, match="the licence of tiny-instruct is not known"):
        publish_cell("--output", "other")


@pytest.mark.parametrize("card", [b"---\nlicense: [\n---\n", b"---\n- license\n---\n", b"\xff\n"], ids=repr)
def test_a_licence_that_cannot_be_read(project, card):
    Path(FETCHED, "README.md").write_bytes(card)
    with pytest.raises(UserError, match=rf"{FETCHED}/README.md: the metadata at its beginning is no YAML mapping"):
        publish_cell()


def test_a_licence_that_asks_for_a_name_and_a_notice(project):
    backbone = backbone_of(project)
    for source in backbone["models"].values():
        source["license"] = "llama3.1"
    project.write("backbones/tiny.yaml", backbone)
    with pytest.raises(UserError, match="begins with 'Llama'"):
        publish_cell()
    Path(FETCHED, "NOTICE").write_text("Text by the people of Basque villages.\n")
    folder = publish_cell("--name", "Llama-tiny-eu")
    assert "**Built with Llama**" in (folder / "README.md").read_text()
    theirs, empty, ours = (folder / "NOTICE").read_text().splitlines()
    assert (theirs, empty) == ("Text by the people of Basque villages.", "")
    assert ours.startswith("Llama 3.1 is licensed under the Llama 3.1 Community License")
    with pytest.raises(UserError, match="tiny-basque: the licence"):
        publish_cell("--upload", NAME, "--dry-run")


def test_a_model_that_would_not_stop(published, tmp_path):
    """Its settings do not name the token that ends a turn."""
    folder = Path(shutil.copytree(published, tmp_path / "model"))
    check_turn(folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": 1}))
    ends = r"ends with '<\|im_end\|>\\n', which is none of the model's end tokens \(<\|eos\|>\)"
    with pytest.raises(UserError, match=ends):
        check_turn(folder)


def test_a_folder_that_is_there_stays(project):
    folder = publish_cell()
    (folder / "README.md").write_text("My own card.")
    assert publish_cell() == folder
    assert (folder / "README.md").read_text() == "My own card."
    Path("mine").mkdir()
    Path("mine/file").touch()
    for output in ("mine", str(folder)):
        with pytest.raises(UserError, match="exists and does not hold the weights of tiny/linear/eu/w1"):
            call(publish, "config/config.yaml", "--cell", "tiny/linear/eu/w1", "--output", output)
    assert Path("mine/file").exists()


# ---- the hub


def test_an_interrupted_upload_continues(published, evaluated, hub, tmp_path):
    hub.room = 1
    with pytest.raises(UserError, match=r"tiny-basque.*The same command continues|the hub refuses it"):
        upload(published, evaluated, hub, tmp_path)
    assert not hub.commits
    assert len(hub.stored) == 1
    hub.room = None
    hub.requests.clear()
    upload(published, evaluated, hub, tmp_path)
    assert len([request for request in hub.requests if request.path.startswith("lfs/")]) == 1
    assert {*hub.repositories[f"models/{NAME}"].files} == {path.name for path in published.iterdir()}
    upload(published, evaluated, hub, tmp_path)  # everything is there
    assert len(hub.commits) == 1


def test_a_dry_run_asks_nothing_of_the_hub(published, evaluated, hub, tmp_path, capsys):
    upload(published, evaluated, hub, tmp_path, "--dry-run")
    assert hub.requests == []
    shown = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[-1].isdigit())
    sizes = {path.name: path.stat().st_size for path in published.iterdir()}
    assert {name: int(size.replace(",", "")) for name, size in shown.items() if name in sizes} == sizes
    assert shown["total"] == f"{sum(sizes.values()):,}"


def test_who_is_not_logged_in(published, evaluated, hub, tmp_path):
    hub.token = "another"
    with (
        pytest.raises(UserError, match="the hub refuses it"),
        chdir(evaluated.folder),
        using(hub.url, tmp_path, "mine"),
    ):
        call(publish, "config/config.yaml", "--cell", CELL, "--upload", NAME)


@pytest.mark.parametrize("options", [["--dry-run"], ["--upload", "name"], ["--upload", "a/b/c"], ["--private"]])
def test_options_that_do_not_fit(options):
    with pytest.raises(UserError, match=r"--upload"):
        call(publish, "config/config.yaml", "--cell", CELL, *options)


# ---- ask


def test_answers_side_by_side(project, capsys, monkeypatch):
    """The reference, a cell merged in memory, and a base model, which gets the plain text."""
    monkeypatch.setenv("COLUMNS", "160")
    models = [CELL, "tiny/instruct/none/w0", "tiny/base/none/w0"]
    call(ask, "config/config.yaml", *models, QUESTION, "--max-tokens", 12, "--threads", 1)
    lines = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == models
    assert lines[1][:2] == ["(en)", "(en)"]
    assert "cut after 12 tokens" in lines[1][2]
    assert lines[3][:2] == [ANSWER, ANSWER]
    assert ANSWER not in lines[3][2]
    assert not [*Path("results").rglob("*/w0.25/*.safetensors")]


def test_answers_below_one_another_where_there_is_no_room(project, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    call(ask, "config/config.yaml", CELL, "tiny/instruct/none/w0", QUESTION, "--threads", 1)
    assert capsys.readouterr().out == f"{CELL}\n(en)\n{ANSWER}\n\ntiny/instruct/none/w0\n(en)\n{ANSWER}\n"


def test_what_cannot_be_asked(project):
    with pytest.raises(UserError, match=r"tiny/linear/eu/w3: no model of the run. It has: tiny/base"):
        call(ask, "config/config.yaml", "tiny/linear/eu/w3", QUESTION)
    with pytest.raises(UserError, match=r"together more than max_length, 512.*--max-tokens"):
        call(ask, "config/config.yaml", CELL, QUESTION, "--max-tokens", 510, "--threads", 1)
