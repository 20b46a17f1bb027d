"""scripts/prefetch.py and the rules around it, on a hub that the test runs (tests/hub.py): real HTTP, real huggingface_hub."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_merge import write_model

from support.hub import COMMIT, Hub, Repository, running_hub
from support.project import ROOT, Project

SCRIPT = ROOT / "scripts" / "prefetch.py"
MB = 2**20

RUN = {
    "run": "real",
    "languages": ["eu"],
    "backbones": ["small"],
    "weights": [1],
    "methods": {"linear": {"merge_method": "linear"}},
    "experiments": {"one": {"methods": ["linear"]}},
    "tasks": [{"task": "{benchmark}", "measure": "benchmark", "metric": "acc"}],
}

BACKBONE = {
    "dtype": "float32",
    "models": {
        "instruct": {"hub": "lab/small-instruct", "gb": 3.5},
        "adapted": {"hub": "lab/small-{language}", "revision": COMMIT},
    },
}

BENCHMARKS = {"quiz_eu": {"dataset": "lab/quiz", "files": ["data/eu/*"], "gb": 0.5}}

QUIZ = {
    "README.md": b"---\nconfigs:\n- config_name: eu\n  data_files: data/eu/test.jsonl\n---\n",
    "data/eu/test.jsonl": b'{"question": "Zer?"}\n{"question": "Nor?"}\n',
    "data/sw/test.jsonl": b'{"question": "Nini?"}\n',
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Two real small models, and what else repositories of models hold."""
    folder = tmp_path_factory.mktemp("models")
    made = {name: write_model(folder / name, seed) for seed, name in enumerate(["small-instruct", "small-eu"])}
    extra = {
        "pytorch_model.bin": b"pickle",
        "original/model.safetensors": b"again",
        "consolidated.safetensors": b"again",
        "README.md": b"A model.",
    }
    return {name: {path.name: path.read_bytes() for path in place.iterdir()} | extra for name, place in made.items()}


@pytest.fixture
def hub(models):
    with running_hub() as hub:
        for name, files in models.items():
            hub.repositories[f"models/lab/{name}"] = Repository(dict(files))
        hub.repositories["datasets/lab/quiz"] = Repository(dict(QUIZ), commit="d" * 40)
        yield hub


