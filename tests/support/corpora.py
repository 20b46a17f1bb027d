"""Small corpora of documents and of conversations, and where the tests of training keep them."""

from __future__ import annotations

import json
from pathlib import Path

TEXTS = [
    f"{day} eta {other}, {number} egun."
    for day in ("astelehena", "asteartea", "larunbata")
    for other in ("gaur", "atzo")
    for number in range(30)
]
CHATS = [
    [
        {"role": "user", "content": f"Copy {number}."},
        {"role": "assistant", "content": f"The {number}"},
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": f"{number}!"},
    ]
    for number in range(40)
]
LENGTH = 64

ODD = 'it\'s a "small" wörld'
"""Part of the paths of every corpus, tokenizer and model that these tests train with."""


def write(path: Path, lines: list) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path
