"""Programs in place of Slurm's squeue and scancel."""

from __future__ import annotations

from pathlib import Path

import pytest

SQUEUE = """#!/bin/sh
while IFS= read -r line; do
  grep -qwsF "${line%%|*}" "$(dirname "$0")/cancelled" || printf '%s\\n' "$line"
done < "$(dirname "$0")/jobs"
"""

SCANCEL = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/cancelled"
"""


def fake_squeue(
    folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[tuple[str, str, str]], obeys: bool = True
) -> Path:
    """Make `squeue` list jobs (number, name, folder) until `scancel` is asked to end them.

    Args:
        obeys: whether cancelled jobs end.

    Returns:
        The programs' folder; its file `cancelled` has the numbers that scancel was given.
    """
    programs = folder / "programs"
    programs.mkdir()
    (programs / "jobs").write_text("".join(f"{'|'.join(job)}\n" for job in jobs))
    (programs / "squeue").write_text(SQUEUE)
    (programs / "scancel").write_text(SCANCEL if obeys else "#!/bin/sh\n")
    for name in ("squeue", "scancel"):
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return programs
