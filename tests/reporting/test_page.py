"""The interactive page, in a real Chromium: what a user sees, chooses and reads, without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.grid.grid import Grid
from langmerge.reporting import shown_answers
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.pages import embedded
from langmerge.reporting.scores import of_results
from langmerge.reporting.shown_answers import shown
from langmerge.reporting.sources import Sources
from support.answers import Run, answers
from support.browser import Browser, chromium

HOSTILE = (
    "</script><img src=x onerror=\"document.title='broken'\"> <b>bold</b> & \u2028 \ud800 ${document.title='broken'}"
)
SPEC = {
    "run": "tiny <run>",
    "labels": {
        "backbones": {"mini": "Mini"},
        "methods": {"linear": "Linear <b>", "task_arithmetic": "Task Arithmetic"},
    },
    "languages": ["eu", "gl"],
    "evaluation_languages": ["en"],
    "names": {"eu": "Basque", "gl": "Galician", "en": "English"},
}
WEIGHTS = (0.5, 1.0)
DOCUMENTS = 6
CHOICES = [["Question?", " yes"], ["Question?", " no"]]


def written(text: str, **more) -> dict:
    return {"filtered_resps": [text], "resps": [[text]], "arguments": [["Prompt of the model", {}]], **more}


def ifeval(method: str, weight: float | None, language: str) -> list[dict]:
    """Answers to prompts with two instructions; w = 1 has one that is hostile, cut and in English."""
    doc = {"instruction_id_list": ["keywords:existence", "change_case:english_lowercase"]}
    samples = []
    for index in range(DOCUMENTS):
        text = f"{method} {weight} erantzuna {index} da, eta hau da bat"
        more = {"doc": {**doc, "prompt": f"Idatzi {index} {HOSTILE}"}, "finished": [True], "truncated": 0}
        if weight == 1 and index == 0:
            text, more["finished"], more["truncated"] = f"This is an answer in English, {HOSTILE}", [False], 3
        samples.append(written(text, **more))
    return samples


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Two methods, two languages, two weights, and their references, with all that the page reads."""
    run = Run(tmp_path_factory.mktemp("run"))
    models = [("instruct", None, ""), *(("adapted", None, code) for code in SPEC["languages"])]
    models += [(method, w, code) for code in SPEC["languages"] for method in SPEC["labels"]["methods"] for w in WEIGHTS]
    for seed, (method, weight, target) in enumerate(models):
        for language in [target] if target else SPEC["languages"]:
            same = {"target": target, "language": language}
            right = answers(seed, DOCUMENTS, 0.6)
            own = {"filtered_resps": [[-1.0, False], [-2.0, False]], "arguments": CHOICES, "target": 0}
            run.add(method, weight, f"quiz_{language}", "acc", right, samples=[own] * DOCUMENTS, **same)
            verdicts = [[bool(hit), True] for hit in right]
            more = {"measure": "ifeval", "samples": ifeval(method, weight, language), **same}
            run.add(method, weight, f"ifeval_{language}", "inst_level_strict_acc", verdicts, **more)
    return run


def sources(run: Run) -> Sources:
    return Sources(
        scores=of_results((one.path, one.result) for one in run.answered),
        answers=run.answered,
        recipes={"mini/linear/eu/w1": {"merge_method": "linear", "models": [{"model": "mini/instruct/none/w0"}]}},
        families={f"quiz_{code}": "quiz_{language}" for code in SPEC["languages"]},
        candidates=["en", "eu", "gl"],
    )


