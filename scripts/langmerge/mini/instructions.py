"""Prompts in the form of IFEval about phrases of any language, and chat turns that train them.

CLDR has no imperative sentences. So the instructions are in English for every language, and what
they are about is in the language. The ids and kwargs are IFEval's, as evaluation/ifeval.py checks
them. The instructions that almost any answer follows (no_comma, forbidden_words, number_words) are
left out.

A model that was tuned in English must generalise to text that it never saw. So some training turns
are about invented words. A model of a million parameters does not learn to copy such words within
minutes of training, so no instruction depends on that: there is no repeat_prompt, and the keywords
are few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from langmerge.mini import phrases
from langmerge.mini.cldr import Language
from langmerge.mini.corpus import drawn, pair_prompt
from langmerge.mini.invented import Content, invented_content
from langmerge.mini.phrases import Meaning

SHARES = {"constraints": 0.65, "pairs": 0.25, "calendar": 0.1}
"""Shares of the conversations.

They are instructions with constraints, and turns in the form of the benchmarks: a translation to be
completed, or a sequence to be continued.
"""

INVENTED = 0.2
"""Share of the instructions whose content is invented words."""

TWO_CONSTRAINTS = 0.3
"""Share of the prompts with two constraints. The rest have one."""

KEYWORDS = ("hello", "music", "river", "summer", "garden", "bridge", "letter", "silver")

OPENINGS = ("Write this:", "Copy this line:", "Repeat this text:")


@dataclass(frozen=True)
class Constraint:
    """An instruction that can be checked.

    Attributes:
        id: IFEval's name of it.
        wordings: ways to say it; {fields} are kwargs.
        apply: (answer, content, kwargs) -> the answer, changed so that it follows the instruction.
        kwargs: (rng, content) -> IFEval's arguments.
        fits: content -> whether the instruction makes sense with this content.
    """

    id: str
    wordings: tuple[str, ...]
    apply: Callable[[str, Content, dict], str]
    kwargs: Callable[[Random, Content], dict[str, Any]] = lambda rng, content: {}
    fits: Callable[[Content], bool] = lambda content: True

    def wording(self, rng: Random, kwargs: dict[str, Any]) -> str:
        fields = {name: " and ".join(value) if isinstance(value, list) else value for name, value in kwargs.items()}
        return rng.choice(self.wordings).format(**fields)


def has_case(text: str) -> bool:
    """Whether the script of the text has capital letters."""
    return text.upper() != text.lower()


CONSTRAINTS = (
    Constraint(
        "detectable_format:number_bullet_lists",
        ("Give exactly {num_bullets} bullet points.", "Make it a list of {num_bullets} bullet points."),
        lambda answer, content, kwargs: "\n".join(f"* {item}" for item in content.items),
        lambda rng, content: {"num_bullets": len(content.items)},
        lambda content: len(content.items) > 1,
    ),
    Constraint(
        "keywords:existence",
        ("Include the keyword {keywords}.", "Use the word {keywords} as well."),
        lambda answer, content, kwargs: f"{answer}\n{' '.join(kwargs['keywords'])}",
        lambda rng, content: {"keywords": [rng.choice(KEYWORDS)]},
    ),
    Constraint(
        "keywords:frequency",
        (
            "Use the word {keyword} {relation} {frequency} times.",
            "The word {keyword} should appear {relation} {frequency} times.",
        ),
        lambda answer, content, kwargs: f"{answer}\n{' '.join([kwargs['keyword']] * kwargs['frequency'])}",
        lambda rng, content: {"keyword": rng.choice(KEYWORDS), "frequency": rng.choice((2, 3)), "relation": "at least"},
    ),
    Constraint(
        "detectable_content:number_placeholders",
        (
            "Add at least {num_placeholders} placeholders in square brackets.",
            "There should be at least {num_placeholders} placeholders like [name].",
        ),
        lambda answer, content, kwargs: (
            f"{answer}\n{' '.join(('[name]', '[date]', '[place]')[: kwargs['num_placeholders']])}"
        ),
        lambda rng, content: {"num_placeholders": rng.choice((2, 3))},
    ),
    Constraint(
        "detectable_content:postscript",
        (
            "At the end add a postscript starting with {postscript_marker}",
            "Finish with a note that starts with {postscript_marker}",
        ),
        lambda answer, content, kwargs: f"{answer}\n{kwargs['postscript_marker']} {content.items[0]}",
        lambda rng, content: {"postscript_marker": rng.choice(("P.S.", "P.P.S"))},
    ),
    Constraint(
        "startend:end_checker",
        ("Finish with the exact words: {end_phrase}", "End your answer with this phrase: {end_phrase}"),
        lambda answer, content, kwargs: f"{answer}\n{kwargs['end_phrase']}",
        lambda rng, content: {
            "end_phrase": rng.choice(("That is all.", "Is there anything else?", "The end.", "Thank you."))
        },
    ),
    Constraint(
        "detectable_format:title",
        ("Start with a title in double angular brackets, as in <<title>>.", "Give it a title, wrapped in <<title>>."),
        lambda answer, content, kwargs: f"<<{content.items[0]}>>\n{answer}",
    ),
    Constraint(
        "change_case:english_capital",
        ("Use only capital letters.", "Your whole answer should be in capital letters."),
        lambda answer, content, kwargs: answer.upper(),
        fits=lambda content: has_case(content.text),
    ),
    Constraint(
        "change_case:english_lowercase",
        ("Use only lowercase letters.", "No capital letters are allowed."),
        lambda answer, content, kwargs: answer.lower(),
        fits=lambda content: has_case(content.text),
    ),
    Constraint(
        "startend:quotation",
        ("Wrap your whole answer in double quotation marks.", 'Put " at the start and at the end.'),
        lambda answer, content, kwargs: f'"{answer}"',
    ),
)
"""In the order in which a right answer is built up.

