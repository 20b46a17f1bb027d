"""Generate the miniature world of a language in this process, and read its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from langmerge.grid.folders import Folders
from langmerge.mini.benchmarks import Sizes
from langmerge.mini.world import write_world

CODES = ("en", "eu", "gl", "ca", "es", "cy", "sw")
"""Languages that the tests of held-out phrases compare with one another."""

SMALL = Sizes(documents=4, translations=4, prompts=4)


def write_language(folder: Path, code: str, content: dict[str, Any]) -> None:
    """Write a language's file into a folder of configuration."""
    path = folder / "languages" / f"{code}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def generate(
    output: Path,
    code: str,
    *,
    folders: Folders = Folders(own=Path("nowhere")),  # noqa: B008 - frozen
    sizes: Sizes = Sizes(documents=150, translations=60, prompts=60),  # noqa: B008 - frozen
    lines: int = 3000,
    partner: str | None = None,
    seed: int = 1,
) -> None:
    write_world(output, folders, code, partner, sizes, lines, seed)


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their names in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training_text(folder: Path) -> str:
    turns = [message["content"] for row in read(folder / "instructions.jsonl") for message in row["messages"]]
    return "\n\n".join([row["text"] for row in read(folder / "corpus.jsonl")] + turns)


def held_out(path: Path) -> list[str]:
    """The phrases of a task's documents, which may occur in no training text."""
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
