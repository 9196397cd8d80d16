"""Converts pieces, continuations and attention to the JSON that the page draws.

Knows tokens, traces and colours, but neither visitors nor Gradio. Arrays are `packed`. Times are in the domain's unit
(seconds, or bytes for text).
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import colours_of_page
from muse_shortcut.plots.timeline import make_timeline
from muse_tokenizers.audio.measures import log_mel
from muse_tokenizers.base import Ids, Prompt, Token, Waveform
from muse_tokenizers.domain import Domain, View

__all__ = [
    "SoundGrid",
    "continuation_view",
    "packed",
    "palette_view",
    "piece_view",
    "progress_view",
    "shares_view",
    "tile_of",
]

_BANDS = 64
_WINDOW = 2048
"""Samples per spectrum."""
_HOP = 480
"""Smallest distance between columns, in samples."""
_MAX_COLUMNS = 6000
_SOFTEST, _LOUDEST = -90.0, -10.0
"""Levels in dB that are drawn palest and darkest."""
_TEXT_SHOWN = 20_000
"""How much of a text, in bytes or characters, the page holds before the visible part."""


def packed(array: NDArray[Any], kind: str) -> dict[str, Any]:
    """Return an array as JSON; `kind` is f4, i4, u2, u1 or i2, little-endian."""
    plain = np.ascontiguousarray(array, dtype=np.dtype(f"<{kind}"))
    return {"kind": kind, "shape": list(plain.shape), "data": base64.b64encode(plain.tobytes()).decode()}


def palette_view(depths: int) -> dict[str, Any]:
    """Return the colours of the page in light and dark mode."""
    return {"light": colours_of_page(depths, dark=False), "dark": colours_of_page(depths, dark=True)}


class SoundGrid:
    """The columns of a spectrogram, whose positions do not depend on the length of the sound so far."""

    def __init__(self, sample_rate: int, samples: int) -> None:
        """
        Args:
            sample_rate: In Hz.
            samples: Approximate number of samples of the whole sound.
        """
        self.sample_rate = sample_rate
        self.hop = max(_HOP, -(-samples // _MAX_COLUMNS))

    def columns(self, samples: NDArray[np.float32], first: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return levels (N, bands) and peaks (N,) of all complete hops from column `first` on, 0 to 255."""
        count = len(samples) // self.hop - first
        if count <= 0:
            return np.zeros((0, _BANDS), np.uint8), np.zeros(0, np.uint8)
        half = _WINDOW // 2
        begin, end = first * self.hop + self.hop // 2 - half, (first + count - 1) * self.hop + self.hop // 2 + half
        around = np.pad(samples[max(begin, 0) : end], (max(-begin, 0), max(end - len(samples), 0)))
        sound = Waveform(samples=around[None], sample_rate=self.sample_rate)
        mel = log_mel(sound, bands=_BANDS, hop=self.hop, window=_WINDOW)[:count]
        levels = (mel - _SOFTEST) / (_LOUDEST - _SOFTEST)
        hops = samples[first * self.hop : (first + count) * self.hop].reshape(count, self.hop)
        return _bytes(levels), _bytes(np.abs(hops).max(axis=1))

    def view(self, samples: NDArray[np.float32], first: int = 0) -> dict[str, Any]:
        """Return `columns` as JSON."""
        columns, peaks = self.columns(samples, first)
        return {
            "columns": packed(columns, "u1"),
            "peaks": packed(peaks, "u1"),
            "first": first,
            "per_second": self.sample_rate / self.hop,
            "top": self.sample_rate / 2,
        }


