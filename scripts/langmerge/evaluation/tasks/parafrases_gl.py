"""Documents of parafrases_gl, prepared as in lm-eval's own task; see parafrases_gl.yaml."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.utils import general_detokenize


def prepared(dataset: Dataset) -> Dataset:
    """Pairs with two sides, ready to be joined to "sentence, true? Yes, paraphrase".

    So there is no full stop before the comma and no capital after it.
    """
    return dataset.filter(lambda doc: doc["Frase"] and doc["Paráfrase"]).map(joinable)


def joinable(doc: dict[str, Any]) -> dict[str, Any]:
    """A pair without the full stop of the first sentence and the capital of the second."""
    sentence, paraphrase = (general_detokenize(doc[side]).strip() for side in ("Frase", "Paráfrase"))
    if sentence.endswith((".", ",", ";")):
        sentence = sentence[:-1]
    return {**doc, "Frase": sentence, "Paráfrase": paraphrase[0].lower() + paraphrase[1:]}