@pytest.fixture(scope="module")
def path(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(LAYOUTS["report"].make(sources(run), SPEC, "report")["html"].encode())
    return path


@pytest.fixture(scope="module")
def tab(path, tmp_path_factory) -> Browser:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(path)
        yield browser


@pytest.fixture
def browser(tab) -> Browser:
    """The page as it is when it has just been opened; nothing may have been asked for or gone
    wrong.
    """
    tab.run("location.hash = ''")
    tab.reload()
    tab.wait("document.querySelectorAll('#grid tbody tr').length > 0")
    yield tab
    assert tab.errors == []
    assert {address.split("#")[0].split(":")[0] for address in tab.requests} <= {"file", "data", "blob"}
    assert {address.split("#")[0] for address in tab.requests if address.startswith("file")} == {
        tab.run("location.href.split('#')[0]")
    }
    assert tab.run("document.title") == "tiny <run> – langmerge"


def names(browser: Browser) -> list[str]:
    """The models of the grid, from top to bottom."""
    rows = browser.texts("#grid tbody tr")
    return [" ".join(re.split(r"\s+", row)) for row in rows]


@pytest.mark.browser
def test_the_grid_is_filtered(browser):
    assert len(names(browser)) == 1 + 2 + 2 * 2 * 2
    browser.click("fieldset label", "Task Arithmetic")
    browser.click("fieldset label", "Galician")
    assert [name.split(" ")[0] for name in names(browser)] == ["Instruct", "Adapted", "Linear", "Linear"]
    browser.run("document.querySelector('input[type=search]').focus()")
    browser.type("w = 1")
    browser.wait("document.querySelectorAll('#grid tbody tr').length === 1")
    assert names(browser)[0].startswith("Linear <b> Basque 1")
    assert "1 of 11 models" in browser.text("#grid caption")


@pytest.mark.browser
def test_the_grid_is_sorted_by_keyboard(browser):
    browser.run(
        "[...document.querySelectorAll('thead button')].find(one => one.innerText.startsWith('Benchmarks')).focus()"
    )
    for order in ("descending", "ascending"):
        browser.key("Enter", 13)
        assert browser.run("document.activeElement.closest('th').ariaSort") == order
        cells = browser.run(
            "[...document.querySelectorAll('#grid tbody tr')].map(row => parseFloat(row.cells[3].innerText))"
        )
        assert cells == sorted(cells, reverse=order == "descending") and len({*cells}) > 1


@pytest.mark.browser
def test_single_tasks_can_be_columns(browser):
    browser.choose("columns", "benchmark")
    assert browser.texts("#grid thead th")[3:] == ["quiz"]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("view", "chosen"),
    [
        ("sweep", {"sweepScore": "benchmark/quiz_{language}", "sweepLines": "method", "sweepPanels": "target"}),
        ("pareto", {"paretoX": "benchmark", "paretoY": "ifeval", "paretoPanels": "none"}),
        ("forest", {"forestScore": "benchmark/quiz_{language}", "tested": "eu"}),
    ],
)
def test_plots_show_what_is_chosen(browser, view, chosen):
    browser.run(f"location.hash = '#view={view}'")
    browser.wait("document.querySelectorAll('.plot .scatterlayer .trace').length > 0")
    before = browser.run("JSON.stringify(document.querySelector('.plot').data.map(one => [one.x, one.y]))")
    for name, value in chosen.items():
        browser.choose(name, value)
    after = browser.run("document.querySelector('.plot').data.map(one => [one.x, one.y])")
    assert json.dumps(after, separators=(",", ":")) != before
    hover = browser.run("document.querySelector('.plot').data.flatMap(one => one.hovertext ?? [])")
    assert any(
        "Linear &lt;b>, Basque, w = 1" in text and "mini/instruct/none/w0" in text and "[" in text for text in hover
    )
    browser.click("summary", "The numbers of this plot")
    assert len(browser.texts(".scroll tbody tr")) > 3


@pytest.mark.browser
def test_a_plot_keeps_its_height_when_the_window_changes(browser):
    """A narrower window, and what is printed: rows would run into each other."""
    browser.run("location.hash = '#view=forest'")
    browser.wait("document.querySelectorAll('.plot .scatterlayer .trace').length > 0")
    heights = "['.plot', '.plot .main-svg'].map(name => document.querySelector(name).getBoundingClientRect().height)"
    before = browser.run(heights)
    assert before[0] == before[1] > 24 * 11
    for width in (1000, 800):
        browser.resize(width)
        browser.wait(f"document.querySelector('.plot .main-svg').getBoundingClientRect().width < {width}")
    assert browser.run(heights) == before
    browser.resize()


@pytest.mark.browser
def test_a_click_on_a_point_leads_to_its_cell(browser):
    browser.run("location.hash = '#view=forest'")
    browser.wait("document.querySelectorAll('.plot .scatterlayer .trace').length > 0")
    browser.run("document.querySelector('.plot').emit('plotly_click', {points: [{customdata: 0}]})")
    assert "Instruct" in browser.wait(
        "document.querySelector('h2')?.innerText.includes('Instruct') && document.querySelector('h2').innerText"
    )


