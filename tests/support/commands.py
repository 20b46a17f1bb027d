"""Call a subcommand in this process."""

from __future__ import annotations

import argparse
import os
from types import ModuleType
from unittest.mock import patch


def call(command: ModuleType, *arguments: object) -> None:
    """Run a module of langmerge.commands with arguments; the environment is as before afterwards."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with patch.dict(os.environ):
        command.run(parser.parse_args([str(argument) for argument in arguments]))
