"""The recipes of a batch's cells: checked before anything is computed, and kept."""

from __future__ import annotations

from pathlib import Path

from langmerge.files import write_text
from langmerge.live.batch import BatchFile
from langmerge.live.weights import CellWeights
from langmerge.merging.card import recipe_yaml
from langmerge.merging.recipe import read_recipe


def write_recipes(batch: BatchFile) -> None:
    """Check that the models of each cell fit each other, and write the recipes of all.

    Raises:
        UserError: they do not; see `Merge`.
    """
    checked = set()
    for model in batch.models:
        if not (making := model.making):
            continue
        recipe = read_recipe(making.recipe)
        # Cells that differ only in numbers have the same models.
        same = recipe.method.name, recipe.folders, recipe.common_rows, recipe.special_tokens
        if same not in checked:
            CellWeights(making.recipe, making.seed, model.key, 1, making.anatomy_base).open()
            checked.add(same)
        write_text(Path(making.recipe_file), recipe_yaml(recipe))
