"""Headers of weight files that are broken or hostile: each gets one clear error, and none a crash,
a hang or memory.
"""

from __future__ import annotations

import tracemalloc

import pytest

from langmerge.errors import UserError
from langmerge.merging.checkpoint import read_header
from langmerge.merging.sources import open_checkpoint
from support.headers import entry, read_damaged, write


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_right_header(file):
    tensors = read_header(
        write(file, {"a": entry(), "b": entry(8, 8, (0, 3)), "__metadata__": {"format": "pt"}}, bytes(8))
    )
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"a": (2,), "b": (0, 3)}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"a": entry(), "b": entry(4, 12)}, 12, ["b begins at byte 4", "overlaps"]),
        ({"a": entry(), "b": entry(0, 8)}, 8, ["overlaps"]),
        ({"a": entry(), "b": entry(16, 24)}, 24, ["b begins at byte 16", "gap"]),
        ({"a": entry(8, 16)}, 16, ["a begins at byte 8", "gap"]),
        ({"a": entry(0, 2**62, (2**60,))}, 8, ["the header says 4611686018427388"]),
        ({"a": entry(0, 8, (2**70, 2**70))}, 8, ["the header gives it 8 bytes"]),
        ({"a": entry(0, 8, (3,))}, 8, ["[3]", "the header gives it 8 bytes"]),
        ({"a": entry(-8, 0)}, 0, ["not a safetensors file"]),
        ({"a": entry(8, 0)}, 8, ["not a safetensors file"]),
        ({"a": entry(0, 8, (-2,))}, 8, ["not a safetensors file"]),
        ({"a": entry(0, 8, (True, 2))}, 8, ["not a safetensors file"]),
        ({"a": entry(0, 8.0)}, 8, ["not a safetensors file"]),
        ({"a": entry(0, "8")}, 8, ["not a safetensors file"]),
        ({"a": {**entry(), "data_offsets": [0, 4, 8]}}, 8, ["not a safetensors file"]),
        ({"a": {**entry(), "code": "import os"}}, 8, ["not a safetensors file"]),
        ({"a": {**entry(), "dtype": ["F32"]}}, 8, ["not a safetensors file"]),
        ({"a": entry(dtype="F4")}, 8, ["a is of type F4"]),
        (
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
            16,
            ["'a' twice"],
        ),
        (b'{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}', 8, ["'dtype' twice"]),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, ["not a safetensors file"]),
        (b"\xff\xfe{\x00}\x00", 0, ["not a safetensors file"]),
        (b"NaN", 0, ["not a safetensors file"]),
        (b"", 0, ["not a safetensors file"]),
    ],
)
def test_hostile_headers(file, header, data, words):
    with pytest.raises(UserError) as error:
        read_header(write(file, header, bytes(data)))
    for word in [str(file), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 10_000])
def test_a_header_that_claims_to_be_huge_takes_no_memory(file, length):
    write(file, {}, bytes(100), length)
    tracemalloc.start()
    with pytest.raises(UserError):
        read_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_random_damage_is_noticed_or_harmless(file):
    assert 500 < read_damaged(file, 0, 1000) < 1000


def test_an_index_may_not_leave_its_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write(tmp_path / "other.safetensors", {"a": entry()}, bytes(8))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(UserError, match=r"'\.\./other\.safetensors' as a shard"):
        open_checkpoint(folder)
