"""Where configuration files are found: the user's own folder first, the shipped one second, file by
file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""The checkout that this package belongs to."""


@dataclass(frozen=True)
class Folders:
    """The folders with languages/, backbones/, benchmarks.yaml, published/.

    Attributes:
        own: the user's, relative to the folder that commands are called in; it need not exist.
        shipped: the checkout's. In the checkout itself both are the same folder.
    """

    own: Path = Path("config")
    shipped: Path = ROOT / "config"

    def __iter__(self) -> Iterator[Path]:
        """Both, the user's first; the same folder once."""
        yield self.own
        if not (self.own.is_dir() and self.own.samefile(self.shipped)):
            yield self.shipped

    def find(self, name: str) -> Path | None:
        """The path of a file or folder such as languages/eu.yaml, or None where neither folder has
        it.
        """
        try:
            return next((folder / name for folder in self if (folder / name).exists()), None)
        except OSError:  # a name that no file can have, such as one of 300 letters
            return None

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind (languages, backbones), or of the folders of `published`, in
        either folder, sorted.
        """
        return sorted(
            {
                path.stem
                for folder in self
                for path in (folder / kind).glob("*")
                if path.suffix == ".yaml" or path.is_dir()
            }
        )
