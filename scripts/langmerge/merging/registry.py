"""What a merge method is: an equation in a function, and what follows from its signature.

Shapes: `C` weights of a chunk, `M` models without the base.

Nothing compiled is imported here: the grid checks its configuration with this module at every dry
run.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from langmerge.errors import UserError
from langmerge.merging.passes.base import Preparation
from langmerge.merging.settings import Setting
from langmerge.merging.tensors import Array, TensorInfo


@dataclass(frozen=True)
class Between:
    """The closed range of a parameter's values."""

    low: float = -math.inf
    high: float = math.inf


PerModel = tuple[float, ...]
"""Annotates a parameter with a value for each model, (M,); its default is the default of each."""
SharePerModel = Annotated[PerModel, Between(0, 1)]
NotNegativePerModel = Annotated[PerModel, Between(low=0)]
Share = Annotated[float, Between(0, 1)]
NotNegative = Annotated[float, Between(low=0)]
Count = Annotated[int, Between(low=0)]
Rescale = bool | str
"""Annotates the choice of a rescaling (passes/pruning.py)."""
RESCALINGS = (True, False, "l1", "density")

REQUIRED = inspect.Parameter.empty

METHODS: dict[str, Method] = {}
"""Every merge method by its name in mergekit's YAML."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: in recipes.
        argument: of the function.
        kind: its type, as annotated.
        default: REQUIRED where the recipe must give a value.
        range: of numbers.
    """

    name: str
    argument: str
    kind: Any
    default: Any
    range: Between

    def check(self, value: Any, where: str) -> Setting:
        """Return the values in a recipe: one, or one for each layer or group of tensors.

        Raises:
            UserError: one is of another type, not finite or out of range.
        """
        return Setting.read(value, f"{where}: {self.name}", self.check_one, gradients=self.kind in (float, PerModel))

    def check_one(self, value: Any, where: str) -> Any:
        """Return one value, as float unless it is a whole number, a bool or a text."""
        if self.kind is bool:
            if not isinstance(value, bool):
                raise UserError(f"{where} is {value!r}, expected true or false.")
            return value
        if self.kind == Rescale:
            if value not in RESCALINGS or not isinstance(value, bool | str):
                raise UserError(f"{where} is {value!r}, expected true (or l1, which is the same), density or false.")
            return value
        if self.kind is int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(f"{where} is {value!r}, expected a whole number, such as 2.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where} is {value!r}, expected a finite number, such as 0.5.")
        if not self.range.low <= value <= self.range.high:
            raise UserError(f"{where} is {value!r}, expected {self.range.low:g} <= {self.name} <= {self.range.high:g}.")
        return value if self.kind is int else float(value)


