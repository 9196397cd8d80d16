"""Runs work in a child process, for libraries that a damaged file may crash, hang, or make allocate too much memory.

A child process answers requests one after the other; requests and answers consist of a dictionary, sent as JSON, and
bytes. Its answers are not unpickled: a file that takes over the child must not take over its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from threading import Timer
from typing import IO, Any, Self

__all__ = ["Answer", "ChildExitedError", "ChildProcess", "ChildTimeoutError", "limit_memory", "serve"]

Answer = tuple[dict[str, Any], bytes]

_LENGTHS = Struct("<IQ")
"""Struct of the lengths of the dictionary and of the bytes that follow."""
_PART = 2**24
"""Bytes that are read at once, so that an invalid length allocates no memory."""
_STARTING = 60.0
"""Timeout of the start of a child process, in seconds."""
_BASE = 2 * 2**30
"""Address space of an idle process in bytes, if the platform does not report it."""


class ChildExitedError(Exception):
    """A child process ended without answering: a library crashed."""


class ChildTimeoutError(ChildExitedError):
    """A child process did not answer in time, and was killed."""


class ChildProcess:
    """A child process, to be used by one thread at a time.

    Args:
        entry: Its main function, at the top level of a module, which ends with `serve`.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, entry: Callable[[], None]) -> None:
        imports = f"import sys; sys.path[:] = {sys.path!r}; from {entry.__module__} import {entry.__name__} as entry"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{imports}; entry()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Threads of a BLAS would reserve memory, and have nothing to do.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            # Ctrl-C is handled by the parent, which writes what has been generated.
            start_new_session=True,
        )
        self._hangs = False
        try:
            self.receive(_STARTING)
        except ChildExitedError as error:
            raise OSError(None, "a child process of Python does not start") from error

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def send(self, request: dict[str, Any], content: bytes | memoryview = b"") -> None:
        """Send a request; its answer must be received before the next request is sent. Raises ChildEnded."""
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, request, content)
        except OSError as error:
            self.close()
            raise ChildExitedError from error

    def receive(self, patience: float) -> Answer:
        """Receive the answer to a request.

        Args:
            patience: Timeout in seconds, after which the process is killed.

        Raises:
            ChildExitedError: The process ended, or did not answer in time.
        """
        assert self._process.stdout is not None
        timer = Timer(patience, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            return _read(self._process.stdout)
        except (EOFError, ValueError) as error:
            self.close()
            raise (ChildTimeoutError if self._hangs else ChildExitedError) from error
        except BaseException:
            # Interrupted while receiving: the rest of this answer would be read as the next one.
            self.close()
            raise
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._hangs = True
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # Unsent data are discarded.
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


def serve(answer: Callable[[dict[str, Any], bytes], Answer]) -> None:
    """Main loop of a child process: answer requests until the parent closes the pipe."""
    requests = sys.stdin.buffer
    # Output of libraries must not mix with the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        _write(answers, {"started": True})
        while True:
            try:
                request, content = _read(requests)
                answered = answer(request, content)
                _write(answers, *answered)
            except (EOFError, BrokenPipeError):
                return


def limit_memory(growth: int) -> None:
    """Limit the growth of this process's memory in bytes, if the platform supports it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        base = _BASE
        with contextlib.suppress(OSError):
            base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = base + growth
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _write(pipe: IO[bytes], message: dict[str, Any], content: bytes | memoryview = b"") -> None:
    head = json.dumps(message).encode()
    pipe.write(_LENGTHS.pack(len(head), len(content)) + head)
    pipe.write(content)
    pipe.flush()


def _read(pipe: IO[bytes]) -> Answer:
    """Read a message. Raises EOFError, and ValueError if it is invalid."""
    head, content = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    message = json.loads(_exactly(pipe, head))
    if not isinstance(message, dict):
        raise ValueError(f"{message!r} is not a message")
    return message, _exactly(pipe, content)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    parts = []
    while length:
        part = pipe.read(min(length, _PART))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
