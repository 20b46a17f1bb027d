"""Documents of parafrases_gl, prepared as lm-eval's own task does it; see parafrases_gl.yaml.

lm-eval loads this file by its path, so it imports nothing of this project.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.utils import general_detokenize


def prepared(dataset: Dataset) -> Dataset:
    """Pairs of which neither side is empty, joined to "sentence, true? Yes, paraphrase": no full stop before the comma, no capital after it."""
    return dataset.filter(lambda doc: doc["Frase"] and doc["Paráfrase"]).map(joinable)


def joinable(doc: dict[str, Any]) -> dict[str, Any]:
    sentence, paraphrase = (general_detokenize(doc[side]).strip() for side in ("Frase", "Paráfrase"))
    if sentence.endswith((".", ",", ";")):
        sentence = sentence[:-1]
    return {**doc, "Frase": sentence, "Paráfrase": paraphrase[0].lower() + paraphrase[1:]}
