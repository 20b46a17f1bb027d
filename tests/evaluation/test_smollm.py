"""A real pretrained model, merged and evaluated.

What it knows and how it follows instructions must survive, and be far above chance.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.hub_data import card, write
from support.paths import ROOT
from support.smollm import sibling, smollm, untrained

pytestmark = pytest.mark.smollm

FACTS = {
    "The planet that we live on is called": "Earth, Mars, Venus, Jupiter",
    "A baby dog is called a": "puppy, kitten, calf, lamb",
    "The capital of France is": "Paris, Rome, Madrid, Berlin",
    "Plants make their food from sunlight by": "photosynthesis, digestion, erosion, evaporation",
    "The sun rises in the": "east, kitchen, ocean floor, basement",
    "Bees make": "honey, milk, wool, silk",
    "The star at the centre of our solar system is the": "Sun, Moon, Earth, North Star",
    "We see with our": "eyes, ears, elbows, knees",
    "A person who flies an airplane is called a": "pilot, baker, tailor, plumber",
    "The season after summer is": "autumn, breakfast, Tuesday, midnight",
}
"""The beginning of a sentence and four ends, the right one first."""

TOPICS = ["the sea", "bread", "a small town", "an old train"]

INSTRUCTIONS = [
    ("Write a letter about {} that has at least 2 placeholders represented by square brackets, such as [address].", "detectable_content:number_placeholders", {"num_placeholders": 2}),
    ("Write a sentence about {}. At the end of your response, please explicitly add a postscript starting with P.S.", "detectable_content:postscript", {"postscript_marker": "P.S."}),
    ("List 3 things about {}. Your answer must contain exactly 3 bullet points. Use markdown bullet points such as: * This is a point.", "detectable_format:number_bullet_lists", {"num_bullets": 3}),
    ("Write a paragraph about {}. Include the keyword morning.", "keywords:existence", {"keywords": ["morning"]}),
    ("Write a paragraph about {}. Include the keywords winter and garden.", "keywords:existence", {"keywords": ["winter", "garden"]}),
    ("Write a note about {}. Use the word people at least 2 times.", "keywords:frequency", {"keyword": "people", "frequency": 2, "relation": "at least"}),
]  # fmt: skip
"""Kinds that so small a model follows now and then, and random text never."""


def facts() -> list[dict]:
    rows = []
    for number, (stem, ends) in enumerate(FACTS.items()):
        choices = ends.split(", ")
        choices = choices[number % 4 :] + choices[: number % 4]
        rows.append(
            {
                "id": str(number),
                "question_stem": stem,
                "choices": {"text": choices, "label": list("ABCD")},
                "answerKey": "ABCD"[choices.index(ends.split(", ")[0])],
            }
        )
    return rows


def prompts() -> list[dict]:
    asked = [(text.format(topic), name, kwargs) for text, name, kwargs in INSTRUCTIONS for topic in TOPICS]
    return [
        {"key": number, "prompt": text, "instruction_id_list": [name], "kwargs": [kwargs]}
        for number, (text, name, kwargs) in enumerate(asked)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("hub")
    files = {split: f"main/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")}
    for name in files.values():
        write(folder / "openbookqa", name, facts())
    card(folder / "openbookqa", {"main": files})
    (folder / "ifeval").mkdir()
    (folder / "ifeval" / "ifeval_input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts()))
    return {"allenai/openbookqa": str(folder / "openbookqa"), "google/IFEval": str(folder / "ifeval")}


def script(name: str, *arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-P", ROOT / "tests/support/offline.py", ROOT / "scripts" / name, *map(str, arguments)],
        check=True,
        cwd=ROOT,
    )


KNOWLEDGE = {"task": "openbookqa", "language": "en", "measure": "benchmark", "metric": "acc", "fewshot": 1}
FOLLOWING = {
    "task": "ifeval_en",
    "language": "en",
    "measure": "ifeval",
    "metric": "inst_level_strict_acc",
    "generation": {"max_gen_toks": 64},
}


def scores(model: Path, data: dict[str, str], out: Path, *tasks: dict) -> list[float]:
    backend = {"dtype": "float32", "batch_size": 24, "max_length": 1024}
    arguments = [
        model,
        out / "result.json",
        "--tasks",
        json.dumps(tasks),
        "--datasets",
        json.dumps(data),
        "--backend",
        json.dumps(backend),
    ]
    script("evaluate.py", *arguments, "--chat-template", "--samples", out / "samples")
    return [score["value"] for score in json.loads((out / "result.json").read_text())["scores"]]


def test_a_merge_of_a_real_model_keeps_what_it_knows_and_what_it_follows(data, tmp_path):
    models = [
        {"model": str(smollm()), "parameters": {"weight": 1}},
        {"model": str(sibling(tmp_path / "sibling")), "parameters": {"weight": 0.5}},
    ]
    script(
        "merge.py", json.dumps({"merge_method": "linear", "models": models, "dtype": "bfloat16"}), tmp_path / "merged"
    )
    known, followed = scores(tmp_path / "merged", data, tmp_path / "scores", KNOWLEDGE, FOLLOWING)
    (by_chance,) = scores(untrained(tmp_path / "untrained"), data, tmp_path / "chance", FOLLOWING)
    assert known >= 70  # of four choices
    assert followed >= by_chance + 30
    (path,) = (tmp_path / "scores/samples").glob("openbookqa.*")
    prompt = json.loads(gzip.decompress(path.read_bytes()).decode().splitlines()[0])["arguments"][0][0]
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.count("<|im_start|>user") == 2  # an example and the question, as turns
    assert prompt.endswith("<|im_start|>assistant\n")
