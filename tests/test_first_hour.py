"""What a newcomer gets wrong: each mistake ends with exit status 1 and names file, line, key and
remedy.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from langmerge import cli
from langmerge.grid.grid import Grid

RUN = """\
run: mine
languages: [eu]
evaluation_languages: [en]
backbones: [tiny]
weights: [0.5, 1]
methods:
  linear: {merge_method: linear}
  ties: {merge_method: ties, parameters: {density: 0.5}}
experiments:
  sweep: {methods: [linear, ties], evaluate: target}
tasks:
  - {task: "mini_grammar_{language}", measure: benchmark, metric: acc}
  - {task: "mini_translation_{source}_{language}", measure: mt, metric: bleu}
  - {task: "mini_ifeval_{language}", measure: ifeval, metric: inst_level_strict_acc}
world: {lines: 400, documents: 8, translations: 4, prompts: 4}
tables:
  table3: {layout: merges, methods: [linear], weights: {each: 1}}
figures:
  figure1: {methods: [linear]}
"""

BACKBONE = """\
label: Tiny
dtype: bfloat16
tokenizer: {vocab_size: 400, corpora: [en/corpus]}
models:
  base: {train: {init: {model_type: llama}, data: {en/corpus: 1}, steps: 4}}
  instruct: {train: {from: base, data: {en/instructions: 1}, steps: 4}}
  adapted: {train: {from: base, data: {"{language}/corpus": 1}, steps: 4}}
backend: {backend: hf, dtype: float32}
"""

CONFIG, TINY = "config/config.yaml", "config/backbones/tiny.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A newcomer's folder, in which everything is right, as the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, content in ((CONFIG, RUN), (TINY, BACKBONE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def refusal(*arguments: str) -> str:
    """What `langmerge` says when it ends with exit status 1, in one line per mistake."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, str), "a text is printed, and the exit status is 1"
    assert "Traceback" not in ended.value.code
    assert max(map(len, ended.value.code.splitlines())) <= 200
    return re.sub(r"\n   *(?! )(?!\S+:\d+: |\S+: )", " ", ended.value.code)


def test_the_folder_is_right(folder, capsys):
    cli.main(["check"])
    assert "config/config.yaml: 7 models (4 merges)" in capsys.readouterr().out


