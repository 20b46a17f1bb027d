"""Small data sets with the layouts of the hub's, filled with names from CLDR.

Files, configurations, splits and columns are those of the real repositories, as far as they are
known (names, JSON lines, TSV, Parquet, the README's configurations); otherwise splits and columns
are those that lm-eval reads. Splits have different numbers of rows, so that a count tells which one
was read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import yaml
from babel import Locale

ROWS = {"train": 12, "validation": 9, "test": 8, "eval": 10, "dev": 11, "devtest": 7}

FLORES = {
    "eu": "eus_Latn",
    "gl": "glg_Latn",
    "ca": "cat_Latn",
    "es": "spa_Latn",
    "en": "eng_Latn",
    "cy": "cym_Latn",
    "sw": "swh_Latn",
}

EXAMS = {
    "opeosaki": ["admineu", "auxenfeu", "auxeu", "celadoreu", "enfeu", "operarioeu", "tecnicoeu", "varioseu"],
    "opegasteiz": ["koudala"],
    "opeehu": [
        "admineu",
        "auxeu",
        "biblioeu",
        "derechoeu",
        "economicaseu",
        "empresarialeseu",
        "subalternoeu",
        "tecnicoeu",
        "teknikarib",
    ],
    "opebilbao": ["eu"],
    "ejadmin": ["istrari"],
    "ejlaguntza": ["", "ile"],
    "ejteknikari": [""],
    "osakidetza": ["1e", "2e", "3e", "5e", "6e", "7e"],
}
"""The Basque exams: a folder, and how their names go on."""

GROUPS = ("Euskal gaiak", "Gai orokorrak")
"""Of BertaQA's questions: local, global."""

Row = dict[str, Any]
Files = dict[str, tuple[str, Callable[[], Row]]]
"""Of a configuration: for each split its file, and what makes a row."""


class Words:
    """Names of places in a language, put together at random.

    The text is real, in its script and spelling, and means nothing.
    """

    def __init__(self, language: str) -> None:
        self.random = Random(language)
        self.places = sorted(name for code, name in Locale(language).territories.items() if code.isalpha())

    def sentence(self, words: int = 4) -> str:
        return ", ".join(self.random.sample(self.places, words)) + "."

    def one_of(self, choices: str | tuple[str, ...]) -> str:
        return self.random.choice(choices)

    def number(self, below: int = 10**6) -> int:
        return self.random.randrange(below)


# ---- one row of each data set


def belebele(words: Words) -> Row:
    answers = {f"mc_answer{number}": words.sentence(1) for number in range(1, 5)}
    text = {
        "link": "https://example.org/",
        "question_number": 1,
        "flores_passage": words.sentence(12),
        "question": words.sentence(),
    }
    return {**text, **answers, "correct_answer_num": words.one_of("1234"), "dialect": "", "ds": "2023-05-03"}


def story(words: Words) -> Row:
    lines = {f"input_sentence_{number}": words.sentence() for number in range(1, 5)}
    quiz = {f"sentence_quiz{number}": words.sentence() for number in (1, 2)}
    return {"story_id": str(words.number()), **lines, **quiz, "answer_right_ending": 1 + words.number(2)}


def galician_story(words: Words) -> Row:
    lines = {f"InputSentence{number}": words.sentence() for number in range(1, 5)}
    quiz = {f"RandomFifthSentenceQuiz{number}": words.sentence() for number in (1, 2)}
    return {"InputStoryid": str(words.number()), **lines, **quiz, "AnswerRightEnding": 1 + words.number(2)}


def question(words: Words, candidates: int, **more: Any) -> Row:
    choices = [words.sentence(1) for _ in range(candidates)]
    return {
        "id": words.number(),
        "question": words.sentence(),
        "candidates": choices,
        "answer": words.number(candidates),
        **more,
    }


def book(words: Words) -> Row:
    choices = {"text": [words.sentence(1) for _ in range(4)], "label": list("ABCD")}
    return {
        "id": str(words.number()),
        "question_stem": words.sentence(),
        "choices": choices,
        "answerKey": words.one_of("ABCD"),
    }


def instruction(words: Words) -> Row:
    kwargs = [{"num_bullets": None}, {"num_bullets": 2}]
    ids = ["punctuation:no_comma", "detectable_format:number_bullet_lists"]
    return {"key": words.number(), "prompt": words.sentence(), "instruction_id_list": ids, "kwargs": kwargs}


# ---- files