@dataclass(frozen=True)
class Method:
    """A merge method.

    Attributes:
        function: the equation of one chunk, which it gets as bits (expressions.py). Its signature
            has, in this order: `base` (C,), if it needs one, or takes one (`Array | None`);
            `models` (M, C), as many as its annotation says, or `other` (C,), exactly one; an
            argument annotated with a subclass of Preparation, if it must know something of the
            whole tensor (it gets what `for_chunk` returns); and its parameters, by keyword only. A
            trailing underscore avoids Python's own words (lambda_).
        needs_base, takes_base: whether it must, and whether it may have one.
        takes_other: whether it gets `other`.
        preparation: that subclass. Its keyword arguments are parameters of the method, too.
        preparation_parameters: their names.
        per_model: parameters with a value for each model.
        overall: parameters of the merge as a whole.
        min_models, max_models: how many different models take part, the base included where it is
            needed; None for any number.
    """

    name: str
    function: Callable[..., Any]
    needs_base: bool
    takes_base: bool
    takes_other: bool
    preparation: type[Preparation] | None
    preparation_parameters: frozenset[str]
    per_model: Mapping[str, Parameter]
    overall: Mapping[str, Parameter]
    min_models: int
    max_models: int | None

    def __call__(self, base: Array | None, models: Array, prepared: Any, arguments: Mapping[str, Any]) -> Any:
        """Merge a chunk.

        Args:
            base, models: the bits, (C,) and (M, C).
            prepared: what the preparation returned for the chunk.
            arguments: the equation's arguments for the tensor (see `split`).

        Returns:
            An Expression.
        """
        given: list[Any] = [base] if self.takes_base else []
        given += [models[0] if self.takes_other else models]
        given += [prepared] if self.preparation else []
        return self.function(*given, **arguments)

    def split(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of the preparation and those of the equation.

        Raises:
            UserError: they contradict each other.
        """
        preparation = {name: value for name, value in arguments.items() if name in self.preparation_parameters}
        equation = {name: value for name, value in arguments.items() if name not in self.preparation_parameters}
        if self.preparation:
            self.preparation.check(**preparation)
        if equation.get("normalize"):
            divisor(equation["weight"])
        return preparation, equation

    def check_count(self, count: int) -> None:
        """Refuse a number of different models, the base included, that the method cannot merge."""
        if count < self.min_models or (self.max_models and count > self.max_models):
            expected = f"exactly {self.max_models}" if self.max_models else f"at least {self.min_models}"
            base = ", the base included" if self.needs_base else ""
            raise UserError(f"{self.name} merges {expected} models{base}; found {count}.")


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function as the merge method of its name, as its signature describes it."""
    signature = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    preparations = [hint for hint in hints.values() if isinstance(hint, type) and issubclass(hint, Preparation)]
    preparation = preparations[0] if preparations else None
    own, of_preparation = keyword_parameters(function), keyword_parameters(preparation.__init__) if preparation else []
    parameters = [*own[:1], *of_preparation, *own[1:]]
    takes_base, takes_other = "base" in signature, "other" in signature
    needs_base = takes_base and hints["base"] is Array
    number = Between(1, 1) if takes_other else Between(low=1)
    if get_origin(hints.get("models")) is Annotated:
        number = get_args(hints["models"])[1]
    METHODS[function.__name__] = Method(
        name=function.__name__,
        function=function,
        needs_base=needs_base,
        takes_base=takes_base,
        takes_other=takes_other,
        preparation=preparation,
        preparation_parameters=frozenset(parameter.argument for parameter in of_preparation),
        per_model={parameter.name: parameter for parameter in parameters if parameter.kind == PerModel},
        overall={parameter.name: parameter for parameter in parameters if parameter.kind != PerModel},
        min_models=int(number.low) + needs_base,
        max_models=int(number.high) + needs_base if math.isfinite(number.high) else None,
    )
    return function


def keyword_parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The keyword-only parameters of a function."""
    hints = get_type_hints(function, include_extras=True)
    parameters = []
    for name, argument in inspect.signature(function).parameters.items():
        if argument.kind is inspect.Parameter.KEYWORD_ONLY:
            kind, limits = hints[name], Between()
            if get_origin(kind) is Annotated:
                kind, limits = get_args(kind)
            parameters.append(Parameter(name.rstrip("_"), name, kind, argument.default, limits))
    return parameters


def divisor(weight: PerModel) -> float:
    """The sum of the weights.

    Raises:
        UserError: it is 0.
    """
    total = math.fsum(weight)
    if abs(total) < 1e-8:
        raise UserError(
            f"the weights {', '.join(f'{w:g}' for w in weight)} sum to 0, and normalize: true divides by their sum. "
            "Change one of them."
        )
    return total


class Arguments:
    """A method's checked arguments, which may differ from tensor to tensor."""

    def __init__(self, settings: Mapping[str, Setting | tuple[Setting, ...]]) -> None:
        self.settings = settings

    def at(self, tensor: TensorInfo) -> dict[str, Any]:
        """The arguments for a tensor.

        A gradient goes from the first layer to the last one. Tensors outside the layers have the
        first layer's value, as in mergekit.
        """
        depth = 0.0 if tensor.layer is None else tensor.layer / (tensor.layers - 1) if tensor.layers > 1 else 1.0
        return {
            name: tuple(own.at(tensor.name, depth) for own in setting)
            if isinstance(setting, tuple)
            else setting.at(tensor.name, depth)
            for name, setting in self.settings.items()
        }


def check_parameters(
    method: Method,
    models_parameters: Sequence[Mapping[str, Any]],
    global_parameters: Mapping[str, Any],
    names: Sequence[str] = (),
    section: tuple[str, Mapping[str, Any]] | None = None,
) -> Arguments:
    """Check a recipe's parameters and return the arguments of the method.

    As in mergekit, a per-model parameter of a slice, or a global one, applies to the models without
    a value of their own, and tensors that no filter matches have the value of the next level:
    model, slice, global, default.

    Args:
        models_parameters: (M,) the parameters of each entry of the recipe's `models`.
        names: (M,) what messages call each entry; by default models[0], models[1], ...
        section: what messages call the parameters of the slice, and those parameters; None without
            slices.

    Raises:
        UserError: a parameter does not exist, is at the wrong level, is missing, or has an
            impossible value; or there are too many models.
    """
    names = names or [f"models[{index}]" for index in range(len(models_parameters))]
    if method.max_models and len(models_parameters) > method.max_models:
        method.check_count(len(models_parameters))
    shared = [*([section] if section else []), ("the global parameters", global_parameters)]
    for where, given in shared:
        check_names(method, given, where, [*method.overall, *method.per_model])
    for given, name in zip(models_parameters, names, strict=True):
        check_names(method, given, name, method.per_model)

    def value(parameter: Parameter, *levels: tuple[str, Mapping[str, Any]]) -> Setting:
        setting = Setting(())
        for where, given in levels:
            if parameter.name in given:
                setting = setting.otherwise(parameter.check(given[parameter.name], where))
        if parameter.default is not REQUIRED:
            return setting.otherwise(Setting.constant(parameter.default))
        if not setting.choices:
            raise UserError(f"{levels[0][0]}: {parameter.name} is missing; {method.name} needs it under `parameters`.")
        if not setting.is_complete:
            raise UserError(
                f"{levels[0][0]}: {parameter.name} has no value for tensors that no filter matches. "
                "Add {value: ...} at the end of the list."
            )
        return setting

    settings: dict[str, Any] = {parameter.argument: value(parameter, *shared) for parameter in method.overall.values()}
    for parameter in method.per_model.values():
        levels = zip(names, models_parameters, strict=True)
        settings[parameter.argument] = tuple(value(parameter, own, *shared) for own in levels)
    arguments = Arguments(settings)
    for layer in range(3):
        method.split(arguments.at(TensorInfo("", (), layer, 3)))
    return arguments


def check_names(method: Method, given: Mapping[str, Any], where: str, allowed: Iterable[str]) -> None:
    """Refuse parameters that do not exist, or that belong to another level."""
    for name in given:
        if name in allowed:
            continue
        if name in method.overall:
            raise UserError(
                f"{where}: {name} applies to the whole merge, not to one model. Move it to the global `parameters`."
            )
        per_model, overall = (", ".join(names) or "none" for names in (method.per_model, method.overall))
        raise UserError(
            f"{where}: {method.name} has no parameter {name!r}. Its parameters for each model: {per_model}; "
            f"global ones: {overall}."
        )
