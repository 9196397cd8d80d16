"""What visitors send: where it waits, who may still read it, and when it goes. Knows nothing of gradio.

Gradio names an upload after its content, so two visitors who send the same file are given the same path. It is removed
once as many have read it as sent it; what was refused, or is read again by the same visitor, counts for nobody.
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
    """The folder that files are sent to, each as FOLDER/ITS-OWN/NAME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._senders: Counter[Path] = Counter()
        self._readers: dict[Path, set[str]] = {}
        """Who has read it since it was last sent."""
        self._under_way = 0
        self._read: set[Path] = set()
        """What may go: read by as many as sent it, so far."""
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Something is being sent. It may be what another has sent already, and lie there before it is counted."""
        with self._lock:
            self._under_way += 1

    def end(self, paths: list[str]) -> None:
        """It has arrived, or failed to: `paths` are where it lies."""
        with self._lock:
            self._under_way -= 1
            for path in paths:
                with suppress(OSError, ValueError):
                    self._senders[Path(path).resolve()] += 1
                    # Who sends it again will read it again.
                    self._readers.pop(Path(path).resolve(), None)
            self._remove_read()

    @contextmanager
    def opened(self, named: object, reader: str) -> Iterator[Path]:
        """A file that was sent here, to be read by whoever sent it. It stays where reading it raises.

        Args:
            named: what says where it is.
            reader: a visitor.

        Raises:
            ArgumentsError: it is none: nothing else on this machine can be named.
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
        # What no file can be called is not there either.
        with suppress(OSError, ValueError):
            found = Path(str(named)).resolve()
            if found.parent.parent == self.folder and found.is_file():
                return found
        raise ArgumentsError("this upload does not exist (any more); upload the file again")

    def _remove_read(self) -> None:
        if self._under_way:
            return
        for path in self._read:
            if not self._senders[path]:
                del self._senders[path]
                self._readers.pop(path, None)
                _remove(path)
        self._read.clear()

    def sweep(self, oldest: float, most_bytes: int) -> None:
        """Remove what nobody came to read for `oldest` seconds, and of more than `most_bytes` what was sent first."""
        found = []
        # What is only half there lies in the folder itself.
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
        # Not where another file lies beside it.
        path.parent.rmdir()


class CountUploads:
    """ASGI middleware: tells `Uploads` of everything that arrives."""

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self._app, self._uploads = app, uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on, and read the paths in what answers an upload."""
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
    """Of the JSON that answers an upload; of a refusal none."""
    try:
        paths = json.loads(answer)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
