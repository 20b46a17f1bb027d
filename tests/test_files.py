"""SHA-256 of sources: computed once a machine, and again whenever a file may have changed."""

from __future__ import annotations

import hashlib
import os

import pytest

from langmerge.files import sha256


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "langmerge" / "sha256"


def test_a_file_is_read_once_until_it_changes(tmp_path, cache):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    assert sha256(file) == hashlib.sha256(b"one").hexdigest()
    (known,) = cache.iterdir()
    # Another digest in its place shows whether it is asked for.
    known.write_text("0" * 64)
    assert sha256(file) == "0" * 64
    file.write_bytes(b"two")
    os.utime(file, (0, 0))
    assert sha256(file) == hashlib.sha256(b"two").hexdigest()
    for entry in cache.iterdir():
        entry.write_text("not a digest")
    assert sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_a_hub_names_its_files_by_their_digest(tmp_path, cache):
    digest = hashlib.sha256(b"three").hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / digest).write_bytes(b"three")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / digest)
    assert sha256(tmp_path / "model.safetensors") == digest
    assert not cache.exists()


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path, cache):
    cache.parent.parent.write_text("a file where a folder should be")
    (tmp_path / "x").write_bytes(b"four")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"four").hexdigest()
