"""Uploaded files: their folder, who may still read them, and when they are deleted. Knows nothing of Gradio.

Gradio names an upload after its content, so visitors who upload the same file share one path. A file is deleted once it
has been read by as many visitors as uploaded it; failed reads and repeated reads by one visitor do not count.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from muse_shortcut.errors import ArgumentsError

__all__ = ["CountUploads", "Uploads"]


class Uploads:
    """The folder of uploads, where each file is FOLDER/HASH/NAME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._senders: Counter[Path] = Counter()
        self._readers: dict[Path, set[str]] = {}
        """Visitors who have read a file since its last upload."""
        self._in_progress = 0
        self._read: set[Path] = set()
        """Files that have been read and may be deleted."""
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Record that an upload has started. It may write a file that exists already, before it is counted."""
        with self._lock:
            self._in_progress += 1

    def end(self, paths: list[str]) -> None:
        """Record that an upload has ended; `paths` are its files, none if it failed."""
        with self._lock:
            self._in_progress -= 1
            for path in paths:
                with suppress(OSError, ValueError):
                    self._senders[Path(path).resolve()] += 1
                    # Every upload entitles each visitor to read the file again.
                    self._readers.pop(Path(path).resolve(), None)
            self._remove_read()

    @contextmanager
    def opened(self, named: object, reader: str) -> Iterator[Path]:
        """Open an upload, and count it as read unless the block raises.

        Args:
            named: Path of the upload, as sent by the client.
            reader: Identifies the visitor.

        Raises:
            ArgumentsError: The path is not an upload; no other file can be opened.
        """
        path = self._find(named)
        yield path
        with self._lock:
            readers = self._readers.setdefault(path, set())
            if reader not in readers:
                readers.add(reader)
                self._senders[path] = max(0, self._senders[path] - 1)
            self._read.add(path)
            self._remove_read()

    def _find(self, named: object) -> Path:
        # Strings that are not valid paths count as missing files.
        with suppress(OSError, ValueError):
            found = Path(str(named)).resolve()
            if found.parent.parent == self.folder and found.is_file():
                return found
        raise ArgumentsError("this upload does not exist (any more); upload the file again")

    def _remove_read(self) -> None:
        if self._in_progress:
            return
        for path in self._read:
            if not self._senders[path]:
                del self._senders[path]
                self._readers.pop(path, None)
                _remove(path)
        self._read.clear()

    def sweep(self, oldest: float, most_bytes: int) -> None:
        """Delete uploads older than `oldest` seconds, and the oldest ones beyond `most_bytes` in total."""
        found = []
        # Incomplete uploads are in the folder itself.
        for path in (*self.folder.glob("*"), *self.folder.glob("*/*")):
            with suppress(OSError):
                if path.is_file():
                    state = path.stat()
                    found.append((state.st_ctime, state.st_size, path))
        total, now = sum(size for _, size, _ in found), time.time()
        for sent, size, path in sorted(found):
            if now - sent > oldest or total > most_bytes:
                total -= size
                with self._lock:
                    self._senders.pop(path, None)
                    self._readers.pop(path, None)
                    _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        # Fails, as intended, if the folder holds another file.
        path.parent.rmdir()


class CountUploads:
    """ASGI middleware that reports every upload to `Uploads`."""

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Forward a request, and read the paths in the response to an upload."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith("/upload"):
            await self._app(scope, receive, send)
            return
        answer = bytearray()

        async def read(message: Any) -> None:
            if message["type"] == "http.response.body":
                answer.extend(message.get("body", b""))
            await send(message)

        self._uploads.begin()
        try:
            await self._app(scope, receive, read)
        finally:
            self._uploads.end(_paths(bytes(answer)))


def _paths(answer: bytes) -> list[str]:
    """Return the paths in the response to an upload; none if it was refused."""
    try:
        paths = json.loads(answer)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
