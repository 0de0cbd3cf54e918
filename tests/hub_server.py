"""A hub on loopback: as much of the Hugging Face hub's HTTP as its client asks for, serving folders. For tests.

A repository is `models/owner/name` or `datasets/owner/name`, and `models/owner/name@dev` another branch of it. Weights
are served as the real hub serves them: an answer with their SHA-256, leading to another host that wants no token.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_the_right_one"
Program = subprocess.Popen[str]
API = re.compile(
    r"/api/(?P<repo>(models|datasets)/[^/]+?(/[^/]+?)?)"
    r"(/(?P<verb>revision|tree|paths-info|preupload|commit|branch)/(?P<revision>[^/]+)(/(?P<path>.*))?)?$"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+(/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")
BATCH = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch$")


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    range: str
    authorization: str
    body: bytes


@dataclass
class Fault:
    """What goes wrong with the next `times` requests for the contents of a file, or about a repository; or nothing."""

    times: int = 1
    cut: int | None = None  # so many bytes are sent, and the connection is closed …
    reset: bool = False  # … the hard way
    wrong: bool = False  # the first byte is another one
    whole: bool = False  # the Range header is not heeded
    status: int = 0  # an answer with this status instead
    headers: Mapping[str, str] = field(default_factory=dict)


class Hub:
    """What is served. `asked` are the requests so far as `GET /path`, `requests` with their headers.

    `gated` repositories show their list of files and want TOKEN for the files; `private` ones want it for everything.
    `faults` are keyed by `owner/name/file`, or `owner/name` for questions about the repository.
    """

    def __init__(self, folders: Mapping[str, Path], gated: tuple[str, ...] = (), private: tuple[str, ...] = ()) -> None:
        self.folders, self.gated, self.private = dict(folders), gated, set(private)
        self.faults: dict[str, list[Fault]] = {}
        self.mirrored: set[str] = set()  # repositories that are served under ETags of somebody else's
        self.requests: list[Asked] = []
        self.objects: dict[str, bytes] = {}  # what was uploaded as a large file, by its SHA-256
        self.new: Path | None = None  # where repositories that are made by a request lie
        self.address = ""

    @property
    def asked(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.requests]

    def of(self, path: str) -> list[Asked]:
        """The requests whose path ends so."""
        return [one for one in self.requests if one.path.endswith(path)]

    def branches(self, repo: str) -> dict[str, Path]:
        """The folder of each branch by its name."""
        return {
            (key.partition("@")[2] or "main"): path for key, path in self.folders.items() if key.split("@")[0] == repo
        }

    def folder(self, repo: str, revision: str) -> Path | None:
        """What a branch or a commit holds."""
        found = self.branches(repo)
        return found.get(revision) or next((path for path in found.values() if commit(path) == revision), None)

    def tree(self, folder: Path, path: str, recursive: bool) -> list[dict[str, Any]]:
        """What a folder of the repository holds: its files and folders, or all the files below it."""
        inside = [entry for entry in entries(folder) if entry["path"].startswith(f"{path}/" if path else "")]
        if recursive:
            return inside
        depth = len(Path(path).parts) + 1
        folders = {"/".join(Path(entry["path"]).parts[:depth]) for entry in inside} - {e["path"] for e in inside}
        files = [entry for entry in inside if len(Path(entry["path"]).parts) == depth]
        return files + [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]

    def card(self, repo: str, folder: Path) -> dict[str, Any]:
        siblings = [
            {"rfilename": one["path"], "size": one["size"], "blobId": one["oid"], "lfs": lfs_info(one)}
            for one in entries(folder)
        ]
        name = repo.partition("/")[2]
        private = repo in self.private
        return {
            "id": name,
            "modelId": name,
            "sha": commit(folder),
            "siblings": siblings,
            "private": private,
            "tags": [],
        }


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def git_sha1(contents: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents).hexdigest()


def entries(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, contents = str(path.relative_to(folder)), path.read_bytes()
        entry = {"type": "file", "path": name, "size": len(contents), "oid": git_sha1(contents)}
        if is_large(name):
            entry["lfs"] = {"oid": hashlib.sha256(contents).hexdigest(), "size": len(contents), "pointerSize": 134}
        found.append(entry)
    return found


def lfs_info(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same as the list of a repository calls it."""
    return {**entry["lfs"], "sha256": entry["lfs"]["oid"]} if "lfs" in entry else None


