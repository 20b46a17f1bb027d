"""What a training needs before its first step: its folder, its corpora as tokens, its record."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from langmerge import VERSION
from langmerge.errors import UserError
from langmerge.files import sha256, write_json
from langmerge.semantics import SEMANTICS
from langmerge.training.checkpoints import discarded_if_useless
from langmerge.training.data import read_template, tokenise
from langmerge.training.folders import MODEL, RECORD, training_folder
from langmerge.training.ranks import Ranks
from langmerge.training.recipe import deciding
from langmerge.training.shards import Corpus
from langmerge.weights import weight_files


@dataclass(frozen=True)
class Material:
    """What the steps are made from.

    Attributes:
        folder: the training's.
        corpora: in the order of the recipe's `data`; held_out: by language.
        padding: the token behind the last one of a sequence.
    """

    folder: Path
    corpora: list[Corpus]
    held_out: list[tuple[str, Corpus]]
    padding: int


def prepare(
    output: Path,
    recipe: dict[str, Any],
    key: str | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ranks: Ranks,
) -> Material:
    """Make a training's folder, which the first process does, and open its corpora.

    Raises:
        UserError: a corpus cannot be used.
    """
    if ranks.first:
        folder = begin(output, recipe, key, model, tokenizer)
        ranks.tell("folder", str(folder))
    else:
        folder = Path(ranks.hear("folder"))
    opened = {path: Corpus(tokens_of(folder, path)) for path in texts(recipe)}
    for corpus in opened.values():
        corpus.check(tokenizer)
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    held_out = [(code, opened[path]) for code, path in recipe["held_out"].items()]
    return Material(folder, [opened[path] for path in recipe["data"]], held_out, padding)


def begin(
    output: Path,
    recipe: dict[str, Any],
    key: str | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> Path:
    """Make the training's folder if it is not there, and tokenise what is not tokenised yet."""
    sources = {str(path): content_hash(path) for path in read_by(recipe)}
    identity = {"recipe": deciding(recipe), "sources": sources, "semantics": SEMANTICS["train"]}
    folder = training_folder(output, identity)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "version": VERSION,
        "command": "train",
        "recipe": recipe,
        "seed": recipe["seed"],
        "sources": {path: {"sha256": found} for path, found in sources.items()},
    }
    write_json(folder / RECORD, record if key is None else {**record, "key": key})
    for part in (model.config, model.generation_config, tokenizer):
        part.save_pretrained(folder / MODEL)
    with discarded_if_useless(folder):
        end = end_of_document(recipe, tokenizer)
        template = read_template(recipe["chat_template"], tokenizer) if "chat_template" in recipe else None
        for path in texts(recipe):
            tokens = tokens_of(folder, path)
            if not tokens.is_dir():
                tokenise(tokens, Path(path), tokenizer, end, template)
    return folder


def end_of_document(recipe: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> int:
    """The token after a document.

    Raises:
        UserError: the tokenizer has no such token.
    """
    if "document_end" not in recipe:
        return tokenizer.eos_token_id
    found = tokenizer.get_vocab().get(recipe["document_end"])
    if found is None:
        raise UserError(
            f"`document_end`: the tokenizer has no token {recipe['document_end']!r}. Its special tokens: "
            f"{', '.join(tokenizer.all_special_tokens)}."
        )
    return found


def texts(recipe: dict[str, Any]) -> list[str]:
    """The paths of a recipe's corpora, learned and held out, each once."""
    return list(dict.fromkeys([*recipe["data"], *recipe["held_out"].values()]))


def tokens_of(folder: Path, path: str) -> Path:
    """The tokenised corpus: the path itself, or where this training's folder has it."""
    return Path(path) if Path(path).is_dir() else folder / "data" / digest(path.encode()).hexdigest()[:12]


def read_by(recipe: dict[str, Any]) -> list[Path]:
    """The files, and folders of tokens, that determine a training."""
    weights = weight_files(Path(recipe["from"])) if "from" in recipe else []
    tokenizer = sorted(Path(recipe.get("from") or recipe["tokenizer"]).glob("tokenizer.json"))
    return [*map(Path, recipe["data"]), *weights, *tokenizer]


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content, or of those of a folder of tokens."""
    if path.is_file():
        return sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest("".join(f"{file.relative_to(path)} {sha256(file)}\n" for file in files).encode()).hexdigest()
