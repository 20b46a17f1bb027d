"""The registry of layouts: what the schema, the grid, the rules and the report's captions take from
it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import docutils.core
import jinja2
import jsonschema
import pytest
import yaml

from langmerge.measures import MEASURES, VOTES
from langmerge.reporting.entries import entries_schema
from langmerge.reporting.layouts import FIGURES, LAYOUTS, RESERVED, TABLES
from support.paths import ROOT

CAPTIONS = ROOT / "workflow" / "report"
NO_REPORTS = {"benchmarks.yaml", "paper-corpora.yaml", "paper-as-written.yaml"}
"""A catalogue, and a file that changes settings of paper.yaml."""

CONFIGS = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name not in NO_REPORTS)


def problems(kind: str, entries: dict) -> list[str]:
    """What the schema says of the entries of `tables` or `figures`."""
    validator = jsonschema.Draft202012Validator(entries_schema(kind))
    validator.check_schema(validator.schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(entries)]


def test_every_layout_has_a_module_that_makes_it():
    for name, layout in LAYOUTS.items():
        assert callable(import_module(f"langmerge.reporting.{name}").make)
        assert layout.kind in ("table", "figure", "page") and layout.reads in (
            "scores",
            "answers",
            "anatomies",
            "corpora",
            "searches",
            "histories",
        )
        assert layout.shown in layout.formats
        assert set(layout.required) <= set(layout.options)


def test_layouts_that_no_configuration_names_have_no_options():
    assert {*TABLES, *FIGURES, *RESERVED} == {*LAYOUTS, VOTES}
    assert RESERVED == ["compare", "table1", "searches", "anatomy", "curves", "report", VOTES]
    assert not any(LAYOUTS[name].options for name in RESERVED if name != VOTES)


def test_importing_the_registry_loads_nothing_heavy():
    code = (
        "import sys; import langmerge.reporting.layouts;"
        "print([name for name in ('numpy', 'pandas', 'matplotlib', 'torch', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_tables_and_figures_are_accepted(path):
    config = yaml.safe_load(path.read_text())
    assert config.keys() & {"tables", "figures"}
    for kind in ("table", "figure"):
        assert problems(kind, config.get(f"{kind}s", {})) == []


@pytest.mark.parametrize(
    ("kind", "entries", "message"),
    [
        ("table", {"t": {"layout": "nothing"}}, "'nothing' is not one of ['adapted', 'merges'"),
        ("table", {"t": {"methods": ["linear"]}}, "'layout' is a required property"),
        ("table", {"t": {"layout": "merges", "methods": ["linear"]}}, "'weights' is a required property"),
        ("table", {"t": {"layout": "adapted", "methods": ["linear"]}}, "'methods' was unexpected"),
        ("table", {"t": {"layout": "sweep"}}, "'sweep' is not one of"),
        ("table", {"t": {"layout": "best", "methods": []}}, "[] should be non-empty"),
        ("table", {"t": {"layout": "best", "methods": [False]}}, "False is not of type 'string'"),
        ("table", {"t": {"layout": "best", "methods": ["a"], "criterion": ["speed"]}}, "'speed' is not one of"),
        ("table", {"t": {"layout": "merges", "methods": ["a"], "weights": {"each": "good"}}}, "not valid under any"),
        ("table", {"t": {"layout": "best", "methods": ["a"], "measures": ["speed"]}}, "'speed' is not one of"),
        ("table", {"t": {"layout": "adapted", "measures": ["mt"]}}, "'measures' was unexpected"),
        ("table", {"compare": {"layout": "paired"}}, "'compare' does not match"),
        ("figure", {"anatomy": {"methods": ["a"]}}, "'anatomy' does not match"),
        ("figure", {"f": {"methods": ["a"], "measure": "mt"}}, "'measure' was unexpected"),
        ("figure", {"f": {"layout": "pareto", "methods": ["a"], "measure": "speed"}}, "'speed' is not one of"),
        ("figure", {"f": {"layout": "pareto", "methods": ["a"], "measures": ["mt"]}}, "'measures' was unexpected"),
        ("figure", {"f": {}}, "'methods' is a required property"),
        ("figure", {"f": {"methods": ["a"], "options": {"width": -1}}}, "-1 is less than or equal to the minimum of 0"),
        ("figure", {"f": {"methods": ["a"], "options": {"formats": ["gif"]}}}, "'formats' was unexpected"),
    ],
)
def test_a_wrong_entry_is_refused(kind, entries, message):
    found = problems(kind, entries)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize("weights", ["best", {"each": 1}, {"each": "best", "multi": 0.25}, {"linear": {"each": 1}}])
def test_weights_have_three_forms(weights):
    assert problems("table", {"t": {"layout": "merges", "methods": ["linear"], "weights": weights}}) == []


@pytest.mark.parametrize("layout", ["merges", "methods", "tasks", "best"])
def test_these_tables_may_name_their_measures(layout):
    entry = {"layout": layout, "methods": ["linear"], "measures": ["fidelity", "chrf"]}
    assert problems("table", {"t": entry | ({} if layout == "best" else {"weights": "best"})}) == []


def test_a_figure_without_a_layout_is_a_sweep():
    assert problems("figure", {"f": {"methods": ["a"], "measures": [*MEASURES]}}) == []


# ---- captions of `snakemake --report`


@pytest.mark.parametrize("layout", LAYOUTS)
def test_captions_of_layouts_are_sound(layout):
    assert len(rendered("report", caption=LAYOUTS[layout].caption)) > 100


@pytest.mark.parametrize("name", ["scores", "workflow"])
def test_other_captions_are_sound(name):
    config = {"run": "my_run", "languages": ["eu", "gl_"], "backbones": ["a_", "b"]}
    html = rendered(name, config=config)
    assert len(html) > 100
    assert name != "workflow" or all(word in html for word in ("my_run", "gl_", "a_"))


def test_every_caption_is_tested():
    assert sorted(path.stem for path in CAPTIONS.iterdir()) == ["report", "scores", "workflow"]


def rendered(name: str, caption: str = "", config: dict | None = None) -> str:
    """A caption as Snakemake renders it, but with an undefined name or a slip in the markup as an
    error.
    """
    job = SimpleNamespace(params=SimpleNamespace(caption=caption), config=config or {})
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string((CAPTIONS / f"{name}.rst").read_text())
    settings = {"halt_level": 2}
    html = docutils.core.publish_parts(template.render(snakemake=job), writer="html", settings_overrides=settings)
    return re.sub("<[^>]+>", "", html["body"])