First comes the content, then what is added below it and above it, then case and quotation marks.
"""

CONFLICTS = (
    {"change_case:english_capital", "change_case:english_lowercase"},
    {"detectable_format:number_bullet_lists", "startend:quotation"},
)


@dataclass(frozen=True)
class Prompt:
    """A prompt with its constraints.

    Attributes:
        text: the prompt itself.
        ids, kwargs: the constraints in IFEval's terms.
        answer: a right answer.
    """

    text: str
    ids: list[str]
    kwargs: list[dict[str, Any]]
    answer: str


def prompt(content: Content, rng: Random) -> Prompt:
    """A random prompt about this content, with one or two constraints that do not conflict."""
    fitting = [constraint for constraint in CONSTRAINTS if constraint.fits(content)]
    while True:
        chosen = rng.sample(range(len(fitting)), 2 if rng.random() < TWO_CONSTRAINTS else 1)
        if {fitting[index].id for index in chosen} not in CONFLICTS:
            break
    opening = f"{rng.choice(OPENINGS)} {content.text}"
    asked = []
    for index in chosen:
        kwargs = fitting[index].kwargs(rng, content)
        asked.append((index, fitting[index], kwargs))
    answer = content.text
    for _, constraint, kwargs in sorted(asked, key=lambda item: item[0]):
        answer = constraint.apply(answer, content, kwargs)
    wordings = " ".join(constraint.wording(rng, kwargs) for _, constraint, kwargs in asked)
    return Prompt(
        f"{opening}\n{wordings}", [item.id for _, item, _ in asked], [kwargs for _, _, kwargs in asked], answer
    )


def phrase_content(language: Language, meaning: Meaning) -> Content:
    """A phrase of the language as the content of an instruction."""
    items = (
        tuple(language.say(item) for item in meaning.slots) if meaning.template == "list" else (language.say(meaning),)
    )
    return Content(language.say(meaning), items)


def messages(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": role, "content": content}
            for turn in turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
    }


def instructions(language: Language, partner: Language | None, count: int, rng: Random) -> list[dict[str, Any]]:
    """Return `count` conversations for supervised tuning, each {"messages": [...]}.

    Args:
        language: the language of their content.
        partner: the language that they also translate from and into, one that the model knows
            before the tuning. With None, the translation prompt only asks for copies.
    """
    directions = [(language, language)] if partner is None else [(language, partner), (partner, language)]

    def train_content() -> Content:
        if rng.random() < INVENTED:
            return invented_content(rng)
        return phrase_content(language, drawn([language], phrases.phrase, rng))

    def constraints() -> tuple[str, str]:
        asked = prompt(train_content(), rng)
        return asked.text, asked.answer

    def pair() -> tuple[str, str]:
        source, target = rng.choice(directions)
        meaning = drawn([source, target], phrases.phrase, rng)
        return pair_prompt(source, target, source.say(meaning)), target.say(meaning)

    def calendar() -> tuple[str, str]:
        return sequence_turn(language, drawn([language], phrases.sequence, rng))

    makers = {"constraints": constraints, "pairs": pair, "calendar": calendar}
    conversations = []
    for kind in rng.choices(list(SHARES), list(SHARES.values()), k=count):
        turns = 1 if kind == "constraints" else rng.choice((1, 2))
        conversations.append(messages([makers[kind]() for _ in range(turns)]))
    return conversations


def sequence_turn(language: Language, sequence: Meaning) -> tuple[str, str]:
    """A question (all members of a sequence but the last, with a comma) and its answer."""
    *shown, last = sequence.slots
    return language.say(sequence._replace(slots=tuple(shown))) + ",", language.say(last)
