"""What can be taken away of a candidate, as files: the piece, its sound, its trace, its sidecar, its picture."""

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

__all__ = ["KINDS", "take"]

KINDS = {
    "midi": ("mid", "tracks", "wav", "flac", "trace", "json", "svg", "png"),
    "audio": ("wav", "flac", "trace", "json", "svg", "png"),
    "text": ("txt", "trace", "json", "svg", "png"),
}
"""What there is of each domain."""

_drawing = threading.Lock()
"""matplotlib's settings are the process's."""


def take(visitor: Visitor, run: Run, number: int, kind: object, step: object = None) -> Path:
    """Make one file of a candidate, in the visitor's folder.

    Args:
        kind: one of `KINDS`.
        step: of pictures, the new step whose sources are shown; None: the most telling one.

    Raises:
        ArgumentsError, NotFoundError: there is no such file of it.
        OutputError: it could not be written.
    """
    if kind not in KINDS[run.domain]:
        raise ArgumentsError(f"kind is {kind!r}; allowed of {run.domain}: {', '.join(KINDS[run.domain])}")
    candidate, trace = run.traced(number)
    folder = make_folder(visitor.folder / run.id / f"take-{number + 1}")
    stem = f"{_plain(run.name)}-{number + 1}"
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
        write_bytes(path, _MAKERS[str(kind)](run, candidate, stem))
    return path


def _plain(name: str) -> str:
    """A name that is one anywhere."""
    kept = "".join(one if one.isalnum() or one in "-_." else "-" for one in name).strip(".-")
    # A file system counts bytes.
    return kept[:60].encode()[:120].decode("utf-8", "ignore") or "continuation"


def _piece(run: Run, candidate: Candidate, _: str) -> bytes:
    return run.checkpoint.domain.dumps(candidate.piece)


def _tracks(run: Run, candidate: Candidate, stem: str) -> bytes:
    """Every instrument as a MIDI file of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in instrument_parts(candidate.piece):
            # With a time of its own the same tracks would be other bytes every time.
            archive.writestr(zipfile.ZipInfo(f"{stem}-{name}.mid"), run.checkpoint.domain.dumps(part))
    return buffer.getvalue()


def _heard(run: Run, candidate: Candidate) -> Waveform:
    heard = run.checkpoint.domain.sound(candidate.piece)
    assert heard is not None
    return heard


_MAKERS: dict[str, Callable[[Run, Candidate, str], bytes]] = {
    "mid": _piece,
    "txt": _piece,
    "tracks": _tracks,
    "wav": lambda run, candidate, _: wav_bytes(_heard(run, candidate)),
    "flac": lambda run, candidate, _: flac_bytes(_heard(run, candidate)),
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
