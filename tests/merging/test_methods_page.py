"""docs/methods.md says what the code does."""

from __future__ import annotations

import pytest

from langmerge.merging.methods import METHODS
from langmerge.merging.methods_page import page, section
from langmerge.merging.passes.base import Preparation
from support.paths import ROOT


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == page(), (
        "run python -m langmerge.merging.methods_page > docs/methods.md"
    )


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_described(name):
    method = METHODS[name]
    text = "\n".join(section(method))
    assert text.startswith(f"## {name}\n")
    assert "\nSource: " in text
    for parameter in (*method.per_model, *method.overall):
        assert f"\n| `{parameter}` | " in text
    assert method.preparation is None or isinstance(method.preparation.passes, str)
    # The sentence about passes is not forgotten for a preparation with passes of its own.
    if method.preparation and method.preparation.first_pass is not Preparation.first_pass:
        assert method.preparation.passes != "none"


def test_parameters_of_a_method():
    rows = [line for part in section(METHODS["ties"]) for line in part.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `weight` | a model | required | numbers |",
        "| `density` | a model | 1 | numbers from 0 to 1 |",
        "| `rescale` | the merge | false | true, false, l1, density |",
        "| `normalize` | the merge | true | true, false |",
        "| `lambda` | the merge | 1 | numbers |",
    ]
