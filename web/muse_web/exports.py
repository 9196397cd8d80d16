"""Files that can be downloaded for a candidate: piece, sound, trace, sidecar and picture."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

from muse_shortcut.api.continuation import Continuation
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.files import make_folder, write_bytes, write_text
from muse_tokenizers.domain_info import DomainInfo
from muse_web.session import Run, Visitor

__all__ = ["export_file", "kinds_of_files"]

_SUFFIXES = {"trace": ".trace.npz", "tracks": ".tracks.zip"}
"""Suffixes of the kinds that are not suffixes themselves."""

_drawing = threading.Lock()
"""Held while drawing, since matplotlib's settings are global to the process."""


def kinds_of_files(info: DomainInfo) -> tuple[str, ...]:
    """Return the kinds of file that a domain offers of a continuation."""
    pieces = [
        info.suffix.removeprefix("."),
        *(["tracks"] if info.has_parts else []),
        *(["wav", "flac"] if info.has_sound else []),
    ]
    return tuple(dict.fromkeys([*pieces, "trace", "json", "svg", "png"]))


def export_file(visitor: Visitor, run: Run, number: int, kind: object, step: object = None) -> Path:
    """Write one file of a candidate to the visitor's folder and return its path.

    Args:
        kind: One of `kinds_of_files`.
        step: For pictures, the generated step whose sources are shown; None selects one.

    Raises:
        ArgumentsError, NotFoundError: The candidate has no such file.
        OutputError: The file could not be written.
    """
    kinds = kinds_of_files(run.checkpoint.domain.info)
    if kind not in kinds:
        raise ArgumentsError(f"kind is {kind!r}; allowed of {run.domain}: {', '.join(kinds)}")
    continuation = run.continuation(number)
    folder = make_folder(visitor.folder / run.id / f"export-{number + 1}")
    name = _safe_name(run.name)
    stem = f"{name}-{number + 1}"
    path = folder / (stem + _SUFFIXES.get(str(kind), f".{kind}"))
    if kind == "json":
        write_text(path, continuation.sidecar(name=name, sound=continuation.domain.describe_sound()))
    elif kind == "tracks":
        write_bytes(path, _tracks_archive(continuation, stem))
    elif kind in ("svg", "png"):
        steps = len(continuation.ids)
        if step is not None and (type(step) is not int or not 0 <= step < steps):
            raise ArgumentsError(f"step is {step!r}; this continuation has steps 0 to {steps - 1}")
        path = path if step is None else path.with_name(f"{stem}-step-{step}.{kind}")
        with _drawing:
            continuation.plot(path, step=step if isinstance(step, int) else None, title=stem)
    else:
        continuation.save(path)
    return path


def _safe_name(name: str) -> str:
    """Return a name that every file system accepts."""
    kept = "".join(one if one.isalnum() or one in "-_." else "-" for one in name).strip(".-")
    # File systems limit the length in bytes.
    return kept[:60].encode()[:120].decode("utf-8", "ignore") or "continuation"


def _tracks_archive(continuation: Continuation, stem: str) -> bytes:
    """Return a ZIP archive with a file for each part: for music, each instrument."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in continuation.domain.parts(continuation.piece):
            # A fixed modification time keeps the bytes reproducible.
            archive.writestr(
                zipfile.ZipInfo(f"{stem}-{name}{continuation.domain.info.suffix}"), continuation.domain.dumps(part)
            )
    return buffer.getvalue()
