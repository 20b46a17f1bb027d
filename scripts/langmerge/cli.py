"""The command `langmerge`: finds a subcommand, runs it, and turns a UserError into one line.

A subcommand is a module of langmerge.commands with a docstring (its --help),
`add_arguments(parser)` and `run(options)`.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import os
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

from langmerge import VERSION
from langmerge.errors import UserError, of_system, printed
from langmerge.files import ensure_cache

COMMANDS = {
    "init": "write a folder of your own: configuration with commented examples, and a profile for Slurm",
    "run": "run everything that a configuration asks for, and show how far it is",
    "check": "say what is wrong with a run's configuration, its tasks and its backend",
    "plan": "say what a run will take: downloads, jobs, disk, GPU-hours",
    "status": "say how far a run is: jobs done, running, waiting and failed, hours left",
    "prefetch": "fetch every model and data set of a run",
    "pin": "write the commits of what was fetched into the files of config/",
    "world": "make the miniature world of one language",
    "corpus": "make a corpus: clean, select, search for benchmarks, tokenise",
    "tokenizer": "train a tokenizer",
    "train": "train a language model, or go on with a stopped training",
    "export": "write the model of a training in many processes",
    "curves": "draw the loss, held-out bits per byte and speed of trainings",
    "merge": "merge models into one, as a recipe says",
    "outlook": "say whether an instruct model was trained from a base model, before anything is merged",
    "inspect": "say what a merge would do with every weight, and which models do not fit",
    "evaluate": "evaluate one model on a list of tasks",
    "batch": "evaluate several models one after another, and merge them in memory; a job of the workflow",
    "collect": "gather a run's results into scores.csv",
    "report": "make the tables, the figures and the page of a run",
    "votes": "make a page for blind votes of native speakers, and count them",
    "replay": "say what a search for the best weight would have found in a finished run",
    "publish": "write the model of a cell with its card, ready for the hub, and upload it",
    "ask": "ask several models of a run one question, and show the answers side by side",
    "forget": "discard results, so that the next run asks the models again",
}
"""Subcommands in the order in which a user meets them."""

HEARTBEAT = 30
"""Seconds between two signs of life of a running job, for `langmerge status`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the subcommand that the arguments name; exit with its status.

    SIGTERM (Slurm's time limit, `scancel`, Snakemake's shutdown) becomes SystemExit, so that `with`
    blocks clean up.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    name, rest = parse_name(arguments)
    look_at_old_objects_less_often()
    signal.signal(signal.SIGTERM, on_sigterm)
    threading.Thread(target=touch_log, daemon=True).start()
    ensure_cache()
    try:
        command = import_module(f"langmerge.commands.{name}")
        parser = argparse.ArgumentParser(
            prog=f"langmerge {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(parser)
        command.run(parser.parse_args(rest, argparse.Namespace(command_line=arguments)))
    except UserError as error:
        sys.exit(printed(str(error)))
    except OSError as error:
        sys.exit(printed(of_system(error)))
    except KeyboardInterrupt:
        os.write(2, b"error: interrupted\n")
        sys.exit(130)
    except Exception as error:  # a mistake of ours: the log has all of it, a terminal its last line
        if not sys.stderr.isatty():
            traceback.print_exc()
        sys.exit(printed(f"{type(error).__name__}: {error}. This is a mistake in langmerge; please report it."))


def look_at_old_objects_less_often() -> None:
    """Let Python's garbage collector look through all objects ten times less often than by default.

    torch, transformers and vLLM make hundreds of thousands of objects that stay, and the collector
    would look through them again and again while more are loaded
    (docs/benchmarks/2026-11-27-start.md). It looks at new objects as often as ever.
    """
    gc.set_threshold(*gc.get_threshold()[:2], 100)


def run_script(file: str) -> None:
    """Run the subcommand that a file of scripts/ is named after."""
    main([Path(file).stem, *sys.argv[1:]])


def parse_name(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The subcommand's name and its own arguments."""
    listing = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="langmerge",
        description="Merge a language into an instructed model, and measure what it gains and loses.",
        epilog=f"commands:\n{listing}\n\n`langmerge COMMAND --help` explains each. The whole experiment: `langmerge run`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"langmerge {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parsed = parser.parse_args(arguments[:1] or ["--help"])
    return parsed.command, arguments[1:]


def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    # Not print(): the signal may have come in the middle of one.
    os.write(2, b"error: stopped by SIGTERM: its time limit, a cancelled job, or Snakemake shutting down\n")
    sys.exit(143)


def touch_log() -> None:
    """While the process lives, lock and touch the file that its stderr goes to, if it is one: a
    silent job is then seen to run (overview/alive.py).
    """
    with suppress(OSError):  # the file system is full or gone; the job itself will say so
        if stat.S_ISREG(os.fstat(2).st_mode):
            with suppress(OSError):  # it has no locks
                fcntl.flock(2, fcntl.LOCK_SH)
        while stat.S_ISREG(os.fstat(2).st_mode):
            os.utime(2)
            time.sleep(HEARTBEAT)
