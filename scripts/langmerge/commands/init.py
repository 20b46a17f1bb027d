"""Write a folder of your own: a Snakefile, a configuration with commented examples, and a profile
for Slurm.

    langmerge init my-experiment
    cd my-experiment
    langmerge run

The folder is yours, for your own version control. Its config/ goes before the one that langmerge
ships, file by file: a language, backbone or benchmark that it does not have is taken from there.
Files that are there already are kept.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from langmerge.errors import UserError
from langmerge.files import write_text
from langmerge.grid.folders import ROOT

TEMPLATES = Path(__file__).parents[1] / "init"

CHECKOUT = "@CHECKOUT@"
"""What stands in the templates for the path of the checkout, as a string of Python."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write, which may exist")


def run(options: argparse.Namespace) -> None:
    if options.folder.exists() and not options.folder.is_dir():
        raise UserError(f"{options.folder} is a file. Name a folder, which is made if it is not there.")
    if options.folder.resolve() == ROOT.resolve():
        raise UserError(
            f"{options.folder} is langmerge's own checkout, which has all of it. Name a folder of your own."
        )
    sources = [(path, path.relative_to(TEMPLATES)) for path in sorted(TEMPLATES.rglob("*")) if path.is_file()]
    sources.append((ROOT / "slurm" / "config.yaml", Path("slurm/config.yaml")))
    sources.append((ROOT / "slurm" / "site.yaml.template", Path("slurm/site.yaml.template")))
    sources.append((ROOT / "profiles" / "default" / "config.yaml", Path("profiles/default/config.yaml")))
    for source, name in sources:
        # Hidden files have a visible name among the templates.
        target = options.folder / name.with_name(name.name.replace("dot-", "."))
        if target.exists():
            print(f"kept     {target}")
            continue
        if target.name == "Snakefile":
            write_text(target, source.read_text(encoding="utf-8").replace(CHECKOUT, repr(str(ROOT / "Snakefile"))))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        print(f"written  {target}")
    print(f"\nNext: cd {options.folder}; {ROOT / 'envs' / 'run'} langmerge run")
