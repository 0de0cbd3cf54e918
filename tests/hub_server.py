"""A hub on loopback: as much of the Hugging Face hub's HTTP as its client asks for, serving folders. For tests.

A repository is `models/owner/name` or `datasets/owner/name`; `gated` ones answer 401 as the real hub does.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
API = re.compile(
    r"/api/(?P<repo>(models|datasets)/[^/]+(/[^/]+)?)(/(?P<verb>revision|tree|paths-info)/[^/]+(/(?P<path>.*))?)?$"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+(/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")


class Hub:
    """What is served; `asked` are the requests so far, as `GET /path`."""

    def __init__(self, folders: Mapping[str, Path], gated: tuple[str, ...] = ()) -> None:
        self.folders, self.gated = dict(folders), gated
        self.asked: list[str] = []
        self.address = ""

    def entries(self, repo: str) -> list[dict[str, Any]]:
        folder = self.folders[repo]
        return [
            {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": digest(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]

    def tree(self, repo: str, path: str, recursive: bool) -> list[dict[str, Any]]:
        """What a folder of the repository holds: its files and folders, or all the files below it."""
        inside = [entry for entry in self.entries(repo) if entry["path"].startswith(f"{path}/" if path else "")]
        if recursive:
            return inside
        depth = len(Path(path).parts) + 1
        folders = {"/".join(Path(entry["path"]).parts[:depth]) for entry in inside} - {e["path"] for e in inside}
        files = [entry for entry in inside if len(Path(entry["path"]).parts) == depth]
        return files + [{"type": "directory", "path": name, "size": 0, "oid": COMMIT} for name in sorted(folders)]

    def card(self, repo: str) -> dict[str, Any]:
        names = [{"rfilename": entry["path"]} for entry in self.entries(repo)]
        name = repo.partition("/")[2]
        return {"id": name, "modelId": name, "sha": COMMIT, "siblings": names, "private": False, "tags": []}


def digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

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

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        query = urlsplit(self.path).query
        self.hub.asked.append(f"{self.command} {path}")
        if found := API.match(path):
            self.api(found, "recursive=true" in query.lower(), body)
        elif found := FILE.match(path):
            self.file(f"{'datasets' if found['kind'] else 'models'}/{found['repo']}", found["revision"], found["path"])
        else:
            self.send(404, b"{}")

    def refused(self, repo: str) -> bool:
        if repo in self.hub.gated:
            error = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted. Please log in."}
            self.send(401, b'{"error": "Access is restricted. gated"}', error)
        elif repo not in self.hub.folders:
            self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        else:
            return False
        return True

    def api(self, asked: re.Match[str], recursive: bool, body: bytes) -> None:
        repo, verb = asked["repo"], asked["verb"]
        if self.refused(repo):
            return
        reply: Any = self.hub.card(repo)
        if verb == "tree":
            reply = self.hub.tree(repo, asked["path"] or "", recursive)
        elif verb == "paths-info":
            given = body.decode()
            wanted = json.loads(given)["paths"] if given.startswith("{") else re.findall(r"paths=([^&]*)", given)
            reply = [entry for entry in self.hub.entries(repo) if entry["path"] in [unquote(one) for one in wanted]]
        self.send(200, json.dumps(reply).encode())

    def file(self, repo: str, revision: str, name: str) -> None:
        if self.refused(repo):
            return
        path = self.hub.folders[repo] / name
        if revision not in ("main", COMMIT):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif not path.is_file():
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self.content(path)

    def content(self, path: Path) -> None:
        contents = path.read_bytes()
        headers = {"ETag": f'"{digest(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status = 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked:
            start, end = int(asked[1]), int(asked[2] or len(contents) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(contents)}"
            contents, status = contents[start : end + 1], 206
        self.send(status, contents, headers, "application/octet-stream")

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
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
