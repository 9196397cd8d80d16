"""Files that can be downloaded for a candidate: piece, sound, trace, sidecar and picture."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.files import make_folder, write_bytes, write_text
from muse_shortcut.generation.sidecar import sidecar_text
from muse_shortcut.plots.continuation import draw_continuation
from muse_shortcut.plots.style import picture_bytes
from muse_tokenizers.audio.waveforms import flac_bytes, wav_bytes
from muse_tokenizers.base import Waveform
from muse_tokenizers.midi.playing import instrument_parts
from muse_web.session import Candidate, Run, Visitor

__all__ = ["KINDS", "export_file"]

KINDS = {
    "midi": ("mid", "tracks", "wav", "flac", "trace", "json", "svg", "png"),
    "audio": ("wav", "flac", "trace", "json", "svg", "png"),
    "text": ("txt", "trace", "json", "svg", "png"),
}
"""Kinds of file that each domain offers."""

_drawing = threading.Lock()
"""Held while drawing, since matplotlib's settings are global to the process."""


def export_file(visitor: Visitor, run: Run, number: int, kind: object, step: object = None) -> Path:
    """Write one file of a candidate to the visitor's folder and return its path.

    Args:
        kind: One of `KINDS` for the domain.
        step: For pictures, the generated step whose sources are shown; None selects one.

    Raises:
        ArgumentsError, NotFoundError: The candidate has no such file.
        OutputError: The file could not be written.
    """
    if kind not in KINDS[run.domain]:
        raise ArgumentsError(f"kind is {kind!r}; allowed of {run.domain}: {', '.join(KINDS[run.domain])}")
    candidate, trace = run.finished_candidate(number)
    folder = make_folder(visitor.folder / run.id / f"export-{number + 1}")
    stem = f"{_safe_name(run.name)}-{number + 1}"
    if kind == "trace":
        path = folder / f"{stem}.trace.npz"
        write_bytes(path, (visitor.folder / run.id / f"trace-{number}.npz").read_bytes())
    elif kind == "json":
        path = folder / f"{stem}.json"
        write_text(path, _sidecar(run, number, candidate, stem.rpartition("-")[0]))
    elif kind in ("svg", "png"):
        if step is not None and (type(step) is not int or not 0 <= step < trace.steps):
            raise ArgumentsError(f"step is {step!r}; this continuation has steps 0 to {trace.steps - 1}")
        path = folder / f"{stem}{'' if step is None else f'-step-{step}'}.{kind}"
        with _drawing:
            write_bytes(path, _picture(run, candidate, stem, str(kind), step if isinstance(step, int) else None))
    else:
        path = folder / (f"{stem}.tracks.zip" if kind == "tracks" else f"{stem}.{kind}")
        write_bytes(path, _ENCODERS[str(kind)](run, candidate, stem))
    return path


def _safe_name(name: str) -> str:
    """Return a name that every file system accepts."""
    kept = "".join(one if one.isalnum() or one in "-_." else "-" for one in name).strip(".-")
    # File systems limit the length in bytes.
    return kept[:60].encode()[:120].decode("utf-8", "ignore") or "continuation"


def _piece_bytes(run: Run, candidate: Candidate, _: str) -> bytes:
    return run.checkpoint.domain.dumps(candidate.piece)


def _tracks_archive(run: Run, candidate: Candidate, stem: str) -> bytes:
    """Return a ZIP archive with a MIDI file for each instrument."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in instrument_parts(candidate.piece):
            # A fixed modification time keeps the bytes reproducible.
            archive.writestr(zipfile.ZipInfo(f"{stem}-{name}.mid"), run.checkpoint.domain.dumps(part))
    return buffer.getvalue()


def _rendered(run: Run, candidate: Candidate) -> Waveform:
    rendered = run.checkpoint.domain.sound(candidate.piece)
    assert rendered is not None
    return rendered


_ENCODERS: dict[str, Callable[[Run, Candidate, str], bytes]] = {
    "mid": _piece_bytes,
    "txt": _piece_bytes,
    "tracks": _tracks_archive,
    "wav": lambda run, candidate, _: wav_bytes(_rendered(run, candidate)),
    "flac": lambda run, candidate, _: flac_bytes(_rendered(run, candidate)),
}


def _sidecar(run: Run, number: int, candidate: Candidate, name: str) -> str:
    domain = run.checkpoint.domain
    request = run.request.stopped_after(run.steps) if run.stop.is_set() else run.request
    return sidecar_text(
        domain,
        request,
        checkpoint=run.checkpoint.digest,
        candidate=number,
        ids=candidate.ids,
        log_probability=candidate.log_probability,
        name=name,
        source=run.file,
        sound=domain.describe_sound(),
    )


def _picture(run: Run, candidate: Candidate, title: str, kind: Any, step: int | None) -> bytes:
    assert candidate.trace is not None
    prompt = run.request.prompt
    figure = draw_continuation(run.checkpoint.domain, candidate.trace, candidate.piece, prompt, title, step)
    return picture_bytes(figure, kind)
