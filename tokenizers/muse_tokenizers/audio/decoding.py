"""Opens sound files as blocks of samples, decoded where a damaged file can do no harm.

For a damaged file, the decoders of libsndfile and FFmpeg may access invalid memory, which ends the process, or allocate
as much as its header claims; no check of the file can exclude this. So everything except uncompressed WAV is decoded in
a child process. It is kept for further files, because starting one takes a tenth of a second.
"""

from __future__ import annotations

import atexit
import io
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.containers import Container, detect_container, opened
from muse_tokenizers.audio.decoders import ALL, PLAIN, Sound, decoded, import_decoders
from muse_tokenizers.child_process import Answer, ChildExitedError, ChildProcess, ChildTimeoutError, limit_memory, serve
from muse_tokenizers.errors import UnreadablePieceError

__all__ = ["BLOCK", "HAS_MEDIA", "Sound", "kinds_of_sound", "open_sound"]

BLOCK = 2**16
"""Largest number of frames per block."""
HAS_MEDIA = find_spec("av") is not None
"""Whether FFmpeg is installed as PyAV (the extra `media`)."""
_PATIENCE = 60.0
"""Timeout of a block in a child process, in seconds."""
_MEMORY = 2**28, 8
"""Memory limit of a child process: a constant in bytes, plus a multiple of the file's size."""
_IDLE = 2
"""Largest number of idle child processes."""


def kinds_of_sound() -> str:
    """Return the supported formats as part of a sentence."""
    return ALL if HAS_MEDIA else PLAIN


@contextmanager
def open_sound(file: Path | io.BytesIO, name: str) -> Generator[Sound]:
    """Open a sound file.

    Args:
        file: Path of the file, or its bytes.
        name: Name of the file in messages.

    Raises:
        UnreadablePieceError: The file is not sound, its format is not supported here, its header is invalid, or its
            decoder crashes.
    """
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(opened(file))
            container = detect_container(stream, file.suffix.lower() if isinstance(file, Path) else "")
            if container is None:
                if stream.seek(0, os.SEEK_END) == 0:
                    raise UnreadablePieceError(f"{name} is empty")
                raise UnreadablePieceError(
                    f"{name} is not a sound file that can be read; allowed: {kinds_of_sound()}, by its content"
                )
            sound = _decoded_here(stack, stream, container, name) if container.plain else None
            yield sound or stack.enter_context(_ChildReading(file, container, name)).sound
        except OSError as error:
            raise UnreadablePieceError(
                f"{name} is not a sound file that can be read: {error.strerror or 'the disk fails'}"
            ) from error


def _decoded_here(stack: ExitStack, stream: BinaryIO, container: Container, name: str) -> Sound | None:
    try:
        return stack.enter_context(decoded(stream, container, name, media=False, block=BLOCK))
    except UnreadablePieceError:
        if HAS_MEDIA:
            return None
        raise


class _ChildReading:
    """A sound file that a child process decodes."""

    def __init__(self, file: Path | io.BytesIO, container: Container, name: str) -> None:
        self._name, self._kind = name, container.kind
        # A child process keeps its working directory, so the path must be absolute.
        path = None if isinstance(file, io.BytesIO) else str(file.absolute())
        self._open = {"open": path, "name": name, "media": HAS_MEDIA, "block": BLOCK}
        self._content = file.getbuffer() if isinstance(file, io.BytesIO) else memoryview(b"")
        self._blocks = 0
        waiting = _take()
        self._fresh = waiting is None
        self._child = waiting or ChildProcess(serve_decoders)
        try:
            head, _ = self._ask(self._open, self._content)
        except BaseException:
            self.__exit__()
            raise
        self.sound = Sound(container=container, blocks=self._all_blocks(), **head)

    def __enter__(self) -> _ChildReading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.alive:
            try:
                self._child.send({"close": True})
                self._child.receive(_PATIENCE)
            except ChildExitedError:
                return
            _give_back(self._child)

    def _all_blocks(self) -> Iterator[NDArray[np.float32]]:
        while True:
            head, content = self._ask({"next": True})
            self.sound.damaged = head["damaged"]
            if not content:
                return
            self._blocks += 1
            yield np.frombuffer(content, dtype=np.float32).reshape(-1, self.sound.channels)

    def _ask(self, request: dict[str, Any], content: memoryview | bytes = b"") -> Answer:
        """Send a request. Raises UnreadablePieceError."""
        try:
            self._child.send(request, content)
            head, answered = self._child.receive(_PATIENCE)
        except ChildExitedError as error:
            if self._fresh:
                how = "does not finish" if isinstance(error, ChildTimeoutError) else "crashes on it"
                raise UnreadablePieceError(
                    f"{self._name} is damaged: the decoder of {self._kind} {how}; if another program can play it, "
                    "convert it to WAV"
                ) from error
            # An earlier file may have crashed the process.
            self._child, self._fresh = ChildProcess(serve_decoders), True
            if "open" not in request:
                self._ask(self._open, self._content)
                for _ in range(self._blocks):
                    self._ask({"next": True})
            return self._ask(request, content)
        if "refused" in head:
            raise UnreadablePieceError(head["refused"])
        return head, answered


_waiting: list[ChildProcess] = []
_lock = Lock()


def _take() -> ChildProcess | None:
    with _lock:
        while _waiting:
            child = _waiting.pop()
            if child.alive:
                return child
    return None


def _give_back(child: ChildProcess) -> None:
    with _lock:
        if len(_waiting) < _IDLE:
            _waiting.append(child)
            return
    child.close()


@atexit.register
def _close_all() -> None:
    while child := _take():
        child.close()


if hasattr(os, "register_at_fork"):
    # Idle processes belong to the parent.
    os.register_at_fork(after_in_child=_waiting.clear)


def serve_decoders() -> None:
    """Main function of a child process: it receives a file, and sends one block per request."""
    serve(_Decoding().answer)


class _Decoding:
    """The file that a child process is decoding."""

    def __init__(self) -> None:
        self._sound: Sound | None = None
        self._name = ""
        self._stack = ExitStack()

    def answer(self, request: dict[str, Any], content: bytes) -> Answer:
        """Return a block, or the properties of a file."""
        try:
            if "open" in request:
                self._name = request["name"]
                return self._opened(request, content), b""
            if "next" in request and self._sound is not None:
                block = next(self._sound.blocks, None)
                return {"damaged": self._sound.damaged}, b"" if block is None else block.tobytes()
        except UnreadablePieceError as error:
            return {"refused": str(error)}, b""
        except OSError as error:
            return {
                "refused": f"{self._name} is not a sound file that can be read: {error.strerror or 'the disk fails'}"
            }, b""
        except MemoryError:
            return {"refused": f"{self._name} is damaged: it asks for more memory than its sound could need"}, b""
        self._stack.close()
        self._sound = None
        return {}, b""

    def _opened(self, request: dict[str, Any], content: bytes) -> dict[str, Any]:
        path = request["open"]
        file = io.BytesIO(content) if path is None else Path(path)
        stream = self._stack.enter_context(opened(file))
        container = detect_container(stream, "" if path is None else Path(path).suffix.lower())
        if container is None:
            raise UnreadablePieceError(f"{self._name} has changed while it was read")
        import_decoders(media=request["media"])
        fixed, of_file = _MEMORY
        limit_memory(fixed + of_file * stream.seek(0, io.SEEK_END))
        sound = decoded(stream, container, self._name, media=request["media"], block=request["block"])
        self._sound = self._stack.enter_context(sound)
        return {name: getattr(self._sound, name) for name in ("rate", "channels", "frames", "exactly")}
