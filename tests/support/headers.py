"""Files with headers as safetensors has them, right and damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.checkpoint import read_header


def entry(begin: Any = 0, end: Any = 8, shape: tuple = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def read_damaged(file: Path, seed: int, number: int) -> int:
    """Read headers with bytes changed, cut out or put in. Each must be read as what it says, or
    refused; anything else raises.

    Returns:
        how many were refused.
    """
    generator = random.Random(seed)
    right = json.dumps(
        {"model.a": entry(), "model.b": entry(8, 20, (3, 2), "F16"), "__metadata__": {"format": "pt"}}
    ).encode()
    refused = 0
    for _ in range(number):
        text = bytearray(right)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(text))
            change = generator.choice(["replace", "delete", "insert", "digit"])
            if change == "delete":
                del text[place]
            elif change == "insert":
                text.insert(place, generator.randrange(256))
            else:
                text[place] = generator.choice(b"0123456789-") if change == "digit" else generator.randrange(256)
        write(
            file, bytes(text), bytes(20), generator.choice([None, None, None, len(right), generator.randrange(2**16)])
        )
        try:
            tensors = read_header(file)
        except UserError:
            refused += 1
        else:
            size = file.stat().st_size
            for tensor in tensors.values():
                count = tensor.dtype.itemsize
                for length in tensor.shape:
                    count *= length
                assert tensor.offset >= 0 and tensor.offset + count <= size, bytes(text)
    return refused
