"""The generated data of the miniature world: what a language's corpus and tasks depend on."""

from __future__ import annotations

from functools import cache
from typing import Any

from langmerge.grid.config import Config
from langmerge.grid.digest import digest
from langmerge.semantics import SEMANTICS

OF_LANGUAGE = ("name", "locale", "mt_sources")
"""The keys of a language's file that its generated data depend on."""


class GeneratedData:
    """What `langmerge world` makes for a language, by content."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.key = cache(self._key)

    def settings(self, language: str) -> dict[str, Any]:
        """What a language's generated data depend on: its file, those of its sources, the sizes,
        the seed.
        """
        config = self.config
        partner = config.run["world"].get("partner")
        codes = dict.fromkeys([language, *config.language(language)["mt_sources"], *([partner] if partner else [])])
        return {
            "languages": {code: {key: config.language(code)[key] for key in OF_LANGUAGE} for code in codes},
            **config.run["world"],
            "seed": config.run["seed"],
        }

    def _key(self, language: str) -> str:
        """Hash of `settings` and of what the code makes of them."""
        return digest({"corpus": SEMANTICS["corpus"], **self.settings(language)})
