"""The documents: links lead somewhere, commands that they name exist, lines have at most 100
columns.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from langmerge.cli import COMMANDS
from support.paths import ROOT

LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
)
FILES = [ROOT / name for name in LISTED.stdout.splitlines() if (ROOT / name).is_file()]
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]
TEXTS = [
    path
    for path in FILES
    if path.suffix in {".md", ".py", ".smk", ".yaml", ".rst", ".html", ".cff"} or path.name == "Snakefile"
]
WIDTH = 100
LEFT_OUT = {"CHANGELOG.md", "tests/package/test_docs.py"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives a document's headings."""
    titles = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)).strip().lower() for title in titles)
    return {title.replace(" ", "-") for title in plain}


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "docs/methods.md"} <= {
        *map(name, DOCUMENTS)
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if name(path) not in LEFT_OUT], ids=name)
def test_commands_exist(path):
    """Of the command `langmerge`, and files of scripts/ that a reader is told to run."""
    text = path.read_text(encoding="utf-8")
    commands = re.findall(r"(?:envs/run |`|^    )langmerge ([a-z]+)\b(?! is| are)", text, re.MULTILINE)
    assert {*commands} <= {*COMMANDS}
    for script in re.findall(r"\bscripts/[\w/]+\.py\b", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_prose_is_wrapped(path):
    lines = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    long = [line for line in lines if len(line) > WIDTH and not re.match(r"\s*\||!\[|    ", line)]
    assert not [line for line in long if " " in line.strip()[:WIDTH]]


# The content of tasks, with their comments, is a part of results' names.
WITH_COMMENTS = [
    path
    for path in FILES
    if path.suffix in (".py", ".smk", ".yaml", ".toml", "") and not path.match("scripts/langmerge/evaluation/*/*.yaml")
]


@pytest.mark.parametrize("path", WITH_COMMENTS, ids=name)
def test_docstrings_and_comments_are_wrapped(path):
    """But for commands in examples, and closing quotes."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r'^ *r?"""[^\s,)].*?"""$|^ *#[^\n]*$', text, re.MULTILINE | re.DOTALL)
    lines = [line.removesuffix('"""') for block in blocks for line in block.splitlines()]
    assert not [
        line for line in lines if len(line) > WIDTH and not re.match("[ #]*(langmerge|pip|python|envs/run) ", line)
    ]


NOT_HERE = ("DESIGN.md", "SNAKEMAKE.md", "REDESIGN", "STYLE.md", "shared/", "workflow/grid.py", "workflow/hpc.py")
"""Documents and files that a reader of this repository does not have."""

WORDS = (
    r"\banew\b",
    r"\bmend(s|ed|ing)?\b",
    r"\bshine through\b",
    r"\bfor ever\b",
    r"(?<![\w.\])/*%\"-])\.\d+\b(?!\.)",
)
"""Words that plain English says otherwise: again, fix, appear, forever, and 0.5 for .5."""


@pytest.mark.parametrize("path", [path for path in TEXTS if name(path) not in LEFT_OUT], ids=name)
def test_nothing_names_what_is_not_here(path):
    text = path.read_text(encoding="utf-8")
    assert not [word for word in NOT_HERE if word in text]


PROSE = [path for path in TEXTS if path.suffix in {".md", ".rst", ".smk"} or "langmerge" in path.parts]


@pytest.mark.parametrize("path", [path for path in PROSE if name(path) not in LEFT_OUT], ids=name)
def test_plain_words(path):
    text = path.read_text(encoding="utf-8")
    assert not [match[0] for word in WORDS for match in re.finditer(word, text)]
