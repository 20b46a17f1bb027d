"""The curves of trainings, from their histories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langmerge.commands import curves as command
from langmerge.errors import UserError
from langmerge.reporting.curves import draw, read_history
from langmerge.reporting.figure import paper_style
from support.commands import call


def write(folder: Path, steps: int, languages: tuple[str, ...] = ()) -> Path:
    """A history in which the second leg starts at step 4."""
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        lines.append({"step": step, "loss": 9.0 - step, "rate": 0.1, "norm": 1.0, "tokens_per_second": 100.0 * step})
        lines[-1] |= {"memory": 1.0, "leg": 1 + (step > 3)}
        lines += [{"step": step, "bits_per_byte": dict.fromkeys(languages, 2.0 / step)}] if languages else []
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_row_for_each_training_with_its_legs_and_languages(tmp_path):
    files = {
        name: write(tmp_path / name, 6, codes) / "history.jsonl"
        for name, codes in {"a": ("eu", "en"), "b": (), "c": ("gl", "en")}.items()
    }
    with paper_style():
        figure = draw({name: read_history(file) for name, file in files.items()})
    panels = figure.axes
    assert [panel.get_title() for panel in panels[:3]] == [
        "loss (nats per token)",
        "held-out bits per byte",
        "tokens/s per process",
    ]
    loss, bits, speed = ([[*line.get_ydata()] for line in panel.lines] for panel in panels[:3])
    assert loss[0] == [8, 7, 6, 5, 4, 3] and speed[0] == [100, 200, 300, 400, 500, 600]
    assert bits[0] == bits[1] == [2 / step for step in range(1, 7)]
    assert [text.get_text() for text in figure.legends[0].texts] == ["eu", "en", "gl"]
    english = [panels[1].lines[1], panels[7].lines[1]]
    assert english[0].get_color() == english[1].get_color() != panels[7].lines[0].get_color()
    assert [{*line.get_xdata()} for line in panels[0].lines[1:]] == [{4}]
    assert [len(panel.lines) for panel in panels[3:]] == [2, 1, 2, 2, 3, 2]


def test_a_model_and_a_training_that_still_runs(tmp_path):
    write(tmp_path / "done", 300, ("eu",))
    write(tmp_path / ".running.training-0123", 3)
    call(command, tmp_path / "done", tmp_path / "running", "--output", tmp_path / "curves")
    assert {path.suffix for path in tmp_path.glob("curves.*")} == {".pdf", ".png", ".svg"}


def test_what_is_no_history_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing: no history.jsonl is there"):
        call(command, tmp_path / "nothing", "--output", tmp_path / "curves")
    write(tmp_path / "empty", 0)
    with pytest.raises(UserError, match=r"the training has made no step yet"):
        call(command, tmp_path / "empty", "--output", tmp_path / "curves")
    (tmp_path / "empty" / "history.jsonl").write_text("no JSON\n")
    with pytest.raises(UserError, match=r"history.jsonl: not the history of a training"):
        call(command, tmp_path / "empty", "--output", tmp_path / "curves")
