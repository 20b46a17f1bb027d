"""What is said of the cells in a search's record (live/search.py), in tables and on the terminal."""

from __future__ import annotations

from typing import Any

FOUND, FRONT, FINISHED, STOPPED, NEVER = "found", "on the front", "finished", "stopped", "never asked"
"""What becomes of a cell of a search; behind STOPPED stands the reason."""


def stopped(cell: dict[str, Any]) -> str:
    """The state of a cell, and of one that is stopped when it was."""
    if not cell["state"].startswith(STOPPED):
        return cell["state"]
    reason = cell["state"].removeprefix(f"{STOPPED}: ")
    return f"{STOPPED} after {100 * cell['asked']:.0f}% of the dev documents: {reason}"


def with_interval(cell: dict[str, Any], name: str) -> str:
    """A number of a cell and its 95% interval, "" where it is not known."""
    value, low, high = (cell.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return ""
    sign = "" if name == "score" else "+"
    return f"{value:{sign}.1f}" + ("" if low is None else f" [{low:{sign}.1f}, {high:{sign}.1f}]")


def lines(record: dict[str, Any]) -> list[str]:
    """What a search has found, in a few words: a line for itself, and one for each cell that was
    asked.
    """
    place = f"{record['backbone']}/{record['method']}/{record['target']}"
    best = f"{record['found'][0]} is best" if record["found"] else "no cell that was asked keeps what it must"
    found = [f"search {place}: {best}; {100 * record['asked']:.0f}% of the documents were asked."]
    for cell in (cell for cell in record["cells"] if cell["state"] != NEVER):
        score, gain = with_interval(cell, "score"), with_interval(cell, "gain")
        told = [f"{score} points on the dev half"] if score else []
        told += [f"{gain} over the instruct model on the test half"] if gain else []
        found.append(f"  {cell['id']}: {'; '.join([stopped(cell), *told])}")
    return found
