"""`langmerge pin`: the commits of what was fetched, in the files that name it."""

from __future__ import annotations

import pytest
import yaml

from langmerge.commands import pin
from support.commands import call
from support.hub import COMMIT
from support.hub_run import QUIZ_COMMIT

BLOCK = """\
# ours
dtype: float32
models:
  instruct:  # the one
    hub: lab/small-instruct
    gb: 3.5
  adapted: {hub: "lab/small-{language}"}
"""


def test_commits_are_written_and_everything_else_stays(work, hub, monkeypatch, capsys):
    (work.folder / "config/backbones/small.yaml").write_text(BLOCK)
    (work.folder / "config/benchmarks.yaml").write_text("quiz_eu: {dataset: lab/quiz, files: [data/eu/*]}  # mine\n")
    monkeypatch.chdir(work.folder)
    call(pin, "config/config.yaml")
    assert capsys.readouterr().out.count("not in the cache. `langmerge prefetch` fetches it") == 3
    assert "langmerge pin config/config.yaml" in work.run()
    call(pin, "config/config.yaml")
    said = capsys.readouterr().out
    text = (work.folder / "config/backbones/small.yaml").read_text()
    assert text == BLOCK.replace("small-instruct\n", f"small-instruct\n    revision: {COMMIT}\n")
    assert f"lab/small-eu: its file names it by a pattern. Add {{hub: lab/small-eu, revision: {COMMIT}}}" in said
    text = (work.folder / "config/benchmarks.yaml").read_text()
    assert text == f"quiz_eu: {{dataset: lab/quiz, revision: {QUIZ_COMMIT}, files: [data/eu/*]}}  # mine\n"
    assert yaml.safe_load(text)["quiz_eu"]["revision"] == QUIZ_COMMIT
    hub.requests.clear()
    work.run()
    assert hub.sent == 0, "what is pinned is not fetched again"


@pytest.mark.parametrize("style", ["a block", "in braces"])
def test_what_is_pinned_already_is_left_alone(work, monkeypatch, capsys, style):
    work.run()
    path = work.folder / "config/backbones/small.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content, default_flow_style=style == "in braces"))
    monkeypatch.chdir(work.folder)
    call(pin)
    once = path.read_text()
    assert yaml.safe_load(once)["models"]["instruct"]["revision"] == COMMIT
    call(pin)
    assert path.read_text() == once
    assert "Every model and data set has a revision." in capsys.readouterr().out
