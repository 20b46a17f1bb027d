"""What a merge method is: an equation in a function, from whose signature everything else about it is derived.

numpy only: workflow/grid.py checks its configuration with this at every dry run.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from common import UserError

Array = np.ndarray
Uniform = Callable[[int, tuple[int, ...]], Array]
"""uniform(model's index, shape) -> fp32 random numbers in [0, 1)."""


@dataclass(frozen=True)
class Between:
    """The closed range of a parameter's values."""

    low: float = -math.inf
    high: float = math.inf


PerModel = tuple[float, ...]
"""Annotates a parameter that each model has a value of its own of; its default is the default of each."""
SharePerModel = Annotated[PerModel, Between(0, 1)]
Share = Annotated[float, Between(0, 1)]

REQUIRED = inspect.Parameter.empty

METHODS: dict[str, Method] = {}
"""Every merge method by its name in mergekit's YAML."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method: `name` in recipes, `argument` of the function; `default` is REQUIRED where the recipe must give a value."""

    name: str
    argument: str
    kind: type
    default: Any
    range: Between

    def check(self, value: Any, where: str) -> Any:
        """Return the value, a number as float.

        Raises:
            UserError: it is of another type, not finite or out of range.
        """
        if self.kind is bool:
            if not isinstance(value, bool):
                raise UserError(f"{where}: {self.name} is {value!r}, expected true or false.")
            return value
        if isinstance(value, list | dict):
            raise UserError(f"{where}: {self.name} is {value!r}. Gradients (lists) and filters are not supported: give one number.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where}: {self.name} is {value!r}, expected a finite number, such as 0.5.")
        if not self.range.low <= value <= self.range.high:
            raise UserError(f"{where}: {self.name} is {value!r}, expected {self.range.low:g} <= {self.name} <= {self.range.high:g}.")
        return float(value)


@dataclass(frozen=True)
class Method:
    """A merge method.

    Attributes:
        function: the equation, of one tensor in fp32. Its signature: `base`, if it needs one; `models`, any number of
            them, read one after the other, or `other`, exactly one; `uniform`, if it draws random numbers; then, by
            keyword, its parameters (a trailing underscore keeps clear of Python's own words: lambda_).
        per_model: parameters that each model has a value of its own of.
        overall: parameters of the merge as a whole.
        min_models, max_models: how many different models take part, the base included; None: any number.
    """

    name: str
    function: Callable[..., Array]
    needs_base: bool
    needs_uniform: bool
    per_model: Mapping[str, Parameter]
    overall: Mapping[str, Parameter]
    min_models: int
    max_models: int | None

    def __call__(self, base: Array | None, models: Iterable[Array], parameters: Mapping[str, Any], uniform: Uniform) -> Array:
        """Merge one tensor. `models` are those other than the base; `parameters` are what `check_parameters` returned."""
        arguments: list[Any] = [base] if self.needs_base else []
        arguments += [*models] if self.max_models else [models]
        arguments += [uniform] if self.needs_uniform else []
        return self.function(*arguments, **parameters)

    def check_count(self, found: int) -> None:
        """Refuse a number of different models, base included, that the method cannot merge."""
        if found < self.min_models or (self.max_models and found > self.max_models):
            expected = f"exactly {self.max_models}" if self.max_models else f"at least {self.min_models}"
            base = ", the base included" if self.needs_base else ""
            raise UserError(f"{self.name} merges {expected} models{base}; found {found}.")


def method(function: Callable[..., Array]) -> Callable[..., Array]:
    """Enter a function into METHODS under its name, as its signature describes it."""
    signature = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    per_model, overall = {}, {}
    for name, argument in signature.items():
        if argument.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind, limits = hints[name], Between()
        if get_origin(kind) is Annotated:
            kind, limits = get_args(kind)
        parameter = Parameter(name.rstrip("_"), name, kind, argument.default, limits)
        (per_model if kind == PerModel else overall)[parameter.name] = parameter
    needs_base = "base" in signature
    METHODS[function.__name__] = Method(
        name=function.__name__,
        function=function,
        needs_base=needs_base,
        needs_uniform="uniform" in signature,
        per_model=per_model,
        overall=overall,
        min_models=1 + needs_base,
        max_models=2 if "other" in signature else None,
    )
    return function


def check_parameters(
    method: Method,
    models_parameters: Sequence[Mapping[str, Any]],
    global_parameters: Mapping[str, Any],
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Check a recipe's parameters and return the keyword arguments of the method's function.

    As in mergekit, a per-model parameter given globally holds for the models that have none of their own.

    Args:
        models_parameters: of each entry of the recipe's `models`.
        names: how messages call each entry; without them models[0], models[1], ...

    Raises:
        UserError: a parameter that does not exist, stands at the wrong level, is missing, or has an impossible value; too many models.
    """
    names = names or [f"models[{index}]" for index in range(len(models_parameters))]
    if method.max_models and len(models_parameters) > method.max_models:
        method.check_count(len(models_parameters))
    check_names(method, global_parameters, "the global parameters", [*method.overall, *method.per_model])
    for given, name in zip(models_parameters, names, strict=True):
        check_names(method, given, name, method.per_model)

    def value(parameter: Parameter, *levels: tuple[str, Mapping[str, Any]]) -> Any:
        for where, given in levels:
            if parameter.name in given:
                return parameter.check(given[parameter.name], where)
        if parameter.default is REQUIRED:
            raise UserError(f"{levels[0][0]}: {parameter.name} is missing; {method.name} needs it under `parameters`.")
        return parameter.default

    everywhere = ("the global parameters", global_parameters)
    arguments: dict[str, Any] = {each.argument: value(each, everywhere) for each in method.overall.values()}
    for each in method.per_model.values():
        levels = zip(names, models_parameters, strict=True)
        arguments[each.argument] = tuple(value(each, own, everywhere) for own in levels)
    # What parameters must hold together is said beside each equation: one weight of a merge shows whether they do.
    one = np.ones(1, np.float32)
    others = 1 if method.max_models else len(models_parameters)
    method(one, [one] * others, arguments, lambda _, shape: np.zeros(shape, np.float32))
    return arguments


def check_names(method: Method, given: Mapping[str, Any], where: str, allowed: Iterable[str]) -> None:
    """Refuse parameters that do not exist, or that belong to the other level."""
    for name in given:
        if name in allowed:
            continue
        if name in method.overall:
            raise UserError(f"{where}: {name} holds for the whole merge, not for one model. Move it to the global `parameters`.")
        known = f"of each model: {', '.join(method.per_model) or 'none'}; global: {', '.join(method.overall) or 'none'}"
        raise UserError(f"{where}: {method.name} has no parameter {name!r}. Its parameters are, {known}.")
