"""The chat template of one model on the tokenizer of another.

A template is text that writes special tokens out, so it means the same on another tokenizer if that
has the same special tokens, whatever their ids are. Ids are mapped by their tokens, and both
tokenizers encode a conversation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langmerge.errors import UserError
from langmerge.merging.companions import Texts, companions
from langmerge.merging.sources import Checkpoint, setting
from langmerge.merging.vocabulary import tokenizer_file, tokens_in
from langmerge.weights import read_json

TEMPLATES = ("chat_template.", "additional_chat_templates/")
"""How the names of files with templates begin."""
GENERATION, SETTINGS, SPECIAL = "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"
ROLES = ("bos_token", "eos_token", "pad_token")
"""Settings of a tokenizer that belong to a template: what it writes, and what ends an answer.
config.json has their ids.
"""
TURNS = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "Zenbat da 2 + 2? Gràcies, ¿sí?"},
    {"role": "assistant", "content": "Four."},
    {"role": "user", "content": "Eskerrik asko!\n\nAnd 3 + 3?"},
]

UNION = "Merge the tokens of all models, `tokenizer: {source: union}`, or take the tokenizer of the model with the template."


def with_template(texts: Texts, main: Checkpoint, source: Checkpoint) -> Texts:
    """The files of a result, with the chat template of `source` and what belongs to it: its bos,
    eos and pad tokens and its generation settings, with the ids that these tokens have in the
    result.

    Raises:
        UserError: the tokenizer lacks one of the special tokens, or encodes a conversation in
            another way.
    """
    theirs = companions(source, {})
    own_file, their_file = tokenizer_file(main), tokenizer_file(source)
    for checkpoint, path in ((main, own_file), (source, their_file)):
        if path is None:
            raise UserError(
                f"{checkpoint.name} has no tokenizer.json, which chat_template_source needs. Save its tokenizer as a fast one."
            )
    content = json.loads(texts.written.get("tokenizer.json") or own_file.read_bytes())
    other = read_json(their_file)
    own, added = tokens_in(content, own_file)
    rows = setting(main.config, "vocab_size")
    tokens = {token: number for token, number in (own | added).items() if rows is None or number < rows}
    their_own, their_added = tokens_in(other, their_file)
    numbers = {number: token for token, number in (their_own | their_added).items()}

    def known(token: str, what: str) -> str:
        if token not in tokens:
            raise UserError(
                f"{main.name} has no embedding of the token {token!r}, which is {what} of {source.name}, so that the chat template of the one does "
                f"not work with the tokenizer of the other. {UNION}"
            )
        return token

    def moved(value: Any, what: str) -> Any:
        """Ids of the result's tokenizer for those of `source`; a number below 0 means none."""
        if isinstance(value, list):
            return [moved(each, what) for each in value]
        if type(value) is not int or value < 0:
            return value
        if value not in numbers:
            raise UserError(f"{source.name}: {what} is {value}, which is no token of its tokenizer. Correct it there.")
        return tokens[known(numbers[value], what)]

    ours, settings = settings_of(texts.copied), settings_of(theirs)
    settings = {key: settings[key] for key in ("chat_template", *ROLES) if settings.get(key) is not None}
    if "chat_template" not in settings and not any(name.startswith(TEMPLATES) for name in theirs):
        raise UserError(f"{source.name}, the chat_template_source, has no chat template. Name a model that has one.")
    for role in ROLES:
        if role in settings:
            known(settings[role] if isinstance(settings[role], str) else settings[role]["content"], role)
    kept = {key: value for key, value in ours.items() if key not in ("chat_template", *ROLES)}
    written = {**texts.written, SETTINGS: as_json({**kept, **settings})}
    # A special token that is in the vocabulary as a plain one would be split like any other text.
    special = [token for token in other.get("added_tokens") or [] if token.get("special")]
    plain = [token for token in special if token["content"] in own and token["content"] not in added]
    if plain:
        more = [{**token, "id": own[token["content"]]} for token in plain]
        written["tokenizer.json"] = as_json({**content, "added_tokens": [*(content.get("added_tokens") or []), *more]})
    if GENERATION in theirs:
        generation = read_json(theirs[GENERATION])
        written[GENERATION] = as_json(
            {key: moved(value, key) if key.endswith("_token_id") else value for key, value in generation.items()}
        )
    copied = {
        name: path
        for name, path in texts.copied.items()
        if not name.startswith(TEMPLATES) and name not in (GENERATION, SETTINGS, SPECIAL)
    }
    copied |= {name: path for name, path in theirs.items() if name.startswith(TEMPLATES)}
    ids = {f"{role}_id": setting(source.config, f"{role}_id") for role in ROLES}
    config = {**texts.config, **{key: moved(value, key) for key, value in ids.items() if value is not None}}
    result = replace(texts, copied=copied, written=written, config=config)
    check_conversation(result, main, Texts(theirs), source)
    return result


def settings_of(files: Mapping[str, Path]) -> dict[str, Any]:
    """What tokenizer_config.json says, and special_tokens_map.json, which older tokenizers have
    besides.
    """
    found: dict[str, Any] = {}
    for name in (SPECIAL, SETTINGS):
        found |= read_json(files[name]) if name in files else {}
    return found


def as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


# ---- the check


def check_conversation(result: Texts, main: Checkpoint, theirs: Texts, source: Checkpoint) -> None:
    """Refuse a tokenizer that encodes a conversation with other special tokens than the template's
    own tokenizer does, or loses some of its text.

    Raises:
        UserError: it does; or one of the two cannot be loaded.
    """
    with TemporaryDirectory() as temporary:
        expected_text, expected, expected_back, special = encoded(theirs, source, Path(temporary, "source"))
        text, tokens, back, _ = encoded(result, main, Path(temporary, "result"))
    where = f"the chat template of {source.name} does not work with the tokenizer of {main.name}"
    if text != expected_text:
        raise UserError(f"{where}: it writes {text!r}, expected {expected_text!r}. {UNION}")
    ours, others = ([token for token in own if token in special] for own in (tokens, expected))
    if ours != others:
        lost = [token for token in dict.fromkeys(others) if ours.count(token) != others.count(token)]
        raise UserError(f"{where}: a conversation is encoded without {', '.join(lost)}. {UNION}")
    if back != text and expected_back == text:  # not all tokenizers give texts back
        raise UserError(f"{where}: of the conversation {text!r} it keeps {back!r}. {UNION}")


def encoded(texts: Texts, checkpoint: Checkpoint, folder: Path) -> tuple[str, list[str], str, set[str]]:
    """A conversation as text, as tokens, and as text again; and the tokens that were added to the
    vocabulary."""
    from jinja2.exceptions import TemplateError
    from transformers import AutoTokenizer

    folder.mkdir()
    texts.write(folder)
    (folder / "config.json").write_bytes(as_json(checkpoint.config))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"the tokenizer of {checkpoint.name} cannot be loaded, so that chat_template_source cannot be checked: {error}"
        ) from None

    def rendered(turns: list[dict[str, str]]) -> str:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    try:
        text = rendered(TURNS)
    except TemplateError:  # of a template without system messages
        text = rendered(TURNS[1:])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text, tokenizer.convert_ids_to_tokens(ids), back, {*tokenizer.get_added_vocab()}
