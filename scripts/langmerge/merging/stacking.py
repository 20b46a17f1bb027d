"""Layers of one or several models on top of one another, as `slices` of passthrough name them.

The stack is a model like any other: its layers have new numbers, and all that merges, counts and
examines tensors sees only that. Embeddings are those of the model of the first slice; what comes
after the layers is that of the last one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.compatibility import check_vocabularies
from langmerge.merging.computed import Source
from langmerge.merging.heads import settle_heads
from langmerge.merging.layouts import Layout, Place
from langmerge.merging.meaning import check_meaning
from langmerge.merging.names import EMBEDDINGS, of_language_model
from langmerge.merging.recipe import Recipe
from langmerge.merging.slices import Range
from langmerge.merging.sources import Checkpoint
from langmerge.merging.tensors import LAYER, TensorInfo, tensor_infos

UNSTACKED = "not in the stack of layers: it has others, and another model's embeddings or head"
POSITIONAL = (
    "first_k_dense_replace",
    "hidden_size_per_layer_input",
    "mlp_only_layers",
    "moe_layer_start_index",
    "mtp_num_hidden_layers",
    "num_dense_layers",
    "num_kv_shared_layers",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "rope_scaling_layers",
    "scale_attn_by_inverse_layer_idx",
)
"""Settings by which a layer does something else at another place, and that no list by layer says."""
NO_LAYERS = ("architectures", "_token_id", "_token_ids")
"""How the names of those lists in a config end that are no lists by layer, whatever their length."""

Layers = list[dict[str, str]]
"""For each layer, the part of a name after the number of the layer -> the name."""


@dataclass(frozen=True)
class Stack(Checkpoint):
    """A model whose layers are those of others.

    Attributes:
        parts: the models; taken: those of their tensors that are in it, by their common names.
    """

    parts: tuple[Checkpoint, ...] = ()
    taken: tuple[frozenset[str], ...] = ()

    @property
    def sources(self) -> tuple[Checkpoint, ...]:
        return self.parts


def stack(parts: Sequence[Checkpoint], main: Checkpoint, recipe: Recipe) -> Checkpoint:
    """The stack that a recipe asks for; the model itself where its slices are all of one model's
    layers.

    Args:
        parts: the recipe's models. main: tokenizer_source's, one of them.

    Raises:
        UserError: the models do not fit each other, or their layers cannot be at another place.
    """
    if is_whole(recipe.stack, main):
        return main
    check_vocabularies(parts)
    check_meaning(parts, main, recipe.accepted)
    heads = settle_heads(parts, main)
    opened = {part.name: part for part in heads.checkpoints}
    main = opened[main.name]
    layers = {name: layers_of(part) for name, part in opened.items()}
    for number, own in enumerate(recipe.stack):
        if own.end > len(layers[own.model]):
            raise UserError(
                f"slices[{number}].sources[0]: layer_range is [{own.first}, {own.end}], and {own.model} has "
                f"{len(layers[own.model])} layers. The second number is the layer after the last."
            )
    for part in opened.values():
        check_part(part, layers[part.name], main, layers[main.name])
    places = [(own.model, layer) for own in recipe.stack for layer in range(own.first, own.end)]
    config = {**main.config, **heads.config, **stacked_config(places, opened, main)}
    layout, taken = stacked(places, opened, main, layers)
    return Stack(main.name, main.folders, config, layout, tuple(opened.values()), taken)


def is_whole(ranges: Sequence[Range], checkpoint: Checkpoint) -> bool:
    """Whether ranges are all layers of a model, in their order."""
    starts = [0, *(own.end for own in ranges)]
    infos = infos_of({name: each for name, each in checkpoint.tensors.items() if of_language_model(name)})
    return (
        all((own.model, own.first) == (checkpoint.name, start) for own, start in zip(ranges, starts, strict=False))
        and max((info.layers for info in infos.values()), default=0) == starts[-1]
    )


def stacked(
    places: Sequence[tuple[Path, int]],
    opened: Mapping[Path, Checkpoint],
    main: Checkpoint,
    layers: Mapping[Path, Layers],
) -> tuple[Layout, tuple[frozenset[str], ...]]:
    """The tensors of a stack of checked models, and which of each model's they are.

    Args:
        places: which layer of which model each layer of the stack is.
    """
    layout = Layout()
    taken: dict[Path, set[str]] = {name: set() for name in opened}

    def take(name: str, owner: Path, their_name: str, place: Place) -> None:
        theirs = opened[owner].layout
        layout.tensors[name], layout.places[name], layout.uses[name] = theirs.tensors[their_name], place, {}
        # A head without a use of its own is the word embeddings.
        taken[owner] |= {their_name} if theirs.uses[their_name] else {*EMBEDDINGS} & theirs.tensors.keys()

    for name, info in outside(main).items():
        take(name, places[0 if info.is_embedding else -1][0], name, main.layout.places[name])
    for number, (owner, layer) in enumerate(places):
        for rest, name in layers[owner][layer].items():
            place = main.layout.places[layers[main.name][0][rest]]
            take(renumbered(name, number), owner, name, replace(place, name=renumbered(place.name, number)))
    return layout, tuple(map(frozenset, taken.values()))


def tensors_at(checkpoint: Checkpoint, ranges: Sequence[Range]) -> dict[str, Source]:
    """A model's tensors as they would be in a stack of its own layers; those that it does not have
    are left out.
    """
    found = {name: checkpoint.tensors[name] for name in outside(checkpoint)}
    layers = layers_of(checkpoint)
    for number, layer in enumerate(layer for own in ranges for layer in range(own.first, own.end)):
        for name in layers[layer].values() if layer < len(layers) else ():
            found[renumbered(name, number)] = checkpoint.tensors[name]
    return found


def renumbered(name: str, layer: int) -> str:
    """The name of a layer's tensor in another layer."""
    start, end = LAYER.search(name).span("layer")
    return f"{name[:start]}{layer}{name[end:]}"