def commit(folder: Path) -> str:
    """A hash of everything that is there."""
    return hashlib.sha1("".join(f"{e['path']} {e['oid']}\n" for e in entries(folder)).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, 1 << 16  # or every answer waits for the acknowledgement of its head

    def __init__(self, hub: Hub, *given: Any) -> None:
        self.hub = hub
        super().__init__(*given)

    def log_message(self, *given: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        given = [self.headers.get(name) or "" for name in ("Range", "Authorization")]
        self.hub.requests.append(Asked(self.command, path, *given, body))
        if given[1] and given[1] != f"Bearer {TOKEN}":
            self.send(401, {"error": "no"}, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif path.startswith("/page/"):  # something that is no hub
            self.send(200, b"<html>Welcome</html>", kind="text/html")
        elif path.startswith("/elsewhere/"):  # another host on the real hub
            repo, _, name = path.removeprefix("/elsewhere/").partition("/at/")
            self.contents(repo, Path(name))
        elif self.command == "POST" and path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.command == "POST" and path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": []})
        elif self.command == "PUT" and path.startswith("/objects/"):
            self.store(path.removeprefix("/objects/"), body)
        elif found := BATCH.match(path):
            self.batch(json.loads(body))
        elif found := API.match(path):
            self.api(found, "recursive=true" in query.lower(), body)
        elif found := FILE.match(path):
            self.file(f"{'datasets' if found['kind'] else 'models'}/{found['repo']}", found["revision"], found["path"])
        else:
            self.send(404, {})

    @property
    def trusted(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def refused(self, repo: str, *, file: bool) -> bool:
        """Whether the answer was no: as the real hub says it to somebody with and without a token."""
        fault = self.fault(repo.partition("/")[2]) if not file else None
        if fault and fault.status:
            self.send(fault.status, {}, fault.headers)
        elif repo in self.hub.gated and not self.trusted and (file or repo.startswith("datasets")):
            error = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted. Please log in."}
            self.send(401, {"error": "Access is restricted. gated"}, error)
        elif repo not in self.hub.folders or (repo in self.hub.private and not self.trusted):
            status = 404 if self.trusted else 401
            self.send(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        else:
            return False
        return True

    def fault(self, key: str) -> Fault | None:
        """What is to go wrong this time."""
        fault = next((one for one in self.hub.faults.get(key, []) if one.times > 0), None)
        if fault is not None:
            fault.times -= 1
        return fault

    def api(self, asked: re.Match[str], recursive: bool, body: bytes) -> None:
        repo, verb, revision = asked["repo"], asked["verb"], asked["revision"] or "main"
        if self.refused(repo, file=False):
            return
        if verb in ("preupload", "commit", "branch") and not self.trusted:
            self.send(403, {"error": "Forbidden"})
            return
        if verb == "branch":
            self.branch(repo, revision)
            return
        folder = self.hub.folder(repo, revision)
        if folder is None:
            self.send(404, {}, {"X-Error-Code": "RevisionNotFound"})
        elif verb == "tree":
            self.send(200, self.hub.tree(folder, asked["path"] or "", recursive))
        elif verb == "paths-info":
            given = body.decode()
            wanted = json.loads(given)["paths"] if given.startswith("{") else re.findall(r"paths=([^&]*)", given)
            self.send(200, [entry for entry in entries(folder) if entry["path"] in [unquote(one) for one in wanted]])
        elif verb == "preupload":
            files = [{"path": one["path"], "size": one["size"]} for one in json.loads(body)["files"]]
            modes = [{**one, "uploadMode": "lfs" if is_large(one["path"]) else "regular"} for one in files]
            self.send(200, {"files": [{**one, "shouldIgnore": False} for one in modes]})
        elif verb == "commit":
            self.commit(repo, folder, body)
        else:
            self.send(200, self.hub.card(repo, folder))

    def file(self, repo: str, revision: str, name: str) -> None:
        if self.refused(repo, file=True):
            return
        folder = self.hub.folder(repo, revision)
        if folder is None:
            self.send(404, {}, {"X-Error-Code": "RevisionNotFound"})
            return
        path, from_commit = folder / name, {"X-Repo-Commit": commit(folder)}
        if not path.is_file():
            self.send(404, {}, {"X-Error-Code": "EntryNotFound", **from_commit})
        elif is_large(name):
            contents = path.read_bytes()
            digest = "mirrored" if repo in self.hub.mirrored else hashlib.sha256(contents).hexdigest()
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(contents))}
            elsewhere = self.hub.address.replace("127.0.0.1", "localhost") + f"/elsewhere/{repo}/at/{path}"
            self.send(302, {}, {"Location": elsewhere, **linked, **from_commit})
        else:
            self.contents(repo, path, from_commit)

    def contents(self, repo: str, path: Path, headers: Mapping[str, str] | None = None) -> None:
        """The bytes of a file, or what the fault that waits for it makes of them."""
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest() if is_large(path.name) else git_sha1(body)
        fault = (self.fault(f"{repo.partition('/')[2]}/{path.name}") if self.command == "GET" else None) or Fault()
        given = {**(headers or {}), "ETag": f'"{digest}"', "Accept-Ranges": "bytes", **fault.headers}
        if fault.status:
            self.send(fault.status, {}, given)
            return
        body = bytes([body[0] ^ 1]) + body[1:] if fault.wrong else body
        status, asked = 200, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and not fault.whole:
            start, end = int(asked[1]), int(asked[2] or len(body) - 1)
            if start >= len(body):
                self.send(416, {}, {"Content-Range": f"bytes */{len(body)}"})
                return
            given["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            body, status = body[start : end + 1], 206
        self.send(status, body, given, "application/octet-stream", fault)

    def create(self, asked: Mapping[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        repo = f"models/{name}"
        if not self.trusted:
            self.send(401, {"error": "Invalid username or password."})
        elif repo in self.hub.folders:
            self.send(409, {"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"})
        elif asked["organization"] != "someone" or self.hub.new is None:
            self.send(403, {"error": "You don't have the rights to create a model under this namespace"})
        else:
            self.hub.folders[repo] = self.hub.new / name
            self.hub.folders[repo].mkdir(parents=True)
            (self.hub.folders[repo] / ".gitattributes").write_text("*.safetensors filter=lfs\n")
            if asked.get("visibility") == "private" or asked.get("private"):
                self.hub.private.add(repo)
            self.send(200, {"url": f"{self.hub.address}/{name}", "name": name, "id": "1"})

    def branch(self, repo: str, name: str) -> None:
        if name in self.hub.branches(repo):
            self.send(409, {"error": "Reference already exists"})
            return
        folder = self.hub.folders[repo]
        self.hub.folders[f"{repo}@{name}"] = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}@{name}")))
        self.send(200, {})

    def batch(self, asked: Mapping[str, Any]) -> None:
        """Where to put each large file that is not there yet."""
        objects = [
            {
                **one,
                **({} if one["oid"] in self.hub.objects else {"actions": {"upload": {"href": self.href(one["oid"])}}}),
            }
            for one in asked["objects"]
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def href(self, digest: str) -> str:
        return f"{self.hub.address}/objects/{digest}"

    def store(self, digest: str, body: bytes) -> None:
        right = hashlib.sha256(body).hexdigest() == digest
        if right:
            self.hub.objects[digest] = body
        self.send(200 if right else 400, {})

    def commit(self, repo: str, folder: Path, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (folder / value["path"]).write_bytes(self.hub.objects[value["oid"]])
            elif line["key"] == "deletedFile":
                (folder / value["path"]).unlink()
        name = repo.partition("/")[2]
        self.send(
            200, {"commitUrl": f"{self.hub.address}/{name}/commit/x", "commitOid": commit(folder), "success": True}
        )

    def send(
        self,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
        fault: Fault | None = None,
    ) -> None:
        """An answer: bytes as they are, anything else as JSON; cut short where the fault says so."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(sent))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or fault.cut is None:
            self.wfile.write(sent)
            return
        self.wfile.write(sent[: fault.cut])
        self.wfile.flush()
        self.close_connection = True
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serves on a free port of loopback while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def start(hub: Hub, home: Path, *arguments: str, stderr: int | None = None, **environment: str) -> Program:
    """A fresh Python against the hub, because its client reads the environment when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CHATWRIGHT_"))}
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
    quiet = dict.fromkeys(
        ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "NO_COLOR", "OMP_NUM_THREADS"), "1"
    )
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**kept, **own, **quiet, **environment},
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def run(
    hub: Hub, home: Path, *arguments: str, given: str = "", terminal: bool = False, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """The same to its end, its stdin being `given`; with `terminal`, its stderr is one."""
    main, side = os.openpty() if terminal else (-1, subprocess.PIPE)
    started = start(hub, home, *arguments, stderr=side, **environment)
    assert started.stdin is not None
    pieces: list[bytes] = []
    if terminal:
        os.close(side)
        started.stdin.write(given)
        started.stdin.close()
        started.stdin, given = None, ""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while piece := os.read(main, 4096):
                pieces.append(piece)
        os.close(main)
    out, err = started.communicate(given or None, timeout=120)
    text = b"".join(pieces).decode() if terminal else err
    return subprocess.CompletedProcess(arguments, started.returncode, out, text)