IN_RUN = [
    # names
    ("[eu]", "[eus]", "languages", ["unknown language 'eus'", "Did you mean 'eu'?", "languages/eus.yaml"]),
    ("[tiny]", "[tny]", "backbones", ["unknown backbone 'tny'", "Did you mean 'tiny'?", "correct the name"]),
    ("languages: [eu]", "langauges: [eu]", "langauges", ["unknown key", "Did you mean 'languages'?"]),
    ("run: mine", "run: ../../mine", "run", ["'../../mine'", "Names hold ASCII letters"]),
    ("run: mine", f"run: {'x' * 300}", "run", ["at most 100 characters"]),
    ("run: mine", 'run: "a\\u0007b"', "run", ["Names hold ASCII letters"]),
    ("run: mine", "", "run", ["it needs the key run"]),
    ("merge_method: linear", "merge_method: lineer", "methods.linear.merge_method", ["Did you mean 'linear'?"]),
    ("density: 0.5", "densty: 0.5", "methods.ties", ["densty", "density"]),
    ("density: 0.5", "density: much", "methods.ties.parameters.density", ["'much'", "a number"]),
    ("methods: [linear, ties]", "methods: [linear, tyes]", "experiments.sweep.methods.1", ["Did you mean 'ties'?"]),
    ("evaluate: target", "evaluate: targets", "experiments.sweep.evaluate", ["expected one of all, target", "Did you mean"]),
    ("evaluate: target", "weights: {every: [1]}", "experiments.sweep.weights.every", ["unknown key", "Known: each, multi"]),
    ("  linear: {", "  base: {", "methods.base", ["taken by a reference model", "Choose another"]),
    # values
    ("[0.5, 1]", "[0.5, heavy]", "weights.1", ["found 'heavy', expected a number"]),
    ("[0.5, 1]", "[0.5, -1]", "weights", ["negative", "numbers >= 0"]),
    ("[0.5, 1]", "[0.5, .inf]", "weights", ["not finite"]),
    ("[0.5, 1]", "[1, 1.0]", "weights", ["twice", "Keep one"]),
    ("[0.5, 1]", "", "weights", ["found nothing, expected a list"]),
    ("[eu]", "[eu, eu]", "languages", ["'eu' stands twice", "Keep one"]),
    ("[en]", "[en, eu]", "evaluation_languages", ["eu is also in `languages`", "Leave it out here"]),
    ("world: {lines: 400", "world: {lines: 4", "world.lines", ["minimum of 100"]),
    ("run: mine", "run: mine\nseed: one", "seed", ["expected a whole number"]),
    ("run: mine", "run: mine\nresults: config/config.yaml", "results", ["is a file. Name a folder"]),
    ("run: mine", "run: mine\ncache: config/config.yaml/x", "cache", ["is a file. Name a folder"]),
    ("run: mine", 'run: mine\nresults: "a{b}c"', "results", ["without braces"]),
    ("run: mine", "run: mine\nlive_merges: 0", "live_merges", ["minimum of 1"]),
    ("run: mine", "run: mine\npublished: merge_and_conqer", "published", ["Did you mean 'merge_and_conquer'?"]),
    ("run: mine", "run: mine\ntask_settings: {eus_readng: {limit: 2}}", "task_settings.eus_readng", ["'eus_reading'"]),
    # tasks
    ("metric: acc", "metric: accuracy", "tasks.0.metric", ["has no metric 'accuracy'", "It has acc"]),
    ("metric: bleu", "metric: blue", "tasks.1.metric", ["Did you mean 'bleu'?"]),
    ("measure: mt", "measure: translation", "tasks.1.measure", ["expected one of benchmark, mt"]),
    ("mini_grammar_{language}", "mini_gramar_{language}", "tasks.0.task", ["no task 'mini_gramar_eu'", "mini_grammar_"]),
    ("mini_grammar_{language}", "mini_grammar_{lang}", "tasks.0.task", ["{lang}", "is not filled in", "'language'"]),
    ("mini_grammar_{language}", "mini_grammar_eu", "tasks.0.task", ["no task 'mini_grammar_eu'"]),
    ("mini_grammar_{language}", "eus_triva", "tasks.0.task", ["'eus_triva' is unknown", "Did you mean 'eus_trivia'?", "data/"]),
    ("{task: \"mini_grammar_{language}\",", "{", "tasks.0", ["needs the key task"]),
    ("metric: acc}", "metric: acc, few_shot: 2}", "tasks.0.few_shot", ["unknown key. Did you mean 'fewshot'?"]),
    ("metric: acc}", "metric: acc, models: [merged]}", "tasks.0.models.0", ["Did you mean 'merges'?"]),
    ("strict_acc}", "strict_acc, generation: {temperature: 1}}", "tasks", ["top_p and top_k are not given"]),
    # tables and figures
    ("layout: merges", "layout: merge", "tables.table3.layout", ["Did you mean 'merges'?"]),
    ("methods: [linear], w", "methods: [linea], w", "tables.table3.methods.0", ["unknown method 'linea'", "'linear'"]),
    ("figure1: {methods: [linear]}", "figure1: {methods: [dare]}", "figures.figure1.methods.0", ["unknown method 'dare'"]),
    ("layout: merges, m", "layout: merges, alias: figure1, m", "tables.table3", ["another table or figure has the alias 'figure1'"]),
    ("figure1:", "table3:", "figures.table3", ["another table or figure has the name 'table3'"]),
    ("[linear]}", "[linear], layout: pareto, measure: speed}", "figures.figure1.measure", ["expected one of benchmark"]),
    ("[linear]}", "[linear], measures: [mtt]}", "figures.figure1.measures.0", ["expected one of benchmark", "'mt'"]),
    ("[linear]}", "[linear], backbone: tinny}", "figures.figure1.backbone", ["unknown backbone 'tinny'", "'tiny'"]),
    ("[linear]}", "[linear], options: {colour: red}}", "figures.figure1.options.colour", ["unknown key", "palette"]),
    ("[linear]}", "[linear], options: {dpi: 1000000}}", "figures.figure1.options.dpi", ["dots per inch"]),
    ("[linear]}", "[linear], options: {palette: [blu]}}", "figures.figure1.options.palette.0", ["'blu' is not a colour", "'blue'"]),
    ("[linear]}", "[linear], options: {palette: ['#12']}}", "figures.figure1.options.palette.0", ["is not a colour", "#rrggbb"]),
    ("figure1:", "anatomy:", "figures.anatomy", ["the names", "are taken"]),
    # misread YAML
    ("[eu]", "[no]", "languages.0", ["YAML reads no as false", '"no" in quotes']),
    ("[0.5, 1]", "[0.5, 1e-3]", "weights.1", ["YAML reads 1e-3 as text", "1.0e-3"]),
    ("run: mine", "run: 010", "run", ["octal", '"010"']),
    ("run: mine", "run: mine\nrun: other", "run", ["the key stands twice, first in line 1"]),
    ("task: \"mini_grammar_{language}\"", "task: mini_grammar_{language}", "", ["text with braces in quotes"]),
    ("  linear:", "\tlinear:", "", ["with spaces, not with tabs"]),
    ("[eu]", "[eu", "", ["not closed"]),
]  # fmt: skip