def infos_of(tensors: Mapping[str, Source]) -> dict[str, TensorInfo]:
    return tensor_infos({name: tensor.shape for name, tensor in tensors.items()})


def outside(checkpoint: Checkpoint) -> dict[str, TensorInfo]:
    """A model's tensors outside of its layers."""
    return {name: info for name, info in infos_of(checkpoint.tensors).items() if info.layer is None}


# ---- which models can be stacked


def layers_of(checkpoint: Checkpoint) -> Layers:
    """A model's tensors by layer.

    Raises:
        UserError: it has several towers, buffers, or no layers.
    """
    towers: dict[str, dict[int, dict[str, str]]] = {}
    for name in checkpoint.tensors:
        if not of_language_model(name):
            raise UserError(f"{checkpoint.name} has other towers beside its language model ({name}). {ALONE}")
        if match := LAYER.search(name):
            towers.setdefault(match["tower"], {}).setdefault(int(match["layer"]), {})[name[match.end() :]] = name
    if "text_config" in checkpoint.config:
        raise UserError(f"{checkpoint.name} is a wrapper of a language model (text_config in its config.json). {ALONE}")
    if len(towers) != 1:
        found = ", ".join(f"{tower}*" for tower in towers) or "none"
        raise UserError(f"{checkpoint.name} has layers under {found}; layers are stacked where there is one such list.")
    if checkpoint.layout.buffers:
        name = next(iter(checkpoint.layout.buffers))
        raise UserError(
            f"{checkpoint.name}: {name} holds integers or booleans. Layers with such tensors are not stacked."
        )
    (layers,) = towers.values()
    if set(layers) != set(range(len(layers))):
        raise UserError(f"{checkpoint.name}: its layers are not numbered from 0 to {len(layers) - 1}.")
    return [layers[number] for number in range(len(layers))]


ALONE = "Only layers of language models are stacked: take the language model out of it first."


