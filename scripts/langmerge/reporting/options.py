"""The JSON schemas of what a configuration may tell a table or a figure."""

from __future__ import annotations

from typing import Any

from langmerge.measures import CRITERIA, MEASURES

Schema = dict[str, Any]
"""A JSON schema."""

TITLE: Schema = {"type": "string", "description": "a sentence for the top of the table or figure"}
NAME: Schema = {"type": "string", "maxLength": 100, "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"}
NAMES: Schema = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": NAME,
    "description": "a list of names, each once (quote the words no, on and yes)",
}
WEIGHT: Schema = {"oneOf": [{"type": "number"}, {"const": "best"}]}
WEIGHTS_OF_KINDS: Schema = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {"each": WEIGHT, "multi": WEIGHT},
}
WEIGHTS: Schema = {
    "anyOf": [
        {"const": "best"},
        WEIGHTS_OF_KINDS,
        {"type": "object", "additionalProperties": {"anyOf": [{"const": "best"}, WEIGHTS_OF_KINDS]}},
    ],
    "description": "{each: 1.0, multi: 0.25}, such a mapping for each method, or the word best",
}
CRITERION: Schema = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"enum": [*CRITERIA]},
    "description": "measures; their mean is the language score of a model",
}
SHOWN_MEASURES: Schema = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"enum": [*MEASURES]},
    "description": "measures, in the order of their panels, columns or blocks; default: all but chrf that have scores",
}
SIZE: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "description": "inches, up to 100"}
DPI: Schema = {"type": "number", "minimum": 10, "maximum": 2400, "description": "dots per inch, from 10 to 2400"}
KEEP: Schema = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": NAME,
    "description": "measures and codes of languages in which a merge must have lost nothing; `margins` of the run says"
    " what nothing is",
}
LOOK: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "width": SIZE,
        "height_per_row": SIZE,
        "dpi": DPI,
        "palette": {"type": "array", "minItems": 1, "items": {"type": "string"}},
    },
    "description": "width and height_per_row (inches), dpi (of the PNG file), palette (a list of colours)",
}
MEASURE: Schema = {"enum": [*CRITERIA], "description": "one measure"}
ALIAS: Schema = {
    **NAME,
    "description": "what a paper calls it, such as table3; `langmerge report` takes it as a name too",
}
