"""The JSON schema of a configuration's tables and figures. Light: every dry run imports this
module.
"""

from __future__ import annotations

from typing import Literal

from langmerge.reporting.layouts import DEFAULT_FIGURE, FIGURES, LAYOUTS, RESERVED, TABLES, Schema


def entries_schema(kind: Literal["table", "figure"]) -> Schema:
    """JSON schema of a configuration's `tables` or `figures`: each entry is checked by the options
    of its layout.
    """
    names = TABLES if kind == "table" else FIGURES
    entry: Schema = {
        "type": "object",
        "properties": {"layout": {"enum": names}},
        "required": ["layout"] if kind == "table" else [],
        "allOf": [
            {
                "if": {
                    "properties": {"layout": {"const": name}},
                    "required": [] if name == DEFAULT_FIGURE else ["layout"],
                },
                "then": LAYOUTS[name].schema(),
            }
            for name in names
        ],
    }
    taken = "|".join(RESERVED)
    return {
        "type": "object",
        "propertyNames": {
            "maxLength": 100,
            "pattern": f"^(?!(?:{taken})$)[a-z][a-z0-9_]*$",
            "description": f"small letters, digits and _; the names {' and '.join(RESERVED)} are taken",
        },
        "additionalProperties": entry,
    }
