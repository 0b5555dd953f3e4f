"""The hub's API over HTTP on this machine: what `model_info` and `hf_hub_download` ask for, and no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """``repos``: repository -> file -> bytes. ``asked``: paths of the requests so far.

    ``licence`` is what every repository states; ``hangs``: a word that makes requests with it in their path
    wait for ever.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Mapping[str, bytes]] = {}
        self.licence: str | None = "apache-2.0"
        self.hangs: str | None = None
        self.asked: list[str] = []
        self.over = Event()
        self.url = ""

    def info(self, repo: str) -> bytes:
        """The answer of /api/models/REPO."""
        files = self.repos[repo]
        siblings = []
        for name, data in files.items():
            entry: dict = {"rfilename": name, "size": len(data)}
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        card = {"license": self.licence} if self.licence else {}
        return json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings, "cardData": card}).encode()


def handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    """Requests to ``hub``."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if hub.hangs and hub.hangs in path:
                hub.over.wait(30)
                return
            data = self.find(path.strip("/").split("/"))
            self.send_response(404 if data is None else 200)
            if data is None:
                code = "RepoNotFound" if path.startswith("/api") else "EntryNotFound"
                self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(data or b"").hexdigest()}"')
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if body and data:
                self.wfile.write(data)

        def find(self, parts: list[str]) -> bytes | None:
            if parts[:2] == ["api", "models"]:
                repo = "/".join(parts[2:4])
                return hub.info(repo) if repo in hub.repos else None
            if len(parts) < 5:
                return None
            repo, _, name = "/".join(parts[:2]), parts[2], "/".join(parts[4:])
            return hub.repos.get(repo, {}).get(name)

    return Handler


@contextmanager
def serve() -> Iterator[FakeHub]:
    """A hub on a free port, closed at the end."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()
