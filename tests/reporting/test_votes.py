"""Blind votes: the page in a real Chromium, and from its votes to win rates."""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from langmerge.commands import collect, report, votes
from langmerge.errors import UserError
from langmerge.evaluation.sealed import write_sealed
from langmerge.grid.grid import Grid, read_run
from langmerge.model import Model
from langmerge.reporting.ballot import Ballot, ballot
from langmerge.reporting.votes import Rate, rates, win_rates
from langmerge.reporting.votes_files import read_keys, read_votes
from langmerge.reporting.votes_shown import model_label
from support.answers import Run
from support.browser import chromium
from support.commands import call
from support.project import TINY_BACKBONE, TINY_RUN

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"
CELLS = [f"mini/linear/eu/w{weight}" for weight in ("0.25", "0.5", "1")]
PROMPTS = 6


def kept(folder: Path, texts: dict[float, list[str]]) -> Run:
    """The answers of merges to one task, by weight."""
    run = Run(folder)
    for weight, own in texts.items():
        samples = [
            {"filtered_resps": [text], "doc": {"prompt": f"Galdera {index} {HOSTILE}"}}
            for index, text in enumerate(own)
        ]
        run.add("linear", weight, "ifeval_eu", "inst_level_strict_acc", [[True]] * len(own), samples=samples)
    return run


def texts(count: int = PROMPTS) -> dict[float, list[str]]:
    return {weight: [f"secret{weight} {index} {HOSTILE}" for index in range(count)] for weight in (0.25, 0.5, 1.0)}


def made(folder: Path, own: dict[float, list[str]], prompts: int | None = None) -> Ballot:
    answered = kept(folder, own).answered
    return ballot("mini", "eu", "Basque", {cell: [one] for cell, one in zip(CELLS, answered, strict=True)}, prompts)


@pytest.fixture
def page(tmp_path) -> Ballot:
    (tmp_path / "answers").mkdir()
    return made(tmp_path / "answers", texts())


# ---- the page


def test_the_page_does_not_tell_whose_answers_it_shows(page):
    assert not any(cell in page.html for cell in CELLS) and "linear" not in page.html
    assert {entry["left"] for entry in page.key["items"].values()} | {
        entry["right"] for entry in page.key["items"].values()
    } == {*CELLS}


def test_every_pair_is_shown_equally_often_and_sides_are_drawn(tmp_path):
    page = made(tmp_path, texts(60))
    shown = [(entry["left"], entry["right"]) for entry in page.key["items"].values()]
    for pair in itertools.combinations(CELLS, 2):
        straight, turned = shown.count(pair), shown.count(pair[::-1])
        assert straight + turned == 20 and min(straight, turned) >= 3


def test_the_same_call_makes_the_same_page(tmp_path, page):
    (tmp_path / "again").mkdir()
    assert made(tmp_path / "again", texts()) == page


def test_equal_answers_are_ties_and_not_shown(tmp_path):
    same = texts() | {0.5: texts()[0.25]}
    page = made(tmp_path, same)
    assert len(page.key["identical"]) == 2 and len(page.key["items"]) == PROMPTS - 2
    with_ties = rates({"p": page.key}, {"p": {"a": dict.fromkeys(page.key["items"], "left")}})
    assert sum(rate.counts.get("both_good", 0) for rate in with_ties) == 2 * 2


