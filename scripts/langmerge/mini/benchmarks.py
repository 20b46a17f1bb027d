"""The miniature world's lm-eval tasks: multiple choice, translation and instruction following.

Each task has a dev and a test split, about phrases that are in no training text (see `phrases`).
Nothing but knowledge of the language tells the four choices of a question apart: they are the four
combinations of two alternatives in each of two slots or, in grammar, the same words in different
orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations, product
from random import Random
from typing import Any

from langmerge.errors import UserError
from langmerge.mini import phrases
from langmerge.mini.cldr import Language
from langmerge.mini.corpus import TRIES, drawn, pair_prompt
from langmerge.mini.instructions import phrase_content, prompt, sequence_turn
from langmerge.mini.phrases import Meaning, later

DEV_DOCUMENTS = 16
"""Documents per dev split, for few-shot examples."""

CHOICES = 4

Document = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Documents of the test splits."""

    documents: int
    translations: int
    prompts: int


@dataclass(frozen=True)
class Task:
    """An lm-eval task.

    Attributes:
        name: its name, which ends in the language's code.
        base: name of the shipped YAML file that it is based on.
        settings: what its own YAML file adds.
        documents: by split (dev, test).
        phrases: by split, the texts that must be in no training text.
    """

    name: str
    base: str
    settings: dict[str, Any]
    documents: dict[str, list[Document]]
    phrases: dict[str, list[str]]


def tasks(language: Language, sources: list[Language], sizes: Sizes, training_text: str, rng: Random) -> Iterator[Task]:
    """All tasks of a language.

    Args:
        sources: the languages that it is translated from.
        training_text: the language's training text, in which no phrase of the tasks may occur.

    Raises:
        UserError: there are fewer different phrases than documents to be made.
    """

    def task(
        name: str, base: str, count: int, make: Callable[[str], tuple[Document, list[str]] | None], **settings: Any
    ) -> Task:
        documents, held_out = {}, {}
        used: set[str] = set()
        for split, wanted in (("dev", DEV_DOCUMENTS), ("test", count)):
            documents[split], held_out[split] = [], []
            for _ in range(TRIES):
                if len(documents[split]) == wanted:
                    break
                made = make(split)
                if made is None or any(text in used or text in training_text for text in made[1]):
                    continue
                used.update(made[1])
                documents[split].append(made[0])
                held_out[split] += made[1]
            else:
                raise UserError(
                    f"{name}: only {len(documents[split])} of {wanted} different {split} documents were found. "
                    "Ask for fewer."
                )
        return Task(name, base, settings, documents, held_out)

    code, choice = language.code, "mini_multiple_choice.yaml"
    yield task(
        f"mini_vocabulary_{code}", choice, sizes.documents, lambda split: vocabulary(sources[0], language, split, rng)
    )
    yield task(f"mini_calendar_{code}", choice, sizes.documents, lambda split: calendar(language, split, rng))
    yield task(
        f"mini_grammar_{code}",
        choice,
        sizes.documents,
        lambda split: grammar(language, split, rng),
        target_delimiter="",
    )
    for source in sources:
        yield task(
            f"mini_translation_{source.code}_{code}",
            "mini_translation.yaml",
            sizes.translations,
            lambda split, source=source: translation(source, language, split, rng),
        )
    yield task(
        f"mini_ifeval_{code}", "mini_ifeval.yaml", sizes.prompts, lambda split: instruction(language, split, rng)
    )


def multiple_choice(question: str, right: str, wrong: list[str], rng: Random) -> Document:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return {"question": question, "choices": choices, "answer": choices.index(right)}


