"""`langmerge prefetch` with a local hub: real HTTP, real huggingface_hub."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time

import pytest

from support.hub import COMMIT, Hub
from support.hub_run import BENCHMARKS, MB, QUIZ, QUIZ_COMMIT, contents

# ---- what is fetched


def test_all_that_the_run_needs_and_nothing_else(work, hub, models):
    said = work.run()
    wanted = {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "README.md",  # has the licence
    }
    assert contents(work.instruct) == {name: models["small-instruct"][name] for name in wanted}
    assert contents(work.quiz) == {name: QUIZ[name] for name in ("README.md", "data/eu/test.jsonl")}
    assert sorted(path.name for path in work.cache.glob("*/*")) == [
        "lab--quiz@main",
        "lab--small-eu@" + COMMIT,
        "lab--small-instruct@main",
    ]
    assert "3 of 3 repositories" in said
    assert f"lab/small-instruct: {COMMIT}" in said  # of those without a revision
    assert f"lab/quiz: {QUIZ_COMMIT}" in said
    assert "lab/small-eu:" not in said


def test_records_and_manifest_describe_what_was_fetched(work, hub, models):
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
        ("datasets", "lab/quiz", "main", QUIZ_COMMIT),
    ]
    assert manifest[0]["files"] == record["files"]


def test_a_second_call_asks_for_nothing(work, hub):
    work.run()
    assert hub.requests
    hub.requests.clear()
    before = {path: path.stat().st_mtime_ns for path in work.cache.rglob("*")}
    work.run()
    assert hub.requests == []
    assert {path: path.stat().st_mtime_ns for path in work.cache.rglob("*")} == before


def test_a_data_set_loads_with_its_own_rows_only(work, hub):
    """Without a card, `datasets` reads all the files that it finds; the record must not be one of
    them.
    """
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


def test_files_are_downloaded_at_the_same_time(work, hub):
    hub.pause = 0.05
    files = {f"data/eu/{number}.jsonl": random.Random(number).randbytes(MB) for number in range(4)}
    hub.repositories["datasets/lab/quiz"].files.update(files)
    work.run("--workers", "4")
    assert hub.busiest >= 3
    hub.busiest = 0
    shutil.rmtree(work.cache)
    work.run("--workers", "1")
    assert 1 <= hub.busiest <= 2  # a client may have a whole file before the server knows that it is done


def test_one_folder_of_the_cache(work, hub):
    said = work.run("--folder", str(work.quiz.relative_to(work.folder)))
    assert "1 of 3 repositories" in said
    assert work.quiz.is_dir()
    assert not work.instruct.exists()
    assert not (work.folder / "results/real/manifest.json").exists()
    assert "no repository of this run belongs there" in work.run("--folder", "elsewhere", expect=1)


def test_a_model_of_the_users_own_is_neither_fetched_nor_changed(work, hub, models):
    own = work.folder / 'my model\'s "ñ"'
    own.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (own / name).write_bytes(models["small-instruct"][name])
    before = contents(own, without=())
    work.write_backbone(instruct={"path": str(own)})
    assert "2 of 2 repositories" in work.run()
    assert contents(own, without=()) == before
    assert not [request for request in hub.requests if "small-instruct" in request.path]


# ---- interruptions and errors


def large_model(hub: Hub) -> bytes:
    """Give a model 25 MB of weights; return them. huggingface_hub writes pieces of 10 MB."""
    weights = random.Random(1).randbytes(25 * MB)
    hub.repositories["models/lab/small-instruct"].files["model.safetensors"] = weights
    return weights


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_a_killed_download_keeps_complete_files_and_leaves_nothing_else(work, hub, signal):
    weights = large_model(hub)
    hub.pause = 0.02
    process = subprocess.Popen(
        [sys.executable, "-m", "langmerge", "prefetch", "config/config.yaml"],
        cwd=work.folder,
        env=work.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = work.instruct.with_name(f"{work.instruct.name}.partial")
    limit = time.monotonic() + 60
    while not ((partial / "config.json").exists() and hub.sent > 5 * MB):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.01)
    getattr(process, signal)()
    started = time.monotonic()
    said = process.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert signal == "kill" or "Complete files are kept; the same command continues" in said
    assert hub.sent < len(weights) and time.monotonic() - started < 5, "it waited for the file"
    assert not work.instruct.exists()
    hub.pause = 0.0
    hub.requests.clear()
    work.run()
    assert contents(work.instruct)["model.safetensors"] == weights
    sent = {
        request.path.rpartition("/")[2] for request in hub.requests if request.sent and "small-instruct" in request.path
    }
    assert "model.safetensors" in sent and "config.json" not in sent
    assert not [
        path
        for path in work.cache.rglob("*")
        if any(word in path.name for word in (".incomplete", ".lock", ".partial", ".cache"))
    ]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])  # checked by SHA-256, by git's SHA-1
def test_a_wrong_checksum_is_found_and_the_rest_is_fetched(work, hub, file):
    broken = hub.repositories["models/lab/small-instruct"]
    broken.corrupt.add(file)
    said = work.run(expect=1)
    assert f"lab/small-instruct (models): {file} had a wrong checksum" in said
    assert not work.instruct.exists()
    assert work.quiz.is_dir()
    broken.corrupt.clear()
    hub.requests.clear()
    work.run()
    assert contents(work.instruct)[file] == broken.files[file]
    sent = [request.path for request in hub.requests if request.sent]
    assert sent and all(path.endswith(file) for path in sent), "an undamaged file was downloaded a second time"


def test_a_gated_repository_is_explained_and_the_rest_is_fetched(work, hub):
    hub.repositories["models/lab/small-instruct"].gated = True
    said = work.run(expect=1)
    assert "lab/small-instruct (models): it is gated" in said
    assert "https://huggingface.co/lab/small-instruct" in said
    assert "hf auth login" in said
    assert work.quiz.is_dir()
    assert not work.instruct.exists()
    work.run(token=hub.token)
    assert work.instruct.is_dir()
    assert hub.token in {request.token for request in hub.requests}
    tokens = {request.token for request in hub.requests if request.path.startswith("cdn/")}
    assert tokens == {None}, "the token was sent to the host of large files"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"hub": "lab/nothing"},
            ["lab/nothing (models): it does not exist or is private", "https://huggingface.co/lab/nothing"],
        ),
        (
            {"hub": "lab/small-instruct", "revision": "f" * 40},
            ["no revision 'ffff", "https://huggingface.co/lab/small-instruct/commits/main"],
        ),
    ],
)
def test_wrong_names_and_revisions_are_explained(work, hub, change, words):
    work.write_backbone(instruct=change)
    said = work.run(expect=1)
    assert all(word in said for word in words), said
    assert work.quiz.is_dir()


def test_a_model_without_safetensors_is_refused(work, hub):
    files = hub.repositories["models/lab/small-instruct"].files
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    assert "it has no *.safetensors, the only format that is read" in work.run(expect=1)


def test_a_data_set_without_the_wanted_files_is_refused(work, hub):
    del hub.repositories["datasets/lab/quiz"].files["data/eu/test.jsonl"]
    del hub.repositories["datasets/lab/quiz"].files["README.md"]
    assert "it has no data/eu/* at" in work.run(expect=1)


@pytest.mark.parametrize(
    "name",
    [
        *("data/eu/../../../../stolen.jsonl", "data/eu//stolen", "data/eu/a\\b", "data/eu/\x1b"),
        f"data/eu/{'x' * 300}",
    ],
)
def test_a_data_set_whose_files_would_leave_their_folder_is_refused(work, hub, name):
    hub.repositories["datasets/lab/quiz"].files[name] = b"{}"
    before = {path for path in work.folder.parent.rglob("*") if work.cache not in path.parents}
    said = work.run(expect=1)
    assert f"lab/quiz (datasets): the name {name[:200]!r} could lead out of its folder" in said.replace("...", "")
    assert [*work.cache.glob("datasets/*")] == []
    assert work.instruct.is_dir(), "the rest is fetched"
    now = {path for path in work.folder.parent.rglob("*") if work.cache not in path.parents}
    assert now - before == {work.cache.parent, work.cache} | {*(work.folder / "results/real").rglob("*")} | {
        work.folder / "results/real"
    }


@pytest.mark.parametrize("name", ["/etc/stolen", "C:/stolen", "../stolen"])
def test_a_model_whose_files_would_leave_their_folder_are_left_out(work, hub, name):
    """They are not at the top of its repository."""
    hub.repositories["models/lab/small-instruct"].files[f"{name}.json"] = b"{}"
    assert "3 of 3" in work.run()
    assert not list(work.folder.parent.rglob("stolen*"))


def test_a_hash_that_would_leave_the_folder_is_refused(work, hub):
    hub.repositories["datasets/lab/quiz"].hashes["data/eu/test.jsonl"] = "/../../../../stolen"
    assert "data/eu/test.jsonl had a wrong checksum" in work.run(expect=1)
    assert not work.quiz.exists()
    assert not list(work.folder.parent.rglob("stolen*"))


def test_without_a_network(work, hub):
    said = work.run(expect=1, url="http://127.0.0.1:1")
    assert "3 repositories cannot be fetched" in said
    assert said.count("cannot be reached") == 1, "one reason, one line"


def test_hf_hub_offline_is_ignored(work, hub):
    """Clusters set it for all jobs, and this is the one command that needs the hub."""
    subprocess.run(
        [sys.executable, "-m", "langmerge", "prefetch", "config/config.yaml"],
        cwd=work.folder,
        env=work.environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert work.instruct.is_dir()


def test_more_than_the_disk_holds_is_not_started(work, hub):
    hub.repositories["models/lab/small-instruct"].sizes["model.safetensors"] = 10**18
    assert "1000000000.0 GB are to be fetched" in work.run(expect=1)
    assert not work.cache.exists()
    assert hub.sent == 0


# ---- dry runs


def test_a_dry_run_lists_revisions_and_sizes(work, hub, models):
    hub.repositories["models/lab/small-eu"].gated = True
    said = work.run("--dry-run")
    rows = {line.split()[1]: line.split() for line in said.splitlines() if line.startswith(("models", "datasets"))}
    assert rows["lab/quiz"][2:] == ["main", "0.00", "to", "fetch"]
    assert rows["lab/small-eu"][2] == COMMIT
    assert "lab/small-eu (models): it is gated" in said
    assert not work.cache.exists()
    assert hub.requests and hub.sent == 0


def test_a_dry_run_counts_what_is_in_the_cache(work, hub):
    weights = large_model(hub)
    assert "0.03  to fetch" in work.run("--dry-run")
    partial = work.instruct.with_name(f"{work.instruct.name}.partial")
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(weights)
    assert "0.03  0.03 GB in the cache" in work.run("--dry-run")
    work.run()
    said = work.run("--dry-run")
    assert "To fetch into results/the run's cäche: 0.0 GB" in said
    assert said.count("  in the cache") == 3


def test_a_dry_run_without_a_network_takes_the_configurations_sizes(work, hub):
    said = work.run("--dry-run", url="http://127.0.0.1:1")
    assert "~3.50" in said
    assert "~0.50" in said
    assert "~4.0 GB, and 1 repository of unknown size" in said


# ---- changes of the configuration


def test_pinning_what_was_fetched_downloads_nothing_again(work, hub):
    work.run()
    assert hub.sent > 0
    work.write_backbone(instruct={"hub": "lab/small-instruct", "revision": COMMIT})
    hub.requests.clear()
    work.run()
    assert hub.sent == 0
    assert contents(work.instruct.with_name("lab--small-instruct@" + COMMIT)) == contents(work.instruct)


def test_files_needed_later_are_added_at_the_same_commit(work, hub):
    work.run()
    quiz = hub.repositories["datasets/lab/quiz"]
    old = (work.quiz / "data/eu/test.jsonl").stat()
    hub.requests.clear()
    work.write("benchmarks.yaml", {**BENCHMARKS, "quiz_sw": {"dataset": "lab/quiz", "files": ["data/sw/*"]}})
    work.run()
    assert contents(work.quiz) == QUIZ
    assert hub.sent == len(QUIZ["data/sw/test.jsonl"])
    new = (work.quiz / "data/eu/test.jsonl").stat()
    assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
    assert {*json.loads((work.quiz / ".langmerge.json").read_text())["files"]} == {*QUIZ}
    # The branch moves. What is in the cache stays at its commit.
    quiz.commit = "e" * 40
    hub.requests.clear()
    work.run()
    assert hub.requests == []


def test_a_folder_that_the_user_put_there_is_left_as_it_is(work, hub):
    work.instruct.mkdir(parents=True)
    (work.instruct / "config.json").write_text("{}")
    work.run()
    assert contents(work.instruct) == {"config.json": b"{}"}
    assert work.quiz.is_dir()
