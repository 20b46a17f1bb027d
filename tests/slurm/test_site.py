"""slurm/site.yaml: where it is looked for, what it asks of jobs, and what is refused. No Slurm is
needed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from langmerge.errors import UserError
from langmerge.slurm.site import Site, read_site
from support.paths import ROOT


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without a site file; the current folder is another one, the user's own."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    (tmp_path / "checkout" / "slurm").mkdir(parents=True)
    return tmp_path / "checkout"


def write(folder: Path, text: str) -> None:
    (folder / "slurm").mkdir(exist_ok=True)
    (folder / "slurm" / "site.yaml").write_text(text)


def site(checkout: Path, text: str) -> Site:
    write(Path(), text)
    return read_site(checkout)


def test_without_a_site_file_nothing_is_asked(checkout: Path) -> None:
    assert read_site(checkout) == Site(Path("slurm/site.yaml"))
    assert read_site(checkout).resources(1) == {}


def test_the_users_own_file_wins_over_that_of_the_checkout(checkout: Path) -> None:
    write(checkout, "account: theirs")
    assert read_site(checkout) == Site(checkout / "slurm" / "site.yaml", {"account": "theirs"})
    write(Path(), "# as `langmerge init` writes it: nothing yet")
    assert read_site(checkout).settings == {"account": "theirs"}
    write(Path(), "account: mine")
    assert read_site(checkout) == Site(Path("slurm/site.yaml"), {"account": "mine"})


def test_the_template_can_be_used_as_it_is_and_with_every_key_uncommented(checkout: Path) -> None:
    shutil.copy(ROOT / "slurm" / "site.yaml.template", checkout)
    text = (ROOT / "slurm" / "site.yaml.template").read_text()
    assert site(checkout, text).resources(1) == {}
    keys = "account|partition|qos|constraint|type|options"  # gres and type exclude each other
    filled = site(checkout, re.sub(rf"^( *)# ((?:{keys}): )", r"\1\2", text, flags=re.MULTILINE))
    assert filled.resources(0)["slurm_extra"] == "--nice=100"
    assert filled.resources(2) == {
        "slurm_account": "mygroup",
        "slurm_partition": "gpu",
        "qos": "long",
        "gpu_model": "a100",
        "slurm_extra": "--reservation=mine",
    }


@pytest.mark.parametrize(
    ("answer", "partition", "minutes"),
    [
        ("short|1:30:00\\nlong*|2-12:00:00\\n", "", 60 * 60),
        ("gpu|30:00\\ngpu|30:00\\n", "gpu", 30),
        ("gpu|infinite\\n", "gpu", None),
        ("", "", None),
    ],
)
def test_the_time_limit_is_that_of_the_partition(checkout: Path, monkeypatch, answer, partition, minutes) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    (programs / "sinfo").write_text(f"#!/bin/sh\necho \"$@\" > {checkout}/asked\nprintf '{answer}'\n")
    (programs / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    settings = site(checkout, f"gpu: {{partition: {partition}}}" if partition else "")
    assert settings.time_limit(1) == minutes
    assert ("--partition=gpu" in (checkout / "asked").read_text()) == bool(partition)


def test_gres_counts_the_gpus(checkout: Path) -> None:
    settings = site(checkout, "gpu: {gres: 'gpu:a100'}")
    assert settings.resources(2) == {"gres": "gpu:a100:2"}
    assert settings.resources(0) == {}


def test_options_are_those_that_the_plugin_gives_to_sbatch(checkout: Path) -> None:
    settings = site(checkout, "{account: mine, gpu: {type: a100, constraint: a&b, options: --comment='two words'}}")
    assert settings.options(2) == ["--account=mine", "--constraint=a&b", "--gpus=a100:2", "--comment=two words"]
    assert settings.options(0) == ["--account=mine"]
    assert site(checkout, "gpu: {gres: gpu}").options(2) == ["--gres=gpu:2"]
    with pytest.raises(UserError, match=r"slurm/site\.yaml: gpu\.options: .*No closing quotation"):
        site(checkout, """gpu: {options: "--comment='two words"}""").options(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acount: mygroup", "acount: unknown key. Did you mean 'account'?"),
        ("gpu: {partition: [a, b]}", "gpu.partition"),
        ("gpu: {type: a100, gres: gpu}", "gpu: "),
        ("cpu: {type: a100}", "cpu.type: unknown key"),
        ("account: ''", "account"),
        ("cpu: [", "is not YAML"),
    ],
)
def test_a_mistake_names_file_and_key(checkout: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"slurm/site\.yaml") as error:
        site(checkout, text)
    assert message in str(error.value)
    assert "config/README.md" not in str(error.value)


def test_a_mistake_in_the_checkouts_file_names_that_one(checkout: Path) -> None:
    write(checkout, "acount: mygroup")
    with pytest.raises(UserError, match=re.escape(f"{checkout}/slurm/site.yaml:1: ")):
        read_site(checkout)