def write(folder: Path, name: str, content: list[Row]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(content)
    match path.suffix:
        case ".parquet":
            table.to_parquet(path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
        case suffix:
            table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")


def fill(folder: Path, files: Files) -> None:
    for split, (name, make) in files.items():
        write(folder, name, [make() for _ in range(ROWS[split])])


def card(folder: Path, configs: dict[str, dict[str, str]], default: bool = False) -> None:
    """A README that names configurations: {name: {split: file}}; `default` marks them so."""
    listed = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
        | ({"default": True} if default else {})
        for name, files in configs.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n\n# Data set card\n")


def repository(folder: Path, configs: dict[str, Files], default: bool = False) -> None:
    for files in configs.values():
        fill(folder, files)
    card(
        folder,
        {config: {split: name for split, (name, _) in files.items()} for config, files in configs.items()},
        default,
    )


def make_hub(root: Path) -> dict[str, str]:
    """Make every data set; return name on the hub -> folder."""
    words = {code: Words(code) for code in FLORES}
    eu, gl, ca, es, en = (words[code] for code in ("eu", "gl", "ca", "es", "en"))
    made: dict[str, str] = {}

    def folder(name: str) -> Path:
        made[name] = str(root / f"{name.replace('/', '--')}@main")
        return Path(made[name])

    belebeles = {
        code: {"test": (f"data/{FLORES[code]}.jsonl", lambda code=code: belebele(words[code]))}
        for code in ("ca", "en", "es", "eu", "sw")
    }
    repository(folder("facebook/belebele"), {FLORES[code]: files for code, files in belebeles.items()})
    fill(folder("proxectonos/belebele_gl"), {"train": ("belebele_gl.jsonl", lambda: belebele(gl))})

    for code in ("en", "es", "eu", "sw"):  # as the hub converts it, in a branch without a README
        files = {
            split: (f"{code}/{split}/0000.parquet", lambda code=code: story(words[code])) for split in ("train", "eval")
        }
        fill(folder("juletxara/xstory_cloze"), files)
    files = {split: (f"XStoryCloze_{split}_gl.tsv", lambda: galician_story(gl)) for split in ("train", "test")}
    repository(folder("proxectonos/xstorycloze_gl"), {"gl": files}, default=True)
    files = {split: (f"xstorycloze_ca_{split}.tsv", lambda: story(ca)) for split in ("train", "eval")}
    repository(folder("projecte-aina/xstorycloze_ca"), {"ca": files})

    repository(
        folder("HiTZ/EusReading"),
        {"default": {"test": ("irakurmena.jsonl", lambda: question(eu, 4, context=eu.sentence(20)))}},
    )
    repository(folder("HiTZ/EusProficiency"), {"default": {"test": ("atarikoa.jsonl", lambda: question(eu, 4))}})
    repository(
        folder("HiTZ/EusTrivia"),
        {"default": {"test": ("trivia.jsonl", lambda: question(eu, 3, category="", difficulty=""))}},
    )
    exams = [(group, group + rest) for group, rests in EXAMS.items() for rest in rests]
    repository(
        folder("HiTZ/EusExams"),
        {f"eu_{exam}": {"test": (f"data/eu/{group}/{exam}.jsonl", lambda: question(eu, 4))} for group, exam in exams},
    )
    repository(
        folder("HiTZ/BertaQA"),
        {
            code: {
                "test": (
                    f"{code}/test.jsonl",
                    lambda code=code: question(words[code], 3, group=words[code].one_of(GROUPS)),
                )
            }
            for code in ("en", "eu")
        },
    )

    files = {
        split: (f"{split}.tsv", lambda: {"sentence": gl.sentence(), "label": gl.number(2)})
        for split in ("train", "validation", "test")
    }
    repository(folder("proxectonos/galcola"), {"default": files})
    # No README: the splits are in the names of the files.
    for name, language in (("nbel/CatCoLA", ca), ("nbel/EsCoLA", es)):
        files = {
            split: (
                f"{split}.csv",
                lambda language=language: {"Sentence": language.sentence(), "Label": language.number(2)},
            )
            for split in ("train", "validation")
        }
        fill(folder(name), files)
    files = {
        split: (
            f"cola/{split}-00000-of-00001.parquet",
            lambda: {"sentence": en.sentence(), "label": en.number(2), "idx": en.number()},
        )
        for split in ("train", "validation", "test")
    }
    repository(folder("nyu-mll/glue"), {"cola": files})

    for name, language, config, pattern in (
        ("proxectonos/openbookqa_gl", gl, "openbookqa_gl", "openbookQA_{}.jsonl"),
        ("projecte-aina/openbookqa_ca", ca, "default", "{}.jsonl"),
        ("BSC-LT/openbookqa-es", es, "default", "{}.jsonl"),
    ):
        files = {
            split: (pattern.format(split), lambda language=language: book(language)) for split in ("validation", "test")
        }
        repository(folder(name), {config: files}, default=True)
    files = {
        split: (f"main/{split}-00000-of-00001.parquet", lambda: book(en)) for split in ("train", "validation", "test")
    }
    repository(folder("allenai/openbookqa"), {"main": files}, default=True)

    files = {
        split: (
            f"parafrases_{split}.tsv",
            lambda: {"Frase": gl.sentence(), "Paráfrase": gl.sentence(), "Avaliación": gl.number(3)},
        )
        for split in ("train", "validation", "test")
    }
    repository(folder("proxectonos/parafrases_gl"), {"default": files})

    for code, language in words.items():
        for split in ("dev", "devtest"):
            sentences = [{"id": number, "text": language.sentence()} for number in range(ROWS[split])]
            language.random.shuffle(sentences)  # rows are aligned by their ids, not by their places
            write(
                folder("openlanguagedata/flores_plus"),
                f"{split}/{FLORES[code]}.{'jsonl' if code == 'cy' else 'parquet'}",
                sentences,
            )

    fill(folder("google/IFEval"), {"train": ("ifeval_input_data.jsonl", lambda: instruction(en))})
    for name, language in (("BSC-LT/IFEval_es", es), ("projecte-aina/IFEval_ca", ca)):
        fill(folder(name), {"test": ("test.jsonl", lambda language=language: instruction(language))})
    for code in ("eu", "gl"):
        fill(
            folder("eneko98/Iber-IFEval"),
            {"test": (f"data/input_data.{code}.jsonl", lambda code=code: instruction(words[code]))},
        )
    return made