def check_part(checkpoint: Checkpoint, layers: Layers, main: Checkpoint, main_layers: Layers) -> None:
    """Refuse a model whose layers, or whose tensors outside of them, are not like those of `main`.

    Raises:
        UserError: it names the tensor, or the setting.
    """
    expected = {rest: main.tensors[name].shape for rest, name in main_layers[0].items()}
    for number, own in enumerate(layers):
        found = {rest: checkpoint.tensors[name].shape for rest, name in own.items()}
        for rest in sorted({*expected, *found}):
            if found.get(rest) != expected.get(rest):
                raise UserError(
                    f"layer {number} of {checkpoint.name} has {rest} {shape(found.get(rest))}, and layer 0 of {main.name} "
                    f"{shape(expected.get(rest))}. Layers are stacked if all of them have the same tensors: a result's config "
                    "cannot say which layer is of which kind."
                )
    for setting in POSITIONAL:
        if value := checkpoint.config.get(setting):
            raise UserError(
                f"{checkpoint.folder / 'config.json'}: {setting} is {value!r}: what a layer does depends on its place. Layers of "
                "such models cannot be stacked."
            )
    ours, theirs = ({name: info.shape for name, info in outside(each).items()} for each in (main, checkpoint))
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"{name}: {main.name} has {shape(ours.get(name))}, and {checkpoint.name} {shape(theirs.get(name))}. Layers of models "
                "with the same embeddings, norms and heads are stacked."
            )


def shape(value: tuple[int, ...] | None) -> str:
    return "no such tensor" if value is None else str(list(value))


# ---- config.json


def stacked_config(
    places: Sequence[tuple[Path, int]], opened: Mapping[Path, Checkpoint], main: Checkpoint
) -> dict[str, Any]:
    """What changes in config.json: the number of layers, and each list by layer.

    The lists are those of transformers' own config classes, which know what an older config.json
    leaves out (such as which layers of a Gemma have a sliding window).

    Raises:
        UserError: transformers does not know the type of a model, or the number of layers is not
            that of the files.
    """
    complete = {name: read_complete(checkpoint) for name, checkpoint in opened.items()}
    kind, full = complete[main.name]
    key = kind.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    counts = {name: len(layers_of(checkpoint)) for name, checkpoint in opened.items()}
    for name, (_, own) in complete.items():
        if own.get(key) != counts[name]:
            raise UserError(
                f"{name} holds {counts[name]} layers, and its config.json says {key}: {own.get(key)}. Layers beside those of the "
                "model (such as one that predicts several tokens) cannot be stacked."
            )
    wanted: dict[str, Any] = {key: len(places)}
    for setting, value in full.items():
        if isinstance(value, list) and len(value) == counts[main.name] and not setting.endswith(NO_LAYERS):
            wanted[setting] = [complete[model][1][setting][layer] for model, layer in places]
    changes = {setting: value for setting, value in wanted.items() if setting in main.config or setting == key}
    for _ in range(2):  # lists that the class would make otherwise are written, too
        made = made_of(kind, {**main.config, **changes}, main)
        changes |= (other := {setting: value for setting, value in wanted.items() if made.get(setting) != value})
    if other:
        raise UserError(
            f"{main.folder / 'config.json'}: transformers makes other layers of {', '.join(other)} than the stack has. Layers of "
            "this type of model cannot be stacked."
        )
    return changes


def made_of(kind: Any, config: Mapping[str, Any], main: Checkpoint) -> dict[str, Any]:
    """What transformers makes of a config."""
    try:
        return kind.from_dict(dict(config)).to_dict()
    except Exception as error:  # each class has checks of its own
        raise UserError(
            f"{main.folder / 'config.json'}: transformers refuses it with the layers of the stack: {first_line(error)}"
        ) from None


def read_complete(checkpoint: Checkpoint) -> tuple[Any, dict[str, Any]]:
    """transformers' class for a model's config, and the config with all that the class adds."""
    # Imported late: it takes a second, and no other merge needs it.
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(
            f"{checkpoint.folder / 'config.json'}: transformers cannot read it ({first_line(error)}), so that it is not known what differs "
            "between its layers. Stack models of a type that it knows."
        ) from None
    return type(config), config.to_dict()


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
