"""The files beside the weights that a result needs to load: tokenizer, templates, processors, code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.sources import Checkpoint
from langmerge.weights import check_not_pointer

TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
"""One of these makes a folder one with a tokenizer."""
COPIED = (
    *TOKENIZER,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "audio_preprocessor_config.json",
)
"""Patterns of files that are copied from tokenizer_source; config.json is written with what changes
in it."""
CODE = ("*.py", "*/*.py")
"""What is copied, too, where a config names classes of its own (auto_map)."""
QUANTISED = ("quantization_config", "compression_config")
"""Settings of a config that say how weights are quantised."""
POINTER = 64
"""Bytes from which a Git LFS pointer can be told."""
CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)


@dataclass(frozen=True)
class Texts:
    """The files of a result beside its weights.

    Attributes:
        copied: files, by their names in the result.
        written: contents, which replace copied ones of the same name.
        config: what changes in config.json.
    """

    copied: Mapping[str, Path]
    written: Mapping[str, bytes] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that copied files take, at most."""
        return sum(path.stat().st_size for path in self.copied.values()) + sum(map(len, self.written.values()))

    def write(self, folder: Path) -> None:
        """Write all but config.json into a folder."""
        for name, path in self.copied.items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
        for name, content in self.written.items():
            (folder / name).write_bytes(content)


def companions(checkpoint: Checkpoint, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Path]:
    """The files that are copied, by their names in the result; an adapter's tokenizer goes before
    its model's.

    Args:
        configs: the content of those of CONFIGS that are there.

    Raises:
        UserError: there is no tokenizer, a file is a Git LFS pointer, or code that a config names
            is missing.
    """
    patterns = COPIED + (CODE if any("auto_map" in config for config in configs.values()) else ())
    files: dict[str, Path] = {}
    for index, folder in enumerate(checkpoint.folders):
        if index and not has_tokenizer(folder):
            continue
        for path in sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file()):
            files[path.relative_to(folder).as_posix()] = path
    if not any(name in files for name in TOKENIZER):
        raise UserError(
            f"{checkpoint.name} holds no tokenizer, which is to be taken from it. Name a model that has one, or copy it there."
        )
    for path in files.values():
        with path.open("rb") as file:
            check_not_pointer(path, file.read(POINTER))
    for name, config in configs.items():
        check_code(checkpoint.folder / name, config, files)
    return files


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER)


def check_code(path: Path, config: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Refuse a config that names code which is not in the folder, or in another repository."""
    named = config.get("auto_map")
    classes = named.values() if isinstance(named, dict) else []
    for each in classes:
        for name in each if isinstance(each, list) else [each]:
            if not isinstance(name, str):
                continue
            if "--" in name:
                raise UserError(
                    f"{path}: auto_map names {name}, code in a repository of the hub, which the result could not load offline. "
                    "Download that repository's *.py files into the folder and remove everything up to -- from the name."
                )
            module = f"{name.rpartition('.')[0].replace('.', '/')}.py"
            if module not in files:
                raise UserError(
                    f"{path}: auto_map names {name}, but {path.parent / module} is missing, so that the result could not be "
                    "loaded. Download the model again with its *.py files."
                )


def result_config(config: Mapping[str, Any], changes: Mapping[str, Any], dtype: str | None) -> Mapping[str, Any]:
    """The config.json of a result.

    Args:
        config: tokenizer_source's.
        changes: of settings of the language model, which are in text_config where there is one.
        dtype: that is written, None to leave it as it is. Its key is torch_dtype in transformers 4,
            and dtype in 5.

    What a config says of quantised weights is left out, because those of a result never are.
    """
    result = {key: value for key, value in config.items() if key not in QUANTISED}
    if dtype:
        keys = [key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"]
        result |= dict.fromkeys(keys, dtype)
    for key, value in changes.items():
        result[key] = value
        if isinstance(result.get("text_config"), dict):
            result["text_config"] = {**result["text_config"], key: value}
    return result
