"""Licences of the models that are merged: reading them, and refusing those that do not fit.

Whether two licences may be combined is a question for a lawyer, so the rule is simple: equal ones
pass, and of others the user must say what holds for the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from langmerge.errors import UserError
from langmerge.files import write_bytes
from langmerge.hub.repository import CARD, LICENCE_FILES

if TYPE_CHECKING:
    from langmerge.publishing.parents import Parent


@dataclass(frozen=True)
class Licence:
    """A licence in the hub's words.

    Attributes:
        id: apache-2.0, llama3.1, ..., other.
        name, link: of a licence whose id is `other`.
    """

    id: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return self.id if self.name is None else f"{self.id} ({self.name})"


@dataclass(frozen=True)
class Terms:
    """What Meta's community licences ask of those who distribute a derived model.

    Attributes:
        prefix: how its name must begin. built: what must be displayed. notice: of the NOTICE file.
    """

    prefix: str
    built: str
    notice: str


COPYRIGHT = "Community License, Copyright © Meta Platforms, Inc. All Rights Reserved."
LLAMA = {
    "llama3": Terms(
        "Llama 3", "Built with Meta Llama 3", f"Meta Llama 3 is licensed under the Meta Llama 3 {COPYRIGHT}"
    ),
    **{
        f"llama3.{minor}": Terms(
            "Llama", "Built with Llama", f"Llama 3.{minor} is licensed under the Llama 3.{minor} {COPYRIGHT}"
        )
        for minor in (1, 2, 3)
    },
}
"""By the licence's id on the hub."""


NOTICE = "NOTICE"


def of_folder(folder: Path) -> Licence | None:
    """The licence that the metadata of a model's README.md names.

    Raises:
        UserError: the metadata cannot be read.
    """
    from huggingface_hub import metadata_load

    if not (folder / CARD).is_file():
        return None
    try:
        found = metadata_load(folder / CARD) or {}
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{folder / CARD}: the metadata at its beginning is no YAML mapping in UTF-8 ({' '.join(str(error).split())}). Correct it, or "
            "add `license:` to the model in the backbone's file."
        ) from None
    known = found.get("license")
    if not isinstance(known, str):
        return None
    return Licence(known, found.get("license_name"), found.get("license_link"))


def agreed(parents: Iterable[Parent], given: str | None) -> Licence:
    """The licence of a merge.

    Args:
        given: what the user says that it is, if they do.

    Raises:
        UserError: a parent's licence is not known, or two differ, and the user says nothing.
    """
    if given:
        return Licence(given)
    parents = list(parents)
    if unknown := [parent.name for parent in parents if parent.licence is None]:
        raise UserError(
            f"the licence of {', '.join(unknown)} is not known: neither the README.md in its folder nor the backbone's file "
            "says it. Add `license:` to the model there, or say with --license what holds for the merge."
        )
    found: dict[str, list[str]] = {}
    for parent in parents:
        found.setdefault(str(parent.licence), []).append(parent.name)
    if len(found) > 1:
        named = "; ".join(f"{licence}: {', '.join(names)}" for licence, names in found.items())
        raise UserError(
            f"the merged models have different licences ({named}). Read them, and say with --license which one the merge may "
            "have; the card will name all of them."
        )
    return parents[0].licence


def terms(parents: Iterable[Parent]) -> list[Terms]:
    """What the parents' licences ask for."""
    return list(dict.fromkeys(LLAMA[own.licence.id] for own in parents if own.licence and own.licence.id in LLAMA))


def check_name(name: str, asked: Iterable[Terms]) -> None:
    """Refuse a name that a licence does not allow.

    Raises:
        UserError: it does not begin as it must.
    """
    for own in asked:
        if not name.replace("-", " ").startswith(own.prefix):
            raise UserError(
                f"{name}: the licence of a merged model asks for a name that begins with {own.prefix!r}. Give one with --name, "
                "or with --upload."
            )


def copy_licences(parents: Sequence[Parent], folder: Path) -> None:
    """Copy the parents' files of their licences, and write the notices that these ask for into
    NOTICE.

    Of several files with one name and different contents, the names are made different.
    """
    copied: dict[str, bytes] = {}
    for parent in parents:
        found = [path for pattern in LICENCE_FILES if pattern != CARD for path in parent.folder.glob(pattern)]
        for path in sorted(path for path in found if path.is_file()):
            name, content = path.name, path.read_bytes()
            if copied.setdefault(name, content) != content:
                name = f"{path.stem}-{parent.name.replace('/', '-')}{path.suffix}"
                copied[name] = content
    known = copied.get(NOTICE, b"")
    lines = [asked.notice.encode() for asked in terms(parents) if asked.notice.encode() not in known]
    if lines:
        copied[NOTICE] = b"\n".join([*([known.rstrip(b"\n"), b""] if known else []), *lines, b""])
    for name, content in copied.items():
        write_bytes(folder / name, content)


def metadata(licence: Licence) -> Mapping[str, str | None]:
    """The keys of a card's metadata."""
    return {"license": licence.id, "license_name": licence.name, "license_link": licence.link}