def _bytes(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert fractions to 0 to 255."""
    found: NDArray[np.uint8] = np.round(np.clip(shares, 0.0, 1.0) * 255).astype(np.uint8)
    return found


def shares_view(shares: NDArray[np.float32]) -> dict[str, Any]:
    """Return (S, n, H) depth shares per head as packed bytes."""
    return packed(_bytes(shares), "u1")


def piece_view(domain: Domain[Any], piece: Any) -> dict[str, Any]:
    """Return the view of a piece that may become a prompt."""
    return _VIEWS[domain.view].piece(domain, piece)


def progress_view(domain: Domain[Any], prompt: Prompt[Any], ids: Ids, sent: int) -> tuple[dict[str, Any], float | None]:
    """Return what is new in a continuation (T, K) after its first `sent` steps, and the start of the last token."""
    return _VIEWS[domain.view].progress(domain, prompt, ids, sent)


def continuation_view(domain: Domain[Any], trace: Trace, piece: Any, given: Prompt[Any]) -> dict[str, Any]:
    """Return the view of a finished continuation, with the place of each position in the window."""
    prompt, steps = trace.prompt_steps, trace.steps
    base = int(trace.first.min()) if steps else prompt
    view: dict[str, Any] = {
        "prompt_steps": prompt,
        "steps": steps,
        "base": base,
        "end": domain.duration(piece),
        "log_probability": packed(trace.log_probability.sum(1), "f4"),
        "shares": shares_view(trace.depth_share),
    }
    return view | _VIEWS[domain.view].continuation(domain, trace, given, base)


class _PieceView(ABC):
    """How one of `muse_tokenizers.domain.View` is displayed."""

    @abstractmethod
    def piece(self, domain: Domain[Any], piece: Any) -> dict[str, Any]:
        """See `piece_view`."""

    @abstractmethod
    def progress(
        self, domain: Domain[Any], prompt: Prompt[Any], ids: Ids, sent: int
    ) -> tuple[dict[str, Any], float | None]:
        """See `progress_view`."""

    @abstractmethod
    def continuation(self, domain: Domain[Any], trace: Trace, given: Prompt[Any], base: int) -> dict[str, Any]:
        """Return what `continuation_view` adds for this view; `base` is the first position in the window."""


class _NotesView(_PieceView):
    def piece(self, domain: Domain[Any], piece: Any) -> dict[str, Any]:
        tokens = domain.tokenizer.describe(domain.tokenizer.encode(piece), domain.prompt(piece))
        # Unrounded: a split point just before a bar line would select the bar before.
        bars = sorted({step[0].start for step in tokens if step[0].kind == "bar"})
        return {"notes": packed(_notes(tokens, len(tokens)), "f4"), "bars": bars}

    def progress(
        self, domain: Domain[Any], prompt: Prompt[Any], ids: Ids, sent: int
    ) -> tuple[dict[str, Any], float | None]:
        first = len(prompt.ids) + sent
        tokens = [row[0] for row in domain.tokenizer.describe(np.concatenate([prompt.ids, ids]), prompt)[first:]]
        # Every note is complete, since a continuation ends at a complete frame.
        notes = [
            (token.start, token.end, token.value, first + place, token.kind == "drum")
            for place, token in enumerate(tokens)
            if token.kind in ("pitch", "drum")
        ]
        starts = [token.start for token in tokens]
        view = {"notes": packed(np.array(notes).reshape(-1, 5), "f4"), "starts": packed(np.array(starts), "f4")}
        return view, starts[-1] if starts else None

    def continuation(self, domain: Domain[Any], trace: Trace, given: Prompt[Any], base: int) -> dict[str, Any]:
        tokens = domain.tokenizer.describe(trace.ids, given)
        timeline = make_timeline(tokens, trace.prompt_steps)
        seen = [span for span in timeline.spans if span.stop > base]
        return {
            "end": max(timeline.end, float(timeline.edges[-1])),
            "edges": packed(timeline.edges[base:], "f4"),
            "spans": packed(np.array([(span.first, span.stop) for span in seen]).reshape(-1, 2), "i4"),
            "labels": [span.label for span in seen],
            "notes": packed(_notes(tokens, trace.prompt_steps), "f4"),
        }


class _SoundView(_PieceView):
    def piece(self, domain: Domain[Any], piece: Any) -> dict[str, Any]:
        return SoundGrid(piece.sample_rate, piece.samples.shape[1]).view(piece.samples[0])

    def progress(
        self, domain: Domain[Any], prompt: Prompt[Any], ids: Ids, sent: int
    ) -> tuple[dict[str, Any], float | None]:
        return {}, None  # decoded as a stream: see `muse_web.streaming`

    def continuation(self, domain: Domain[Any], trace: Trace, given: Prompt[Any], base: int) -> dict[str, Any]:
        assert domain.steps_per_second is not None
        prompt, end = trace.prompt_steps, trace.prompt_steps + trace.steps
        places = (np.arange(base, end + 1) - prompt) / domain.steps_per_second
        return {
            "edges": packed(given.split_point + places, "f4"),
            "spans": packed(_single_spans(base, end), "i4"),
            "labels": [],
        }


class _TextView(_PieceView):
    def piece(self, domain: Domain[Any], piece: Any) -> dict[str, Any]:
        data = domain.dumps(piece)
        hidden = max(0, len(data) - _TEXT_SHOWN)
        while hidden and data[hidden] & 0xC0 == 0x80:  # not inside a character
            hidden += 1
        return {"text": data[hidden:].decode("utf-8", "replace"), "hidden": hidden}

    def progress(
        self, domain: Domain[Any], prompt: Prompt[Any], ids: Ids, sent: int
    ) -> tuple[dict[str, Any], float | None]:
        spans = _characters([row[0] for row in domain.tokenizer.describe(ids)])
        text = _text_of(domain, ids)
        begin, units = int(spans[sent, 0]) if sent < len(spans) else len(text), _units(text)
        return {"text": text[begin:], "from": int(units[begin]), "characters": packed(units[spans[sent:]], "i4")}, None

    def continuation(self, domain: Domain[Any], trace: Trace, given: Prompt[Any], base: int) -> dict[str, Any]:
        tokens, end = domain.tokenizer.describe(trace.ids, given), trace.prompt_steps + trace.steps
        text = _text_of(domain, trace.ids)
        characters = _characters([row[0] for row in tokens[base:]])
        hidden = max(0, (int(characters[0, 0]) if len(characters) else len(text)) - _TEXT_SHOWN)
        return {
            "text": text[hidden:],
            "characters": packed(_units(text[hidden:])[characters - hidden], "i4"),
            "edges": packed(np.arange(base, end + 1), "f4"),
            "spans": packed(_single_spans(base, end), "i4"),
            "labels": [],
        }


_VIEWS: dict[View, _PieceView] = {"notes": _NotesView(), "sound": _SoundView(), "text": _TextView()}


def _text_of(domain: Domain[Any], ids: Ids) -> str:
    return domain.dumps(domain.tokenizer.decode(ids)).decode("utf-8", "replace")


def _single_spans(base: int, end: int) -> NDArray[np.int64]:
    """Return (N, 2): the first and the end of spans of one position each."""
    return np.stack([np.arange(base, end), np.arange(base, end) + 1], axis=1)


def _notes(tokens: Sequence[Sequence[Token]], prompt_steps: int) -> NDArray[np.float64]:
    """Return (N, 5): start, end, pitch, first position, and whether the note is a drum."""
    if not tokens:
        return np.zeros((0, 5))
    notes = make_timeline(tokens, prompt_steps).notes
    return np.array([(n.start, n.end, n.pitch, n.first, n.is_drum) for n in notes]).reshape(-1, 5)


def _units(text: str) -> NDArray[np.int64]:
    """Return (N + 1,): the UTF-16 offset of each character and of the end of the text."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return np.concatenate([[0], np.cumsum(1 + (codes > 0xFFFF))])


def _characters(tokens: Sequence[Token]) -> NDArray[np.int64]:
    """Return (T, 2): the first character of each token, and the one after its last."""
    spans = [token.characters or (round(token.start), round(token.end)) for token in tokens]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def tile_of(
    trace: Trace, depth: int, steps: tuple[int, int], positions: tuple[int, int], size: tuple[int, int]
) -> dict[str, Any]:
    """Return a tile of the attention matrix at one depth.

    Args:
        trace: Trace of the candidate.
        depth: Index of the tapped depth, from 0; -1 sums all depths.
        steps: First and end of the generated steps, which are the rows.
        positions: First and end of the attended positions, which are the columns.
        size: Largest number of rows and columns. If there are more steps or positions, a cell is the maximum of its
            share of them.

    Returns:
        Cells as fractions of `scale` (packed u2, 0 to 65,535), with the range of steps and positions.
    """
    rows, columns = min(size[0], steps[1] - steps[0]), min(size[1], positions[1] - positions[0])
    cells = np.zeros((rows, columns), dtype=np.float32)
    row_of = (np.arange(steps[1] - steps[0]) * rows) // (steps[1] - steps[0])
    column_of = (np.arange(positions[1] - positions[0]) * columns) // (positions[1] - positions[0])
    starts = np.searchsorted(column_of, np.arange(columns))
    for place, step in enumerate(range(*steps)):
        begin, weights = trace.attended(step)
        line = weights.sum(0) if depth < 0 else weights[depth]
        whole = np.zeros(positions[1] - positions[0], dtype=np.float32)
        low, high = max(begin, positions[0]), min(begin + len(line), positions[1])
        if high > low:
            whole[low - positions[0] : high - positions[0]] = line[low - begin : high - begin]
        at = row_of[place]
        cells[at] = np.maximum(cells[at], np.maximum.reduceat(whole, starts))
    scale = float(cells.max(initial=0.0)) or 1.0
    return {
        "cells": packed(np.round(cells / scale * 65535), "u2"),
        "scale": scale,
        "steps": list(steps),
        "positions": list(positions),
    }
