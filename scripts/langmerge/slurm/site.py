"""slurm/site.yaml: what one cluster asks for, as resources of Snakemake's Slurm plugin."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langmerge.errors import UserError
from langmerge.grid.folders import ROOT
from langmerge.grid.schema import validate
from langmerge.yamls import read_document

NAME = Path("slurm", "site.yaml")

RESOURCES = {
    "partition": "slurm_partition",
    "qos": "qos",
    "constraint": "constraint",
    "options": "slurm_extra",
    "type": "gpu_model",
}
"""Keys of the site's file under `cpu` and `gpu`, and the plugin's names for them."""

OPTIONS = {
    "slurm_account": "account",
    "slurm_partition": "partition",
    "qos": "qos",
    "constraint": "constraint",
    "gres": "gres",
}
"""The plugin's names, and the options of sbatch that it makes of them."""


@dataclass(frozen=True)
class Site:
    """What a cluster asks for.

    Attributes:
        path: the file, as messages call it.
        settings: its content; empty where there is no such file.
    """

    path: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def memory(self) -> float | None:
        """GB of a GPU, if the site says it."""
        return (self.settings.get("gpu") or {}).get("memory")

    def resources(self, gpus: int) -> dict[str, str]:
        """What a job with so many GPUs is asked for, by the plugin's names."""
        kind = self.settings.get("gpu" if gpus else "cpu") or {}
        asked = {resource: kind[key] for key, resource in RESOURCES.items() if key in kind}
        if "account" in self.settings:
            asked["slurm_account"] = self.settings["account"]
        if gpus and "gres" in kind:
            asked["gres"] = f"{kind['gres']}:{gpus}"
        return asked

    def check(self, counts: Iterable[int], forbidden: Mapping[str, str]) -> None:
        """Ask Slurm, before any job is submitted, whether it knows the account, the partitions and
        so on.

        The plugin would find some of it out for each job again.

        Args:
            counts: numbers of GPUs of the jobs that are about to be submitted.
            forbidden: patterns of options that have a setting of their own, with their names.

        Raises:
            UserError: Slurm does not know one of them, or an option is not for the site's file to
                set.
        """
        for gpus in sorted(set(counts)):
            asked = self.resources(gpus)
            kind = "gpu" if gpus else "cpu"
            extra = asked.get("slurm_extra", "")
            for pattern, option in forbidden.items():
                if re.search(pattern, extra):
                    raise UserError(
                        f"{self.path}: {kind}.options: {extra!r} sets the {option}. Use its own key "
                        "(slurm/site.yaml.template lists them), or the backbone's `resources`."
                    )
            options = self.options(gpus)
            answer = subprocess.run(["sbatch", "--test-only", *options, "--wrap=true"], capture_output=True, text=True)
            # Slurm may also refuse for reasons that pass, such as nodes that are down for
            # maintenance.
            if answer.returncode != 0 and re.search("[Ii]nvalid|node configuration is not available", answer.stderr):
                raise UserError(
                    f"{self.path}: Slurm refuses {shlex.join(options)}: {answer.stderr.strip()}. "
                    f"Correct `account` or `{kind}` in that file."
                )

    def time_limit(self, gpus: int) -> int | None:
        """Minutes that the partition of jobs with so many GPUs allows; None where it sets no limit,
        or Slurm does not say.
        """
        partition = self.resources(gpus).get("slurm_partition")
        chosen = [f"--partition={partition}"] if partition else []
        command = ["sinfo", "--noheader", "--format=%P|%l", *chosen]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
        lines = [line.split("|") for line in answer.stdout.splitlines() if "|" in line]
        limits = [minutes(limit) for name, limit in lines if partition or name.endswith("*")]
        return None if None in limits else max(limits, default=None)

    def options(self, gpus: int) -> list[str]:
        """The options of sbatch that the plugin makes of `resources`.

        Raises:
            UserError: `options` cannot be split into words.
        """
        asked = self.resources(gpus)
        options = [f"--{option}={asked[resource]}" for resource, option in OPTIONS.items() if resource in asked]
        if gpus and "gres" not in asked:
            options.append(f"--gpus={asked['gpu_model']}:{gpus}" if "gpu_model" in asked else f"--gpus={gpus}")
        try:
            return [*options, *shlex.split(asked.get("slurm_extra", ""))]
        except ValueError as error:
            kind = "gpu" if gpus else "cpu"
            raise UserError(f"{self.path}: {kind}.options: {asked['slurm_extra']!r}: {error}. Close it.") from None


def minutes(limit: str) -> int | None:
    """Whole minutes of a time as Slurm writes it, [days-][hours:]minutes:seconds; None if it is
    `infinite`.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):\d+", limit.strip())
    days, hours, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return (days * 24 + hours) * 60 + rest if found else None


def read_site(shipped: Path = ROOT) -> Site:
    """The site's file of the current folder or, where that is missing or empty, of the checkout.

    Raises:
        UserError: the file is not YAML, or has an unknown key or a wrong value.
    """
    for path in (NAME, shipped / NAME):
        document = read_document(path) if path.is_file() else None
        if document is not None and document.content is not None:
            validate(document, "site", reference=str(shipped / "slurm" / "site.yaml.template"))
            return Site(path, document.content)
    return Site(NAME)
