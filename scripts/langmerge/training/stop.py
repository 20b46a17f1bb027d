"""What tells a training to stop. Light: signals may come while torch is loaded, which takes
seconds.
"""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Whether this process was told to stop: by Slurm before the time limit (SIGUSR1), or by
    whoever ends the job (SIGTERM).

    A signal only leaves a note: all processes must stop after the same step.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGUSR1, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.note)
        return self

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