class Work:
    """A folder with a run's configuration, in which prefetch.py is called as a user calls it."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder, self.cache = folder, folder / "results" / "cache"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        self.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "no_proxy": "*"}
        shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
        self.write("config/run.yaml", RUN)
        self.write("config/backbones/small.yaml", BACKBONE)
        self.write("config/benchmarks.yaml", BENCHMARKS)
        language = yaml.safe_load((ROOT / "config/languages/eu.yaml").read_text())
        self.write("config/languages/eu.yaml", {**language, "benchmarks": {"quiz_eu": {}}})

    def write(self, path: str, content: dict) -> None:
        (self.folder / path).write_text(yaml.safe_dump(content))

    def command(self, *options: str) -> list[str]:
        return [sys.executable, str(SCRIPT), "config/run.yaml", *options]

    def run(self, *options: str, expect: int = 0, **environment: str) -> str:
        done = subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    @property
    def instruct(self) -> Path:
        return self.cache / "models" / "lab--small-instruct@main"

    @property
    def quiz(self) -> Path:
        return self.cache / "datasets" / "lab--quiz@main"


@pytest.fixture
def work(tmp_path, hub) -> Work:
    return Work(tmp_path, hub)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder of the cache without its record."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if not name.endswith("langmerge.json")}


# ---- what comes


def test_everything_of_the_run_and_nothing_else(work, hub, models):
    said = work.run()
    wanted = {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    assert contents(work.instruct) == {name: models["small-instruct"][name] for name in wanted}
    assert contents(work.quiz) == {name: QUIZ[name] for name in ("README.md", "data/eu/test.jsonl")}
    assert sorted(path.name for path in work.cache.glob("*/*")) == [
        "lab--quiz@main",
        "lab--small-eu@" + COMMIT,
        "lab--small-instruct@main",
    ]
    assert "3 of 3 repositories" in said
    assert f"lab/small-instruct: {COMMIT}" in said  # pins to paste, of those that have none
    assert f"lab/quiz: {'d' * 40}" in said
    assert "lab/small-eu:" not in said


def test_records_and_manifest_say_what_came(work, hub, models):
    work.run()
    record = json.loads((work.instruct / "langmerge.json").read_text())
    weights = models["small-instruct"]["model.safetensors"]
    assert record["hub"] == "lab/small-instruct"
    assert record["revision"] == COMMIT
    assert record["files"]["model.safetensors"] == {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    assert {*record["files"]} == {*contents(work.instruct)}
    manifest = json.loads((work.folder / "results/real/manifest.json").read_text())
    assert [(each["kind"], each["hub"], each["wanted"], each["revision"]) for each in manifest] == [
        ("models", "lab/small-instruct", "main", COMMIT),
        ("models", "lab/small-eu", COMMIT, COMMIT),
        ("datasets", "lab/quiz", "main", "d" * 40),
    ]
    assert manifest[0]["files"] == record["files"]


def test_the_second_time_nothing_is_asked(work, hub):
    work.run()
    hub.requests.clear()
    before = {path: path.stat().st_mtime_ns for path in work.cache.rglob("*")}
    work.run()
    assert hub.requests == []
    assert {path: path.stat().st_mtime_ns for path in work.cache.rglob("*")} == before


def test_a_data_set_loads_with_its_own_rows_only(work, hub):
    """Without a card, `datasets` reads all the files that it finds; the record must not be one of them."""
    files = hub.repositories["datasets/lab/quiz"].files
    del files["README.md"]
    files["data/eu/rows.jsonl"] = files.pop("data/eu/test.jsonl")
    work.run()
    code = "import datasets, sys; print([*datasets.load_dataset(sys.argv[1])['train']['question']])"
    loaded = subprocess.run(
        [sys.executable, "-c", code, str(work.quiz)],
        env=work.environment | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(work.folder / "arrow")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert loaded.stdout.strip() == "['Zer?', 'Nor?']"


def test_files_come_at_once(work, hub):
    hub.pause = 0.05
    files = {f"data/eu/{number}.jsonl": random.Random(number).randbytes(MB) for number in range(4)}
    hub.repositories["datasets/lab/quiz"].files.update(files)
    work.run("--workers", "4")
    assert hub.busiest >= 3
    hub.busiest = 0
    shutil.rmtree(work.cache)
    work.run("--workers", "1")
    assert hub.busiest <= 2  # a reader may have all before the server knows that it is done


# ---- interruptions and errors


def killed_in_the_middle(work: Work, hub: Hub, signal: str) -> Path:
    """Begin to fetch a model of 25 MB, and kill or stop the process when 10 MB are on disk; return the part."""
    hub.repositories["models/lab/small-instruct"].files["model.safetensors"] = random.Random(1).randbytes(25 * MB)
    hub.pause = 0.02
    process = subprocess.Popen(
        work.command(),
        cwd=work.folder,
        env=work.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = work.instruct.with_name(f"{work.instruct.name}.partial")
    limit = time.monotonic() + 60
    # The large file alone: a small one may be complete, and have another name, by the time one asks for its size.
    while not (
        parts := [path for path in partial.glob("model.safetensors.*.incomplete") if path.stat().st_size >= 10 * MB]
    ):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.01)
    getattr(process, signal)()
    assert "Traceback" not in process.communicate(timeout=30)[1]
    assert not work.instruct.exists()
    hub.pause = 0.0
    return parts[0]


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_a_killed_download_goes_on_where_it_was(work, hub, signal):
    part = killed_in_the_middle(work, hub, signal)
    had = part.stat().st_size
    hub.requests.clear()
    work.run()
    (again,) = [request for request in hub.requests if request.path.startswith("cdn/models/lab/small-instruct/model")]
    assert (again.start, again.sent) == (had, 25 * MB - had)
    assert (
        contents(work.instruct)["model.safetensors"]
        == hub.repositories["models/lab/small-instruct"].files["model.safetensors"]
    )
    assert not [
        path
        for path in work.cache.rglob("*")
        if ".incomplete" in path.name or ".lock" in path.name or ".partial" in path.name
    ]


def test_a_part_that_is_damaged_is_found(work, hub):
    part = killed_in_the_middle(work, hub, "kill")
    with part.open("r+b") as file:
        file.write(b"damaged")
    assert "wrong checksum" in work.run(expect=1)
    assert not work.instruct.exists()
    work.run()
    assert (
        contents(work.instruct)["model.safetensors"]
        == hub.repositories["models/lab/small-instruct"].files["model.safetensors"]
    )


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])  # SHA-256; git's SHA-1
def test_a_wrong_checksum_is_found_and_the_rest_comes(work, hub, file):
    broken = hub.repositories["models/lab/small-instruct"]
    broken.corrupt.add(file)
    said = work.run(expect=1)
    assert f"lab/small-instruct (models): {file} came with a wrong checksum" in said
    assert not work.instruct.exists()
    assert work.quiz.is_dir()
    broken.corrupt.clear()
    hub.requests.clear()
    work.run()
    assert contents(work.instruct)[file] == broken.files[file]
    asked = [request.path for request in hub.requests if request.sent]
    assert all(path.endswith(file) for path in asked), "what was good came twice"


def test_a_gated_repository_is_explained_and_the_rest_comes(work, hub):
    hub.repositories["models/lab/small-instruct"].gated = True
    said = work.run(expect=1)
    assert "lab/small-instruct (models): it is gated" in said
    assert "https://huggingface.co/lab/small-instruct" in said
    assert "hf auth login" in said
    assert work.quiz.is_dir()
    assert not work.instruct.exists()
    work.run(HF_TOKEN=hub.token)
    assert work.instruct.is_dir()
    tokens = {request.token for request in hub.requests if request.path.startswith("cdn/")}
    assert tokens == {None}, "the token was sent to the host of large files"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"hub": "lab/nothing"},
            ["lab/nothing (models): it is not there, or private", "https://huggingface.co/lab/nothing"],
        ),
        (
            {"hub": "lab/small-instruct", "revision": "f" * 40},
            ["no revision 'ffff", "https://huggingface.co/lab/small-instruct/commits/main"],
        ),
    ],
)
def test_wrong_names_and_revisions_are_explained(work, hub, change, words):
    work.write("config/backbones/small.yaml", {**BACKBONE, "models": {**BACKBONE["models"], "instruct": change}})
    said = work.run(expect=1)
    assert all(word in said for word in words), said
    assert work.quiz.is_dir()


def test_a_model_without_safetensors_is_refused(work, hub):
    files = hub.repositories["models/lab/small-instruct"].files
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    assert "no safetensors" in work.run(expect=1)


def test_without_a_network(work, hub):
    assert "HF_HUB_OFFLINE is set" in work.run(expect=1, HF_HUB_OFFLINE="1")
    said = work.run(expect=1, HF_ENDPOINT="http://127.0.0.1:1")
    assert "3 repositories cannot be fetched" in said
    assert said.count("cannot be reached") == 1, "one reason, one line"


def test_more_than_the_disk_holds_is_not_begun(work, hub):
    hub.repositories["models/lab/small-instruct"].sizes["model.safetensors"] = 10**18
    assert "1000000000.0 GB are to be fetched" in work.run(expect=1)
    assert not work.cache.exists()
    assert hub.sent == 0


# ---- what is said beforehand


def test_dry_run_names_revisions_and_sizes(work, hub, models):
    hub.repositories["models/lab/small-eu"].gated = True
    said = work.run("--dry-run")
    rows = {line.split()[1]: line.split() for line in said.splitlines() if line.startswith(("models", "datasets"))}
    assert rows["lab/quiz"][2:] == ["main", "0.00", "to", "fetch"]
    assert rows["lab/small-eu"][2] == COMMIT
    assert "lab/small-eu (models): it is gated" in said
    assert not work.cache.exists()
    assert hub.sent == 0


def test_dry_run_counts_what_is_here(work, hub):
    hub.repositories["models/lab/small-instruct"].files["model.safetensors"] = random.Random(1).randbytes(25 * MB)
    assert "0.03  to fetch" in work.run("--dry-run")
    killed_in_the_middle(work, hub, "kill")
    assert "GB are here" in work.run("--dry-run")
    work.run()
    said = work.run("--dry-run")
    assert "To fetch into results/cache: 0.0 GB" in said
    assert said.count(" here") == 3


def test_dry_run_without_a_network_takes_the_configurations_sizes(work, hub):
    said = work.run("--dry-run", HF_ENDPOINT="http://127.0.0.1:1")
    assert "~3.50" in said
    assert "~0.50" in said
    assert "~4.0 GB, and 1 repositories of unknown size" in said


# ---- changes


def test_pinning_what_was_fetched_downloads_nothing_again(work, hub):
    work.run()
    pinned = {
        **BACKBONE,
        "models": {**BACKBONE["models"], "instruct": {"hub": "lab/small-instruct", "revision": COMMIT}},
    }
    work.write("config/backbones/small.yaml", pinned)
    hub.requests.clear()
    work.run()
    assert hub.sent == 0
    assert contents(work.instruct.with_name("lab--small-instruct@" + COMMIT)) == contents(work.instruct)


def test_files_asked_for_later_are_added_at_the_same_commit(work, hub):
    work.run()
    quiz = hub.repositories["datasets/lab/quiz"]
    old = (work.quiz / "data/eu/test.jsonl").stat()
    hub.requests.clear()
    work.write("config/benchmarks.yaml", {**BENCHMARKS, "quiz_sw": {"dataset": "lab/quiz", "files": ["data/sw/*"]}})
    work.run()
    assert contents(work.quiz) == QUIZ
    assert hub.sent == len(QUIZ["data/sw/test.jsonl"])
    new = (work.quiz / "data/eu/test.jsonl").stat()
    assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
    assert {*json.loads((work.quiz / ".langmerge.json").read_text())["files"]} == {*QUIZ}
    # The branch moves on: what is here stays the commit that it is.
    quiz.commit = "e" * 40
    hub.requests.clear()
    work.run()
    assert hub.requests == []


def test_a_folder_put_there_by_hand_is_taken_as_it_is(work, hub):
    work.instruct.mkdir(parents=True)
    (work.instruct / "config.json").write_text("{}")
    work.run()
    assert contents(work.instruct) == {"config.json": b"{}"}


# ---- in the workflow


@pytest.fixture
def project(work, hub) -> Project:
    """The run in a project of its own, in which Snakemake runs against the hub."""
    made = Project.new(work.folder / "project", {**RUN})
    shutil.copytree(work.folder / "config", made.folder / "config", dirs_exist_ok=True)
    made.configure()
    made.hub = hub
    return made


@pytest.fixture
def environment(work, monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    for name in ("HF_ENDPOINT", "HF_HOME", "no_proxy"):
        monkeypatch.setenv(name, work.environment[name])


ANATOMY = "results/real/anatomy/small/linear/eu/w1.parquet"


@pytest.mark.workflow
@pytest.mark.usefixtures("environment")
def test_a_dry_run_needs_no_network_and_warns_once_of_what_is_not_pinned(project, hub):
    ran = project.run("--dry-run")
    assert ran.jobs["fetch"] == 3
    assert hub.requests == []
    assert ran.output.count("Without a revision, these may be other ones tomorrow: lab/small-instruct, lab/quiz.") == 1


@pytest.mark.workflow
@pytest.mark.usefixtures("environment")
def test_a_run_that_was_not_prefetched_fetches_and_then_leaves_the_cache_alone(project, hub):
    ran = project.run(ANATOMY)
    assert ran.jobs == {"fetch": 2, "merge": 1}
    fetched = project.folder / "results/cache/models/lab--small-instruct@main"
    assert (fetched / "model.safetensors").is_file()
    assert "Nothing to be done" in project.run("--dry-run", ANATOMY).output
    # Neither another age nor other parameters make Snakemake fetch or merge again, and no rule may delete what is there.
    hub.requests.clear()
    for path in [fetched, *fetched.rglob("*")]:
        os.utime(path, (time.time() + 1000, time.time() + 1000))
    project.configure(live_merges=1)
    assert "Nothing to be done" in project.run("--dry-run", ANATOMY).output
    project.run("--delete-all-output")
    assert (fetched / "model.safetensors").is_file()
    assert hub.requests == []


@pytest.mark.workflow
@pytest.mark.usefixtures("environment")
def test_a_cache_that_is_fetched_again_makes_no_merge_again(project, hub):
    project.run(ANATOMY)
    shutil.rmtree(project.folder / "results/cache")
    time.sleep(1.1)
    ran = project.run("prefetch")
    assert ran.jobs == {"prefetch": 1}
    assert "3 of 3 repositories" in ran.output
    assert (project.folder / "results/real/manifest.json").is_file()
    assert "Nothing to be done" in project.run("--dry-run", ANATOMY).output


@pytest.mark.workflow
@pytest.mark.usefixtures("environment")
def test_a_failed_fetch_keeps_what_has_come(project, hub):
    broken = hub.repositories["models/lab/small-instruct"]
    broken.corrupt.add("config.json")
    ran = project.run(ANATOMY, "--keep-going", expect=1)
    assert ran.jobs["fetch"] == 2
    log = project.folder / "results/real/logs/fetch/models/lab--small-instruct@main.log"
    assert "config.json came with a wrong checksum" in log.read_text()
    assert "config.json came with a wrong checksum" in project.run("prefetch", expect=1).output
    broken.corrupt.clear()
    hub.requests.clear()
    assert project.run(ANATOMY).jobs == {"fetch": 1, "merge": 1}
    assert [request.path.rpartition("/")[2] for request in hub.requests if request.sent] == ["config.json"]
