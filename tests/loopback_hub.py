"""A hub on loopback, with the part of the API that huggingface_hub uses to download and upload a model."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "t" * 34
OWNER = "me"


@dataclass
class Hub:
    """The content of the server, and the requests it received."""

    address: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """Files, by repository and commit."""
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    """Commits, by repository and branch."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files, by SHA-256."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    private: dict[str, bool] = field(default_factory=dict)

    def commit(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        before = self.files(repository, branch)
        content = before | files
        digest = hashlib.sha1(repr(sorted(content.items())).encode()).hexdigest()
        self.repositories.setdefault(repository, {})[digest] = content
        self.branches.setdefault(repository, {})[branch] = digest
        return digest

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        digest = self.resolve(repository, revision)
        return {} if digest is None else self.repositories[repository][digest]

    def resolve(self, repository: str, revision: str) -> str | None:
        digest = self.branches.get(repository, {}).get(revision, revision)
        return digest if digest in self.repositories.get(repository, {}) else None

    def add_folder(self, repository: str, folder: Path, **others: bytes) -> str:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        return self.commit(repository, files | others)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(content).encode(), Content_Type="application/json")

    def _missing(self, code: str, status: int = 404) -> None:
        self._answer(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            repository, rest = "/".join(parts[2:4]), parts[4:]
            self._model(repository, rest)
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._missing("EntryNotFound")

    do_GET = do_HEAD = _read  # noqa: N815

    def _model(self, repository: str, rest: list[str]) -> None:
        if repository not in self.hub.repositories:
            return self._missing("RepoNotFound", 401 if "Authorization" not in self.headers else 404)
        digest = self.hub.resolve(repository, "/".join(rest[1:]) or "main")
        if digest is None:
            return self._missing("RevisionNotFound")
        files = self.hub.repositories[repository][digest]
        if rest[:1] == ["tree"]:
            return self._json([self._entry(name, data) for name, data in files.items()])
        siblings = [{"rfilename": name} for name in files]
        return self._json({"id": repository, "sha": digest, "siblings": siblings, "private": False, "tags": []})

    def _entry(self, name: str, data: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return entry

    def _file(self, repository: str, revision: str, name: str) -> None:
        digest = self.hub.resolve(repository, revision)
        data = self.hub.files(repository, revision).get(name)
        if digest is None or data is None:
            return self._missing("EntryNotFound")
        return self._answer(
            200, data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=digest, Content_Length=str(len(data))
        )

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"POST {path}")
        body = self._body()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b'{"error": "Invalid username or password."}')
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        parts = path.strip("/").split("/")
        repository = "/".join(parts[2:4])
        if parts[4] == "preupload":
            return self._json({"files": [self._mode(one["path"]) for one in json.loads(body)["files"]]})
        files = {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.objects[entry["value"]["oid"]]
        digest = self.hub.commit(repository, files)
        return self._json(
            {"success": True, "commitOid": digest, "commitUrl": f"{self.hub.address}/{repository}/commit/{digest}"}
        )

    def _create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if not repository.startswith(f"{OWNER}/"):
            return self._answer(403, b'{"error": "Forbidden"}')
        self.hub.private[repository] = asked.get("private") or asked.get("visibility") == "private"
        address = f"{self.hub.address}/{repository}"
        if repository in self.hub.repositories:
            return self._json({"error": "You already created this model repo", "url": address}, 409)
        self.hub.commit(repository, {".gitattributes": b""})
        return self._json({"url": address, "name": repository, "id": "1"})

    def _mode(self, name: str) -> dict[str, Any]:
        mode = "lfs" if name.endswith(".safetensors") else "regular"
        return {"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/put/{one['oid']}"}}} for one in asked["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        self.hub.asked.append(f"PUT {self.path}")
        body = self._body()
        assert hashlib.sha256(body).hexdigest() == self.path.rpartition("/")[2]
        self.hub.objects[self.path.rpartition("/")[2]] = body
        self._answer(200)


@contextmanager
def served_hub() -> Iterator[Hub]:
    """Run a hub on loopback while the context is open."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
