"""What a tokenised corpus is called, and whose it is. Corpora write them, and trainings read them.

A corpus is a folder: meta.json describes it, and shards/ holds its tokens.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARDS, META = "shards", "meta.json"


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Identity of what a tokenizer makes of a text.

    Left out are special tokens, which no text holds, and decoding: an instruct model may have other
    ones than its base, and can be trained on the same tokens.
    """
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition["added_tokens"] = [token for token in definition["added_tokens"] if not token["special"]]
    what = {key: value for key, value in definition.items() if key not in ("decoder", "truncation", "padding")}
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