@pytest.mark.browser
def test_from_a_cell_to_its_answers_side_by_side(browser):
    """And what is hostile stays text."""
    browser.run(
        "[...document.querySelectorAll('#grid tbody tr')].find(row => /Linear.*Basque\\s+1/s.test(row.innerText)).querySelector('a').focus()"
    )
    browser.key("Enter", 13)
    browser.wait("document.querySelector('#cell') !== null")
    assert browser.run("document.activeElement.id") == "main"
    browser.click("#cell a", "ifeval_eu")
    browser.wait("document.querySelectorAll('details.document').length === 6")
    assert "All 6 documents" in browser.text("[role=status]")
    browser.choose("filter", "signs")
    assert len(browser.texts("details.document")) == 1
    browser.click("details.document summary")
    browser.wait("document.querySelectorAll('.answer').length > 0")
    titles = browser.texts(".answer h4")
    assert titles == ["Instruct", "Linear <b>, w = 0.5", "Linear <b>, w = 1 (this model)", "Adapted, Basque"]
    answer = browser.texts(".answer")[2]
    assert "</script><img src=x onerror=" in answer and "<b>bold</b>" in answer
    assert "cut at the limit" in answer and "prompt cut by 3 tokens" in answer
    assert "Language: English (another than the task's)" in answer
    assert "follows change_case:english_lowercase" in answer
    assert browser.run("document.querySelectorAll('.answer')[2].querySelectorAll('mark').length") > 3
    assert browser.run("document.querySelectorAll('.answer')[0].querySelectorAll('mark').length") == 0
    browser.choose("marks", "nothing")
    assert browser.run("document.querySelectorAll('mark').length") == 0
    browser.choose("filter", "all")
    browser.choose("beside", "method")
    browser.click("details.document summary")
    browser.wait("document.querySelectorAll('.answer').length > 0")
    assert "Task Arithmetic, w = 1" in browser.texts(".answer h4")
    assert browser.run("document.querySelectorAll('main img').length") == 0


@pytest.mark.browser
def test_choices_are_shown_with_the_right_one(browser):
    browser.run("location.hash = '#view=task&task=quiz_eu&model=mini/linear/eu/w1'")
    browser.wait("document.querySelectorAll('details.document').length === 6")
    browser.click("details.document summary")
    browser.wait("document.querySelectorAll('.answer').length > 0")
    assert browser.texts(".given li") == ["yes ✓ right", "no"]
    assert browser.texts(".answer p")[0] == "1. yes"


@pytest.mark.browser
def test_what_the_page_does_not_have_is_said(browser):
    browser.run("location.hash = '#view=cell&model=mini/linear/eu/w9'")
    browser.wait("document.querySelector('h2').innerText === 'Not in this page'")
    browser.run("location.hash = '#view=toString'")
    browser.wait("document.querySelector('h2').innerText === 'The grid'")
    browser.run("location.hash = '#view=task&task=toString&model=mini/linear/eu/w1'")
    browser.wait("document.querySelector('h2').innerText === 'Not in this page'")


# ---- without a browser


def test_data_cannot_end_its_element():
    text = embedded({"text": HOSTILE})
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", text)
    assert json.loads(text) == {"text": HOSTILE}


def test_the_same_answers_give_the_same_page(run, path):
    again = LAYOUTS["report"].make(sources(run), SPEC, "report")["html"]
    assert again.encode() == path.read_bytes()
    assert len(again) < 8_000_000


def test_large_runs_show_a_sample_that_all_models_share(run, monkeypatch):
    answered = list(enumerate(run.answered))
    whole = shown(answered, ["en", "eu"])["quiz_eu"]
    assert len(whole["documents"]) == whole["total"] == DOCUMENTS
    monkeypatch.setattr(shown_answers, "ROOM", 2000)
    some = shown(answered, ["en", "eu"])["quiz_eu"]
    assert some["total"] == DOCUMENTS and 1 <= len(some["documents"]) < DOCUMENTS
    assert some["documents"] == whole["documents"][: len(some["documents"])]
    assert {len(own) for seeds in some["answers"].values() for own in seeds.values()} == {len(some["documents"])}
    monkeypatch.setattr(shown_answers, "AT_MOST", 1)
    assert len(shown(answered, ["en", "eu"])["quiz_eu"]["documents"]) == 1


def test_a_damaged_file_of_answers_is_named(tmp_path):
    run = Run(tmp_path)
    path = run.add("instruct", None, "quiz_eu", "acc", [1.0])
    path.write_bytes(b"no answers")
    with pytest.raises(UserError, match=f"{path.name} does not hold answers with the metric acc"):
        shown(list(enumerate(run.answered)), ["eu"])


def test_every_run_has_the_page(config):
    report = Grid(config).reports["report"]
    assert report.spec["names"]["eu"] == "Basque" and not report.in_preview
