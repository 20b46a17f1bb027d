"""A local hub: an HTTP server with the part of the hub's protocol that huggingface_hub needs.

Its repositories are made of bytes. As on the real hub, large files (LFS) are redirected to another
host, which does not get the token, listings come in pages, and gated repositories can be listed but
not read. Uploads go as without Xet: large files to LFS, each once, and then a commit. It records
its requests and can be told to misbehave.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 10_000
"""Size in bytes from which a file is in LFS."""

PAGE = 3
"""Entries per page of a listing."""

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """What a hub has under one name.

    Attributes:
        files: content by name.
        gated: whether only readers with the hub's token may read the files.
        corrupt: files that are sent with a wrong byte.
        sizes, hashes: wrong ones in the listing, by the file's name.
        commit: what `main` means.
    """

    files: dict[str, bytes]
    gated: bool = False
    corrupt: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    commit: str = COMMIT

    def tree(self) -> list[dict]:
        folders = sorted({name.rpartition("/")[0] for name in self.files if "/" in name})
        entries = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders]
        for name, content in self.files.items():
            size = self.sizes.get(name, len(content))
            lfs = (
                {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}}
                if len(content) >= LARGE
                else {}
            )
            oid = self.hashes.get(name, git_hash(content))
            entries.append({"type": "file", "path": name, "oid": oid, "size": size, **lfs})
        return entries


@dataclass
class Request:
    """A request: its path, token and first byte, and how many bytes of a file were sent."""

    path: str
    token: str | None
    start: int
    sent: int = 0


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        repositories: by kind and name, such as `models/org/name`.
        token: the one that gated repositories and uploads require.
        pause: seconds to wait after every 256 KiB of a file.
        stored: content of large files that were uploaded, by SHA-256. room: how many more are
            taken; None: all.
        commits: (repository, names of the files) of each commit.
        requests: all requests so far.
        busiest: the largest number of files that were sent at the same time.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.token = "hf_secret"
        self.pause = 0.0
        self.stored: dict[str, bytes] = {}
        self.room: int | None = None
        self.commits: list[tuple[str, list[str]]] = []
        self.requests: list[Request] = []
        self.sending, self.busiest = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> int:
        """Bytes of files that were sent."""
        return sum(request.sent for request in self.requests)


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = unquote(address.path).strip("/"), parse_qs(address.query)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.request_seen = Request(path, self.token, start)
        self.server.requests.append(self.request_seen)
        match path.split("/"):
            case ["api", kind, organisation, name, "revision", revision]:
                self.with_repository(f"{kind}/{organisation}/{name}", revision, self.describe)
            case ["api", kind, organisation, name, "tree", revision]:
                self.with_repository(
                    f"{kind}/{organisation}/{name}", revision, self.list_files, int(query.get("cursor", ["0"])[0])
                )
            case ["api", kind, organisation, name, "auth-check"]:
                self.with_repository(f"{kind}/{organisation}/{name}", "main", self.admit)
            case ["datasets", organisation, name, "resolve", revision, *file]:
                self.with_repository(f"datasets/{organisation}/{name}", revision, self.resolve, "/".join(file))
            case [organisation, name, "resolve", revision, *file]:
                self.with_repository(f"models/{organisation}/{name}", revision, self.resolve, "/".join(file))
            case ["cdn", kind, organisation, name, *file]:
                self.send_file(self.server.repositories[f"{kind}/{organisation}/{name}"], "/".join(file))
            case _:
                self.refuse(404, "NotFound")

    # ---- uploads

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path).strip("/"), self.body()
        self.server.requests.append(Request(path, self.token, 0))
        match path.split("/"):
            case ["api", "validate-yaml"]:
                self.send_json({"errors": [], "warnings": []})
            case _ if self.token != self.server.token:
                self.refuse(401, "Unauthorized")
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "models", organisation, name, "preupload", "main"]:
                self.with_repository(f"models/{organisation}/{name}", "main", self.preupload, json.loads(body))
            case [organisation, name, "info", "lfs", "objects", "batch"]:
                key = f"models/{organisation}/{name.removesuffix('.git')}"
                self.with_repository(key, "main", self.lfs_batch, json.loads(body))
            case ["api", "models", organisation, name, "commit", "main"]:
                lines = [json.loads(line) for line in body.splitlines()]
                self.with_repository(f"models/{organisation}/{name}", "main", self.commit, lines)
            case _:
                self.refuse(404, "NotFound")

    def do_PUT(self) -> None:
        """A large file, at an address that only the LFS batch has told: there is no token."""
        content, oid = self.body(), self.path.rpartition("/")[2]
        self.server.requests.append(Request(self.path.strip("/"), None, 0, len(content)))
        with self.server.lock:
            full = self.server.room == 0
            if self.server.room:
                self.server.room -= 1
        if full:
            self.refuse(403, "Full")
        elif hashlib.sha256(content).hexdigest() != oid:
            self.refuse(400, "WrongChecksum")
        else:
            self.server.stored[oid] = content
            self.send_json({})

    @property
    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def create(self, asked) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        known = f"models/{name}" in self.server.repositories
        self.server.repositories.setdefault(f"models/{name}", Repository({}))
        self.send_json({"url": f"{self.server.url}/{name}"}, status=409 if known else 200)

    def preupload(self, repository, asked) -> None:
        oids = {entry["path"]: entry.get("lfs", entry)["oid"] for entry in repository.tree()}
        self.send_json(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                        "shouldIgnore": False,
                        "oid": oids.get(file["path"]),
                    }
                    for file in asked["files"]
                ]
            }
        )

    def lfs_batch(self, _repository, asked) -> None:
        actions = {
            each["oid"]: {"actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}}
            for each in asked["objects"]
            if each["oid"] not in self.server.stored
        }
        objects = [{**each, **actions.get(each["oid"], {})} for each in asked["objects"]]
        self.send_json({"transfer": "basic", "objects": objects})

    def commit(self, repository, lines) -> None:
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            if line["key"] == "file"
            else self.server.stored[line["value"]["oid"]]
            for line in lines
            if line["key"] in ("file", "lfsFile")
        }
        repository.files.update(files)
        repository.commit = hashlib.sha1(repr(sorted(files)).encode()).hexdigest()
        self.server.commits.append((self.key, sorted(files)))
        page = f"{self.server.url}/{self.key.partition('/')[2]}"
        self.send_json({"commitUrl": f"{page}/commit/{repository.commit}", "commitOid": repository.commit})

    # ---- answers

    def with_repository(self, key, revision, answer, *arguments) -> None:
        repository = self.server.repositories.get(key)
        if repository is None:
            self.refuse(401, "RepoNotFound")
        elif revision not in ("main", repository.commit):
            self.refuse(404, "RevisionNotFound")
        else:
            self.key = key
            answer(repository, *arguments)

    def describe(self, repository) -> None:
        name = self.key.partition("/")[2]
        self.send_json(
            {
                "id": name,
                "modelId": name,
                "sha": repository.commit,
                "gated": "manual" if repository.gated else False,
                "siblings": [],
            }
        )

    def list_files(self, repository, start) -> None:
        entries, end = repository.tree(), start + PAGE
        path = self.path.partition("?")[0]
        more = (
            {"Link": f'<{self.server.url}{path}?recursive=true&cursor={end}>; rel="next"'} if end < len(entries) else {}
        )
        self.send_json(entries[start:end], more)

    def may_read(self, repository) -> bool:
        return not repository.gated or self.request_seen.token == self.server.token

    def admit(self, repository) -> None:
        self.send_json({}) if self.may_read(repository) else self.refuse(403, "GatedRepo")

    def resolve(self, repository, file) -> None:
        if not self.may_read(repository):
            self.refuse(403, "GatedRepo")
        elif file not in repository.files:
            self.refuse(404, "EntryNotFound")
        elif len(repository.files[file]) >= LARGE:
            # To another host, as the real hub does.
            self.send_response(302)
            # As the real hub does, of the file as it should be.
            content = repository.files[file]
            self.send_header("X-Repo-Commit", repository.commit)
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(repository.sizes.get(file, len(content))))
            self.send_header("Location", f"http://localhost:{self.server.server_port}/cdn/{self.key}/{file}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_file(repository, file)

    def send_file(self, repository, file) -> None:
        content = repository.files[file]
        if file in repository.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = self.request_seen.start
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{git_hash(content)}"')
        self.send_header("X-Repo-Commit", repository.commit)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        hub = self.server
        with hub.lock:
            hub.sending += 1
            hub.busiest = max(hub.busiest, hub.sending)
        try:
            for position in range(start, len(content), 2**18):
                piece = content[position : position + 2**18]
                self.wfile.write(piece)
                self.request_seen.sent += len(piece)
                time.sleep(hub.pause)
        except OSError:
            pass  # the client was killed
        finally:
            with hub.lock:
                hub.sending -= 1

    def send_json(self, value, headers=None, status=200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status, code) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
