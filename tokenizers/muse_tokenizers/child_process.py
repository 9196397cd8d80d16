"""Work in a child process, for libraries that a damaged file may crash, or in which it may hang or fill the memory.

A child process answers requests, one after the other; requests and answers are a dictionary, as JSON, and bytes. What
a child process sends is not unpickled: a file that has taken it over must not take over its parent too.
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
"""Of the dictionary and of the bytes that follow."""
_PART = 2**24
"""Bytes that are awaited at once: a length that is wrong takes no memory."""
_STARTING = 60.0
"""Seconds until a child process must have started."""
_BASE = 2 * 2**30
"""Bytes of address space that a process has before its work, where the platform does not say."""


class ChildExitedError(Exception):
    """A child process ended instead of answering: a library crashed."""


class ChildTimeoutError(ChildExitedError):
    """A child process did not answer in time, and was ended."""


class ChildProcess:
    """A child process, until it is closed or ends. For one thread at a time.

    Args:
        entry: what it runs, a function at the top of its module that ends in `serve`.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, entry: Callable[[], None]) -> None:
        imports = f"import sys; sys.path[:] = {sys.path!r}; from {entry.__module__} import {entry.__name__} as entry"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{imports}; entry()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Each thread of a BLAS would reserve memory; there is nothing for them to do.
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            # What a terminal sends for Ctrl-C is the parent's affair: it writes what there is.
            start_new_session=True,
        )
        self._hangs = False
        try:
            self.receive(_STARTING)
        except ChildExitedError as error:
            raise OSError(None, "a child process of Python does not start") from error

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, request: dict[str, Any], content: bytes | memoryview = b"") -> None:
        """Send a request, whose answer is to be received before the next one is sent. Raises ChildExitedError."""
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, request, content)
        except OSError as error:
            self.close()
            raise ChildExitedError from error

    def receive(self, patience: float) -> Answer:
        """The answer to a request.

        Args:
            patience: seconds, after which the process is ended.

        Raises:
            ChildExitedError: no answer comes.
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
            # Interrupted within an answer: what comes next would be its rest.
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
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # What was still to be sent is sent to nobody.
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


def serve(answer: Callable[[dict[str, Any], bytes], Answer]) -> None:
    """What a child process does: answer requests until no more can come."""
    requests = sys.stdin.buffer
    # What libraries print goes where nobody looks, not among the answers.
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
    """Let this process take so many bytes more than it has now, where the platform can hold it to them."""
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
    """Raises EOFError, and ValueError of what is no message."""
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
