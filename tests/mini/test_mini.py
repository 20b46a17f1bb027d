"""The miniature world: its languages, that dev and test stand in no training text, and that lm-eval runs its tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
import yaml

from langmerge.errors import UserError
from langmerge.evaluation.ifeval import process_results
from langmerge.mini import phrases
from langmerge.mini.benchmarks import acceptable, reorderings
from langmerge.mini.cldr import Language, isolated_locale, load_languages
from langmerge.mini.corpus import ENGLISH, corpus, drawn
from langmerge.mini.instructions import CONSTRAINTS, phrase_content, prompt
from langmerge.mini.invented import invented_content
from langmerge.mini.phrases import VALUES, Meaning, Term
from support.paths import ROOT

SHIPPED = ("en", "eu", "gl", "ca", "es")
ADDED = {"cy": "Welsh", "sw": "Swahili"}


def generate(folder: Path, language: str, output: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run scripts/corpus.py in a folder that holds `languages/`."""
    command = [
        sys.executable,
        ROOT / "scripts" / "corpus.py",
        output,
        "--language",
        language,
        "--languages",
        "languages",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def write_languages(folder: Path, codes: tuple[str, ...]) -> None:
    (folder / "languages").mkdir(parents=True)
    for code in codes:
        shipped = ROOT / "config" / "languages" / f"{code}.yaml"
        content = yaml.safe_load(shipped.read_text()) if shipped.is_file() else added(code)
        (folder / "languages" / f"{code}.yaml").write_text(yaml.safe_dump(content))


def added(code: str) -> dict:
    return {"name": ADDED[code], "locale": code, "mt_sources": ["en", "es"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The five shipped languages and two that need nothing but a file."""
    folder = tmp_path_factory.mktemp("world")
    write_languages(folder, (*SHIPPED, *ADDED))
    for code in (*SHIPPED, *ADDED):
        done = generate(folder, code, code, "--lines", "3000", "--documents", "150")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def languages(world) -> dict[str, Language]:
    return {language.code: language for language in load_languages(world / "languages", (*SHIPPED, *ADDED))}


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training_text(folder: Path) -> str:
    turns = [message["content"] for row in read(folder / "instructions.jsonl") for message in row["messages"]]
    return "\n\n".join([row["text"] for row in read(folder / "corpus.jsonl")] + turns)


def held_out(path: Path) -> list[str]:
    """The phrases of a task's file, which no training text may hold."""
    found = []
    for row in read(path):
        asked = row.get("prompt", row.get("question")).split("\n")[0]
        if path.name.startswith("mini_calendar"):
            found.append(f"{asked} {row['choices'][row['answer']]}")
            continue
        found += [asked.split(": ", 1)[1]] if asked else []
        found += (
            [row["reference"]] if "reference" in row else [row["choices"][row["answer"]]] if "choices" in row else []
        )
    return found


def test_no_held_out_phrase_stands_in_a_training_text_of_any_language(world):
    held = {text: path for path in sorted(world.glob("*/tasks/*.jsonl")) for text in held_out(path)}
    assert len(held) > 3000
    for language in (*SHIPPED, *ADDED):
        text = training_text(world / language)
        assert [(phrase, path.name) for phrase, path in held.items() if phrase in text] == []


def test_dev_and_test_share_no_phrase_in_any_language(world):
    dev, test = (
        {text for path in world.glob(f"*/tasks/*.{split}.jsonl") for text in held_out(path)}
        for split in ("dev", "test")
    )
    assert dev
    assert test
    assert not dev & test


def test_no_dev_phrase_is_a_part_of_a_test_phrase_nor_the_reverse(world):
    for code in SHIPPED:
        dev, test = (
            "\n".join(text for path in world.glob(f"{code}/tasks/*.{split}.jsonl") for text in held_out(path))
            for split in ("dev", "test")
        )
        assert not [line for line in dev.split("\n") if line in test]
        assert not [line for line in test.split("\n") if line in dev]


def test_every_word_is_in_the_training_text_also_beside_its_translation(world, languages):
    for language in languages.values():
        text = training_text(world / language.code)
        documents = [row["text"] for row in read(world / language.code / "corpus.jsonl")]
        names = [Term(kind, value) for kind in ("territory", "language", "weekday", "month") for value in VALUES[kind]]
        known = [term for term in names if language.term(term)]
        assert len(known) > 50
        assert [term for term in known if language.term(term) not in text] == []
        assert [
            term for kind in ("unit", "currency", "field") for term in terms(kind) if not shown(language, term, text)
        ] == []
        if language.code == ENGLISH:
            continue
        pairs = {pair for document in documents for pair in document.split("\n\n")}
        for source in (languages[code] for code in language.mt_sources):
            for one, other in ((source, language), (language, source)):
                missing = [
                    term
                    for term in known
                    if one.term(term) and f"{one.name}: {one.term(term)}\n{other.name}: {other.term(term)}" not in pairs
                ]
                assert missing == []


def terms(kind: str) -> list[Term]:
    return [Term(kind, value) for value in VALUES[kind]]


def shown(language: Language, term: Term, text: str) -> bool:
    """Whether a unit, currency or stretch of time is in the text with some number (or the language has no word for it)."""
    template = {"unit": "quantity", "currency": "amount", "field": "span"}[term.kind]
    said = [language.say(Meaning(template, "", (number, term))) for number in terms("number")]
    return None in said or any(phrase in text for phrase in said)


def test_english_corpus_is_english_only(world, languages):
    text = training_text(world / "en")
    assert not any(f"{language.name}:" in text for code, language in languages.items() if code != "en")
    assert "asteazkena" not in text
    assert "miércoles" not in text


def test_same_seed_same_bytes_whatever_other_languages_there_are(world, tmp_path):
    write_languages(tmp_path, ("eu", "en", "es"))
    arguments = ("--lines", "3000", "--documents", "150")
    assert generate(tmp_path, "eu", "eu", *arguments).returncode == 0
    assert generate(tmp_path, "eu", "other", *arguments, "--seed", "2").returncode == 0
    files = {path.relative_to(world / "eu"): path.read_bytes() for path in (world / "eu").rglob("*") if path.is_file()}
    again = {
        path.relative_to(tmp_path / "eu"): path.read_bytes() for path in (tmp_path / "eu").rglob("*") if path.is_file()
    }
    strip = {path: content for path, content in files.items() if path.suffix == ".jsonl"}
    assert strip == {path: content for path, content in again.items() if path.suffix == ".jsonl"}
    assert files.keys() == again.keys()
    assert (tmp_path / "other" / "corpus.jsonl").read_bytes() != files[Path("corpus.jsonl")]


def test_a_locale_is_not_changed_by_the_use_of_another():
    swahili, occitan = (Language(code, code, code, ("en",)) for code in ("sw", "oc"))
    monday = Meaning("word", "", (Term("weekday", 0),))
    assert swahili.say(monday) == "Jumatatu"
    assert occitan.say(monday) == "diluns"
    assert isolated_locale("oc") is isolated_locale("oc")


@pytest.mark.parametrize(
    ("meaning", "said"),
    [
        (
            Meaning("date", "full", (Term("day", 14), Term("month", 3), Term("year", 2019))),
            "2019(e)ko martxoaren 14(a), osteguna",
        ),
        (Meaning("relative", "past", (Term("number", 3), Term("field", "day"))), "duela 3 egun"),
        (Meaning("quantity", "", (Term("number", 12), Term("unit", "length-kilometer"))), "12 kilometro"),
        (Meaning("regional", "", (Term("language", "es"), Term("territory", "MX"))), "gaztelania (Mexiko)"),
        (
            Meaning(
                "list",
                "or",
                (Meaning("word", "", (Term("territory", "RS"),)), Meaning("percent", "", (Term("number", 15),))),
            ),
            "Serbia edo % 15",
        ),
    ],
)
def test_says_meanings_in_basque(meaning, said):
    assert Language("eu", "Basque", "eu", ("en",)).say(meaning) == said


def test_splits_have_their_shares_and_words_are_for_training():
    rng = Random(0)
    drawn_splits = [phrases.split(phrases.phrase(rng)) for _ in range(4000)]
    assert 0.7 < drawn_splits.count("train") / 4000 < 0.9
    assert drawn_splits.count("test") > 2 * drawn_splits.count("dev") > 0
    assert {phrases.split(phrases.word(kind, rng)) for kind in ("territory", "language") for _ in range(200)} == {
        "train"
    }


def test_a_longer_meaning_has_the_pairs_of_its_parts():
    rng = Random(0)
    for _ in range(500):
        whole = phrases.words(rng)
        for part in combinations(whole.slots, 2):
            assert phrases.pairs(whole._replace(slots=part)) <= phrases.pairs(whole)
        dated = phrases.date(rng)._replace(style="long")
        assert phrases.pairs(dated._replace(style="day_month", slots=dated.slots[:2])) <= phrases.pairs(dated)
        assert (
            phrases.pairs(Meaning("month_year", "", dated.slots[1:])) <= phrases.pairs(dated) or len(dated.slots) == 2
        )


@pytest.mark.parametrize("task", ["vocabulary", "calendar", "grammar"])
def test_position_and_length_give_no_answer_away(world, task):
    rows = [row for code in SHIPPED for row in read(world / code / "tasks" / f"mini_{task}_{code}.test.jsonl")]
    assert all(len(set(row["choices"])) == 4 for row in rows)
    for score in (len, lambda choice: -len(choice), lambda choice: -ord(choice[0])):
        assert 0.18 < accuracy(rows, score) < 0.32
    for position in range(4):
        assert 0.2 < sum(row["answer"] == position for row in rows) / len(rows) < 0.3


def accuracy(rows: list[dict], score) -> float:
    """Accuracy of choosing the highest score, ties shared."""
    total = 0.0
    for row in rows:
        scores = [score(choice) for choice in row["choices"]]
        best = [index for index, value in enumerate(scores) if value == max(scores)]
        total += (row["answer"] in best) / len(best)
    return total / len(rows)


def test_reorderings_leave_out_what_is_well_formed_too(languages):
    english = languages["en"]
    days = Meaning("list", "and", tuple(Meaning("word", "", (Term("weekday", day),)) for day in (0, 1, 2)))
    assert "Tuesday, Monday, and Wednesday" in reorderings(english.say(days)) & acceptable(english, days)
    ago = Meaning("relative", "past", (Term("number", 20), Term("field", "day")))
    weeks = Meaning("span", "", (Term("number", 30), Term("field", "week")))
    assert "20 days and 30 weeks ago" in acceptable(english, Meaning("list", "and", (ago, weeks)))


def test_right_answers_follow_their_instructions_and_the_bare_content_does_not(languages):
    rng = Random(0)
    seen: set[str] = set()
    followed = 0
    for number in range(600):
        language = list(languages.values())[number % len(languages)]
        meaning = drawn([language], phrases.phrase, rng)
        content = invented_content(rng) if number % 3 == 0 else phrase_content(language, meaning)
        asked = prompt(content, rng)
        document = {"instruction_id_list": asked.ids, "kwargs": asked.kwargs}
        assert process_results(document, [asked.answer])["prompt_level_strict_acc"], asked
        followed += process_results(document, [content.text])["prompt_level_strict_acc"]
        seen.update(asked.ids)
    assert seen == {constraint.id for constraint in CONSTRAINTS}
    assert followed < 60


def test_translates_in_instructions_only_with_a_partner(tmp_path):
    write_languages(tmp_path, ("en", "es", "eu", "gl", "ca"))
    done = generate(
        tmp_path,
        "en",
        "out",
        "--lines",
        "400",
        "--documents",
        "4",
        "--translations",
        "4",
        "--prompts",
        "4",
        "--partner",
        "es",
    )
    assert done.returncode == 0, done.stderr
    assert "\nSpanish:" in training_text(tmp_path / "out")


def test_lm_eval_runs_every_task(world, monkeypatch):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(wrapped), **sizes))
    monkeypatch.chdir(world)
    names = sorted(path.stem for path in (world / "eu" / "tasks").glob("*.yaml"))
    results = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=wrapped, batch_size=16, device="cpu"),
        tasks=names,
        task_manager=TaskManager(include_path="eu/tasks", include_defaults=False),
        num_fewshot=1,
        limit=4,
        bootstrap_iters=0,
    )
    metrics = {
        name: next(metric for metric in scores if metric.endswith(",none"))
        for name, scores in results["results"].items()
    }
    assert metrics == {
        "mini_calendar_eu": "acc,none",
        "mini_grammar_eu": "acc,none",
        "mini_ifeval_eu": "prompt_level_strict_acc,none",
        "mini_translation_en_eu": "bleu,none",
        "mini_translation_es_eu": "bleu,none",
        "mini_vocabulary_eu": "acc,none",
    }
    assert "inst_level_strict_acc,none" in results["results"]["mini_ifeval_eu"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("name: [", "is not YAML"),
        ("name: Klingon", "lacks locale, mt_sources"),
        ("name: Klingon\nlocale: tlh\nmt_sources: [en]", "'tlh' is not a CLDR locale"),
    ],
)
def test_a_bad_language_file_gives_a_clear_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "xx.yaml").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        Language.load(tmp_path, "xx")
    assert "xx.yaml" in str(error.value)


def test_too_few_lines_give_a_clear_error(languages):
    with pytest.raises(UserError, match="Raise --lines"):
        corpus(languages["eu"], [languages["en"]], 10, Random(0))


def test_too_many_documents_give_a_clear_error(tmp_path):
    write_languages(tmp_path, SHIPPED)
    done = generate(tmp_path, "eu", "out", "--lines", "400", "--documents", "100000")
    assert done.returncode == 1
    assert "Ask for fewer" in done.stderr
    assert "Traceback" not in done.stderr
