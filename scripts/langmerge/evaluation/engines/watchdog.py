"""An engine of several processes ends as a whole: none waits for one that is dead, none outlives
the others.

vLLM with tensor parallelism above 1 runs one process per GPU. If one of them is killed (the kernel
does so where memory runs out), this process would wait for its answer. If this process is killed,
the others must give back their GPUs.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

PR_SET_PDEATHSIG = 1
"""Of Linux's <sys/prctl.h>: the signal that this process gets when its parent dies."""

STATUS = 70
"""The exit status of a process whose engine has died: EX_SOFTWARE of <sysexits.h>."""


class Watchdog:
    """Ends this process, and all that it watches, as soon as one of them is dead.

    Args:
        children: processes that must live until `stop` is called.
    """

    def __init__(self, children: Sequence[BaseProcess]) -> None:
        self.children = list(children)
        self.stopped, self.ending = multiprocessing.Pipe(duplex=False)
        if self.children:
            threading.Thread(target=self.watch, name="watchdog", daemon=True).start()

    def watch(self) -> None:
        dead = wait([self.stopped, *(child.sentinel for child in self.children)])
        if self.stopped in dead:
            return
        names = [f"{child.name} (process {child.pid})" for child in self.children if child.sentinel in dead]
        message = (
            f"error: vLLM's {', '.join(names)} died, perhaps for lack of memory; its own messages are above. Finished tasks "
            f"are kept: the same command does the rest.\n"
        )
        # No exception: the main thread waits for the dead process, in code that is not ours.
        sys.stdout.flush()
        os.write(2, message.encode())
        for child in self.children:
            if child.pid is not None and child.sentinel not in dead:
                os.kill(child.pid, signal.SIGKILL)
        os._exit(STATUS)

    def stop(self) -> None:
        """From now on the children may end."""
        self.ending.close()


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it died before
        os.kill(os.getpid(), signal.SIGKILL)
