"""The models that a published merge is made from: what those who read its card may call them.

Their folders are paths of this machine, which mean nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langmerge.grid.grid import Grid
from langmerge.grid.layout import CORPUS_FILES
from langmerge.hub.repository import read_record
from langmerge.merging.card import PROVENANCE
from langmerge.model import EXTRA, Model
from langmerge.publishing.licences import Licence, of_folder


@dataclass(frozen=True)
class Parent:
    """One of the models.

    Attributes:
        folder: of its files here; called: how recipes call it.
        name: its name on the hub, or one that is no path.
        role: what it is to the merge. origin: where it comes from, in Markdown.
        hub: its name on the hub, if it is there.
        licence: None where nothing tells it.
    """

    folder: Path
    called: str
    name: str
    role: str
    origin: str
    hub: str | None
    licence: Licence | None


def parents_of(grid: Grid, cell: Model) -> list[Parent]:
    """The models that a cell is merged from, instruct first, those that merges among them were made
    from, and so on; and those that adapters belong to."""
    models = grid.recipes.parents(cell)
    for model in models:  # it grows
        same = grid.sources.same(model)
        models += grid.recipes.parents(same) if same and same.is_merge else []
    adapted = [found for found in map(grid.sources.adapted_model, models) if found]
    return [parent(grid, model) for model in dict.fromkeys([*models, *adapted])]


def parent(grid: Grid, model: Model) -> Parent:
    source, folder = grid.sources.of(model), grid.layout.own_folder(model)
    hub = source.get("hub")
    name = hub or "-".join([model.backbone, model.method, *model.target])
    return Parent(
        folder, str(grid.layout.model(model)), name, role(grid, model), origin(grid, model), hub, licence(grid, model)
    )


def enumerated(names: Sequence[str]) -> str:
    """Names as a sentence has them: "Basque", "Basque and Catalan", "Basque, Catalan and Galician"."""
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last


def role(grid: Grid, model: Model) -> str:
    if model.method == EXTRA:
        return f"extra model: {model.target[0]}"
    languages = enumerated([grid.settings.language(code)["name"] for code in model.target])
    return f"{model.method} to {languages}" if languages else f"{model.method} model"


def origin(grid: Grid, model: Model) -> str:
    """Where a model comes from, without any path."""
    if same := grid.sources.same(model):
        made = ", ".join(parent(grid, one).name for one in grid.recipes.parents(same))
        if not same.is_merge:
            return origin(grid, same)
        method = grid.recipes.method(same).name
        return f"a merge of {made} with langmerge, `{method}` with w = {same.weight:g}; not on the hub"
    source, folder = grid.sources.of(model), grid.layout.own_folder(model)
    if "hub" in source:
        record = read_record(folder / PROVENANCE)
        revision = record["revision"] if record else source.get("revision", "main")
        return f"[{source['hub']}](https://huggingface.co/{source['hub']}), revision `{revision}`"
    if "path" in source:
        return "a model that is not on the hub; langmerge.json has the hashes of its weights"
    shares = grid.recipes.corpora(model)
    corpora = ", ".join(
        f"{Path(name).name if name.endswith(CORPUS_FILES) else name} ({100 * share:.0f}%)"
        for name, share in shares.items()
    )
    start = grid.recipes.parents(model)
    begun = f"from {parent(grid, start[0]).name}" if start else "from scratch"
    return f"trained {begun} with langmerge, on {corpora}; not on the hub"


def licence(grid: Grid, model: Model) -> Licence | None:
    """What the backbone's file says; else the metadata in the model's folder; else the licence of
    the model that this run has trained it from.
    """
    source = grid.sources.of(model)
    if "license" in source:
        return Licence(source["license"])
    if same := grid.sources.same(model):
        return licence(grid, grid.recipes.parents(same)[0] if same.is_merge else same)
    if "train" not in source:
        return of_folder(grid.layout.own_folder(model))
    start = grid.recipes.parents(model)
    return licence(grid, start[0]) if start else None
