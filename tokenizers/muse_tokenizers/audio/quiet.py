"""What C libraries would print on the terminal."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

__all__ = ["quiet_libraries"]

_LOCK = Lock()
_users = 0
_before: int | None = None


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing that a C library writes to C's `stderr` is seen meanwhile; whatever Python writes is.

    mpg123, inside libsndfile, complains of every odd frame. Closing file descriptor 2 would silence the program's other
    threads too; so C's variable `stderr` points to the null device instead, while any thread is in here. Where that
    variable is not one (musl, Windows), nothing is done.
    """
    global _users, _before
    stderr, null = _streams()
    if stderr is None:
        yield
        return
    with _LOCK:
        _users += 1
        if _users == 1:
            _before, stderr.value = stderr.value, null
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                stderr.value = _before


@cache
def _streams() -> tuple[ctypes.c_void_p | None, int | None]:
    """C's variable `stderr`, and a stream of the null device, which stays open."""
    name = {"linux": "stderr", "darwin": "__stderrp"}.get(sys.platform)
    if name is None or (sys.platform == "linux" and not _has_glibc()):
        return None, None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    null: int | None = library.fopen(b"/dev/null", b"w")
    return (None, None) if null is None else (ctypes.c_void_p.in_dll(library, name), null)


def _has_glibc() -> bool:
    # In musl the variable is a constant.
    return hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
