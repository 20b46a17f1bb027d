"""Extending a model's vocabulary, as language groups do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

EMBEDDINGS = "model.embed_tokens.weight"


def extend(folder: Path, texts: Iterable[str], count: int) -> list[int]:
    """Give a model with tied embeddings tokens for the pairs of tokens that texts have most often;
    return their ids. Their rows are the means of their parts'.
    """
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    encoded = (encoding.tokens for encoding in Tokenizer.from_file(str(path)).encode_batch([*texts]))
    vocabulary = content["model"]["vocab"]
    special = {token["content"] for token in content["added_tokens"]}
    pairs = Counter(
        pair for tokens in encoded for pair in pairwise(tokens) if not special & {*pair} and " " not in pair
    )
    # A token that starts with a space (Ġ) is never the second of a word.
    chosen = [
        pair for pair, _ in pairs.most_common() if not pair[1].startswith("Ġ") and "".join(pair) not in vocabulary
    ]
    tensors = load_file(folder / "model.safetensors")
    rows = [tensors[EMBEDDINGS]]
    for first, second in chosen[:count]:
        rows.append(tensors[EMBEDDINGS][[vocabulary[first], vocabulary[second]]].mean(axis=0, keepdims=True))
        vocabulary[first + second] = len(vocabulary)
        content["model"]["merges"].append([first, second])
    path.write_text(json.dumps(content))
    tensors[EMBEDDINGS] = np.concatenate(rows).astype(rows[0].dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    size = config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": len(tensors[EMBEDDINGS])}))
    return [*range(size, len(tensors[EMBEDDINGS]))]
