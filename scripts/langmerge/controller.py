"""All that the rules ask of Snakemake beyond its documented directives; no other file touches its
internals.

Snakemake 9.27 documents no way to limit a resource by a value of the configuration, to know whether
jobs go to a cluster, to look at the jobs that are about to be submitted, to start again from
`onstart`, or to run it in a process that shows its progress in another way.
tests/workflow/test_controller.py checks what is used here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from snakemake.cli import main
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from langmerge.errors import UserError, printed
from langmerge.grid.folders import ROOT
from langmerge.yamls import Document, read_document

if TYPE_CHECKING:
    from langmerge.grid.grid import Grid
    from langmerge.overview.console import Console


class Controller:
    """A running Snakemake."""

    def __init__(self, workflow: Any) -> None:
        """Look at a workflow, the global variable of every Snakefile.

        Raises:
            WorkflowError: the rules are those of another checkout than the installed package.
        """
        self.workflow = workflow
        rules = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
        if rules.is_dir() and not rules.resolve().is_relative_to(ROOT.resolve()):
            raise WorkflowError(
                f"The rules in {rules} and the installed package langmerge, of {ROOT}, are of two checkouts. Start Snakemake with "
                "envs/run of the checkout whose Snakefile you use."
            )

    @contextlib.contextmanager
    def user_errors(self) -> Iterator[None]:
        """Make a mistake of the user's end Snakemake with its message alone.

        Not by a WorkflowError, before which Snakemake names the lines of the rules that were being
        read.
        """
        try:
            yield
        except UserError as error:
            raise SystemExit(printed(str(error))) from None

    def refuse(self, message: str) -> NoReturn:
        """End Snakemake with a message."""
        raise WorkflowError(message)

    def say(self, message: str) -> None:
        """Say something in the main process, unless the user wants it quiet."""
        if message and self.is_main:
            logger.info(message)

    def warn(self, message: str) -> None:
        logger.warning(message)

    @property
    def configuration(self) -> str:
        """The files that the run's configuration comes from, for messages."""
        return ", ".join(map(str, self.workflow.configfiles)) or "the run's configuration"

    def check_cores(self) -> None:
        """Refuse `--cores 0`, with which Snakemake would start jobs all the same.

        Raises:
            UserError: it was given.
        """
        if self.is_main and self.workflow.resource_settings.cores == 0:
            raise UserError("--cores 0: no job could run. Give the number of cores, such as --cores 4, or all.")

    @property
    def changes(self) -> dict[str, Any]:
        """The keys that the command line gives with --config; the same inside a job."""
        return dict(self.workflow.config_settings.config)

    def documents(self) -> list[Document]:
        """The files that the run's configuration comes from; none inside a job, which only repeats
        what the main process has checked.

        Raises:
            UserError: one of them would be misread.
        """
        paths = map(Path, self.workflow.configfiles if self.is_main else [])
        return [read_document(path) for path in paths if path.is_file()]

    @property
    def snakefile(self) -> Path:
        """The Snakefile that Snakemake was started with."""
        return Path(self.workflow.main_snakefile)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that a user has started, and not one that it has started for
        a job.
        """
        return self.workflow.is_main_process

    @property
    def is_dry_run(self) -> bool:
        """Whether Snakemake only says what it would do."""
        return self.workflow.dryrun

    @property
    def is_report(self) -> bool:
        """Whether Snakemake only writes its report of jobs that are done, which it does not tell."""
        return any(word.split("=")[0] == "--report" for word in sys.argv[1:])

    @property
    def is_job_on_node(self) -> bool:
        """Whether this process runs a job on a cluster's node."""
        return self.workflow.remote_exec

    @property
    def submits(self) -> bool:
        """Whether jobs go to a cluster, seen from the main process; known when all rules are read."""
        return not self.workflow.local_exec

    def jobs_at_once(self, threads: int, gpus: int) -> int:
        """How many jobs with so many threads and GPUs run at once: --jobs on a cluster; on one
        machine as many as fit its --cores, and its GPUs if --resources says how many there are.
        """
        if self.submits:
            return self.workflow.nodes
        resource = self.workflow.global_resources.get("gpu") if gpus else None
        limit = resource.value if resource else None
        cores = self.workflow.resource_settings.cores or 1  # none for a report
        fitting = [cores // threads, *([limit // gpus] if limit else [])]
        return max(min(fitting), 1)

    def limit(self, resource: str, number: int) -> None:
        """Limit a resource of all jobs that run at once, unless --resources does."""
        if resource not in self.workflow.global_resources:
            self.workflow.register_resource(resource, number)

    def jobs_to_submit(self) -> list[Any]:
        """In `onstart`: the jobs that are about to go to the cluster."""
        return [job for job in self.workflow.dag.needrun_jobs() if not job.is_local] if self.submits else []

    def will_run(self, rule: str) -> bool:
        """In `onstart`: whether this process is about to run jobs of a rule."""
        return self.is_main and any(job.rule.name == rule for job in self.workflow.dag.needrun_jobs())

    def forbidden_slurm_options(self) -> dict[str, str]:
        """Patterns of options of sbatch that the Slurm plugin refuses, with their names."""
        # Here, because the plugin calls scontrol when it is imported.
        from snakemake_executor_plugin_slurm.validation import get_forbidden_slurm_options

        return get_forbidden_slurm_options()

    def start_again(self) -> None:
        """In `onstart`: run the same command from the beginning, because which jobs there are has
        changed.
        """
        self.workflow.persistence.unlock()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def announce(self, grid: Grid) -> None:
        """Tell the console of `langmerge run`, if it is that which has started Snakemake."""
        if self.is_main and Watched.console:
            Watched.console.watch(grid, self.workflow.nodes or self.workflow.cores or 1)


class Watched:
    """The console of the Snakemake that runs in this process; none if a user has started it."""

    console: Console | None = None


class LogHandler(LogHandlerBase):
    """Snakemake's logger plugin: tells the console what happens."""

    writes_to_stream = has_filter = has_formatter = True
    writes_to_file = needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        console, event = Watched.console, getattr(record, "event", None)
        if console is None:
            return
        match event:
            case LogEvent.RUN_INFO:
                console.planned(record.stats)
            case LogEvent.JOB_INFO if not self.common_settings.dryrun:
                console.started(record.jobid, record.rule_name, record.log or [])
            case LogEvent.JOB_FINISHED:
                console.finished(record.job_id)
            case LogEvent.JOB_ERROR:
                console.failed(record.jobid, record.rule_name, record.log or [])
            case LogEvent.ERROR if getattr(record, "exception", "") != "RuleException":  # told by JOB_ERROR
                console.message(plain(record.getMessage()))
            case None if record.levelno >= logging.WARNING:
                console.message(plain(record.getMessage()))


def plain(message: str) -> str:
    """A message of Snakemake's without its first line, which names lines of the rules, without what
    the console says itself, and of a traceback only the end.
    """
    if "Traceback (most recent call last)" in message:
        return message.strip().splitlines()[-1]
    lines = [line for line in message.splitlines() if line.strip() and not line.startswith(OWN_WORDS)]
    return "\n".join(lines[1:] if len(lines) > 1 and re.match(r"\w+(Error|Exception) in ", lines[0]) else lines)


OWN_WORDS = (
    "Exiting because a job execution failed",
    "At least one job did not complete",
    "WorkflowError:",
    "Shutting down, this might take some time",
    "Complete log(s)",
)
"""How lines begin that say no more than a console's own."""


class UntilInterrupted(io.TextIOBase):
    """A stream without what Snakemake prints after Ctrl-C: where that comes while it looks at its
    jobs, the traceback of its event loop.
    """

    def __init__(self, console: Console, stream: TextIO) -> None:
        self.console, self.stream = console, stream

    def write(self, text: str) -> int:
        return len(text) if self.console.interrupted else self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def run(arguments: Sequence[str], console: Console) -> bool:
    """Run Snakemake in this process, and show on the console what happens; return whether all went
    well.
    """
    Watched.console = console
    plugin = ModuleType("snakemake_logger_plugin_langmerge")
    plugin.LogHandler = LogHandler  # type: ignore[attr-defined]
    LoggerPluginRegistry().register_plugin("langmerge", plugin)

    def interrupt(number: int, frame: FrameType | None) -> None:
        console.interrupted = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        with contextlib.redirect_stderr(UntilInterrupted(console, sys.stderr)):
            main([*arguments, "--logger", "langmerge"])
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        return not ended.code
    except KeyboardInterrupt:
        return False
    finally:
        console.close()
    return True