def vocabulary(source: Language, target: Language, split: str, rng: Random) -> tuple[Document, list[str]] | None:
    """Which is the translation? The choices are the four combinations of two values in two slots.

    So no choice stands out. None if the draw cannot be used.
    """
    meaning = drawn([source, target], phrases.phrase, rng, split)
    terms = list(meaning.terms())
    first, second = rng.sample(range(len(terms)), 2)
    one, other = (phrases.draw(terms[index].kind, rng) for index in (first, second))
    others = [
        meaning.replace(first, one),
        meaning.replace(second, other),
        meaning.replace(first, one).replace(second, other),
    ]
    wrong = [target.say(other) for other in others]
    right = target.say(meaning)
    if None in wrong or len({right, *wrong}) < CHOICES or any(repeats(other) for other in others):
        return None
    question = source.say(meaning)
    return multiple_choice(pair_prompt(source, target, question), right, wrong, rng), [question, right]


def repeats(meaning: Meaning) -> bool:
    """Whether a list has the same item twice, which would give a wrong choice away."""
    return meaning.template == "list" and len(set(meaning.slots)) < len(meaning.slots)


def calendar(language: Language, split: str, rng: Random) -> tuple[Document, list[str]] | None:
    """What comes next? The choices are the four combinations of two values in two slots.

    A slot's wrong value is one or two steps off the right one. None if the draw cannot be used.
    """
    sequence = drawn([language], phrases.sequence, rng, split)
    question, right = sequence_turn(language, sequence)
    last = sequence.slots[-1]
    first, second = rng.sample([term.kind for term in last.slots], 2)
    one, other = (rng.choice((-2, -1, 1, 2)) for _ in range(2))
    changed = [later(last, first, one), later(last, second, other)]
    changed += [changed[0] and later(changed[0], second, other)]
    if None in changed:
        return None
    return multiple_choice(question, right, [language.say(meaning) for meaning in changed], rng), [
        language.say(sequence)
    ]


def grammar(language: Language, split: str, rng: Random) -> tuple[Document, list[str]] | None:
    """Which is well formed? Each wrong choice has one word moved, so all have the same words.

    None if the draw cannot be used.
    """
    meaning = drawn([language], phrases.phrase, rng, split)
    right = language.say(meaning)
    wrong = sorted(reorderings(right) - acceptable(language, meaning))
    if len(wrong) < CHOICES - 1:
        return None
    return multiple_choice("", right, rng.sample(wrong, CHOICES - 1), rng), [right]


def reorderings(text: str) -> set[str]:
    """The text with one word moved, or one character where the script has no spaces."""
    separator = " " if " " in text else ""
    words = text.split() if separator else list(text)
    moved = set()
    for index, target in permutations(range(len(words)), 2):
        rest = words[:index] + words[index + 1 :]
        moved.add(separator.join([*rest[:target], words[index], *rest[target:]]))
    return moved


def acceptable(language: Language, meaning: Meaning) -> set[str]:
    """Well-formed texts that a reordering could yield.

    They are the phrase itself, a list in another order, and a list with "in" or "ago" at another
    item.
    """
    if meaning.template != "list":
        return {language.say(meaning)}
    items = [tenses(item) if item.template in ("span", "relative") else [item] for item in meaning.slots]
    lists = (meaning._replace(slots=order) for chosen in product(*items) for order in permutations(chosen))
    return {language.say(other) for other in lists}


def tenses(item: Meaning) -> list[Meaning]:
    """A period of time by itself, in the future and in the past."""
    return [Meaning("span", "", item.slots), *(Meaning("relative", style, item.slots) for style in ("future", "past"))]


def translation(source: Language, target: Language, split: str, rng: Random) -> tuple[Document, list[str]]:
    meaning = drawn([source, target], phrases.phrase, rng, split)
    text, reference = source.say(meaning), target.say(meaning)
    return {"prompt": pair_prompt(source, target, text), "reference": reference}, [text, reference]


def instruction(language: Language, split: str, rng: Random) -> tuple[Document, list[str]]:
    meaning = drawn([language], phrases.phrase, rng, split)
    instructed = prompt(phrase_content(language, meaning), rng)
    document = {
        "key": rng.randrange(10**6),
        "prompt": instructed.text,
        "instruction_id_list": instructed.ids,
        "kwargs": instructed.kwargs,
    }
    return document, [language.say(meaning)]
