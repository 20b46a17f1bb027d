"""What a merged checkpoint says about itself: model card, recipe and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langmerge import VERSION
from langmerge.merging.recipe import OWN_KEYS, Recipe
from langmerge.merging.sources import Checkpoint
from langmerge.weights import read_json

PROVENANCE = "langmerge.json"


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as it was given, with a note about keys that mergekit would ignore."""
    own = [key for key in OWN_KEYS if key in recipe.given]
    note = f"# langmerge's own, which mergekit ignores: {', '.join(own)}\n" if own else ""
    return note + yaml.safe_dump(recipe.given, sort_keys=False, allow_unicode=True)


def model_card(recipe: Recipe) -> str:
    """The README.md: front matter as the Hugging Face hub reads it, and the recipe. The models have
    only names of folders here, which are none on the hub.
    """
    settings = (
        f"Chat template and generation settings are those of `{recipe.template_source or recipe.tokenizer_source}`."
    )
    front = {
        "library_name": "transformers",
        "tags": ["merge", "langmerge"],
    }
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---
# A merge of {len(recipe.folders)} models

Made by langmerge {VERSION} with the method `{recipe.method.name}`. Its tokenizer is that of `{recipe.tokenizer_source}`. {settings}
langmerge.json holds the hashes of the sources and the seed; mergekit_config.yml holds this recipe:

```yaml
{recipe_yaml(recipe)}```
"""


def provenance(
    recipe: Recipe,
    seed: int,
    checkpoints: Sequence[Checkpoint],
    hashes: Mapping[Path, str],
    counts: Sequence[Mapping[str, Any]],
    key: str | None,
) -> dict[str, Any]:
    """The content of langmerge.json.

    Args:
        hashes: SHA-256 of every weight file of the sources.
        counts: what became of every weight of each source (coverage.py).
        key: identity of the merged weights in a grid, if the merge is part of one.
    """
    sources = [
        {
            "model": str(checkpoint.name),
            "revision": revision(checkpoint),
            "sha256": {path.name: hashes[path] for path in checkpoint.files},
            "weights": count,
        }
        for checkpoint, count in zip(checkpoints, counts, strict=True)
    ]
    identity = {} if key is None else {"key": key}
    return {
        "version": VERSION,
        "command": "merge",
        **identity,
        "recipe": recipe.given,
        "seed": seed,
        "sources": sources,
    }


def revision(checkpoint: Checkpoint) -> str | None:
    """The revision that the model's own langmerge.json or config.json names."""
    own = checkpoint.folder / PROVENANCE
    return (read_json(own) if own.is_file() else {}).get("revision") or checkpoint.config.get("_commit_hash")
