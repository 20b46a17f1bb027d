"""HTML pages that are one file: style, scripts and data are in it, and it asks nobody for more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

FOLDER = Path(__file__).with_name("page")
"""Where the parts of the pages are: HTML, style and scripts."""

UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
"""What could end the element that holds the data, is a line break in JavaScript, or has no UTF-8."""


def page(template: str, scripts: Iterable[str], data: Any, library: str = "", **values: Any) -> str:
    """A page from a template of FOLDER.

    Args:
        scripts: names of scripts in FOLDER, in their order.
        data: what they find as JSON in the element `data`.
        library: the source of a script that comes before them.
        values: what else the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        library=library,
        script="\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts),
        data=embedded(data),
        **values,
    )


def embedded(data: Any) -> str:
    """Data as JSON that stays text within a script element, whatever it holds.

    Raises:
        ValueError: a number that JSON does not have.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
