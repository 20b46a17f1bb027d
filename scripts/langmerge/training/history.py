"""What a training says of itself: a line per step, and when it has diverged."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from langmerge.errors import UserError

PROGRESS_LINES = 10
"""Lines of progress of a whole training in its log, and one a minute in a long one."""

WORSE_THAN_GUESSING = 50
"""Steps in a row with a loss above that of guessing, after which a training that was better has
diverged.
"""


class History:
    """The file of a training's steps, and its lines of progress."""

    def __init__(self, file: Path, steps: int, leg: int, tokens: int) -> None:
        """Open the file.

        Args:
            steps: of the whole training; leg: how many times it has started; tokens: of a step, per
                process.
        """
        self.file = file.open("a", buffering=1, encoding="utf-8")
        self.steps = steps
        self.leg = leg
        self.tokens = tokens
        self.began = self.last = self.shown = time.monotonic()
        self.made = 0

    def note(self, **values: Any) -> None:
        """Append a line."""
        self.file.write(json.dumps(values) + "\n")

    def step(self, step: int, loss: float, rate: float, norm: float, memory: float) -> None:
        """Note a step and, now and then, say how far the training is.

        Args:
            loss: in nats per token; rate: of learning; norm: of the gradient before clipping;
            memory: GB, the most so far.
        """
        now = time.monotonic()
        self.made += 1
        speed = self.tokens / (now - self.last)
        self.last = now
        self.note(
            step=step,
            loss=loss,
            rate=rate,
            norm=norm,
            tokens_per_second=round(speed, 1),
            memory=round(memory, 3),
            leg=self.leg,
        )
        if step % max(1, self.steps // PROGRESS_LINES) == 0 or now - self.shown > 60:
            self.shown = now
            left = (now - self.began) / self.made * (self.steps - step)
            print(
                f"step {step} of {self.steps}, loss {loss:.3f}, {speed:,.0f} tokens/s, {left / 60:.1f} min left",
                file=sys.stderr,
                flush=True,
            )


class Divergence:
    """Stops a training that no longer learns anything."""

    def __init__(self, vocabulary: int) -> None:
        self.guessing = math.log(vocabulary)
        self.was_better = False
        self.worse = 0

    def check(self, step: int, loss: float, norm: float) -> None:
        """Look at a step's loss and gradient norm before its update is made.

        Raises:
            UserError: one of them is no finite number, or the loss has been that of guessing for
                many steps.
        """
        advice = "Lower `learning_rate` or raise `warmup_ratio`."
        for name, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise UserError(f"the training diverged: the {name} is {value} at step {step}. {advice}")
        self.worse = self.worse + 1 if loss > self.guessing else 0
        self.was_better |= loss < self.guessing
        if self.was_better and self.worse >= WORSE_THAN_GUESSING:
            raise UserError(
                f"the training diverged: the loss is {loss:.3f} at step {step}, and for {self.worse} steps it has been "
                f"above that of guessing, {self.guessing:.3f}. {advice}"
            )