@pytest.mark.parametrize(
    ("own", "prompts", "message"),
    [
        (texts(2), None, "3 cells make 3 pairs, and each needs a prompt; there are 2"),
        (texts(), 7, "--prompts 7: these cells have answers to 6 prompts in eu"),
        (texts() | {1.0: texts(5)[1.0]}, None, "w1 was asked other prompts in eu than mini/linear/eu/w0.25"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path, own, prompts, message):
    with pytest.raises(UserError, match=message):
        made(tmp_path, own, prompts)


@pytest.mark.browser
def test_a_voter_votes_closes_the_tab_and_saves(page, tmp_path):
    path = tmp_path / "votes.html"
    path.write_text(page.html)
    with chromium(tmp_path / "profile") as browser:
        browser.downloads_to(tmp_path)
        browser.open(path)
        browser.wait("document.querySelectorAll('.answer').length === 2")
        assert browser.texts(".answer pre")[0].startswith("secret") and HOSTILE in browser.text(".answer pre")
        browser.click("[data-choice=left]")
        browser.key("3", 51)  # both are bad
        browser.run("document.getElementById('comment').focus()")
        browser.type("hau 4 da")
        assert "2 of 6 voted" in browser.text("#main")
        browser.wait("writes === 0")  # until then the browser would ask whether to leave the page
        browser.reload()
        browser.wait("document.querySelector('#comment') !== null")
        assert (
            "2 of 6 voted" in browser.text("#main")
            and browser.run("document.getElementById('comment').value") == "hau 4 da"
        )
        assert browser.run("document.getElementById('save').disabled")
        browser.click("#back")
        assert browser.run("document.querySelector('[aria-pressed=true]').dataset.choice") == "both_bad"
        browser.click("#next")
        for choice in ("both_good", "right", "left", "left"):
            browser.click(f"[data-choice={choice}]")
        assert "That is all" in browser.text("#main")
        browser.run("document.getElementById('voter').focus()")
        browser.type("Ane <b>")
        browser.click("#save")
        saved = tmp_path / f"votes-{page.key['page']}-ane-b.json"
        for _ in range(200):
            if saved.is_file():
                break
            browser.run("new Promise(done => setTimeout(done, 50))")
        assert browser.errors == [] and browser.run("document.title") == "Which answer is better? – Basque"
        assert {address.split(":")[0] for address in browser.requests} <= {"file", "blob"}
    content = json.loads(saved.read_text())
    assert content["voter"] == "Ane <b>" and content["page"] == page.key["page"]
    assert [vote["choice"] for vote in content["votes"]] == ["left", "both_bad", "both_good", "right", "left", "left"]
    assert content["votes"][2]["comment"] == "hau 4 da"
    found = read_votes([saved], {page.key["page"]: page.key})
    assert len(found[page.key["page"]]["Ane <b>"]) == PROMPTS


# ---- what comes back


def test_simulated_voters_recover_known_strengths():
    strengths = np.array([1.2, 0.4, -0.2, -1.4])
    cells = [f"mini/linear/eu/w{weight}" for weight in (1, 0.75, 0.5, 0.25)]
    drawn = np.random.default_rng(1)
    key, cast = {}, {"a": {}, "b": {}}
    for number, (left, right) in enumerate([*itertools.permutations(range(4), 2)] * 25):
        sides = {"left": cells[left], "right": cells[right]}
        key[str(number)] = {"task": "t", "document": str(number), "part": ["dev", "test"][number % 2], **sides}
        for own in cast.values():
            chance = 1 / (1 + np.exp(strengths[right] - strengths[left]))
            better = "left" if drawn.random() < chance else "right"
            own[str(number)] = drawn.choice(["both_good", "both_bad"]) if drawn.random() < 0.1 else better
    found = rates({"p": {"page": "p", "language": "eu", "cells": cells, "items": key, "identical": []}}, {"p": cast})
    assert [rate.cell for rate in found] == cells
    chances = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    # A tie is half a win for each, which draws every chance a tenth of the way to a half.
    truth = 100 * (0.9 * (chances.sum(1) - 0.5) / 3 + 0.1 / 2)
    bounds = [rate.interval for rate in found]
    assert all(low - 2 < expected < high + 2 for (low, high), expected in zip(bounds, truth, strict=True))
    assert all(0 < high - low < 15 for low, high in bounds)
    assert {rate.voters for rate in found} == {2}
    assert [{part: own.n for part, own in rate.parts.items()} for rate in found] == [
        {"all": 300, "dev": 150, "test": 150}
    ] * 4
    assert sum(rate.counts["won"] for rate in found) == sum(rate.counts["lost"] for rate in found)


def test_cells_that_no_votes_connect_are_not_ranked(page):
    one = {**page.key, "cells": CELLS}
    other = {**page.key, "cells": ["mini/dare/eu/w1", "mini/ties/eu/w1"]}
    sides = {"left": other["cells"][0], "right": other["cells"][1]}
    other["items"] = {"i": {"task": "t", "document": "d", "part": "dev", **sides}}
    cast = {"p": {"a": dict.fromkeys(one["items"], "left")}, "q": {"a": {"i": "left"}}}
    with pytest.raises(UserError, match=r"eu: no votes connect mini/linear/eu/w0.25 and mini/dare/eu/w1"):
        rates({"p": one, "q": other}, cast)


def test_win_rates_of_equals_are_a_half_and_of_the_unbeaten_finite():
    assert win_rates(np.full((3, 3), 2.0)) == pytest.approx([50, 50, 50])
    best, worst = win_rates(np.array([[0.0, 5.0], [0.0, 0.0]]))
    assert 90 < best < 100 and best + worst == pytest.approx(100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 10_000, "is not a file of votes"),
        ({"page": "p", "votes": []}, r"is not a file of votes .*'voter' is a required property"),
        ({"page": "other", "voter": "a", "votes": []}, "the page 'other', which this run does not have; it has p"),
        (
            {"page": "p", "voter": "a", "votes": [{"item": "i", "choice": "up"}]},
            r"\$.votes\[0\].choice: found 'up', expected \['left'",
        ),
        ({"page": "p", "voter": "a", "votes": [{"item": "j", "choice": "left"}]}, "a vote on 'j', which is no item"),
        (
            {"page": "p", "voter": "a", "votes": [{"item": "i", "choice": own} for own in ("left", "right")]},
            "two votes on i, which differ",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "votes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_votes([path], {"p": {"items": {"i": {}}}})


JUNK = [None, True, 0, -1.5, float("nan"), "", "x" * 5000, "\ud800", [], [[]], {}, {"a": None}]


def damaged(value: object) -> Iterator[object]:
    """The value with one of its parts replaced, or left out."""
    yield from JUNK
    if isinstance(value, dict | list):
        for key in [*(value if isinstance(value, dict) else range(len(value)))]:
            for part in damaged(value[key]):
                other = copy.copy(value)
                other[key] = part
                yield other
            other = copy.copy(value)
            del other[key]
            yield other


def test_whatever_a_file_holds_is_read_or_refused_in_one_line(page, tmp_path, monkeypatch):
    """Files of votes and keys, each with one part that is wrong: also keys of an older version,
    which lack one.
    """
    monkeypatch.setattr("langmerge.reporting.votes.RESAMPLES", 2)
    path, name = tmp_path / "votes.json", page.key["page"]
    key = page.key | {"items": dict(itertools.islice(page.key["items"].items(), 3))}
    votes = {"page": name, "voter": "Ane", "votes": [{"item": item, "choice": "left"} for item in key["items"]]}
    refused = Counter()
    for kind, contents in {"votes": damaged(votes), "key": damaged(key)}.items():
        for content in contents:
            path.write_text(json.dumps(content))
            try:
                if kind == "votes":
                    rates({name: key}, read_votes([path], {name: key}))
                else:
                    for known in read_keys([path]).values():
                        rates({known["page"]: known}, {known["page"]: {"Ane": dict.fromkeys(known["items"], "left")}})
                refused[kind, False] += 1
            except UserError as error:
                assert "\n" not in str(error)
                refused[kind, True] += 1
    assert min(refused.values()) > 3 and len(refused) == 4
    path.write_text(
        json.dumps({**key, "items": {"i": {"task": "t", "document": "d", "left": CELLS[0], "right": CELLS[1]}}})
    )
    with pytest.raises(UserError, match=r"\$.items.i: 'part' is a required property. Write it again by the same call"):
        read_keys([path])


def test_a_voter_counts_once(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(json.dumps({"page": "p", "voter": "Ane", "votes": []}))
    with pytest.raises(UserError, match="are both votes of 'Ane' on the page p"):
        read_votes(paths, {"p": {"items": {}}})


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("eu", "Linear, Basque, w = 0.25"),
        ("ca+eu", "Linear, ca + Basque, w = 0.25"),
        ("ca+es+eu", "Linear, 3 languages, w = 0.25"),
    ],
)
def test_what_a_cell_is_called(target, name):
    rate = Rate("eu", f"mini/linear/{target}/w0.25", {}, {}, 1, "")
    labels = {"backbones": {"mini": "Mini"}, "methods": {"linear": "Linear"}}
    assert model_label(rate, {"eu": "Basque"}, labels) == name


# ---- the command


BY_VOTES = {
    "tables": {"best": {"layout": "best", "methods": ["linear"], "criterion": ["votes"]}},
    "figures": {"sweep": {"methods": ["linear"], "measures": ["ifeval", "votes"]}},
}


@pytest.fixture
def grid(tmp_path, monkeypatch) -> Grid:
    """A run with answers of two cells and of the instruct model."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(copy.deepcopy(TINY_RUN) | BY_VOTES, sort_keys=False))
    Path("config/backbones").mkdir(parents=True)
    Path("config/backbones/tiny.yaml").write_text(yaml.safe_dump(TINY_BACKBONE))
    grid = read_run("run.yaml")
    for result in grid.results:
        folder = result.samples.parent / f".{result.samples.name}"
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder)
        model = result.model
        for language in grid.tasks.shards(model)[result.shard]:
            task = f"mini_ifeval_{language}"
            samples = [
                {"filtered_resps": [f"{model.id} {index}"], "doc": {"prompt": f"Galdera {index}"}} for index in range(4)
            ]
            more = {"target": "+".join(model.target), "language": language, "backbone": "tiny", "seed": 21}
            path = run.add(
                model.method, model.weight, task, "inst_level_strict_acc", [[True]] * 4, samples=samples, **more
            )
            result.samples.mkdir(parents=True, exist_ok=True)
            path.rename(result.samples / path.name)
        [one] = run.results.values()
        write_sealed(result.path, one)
    return grid


def test_from_a_page_to_the_tables_figures_and_the_page_of_the_run(grid, capsys):
    cells = ["tiny/linear/eu/w0.5", "tiny/linear/eu/w1", "tiny/instruct/none/w0"]
    call(votes, "make", "run.yaml", "--language", "eu", "--cells", *cells, "--prompts", 3)
    assert "3 pairs of answers" in capsys.readouterr().out
    [path] = grid.layout.votes.glob("*.key.json")
    key = json.loads(path.read_text())
    assert path.with_name(path.name.replace(".key.json", ".html")).is_file()
    cast = [
        {"item": id, "choice": "left" if entry["left"] == cells[1] else "right"} for id, entry in key["items"].items()
    ]
    Path("votes-ane.json").write_text(json.dumps({"page": key["page"], "voter": "Ane", "votes": cast}))
    call(votes, "collect", "run.yaml", "votes-ane.json")
    table = pd.read_csv("results/tiny/tables/votes.csv")
    assert set(table["method"]) == {"linear", "instruct"} and set(table["language"]) == {"eu"}
    assert (table["won"].sum(), table["lost"].sum()) == (3, 3)
    assert "linear, Basque, w = 1" in Path("results/tiny/tables/votes.md").read_text()
    assert r"\begin{tabular}" in Path("results/tiny/tables/votes.tex").read_text()
    assert Path("results/tiny/figures/votes.png").stat().st_size > 5000
    call(collect, "run.yaml")
    scores = pd.read_csv("results/tiny/scores.csv", keep_default_na=False, na_values={"weight": [""]})
    voted = scores[scores["measure"] == "votes"]
    assert {Model.of_columns(row).id for row in voted.to_dict("records")} == {*cells}
    assert sorted(voted.loc[voted["part"] == "all", "value"]) == pytest.approx(sorted(table["win_rate"]), abs=1e-4)
    call(report, "run.yaml", "report", "best", "sweep")
    best = Path("results/tiny/tables/best.md").read_text()
    assert "highest mean of Blind votes" in best and "Of 2 merges" not in best
    text = Path("results/tiny/report.html").read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert sorted(row[3] for row in data["scores"]["measures"] if row[2] == "votes") == sorted(
        table["win_rate"].round(2)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language", "fr", "--cells", "a", "b"], "--language fr: this run is evaluated in eu, en"),
        (["--language", "eu", "--cells", "a"], "expected the ids of two or more different models"),
        (["--language", "eu", "--cells", "tiny/linear/eu/w0.6", "b"], "w0.6 is not in this run"),
        (
            ["--language", "en", "--cells", "tiny/linear/eu/w0.5", "tiny/instruct/none/w0"],
            "w0.5 has no kept answers in en",
        ),
    ],
)
def test_what_the_run_does_not_have_is_refused(grid, arguments, message):
    with pytest.raises(UserError, match=message):
        call(votes, "make", "run.yaml", *arguments)
