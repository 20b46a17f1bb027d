"""All that the rules ask of Snakemake beyond its documented directives; no other file touches its
internals.

Snakemake 9.27 documents no way to limit a resource by a value of the configuration, to know whether
jobs go to a cluster, to look at the jobs that are about to be submitted, or to start again from
`onstart`. tests/workflow/test_controller.py checks what is used here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from langmerge.errors import UserError, printed
from langmerge.grid.folders import ROOT
from langmerge.yamls import Document, read_document


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

    @contextmanager
    def user_errors(self) -> Iterator[None]:
        """Make a mistake of the user's end Snakemake with its message alone.

        Not by a WorkflowError, before which Snakemake names the lines of the rules that were being read.
        """
        try:
            yield
        except UserError as error:
            raise SystemExit(printed(str(error))) from None

    def refuse(self, message: str) -> NoReturn:
        """End Snakemake with a message."""
        raise WorkflowError(message)

    def warn(self, message: str) -> None:
        logger.warning(message)

    @property
    def configuration(self) -> str:
        """The files that the run's configuration comes from, for messages."""
        return ", ".join(map(str, self.workflow.configfiles)) or "the run's configuration"

    def documents(self) -> list[Document]:
        """The files that the run's configuration comes from; none inside a job, which only repeats what
        the main process has checked.

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
    def is_job_on_node(self) -> bool:
        """Whether this process runs jobs on a cluster's node."""
        return self.workflow.remote_exec

    @property
    def submits(self) -> bool:
        """Whether jobs go to a cluster, seen from the main process; known when all rules are read."""
        return not self.workflow.local_exec

    @property
    def at_once(self) -> int:
        """How many jobs run at once: --jobs on a cluster, --cores on one machine."""
        return self.workflow.nodes if self.submits else self.workflow.cores

    def limit(self, resource: str, number: int) -> None:
        """Limit a resource of all jobs that run at once, unless --resources does."""
        if resource not in self.workflow.global_resources:
            self.workflow.register_resource(resource, number)

    def jobs_to_submit(self) -> list[Any]:
        """In `onstart`: the jobs that are about to go to the cluster."""
        return [job for job in self.workflow.dag.needrun_jobs() if not job.is_local] if self.submits else []

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
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])