def place_of(key: str, file: str) -> str:
    """A pattern of how a message names a key."""
    return (
        rf"{re.escape(file)}:(\d+)[^\n]*?: {re.escape(key)}\b" if key else rf"{re.escape(file)} is not YAML, line (\d+)"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "key", "words"), IN_RUN, ids=[f"{case[2]}-{index}" for index, case in enumerate(IN_RUN)]
)
def test_a_mistake_in_the_run(folder, right, wrong, key, words):
    assert RUN.count(right) >= 1
    (folder / CONFIG).write_text(RUN.replace(right, wrong, 1))
    said = refusal("check")
    assert all(word in said for word in words), said
    if not re.search(place_of(key, CONFIG), said):  # a key that is missing has no line
        assert key == "run" and f"{CONFIG}: {key}: it needs the key" in said
        return
    (line,) = {*re.findall(place_of(key, CONFIG), said)}
    if not key:  # where YAML stops understanding, which may be behind the mistake
        return
    # The line holds the key or, where that is missing, what it would be in.
    names = [part for part in key.split(".") if not part.isdigit()][-2:]
    found = (folder / CONFIG).read_text().splitlines()[int(line) - 1]
    assert any(name in found for name in names) or found.strip().startswith("- "), (said, found)


IN_BACKBONE = [
    ("backend: hf", "backend: vlm", "backend.backend", ["expected one of hf, vllm", "Did you mean 'vllm'?"]),
    ("dtype: float32", "dtype: fp32", "backend.dtype", ["expected one of auto, float32"]),
    ("dtype: bfloat16", "dtype: bf16", "dtype", ["expected one of float32, float16, bfloat16", "Did you mean"]),
    ("dtype: float32", "max_num_seqs: 8", "backend.max_num_seqs", ["a setting of vllm", "set `backend: vllm`"]),
    ("dtype: float32", "batchsize: 8", "backend.batchsize", ["unknown key. Did you mean 'batch_size'?"]),
    ("dtype: float32", "device: gpu", "backend.device", ["found 'gpu'", "cuda"]),
    ("base: {train: {init", "base: {path: x, train: {init", "models.base", ["path and train", "expected one of"]),
    ("steps: 4", "steps: 0", "models.base.train", ["steps"]),
    ("from: base", "from: joint", "models.instruct.train.from", ["expected one of base, instruct"]),
    ("en/corpus: 1", "en/corpora: 1", "models.base.train.data.en/corpora", ["is no training text", "<language>/corpus"]),
    ('"{language}/corpus": 1', '"{lang}/corpus": 1', "models.adapted.train.data.{lang}/corpus", ["{lang}", "not filled in"]),
    ("corpora: [en/corpus]", "corpora: [english]", "tokenizer.corpora", ["'english' is no training text"]),
    ("  instruct:", "  instuct:", "models.instuct", ["unknown key. Did you mean 'instruct'?"]),
    ("instruct: {train: {", "instruct: {trian: {", "models.instruct.trian", ["unknown key. Did you mean 'train'?"]),
    ("label: Tiny", "label: Tiny\nhours: {train: -1}", "hours.train", ["-1 is less than or equal to the minimum of 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "key", "words"), IN_BACKBONE, ids=[case[2] for case in IN_BACKBONE])
def test_a_mistake_in_a_backbone(folder, right, wrong, key, words):
    (folder / TINY).write_text(BACKBONE.replace(right, wrong, 1))
    said = refusal("plan", CONFIG)
    assert all(word in said for word in words), said
    assert re.search(place_of(key, TINY), said), said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{path: config/config.yaml}", ["models.instruct.path", "is a file. Give the folder of a model"]),
        ("{path: nowhere}", ["models.instruct.path", "no such folder"]),
        ("{path: config}", ["safetensors"]),
        ("{hub: no-slash}", ["models.instruct.hub", "organisation/name"]),
        ("{hub: a/../b}", ["models.instruct.hub", "organisation/name"]),
        ("{hub: ../b}", ["models.instruct.hub", "organisation/name"]),
        ("{hub: 'a/b-{language}'}", ["models.instruct.hub", "{language}", "is not filled in"]),
        ("{hub: a/b, revision: ../../c}", ["models.instruct.revision", "a commit"]),
        ("{hub: a/b, revision: '..'}", ["models.instruct.revision", "a commit"]),
        (f"{{hub: a/{'b' * 300}}}", ["models.instruct.hub", "at most 200 characters"]),
    ],
)
def test_a_model_that_is_none(folder, source, words):
    text = re.sub(r"  instruct: .*", f"  instruct: {source}", BACKBONE)
    (folder / TINY).write_text(text)
    said = refusal("plan", CONFIG)
    assert all(word in said for word in [TINY if "config}" not in source else "config", *words]), said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (CONFIG, b"", ["is empty, expected a mapping"]),
        (CONFIG, b"- a", ["expected a mapping"]),
        (CONFIG, RUN.encode("utf-16"), ["UTF-16", "Save it as UTF-8"]),
        (CONFIG, RUN.replace("mine", "miñe").encode("latin-1"), [":1: not UTF-8", "Save the file"]),
        (TINY, b"", ["config/backbones/tiny.yaml", "found nothing, expected a mapping"]),
        ("config/languages/eu.yaml", b"{name: Basque, locale: euu, mt_sources: [en]}", [":1: locale", "'eu'", "CLDR"]),
        ("config/languages/eu.yaml", b"{name: Basque, locale: eu, mt_sources: [enn]}", [":1: mt_sources", "'en'"]),
        ("config/languages/eu.yaml", b"{name: Basque, locale: eu}", [":1", "needs the key mt_sources"]),
        (
            "config/languages/eu.yaml",
            b"{name: Basque, local: eu, mt_sources: [en]}",
            ["local", "Did you mean 'locale'?"],
        ),
        ("config/benchmarks.yaml", b"quiz: {path: tasks/quiz.yml}", [":1: quiz.path", "found 'tasks/quiz.yml'"]),
        ("config/benchmarks.yaml", b"quiz: {dataset: a/b, path: tasks/quiz.yaml}", [":1: quiz"]),
        ("config/benchmarks.yaml", b"quiz: {}", [":1: quiz", "one of {dataset"]),
    ],
)
def test_a_file_that_is_not_what_it_should_be(folder, name, content, words):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    said = refusal("check", CONFIG)
    assert name in said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere.yaml"], ["nowhere.yaml: no such file", "Give the path of a YAML file"]),
        (["check", "config"], ["config is a folder, expected a YAML file. It holds config.yaml"]),
        (["check", "x" * 4000], ["too long"]),
        (["check", "{run: mine}"], ["it needs the key languages"]),
        (["check", "["], ["the argument is not YAML"]),
        (["plan", CONFIG, "--jobs", "0"], ["--jobs 0: expected a number above 0"]),
        (["forget", CONFIG], ["name a model or a --task"]),
        (["forget", CONFIG, "tiny/linear/xx/w1"], ["tiny/linear/xx/w1 is not in this run"]),
        (["report", CONFIG, "figure2"], ["no table or figure named figure2", "It has: table3, figure1"]),
        (["collect", CONFIG], ["results are missing"]),
        (["init", CONFIG], ["is a file. Name a folder"]),
        (["merge", "{merge_method: linear, models: []}", "out"], ["models"]),
        (["merge", "recipe.yaml", "out"], ["recipe.yaml: no such file"]),
        (["evaluate", "model", "out.json", "--tasks", "tasks.yaml"], ["tasks.yaml: no such file"]),
    ],
)
def test_a_mistake_on_the_command_line(folder, arguments, words):
    said = refusal(*arguments)
    assert all(word in said for word in words), said


def test_all_mistakes_of_several_files_in_one_message(folder):
    (folder / CONFIG).write_text(
        RUN.replace("weights: [0.5, 1]", "weights: [heavy]").replace("measure: mt", "measure: m")
    )
    (folder / TINY).write_text(BACKBONE.replace("backend: hf", "backend: hg"))
    said = refusal("check")
    assert [word for word in ("weights.0", "tasks.1.measure", "backend.backend") if word not in said] == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"weights": "0.5,1e-3"}, [0.5, 0.001]),
        ({"weights": ["0.5", "1"]}, [0.5, 1.0]),  # --config weights=[0.5,1]
        ({"weights": 2}, [2.0]),
        ({"run": 2024}, "2024"),
        ({"languages": "eu,gl"}, ["eu", "gl"]),
    ],
)
def test_values_of_the_command_line_are_understood(folder, change, key):

    (name,) = change
    assert Grid({**yaml.safe_load(RUN), **change}).config[name] == key


def test_there_are_enough_of_them():
    assert len(IN_RUN) + len(IN_BACKBONE) >= 60


def test_json_is_a_run_too(folder, capsys):

    cli.main(["check", json.dumps(yaml.safe_load(RUN))])
    assert "No mistake found" in capsys.readouterr().out
