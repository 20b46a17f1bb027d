"""A model of a run: a cell of the grid, which is a merge, or a reference model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXTRA = "extra"
"""The method of models with a skill that methods of the run add, such as `mini/extra/maths/w1`: the
target is the name that the backbone's file gives one.
"""

REFERENCES = ("base", "instruct", "adapted", "joint", EXTRA)
"""The models of a backbone that are not merges, as its file names them."""

SIDES = ("base", "instruct", "adapted")
"""Those that a merge of a language is made from."""

NO_TARGET = "none"
"""What an id has in place of languages, for base and instruct."""


@dataclass(frozen=True, order=True)
class Model:
    """One model.

    Attributes:
        backbone: name of a file in config/backbones.
        method: a method of the run, or one of REFERENCES.
        target: the languages merged in, sorted; one for adapted and joint; none for base and
            instruct; the name of an extra.
        weight: w of a merge; None for a reference model.
    """

    backbone: str
    method: str
    target: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def is_merge(self) -> bool:
        return self.method not in REFERENCES

    @property
    def id(self) -> str:
        """backbone/method/target/w<weight>, such as mini/linear/ca+eu/w0.25, mini/adapted/eu/w1 and
        mini/instruct/none/w0.

        Reference models, which have no weight, are written with w1 or, without a target, w0.
        """
        weight = (1 if self.target else 0) if self.weight is None else self.weight
        return f"{self.backbone}/{self.method}/{'+'.join(self.target) or NO_TARGET}/w{weight:g}"

    @classmethod
    def parse(cls, id: str) -> Model:
        """The model that has an id.

        Raises:
            ValueError: no model has it.
        """
        parts = id.split("/")
        if len(parts) != 4 or not parts[3].startswith("w"):
            raise ValueError(f"{id!r} is not the id of a model, such as mini/linear/eu/w0.5")
        backbone, method, target, weight = parts
        languages = () if target == NO_TARGET else tuple(target.split("+"))
        model = cls(backbone, method, languages, None if method in REFERENCES else float(weight[1:]))
        if model.id != id:
            raise ValueError(f"{id!r} is not the id of a model; {model.id!r} would be one")
        return model

    def columns(self) -> dict[str, Any]:
        """The columns of results and of scores.csv that say which model a number belongs to."""
        target = "+".join(self.target)
        return {"backbone": self.backbone, "method": self.method, "target": target, "weight": self.weight}

    @classmethod
    def of_columns(cls, columns: Mapping[str, Any]) -> Model:
        """The model that `columns` describe; a weight that is missing may be None or NaN."""
        weight = columns["weight"]
        languages = tuple(columns["target"].split("+")) if columns["target"] else ()
        is_missing = weight is None or weight != weight
        return cls(columns["backbone"], columns["method"], languages, None if is_missing else float(weight))
