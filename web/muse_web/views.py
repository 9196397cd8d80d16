"""Data to drawing: pieces, continuations and their attention as the numbers that the page draws.

Knows tokens, traces and colours; nothing of visitors, and nothing of gradio. Everything here is plain JSON, arrays as
`packed` ones. Times are in the domain's unit (seconds; bytes for text).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import colours_of_page
from muse_shortcut.plots.timeline import make_timeline
from muse_tokenizers.audio.measures import log_mel
from muse_tokenizers.base import Ids, Prompt, Token, Waveform
from muse_tokenizers.domain import Domain

__all__ = [
    "SoundGrid",
    "continuation_view",
    "growth_view",
    "packed",
    "palette_view",
    "piece_view",
    "shares_view",
    "tile_of",
]

_BANDS = 64
_WINDOW = 2048
"""Samples of a spectrum."""
_HOP = 480
"""Samples from one column to the next, at least."""
_MOST_COLUMNS = 6000
_SOFTEST, _LOUDEST = -90.0, -10.0
"""Decibels that are the palest and the darkest."""
_TEXT_SHOWN = 20_000
"""How much of a text before what is in sight the page holds."""


def packed(array: NDArray[Any], kind: str) -> dict[str, Any]:
    """An array as JSON: `kind` is f4, i4, u2, u1 or i2, little-endian."""
    plain = np.ascontiguousarray(array, dtype=np.dtype(f"<{kind}"))
    return {"kind": kind, "shape": list(plain.shape), "data": base64.b64encode(plain.tobytes()).decode()}


def palette_view(depths: int) -> dict[str, Any]:
    """What each colour means, on paper and in the dark."""
    return {"light": colours_of_page(depths, dark=False), "dark": colours_of_page(depths, dark=True)}


class SoundGrid:
    """The columns of a spectrogram: their places do not depend on how much sound there is yet."""

    def __init__(self, sample_rate: int, samples: int) -> None:
        """
        Args:
            sample_rate: Hz.
            samples: of the whole sound, about.
        """
        self.sample_rate = sample_rate
        self.hop = max(_HOP, -(-samples // _MOST_COLUMNS))

    def columns(self, samples: NDArray[np.float32], first: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Columns (N, bands) and peaks (N,) of all whole hops from column `first` on; the louder the more."""
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
        """The same as JSON."""
        columns, peaks = self.columns(samples, first)
        return {
            "columns": packed(columns, "u1"),
            "peaks": packed(peaks, "u1"),
            "first": first,
            "per_second": self.sample_rate / self.hop,
            "top": self.sample_rate / 2,
        }


def _bytes(shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Shares of 1 as 0 to 255."""
    found: NDArray[np.uint8] = np.round(np.clip(shares, 0.0, 1.0) * 255).astype(np.uint8)
    return found


def shares_view(shares: NDArray[np.float32]) -> dict[str, Any]:
    """(S, n, H): how much of each head's attention lay at each depth."""
    return packed(_bytes(shares), "u1")


def piece_view(domain: Domain[Any], piece: Any) -> dict[str, Any]:
    """A whole piece that may become a prompt."""
    if domain.view == "sound":
        return SoundGrid(piece.sample_rate, piece.samples.shape[1]).view(piece.samples[0])
    if domain.view == "text":
        hidden = max(0, len(piece) - _TEXT_SHOWN)
        while hidden and piece[hidden] & 0xC0 == 0x80:  # in the middle of a character
            hidden += 1
        return {"text": piece[hidden:].decode("utf-8", "replace"), "hidden": hidden}
    tokens = domain.tokenizer.describe(domain.tokenizer.encode(piece), domain.prompt(piece))
    # To the last digit: a split point a hair before a bar line would be one bar earlier.
    bars = sorted({step[0].start for step in tokens if step[0].kind == "bar"})
    return {"notes": packed(_notes(tokens, len(tokens)), "f4"), "bars": bars}


def _notes(tokens: Sequence[Sequence[Token]], prompt_steps: int) -> NDArray[np.float64]:
    """(N, 5): start, end, pitch, first position, whether it is a drum."""
    if not tokens:
        return np.zeros((0, 5))
    notes = make_timeline(tokens, prompt_steps).notes
    return np.array([(n.start, n.end, n.pitch, n.first, n.is_drum) for n in notes]).reshape(-1, 5)


def growth_view(domain: Domain[Any], prompt: Prompt[Any], ids: Ids, told: int) -> tuple[dict[str, Any], float | None]:
    """What of a continuation (T, K) is new since `told` of its steps were shown, and where its last new id begins."""
    if domain.view == "sound":
        return {}, None
    return _new_words(domain, ids, told) if domain.view == "text" else _new_notes(domain, prompt, ids, told)


def _new_words(domain: Domain[Any], ids: Ids, told: int) -> tuple[dict[str, Any], None]:
    spans = _characters([row[0] for row in domain.tokenizer.describe(ids)])
    text = domain.tokenizer.decode(ids).decode("utf-8", "replace")
    begin, units = int(spans[told, 0]) if told < len(spans) else len(text), _units(text)
    return {"text": text[begin:], "from": int(units[begin]), "characters": packed(units[spans[told:]], "i4")}, None


def _new_notes(domain: Domain[Any], prompt: Prompt[Any], ids: Ids, told: int) -> tuple[dict[str, Any], float | None]:
    first = len(prompt.ids) + told
    tokens = [row[0] for row in domain.tokenizer.describe(np.concatenate([prompt.ids, ids]), prompt)[first:]]
    # Every note among them is whole: a continuation ends where nothing is left dangling.
    notes = [
        (token.start, token.end, token.value, first + place, token.kind == "drum")
        for place, token in enumerate(tokens)
        if token.kind in ("pitch", "drum")
    ]
    starts = [token.start for token in tokens]
    view = {"notes": packed(np.array(notes).reshape(-1, 5), "f4"), "starts": packed(np.array(starts), "f4")}
    return view, starts[-1] if starts else None


def _units(text: str) -> NDArray[np.int64]:
    """(N + 1,): where each character begins, and the text ends, as JavaScript counts: those beyond U+FFFF are two."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return np.concatenate([[0], np.cumsum(1 + (codes > 0xFFFF))])


def _characters(tokens: Sequence[Token]) -> NDArray[np.int64]:
    """(T, 2): the first, and the one after the last, character of each."""
    return np.array([token.characters or (0, 0) for token in tokens], dtype=np.int64).reshape(-1, 2)


def continuation_view(domain: Domain[Any], trace: Trace, piece: Any, given: Prompt[Any]) -> dict[str, Any]:
    """One whole continuation: what is drawn, and where each position in sight stands."""
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
    if domain.view == "sound":
        assert domain.steps_per_second is not None
        places = (np.arange(base, prompt + steps + 1) - prompt) / domain.steps_per_second
        spans = np.stack([np.arange(base, prompt + steps), np.arange(base, prompt + steps) + 1], axis=1)
        return view | {"edges": packed(given.split_point + places, "f4"), "spans": packed(spans, "i4"), "labels": []}
    tokens = domain.tokenizer.describe(trace.ids, given)
    if domain.view == "text":
        text = domain.tokenizer.decode(trace.ids).decode("utf-8", "replace")
        spans = np.stack([np.arange(base, prompt + steps), np.arange(base, prompt + steps) + 1], axis=1)
        characters = _characters([row[0] for row in tokens[base:]])
        hidden = max(0, (int(characters[0, 0]) if len(characters) else len(text)) - _TEXT_SHOWN)
        return view | {
            "text": text[hidden:],
            "characters": packed(_units(text[hidden:])[characters - hidden], "i4"),
            "edges": packed(np.arange(base, prompt + steps + 1), "f4"),
            "spans": packed(spans, "i4"),
            "labels": [],
        }
    timeline = make_timeline(tokens, prompt)
    seen = [span for span in timeline.spans if span.stop > base]
    return view | {
        "end": max(timeline.end, float(timeline.edges[-1])),
        "edges": packed(timeline.edges[base:], "f4"),
        "spans": packed(np.array([(span.first, span.stop) for span in seen]).reshape(-1, 2), "i4"),
        "labels": [span.label for span in seen],
        "notes": packed(_notes(tokens, prompt), "f4"),
    }


def tile_of(
    trace: Trace, depth: int, steps: tuple[int, int], positions: tuple[int, int], size: tuple[int, int]
) -> dict[str, Any]:
    """A part of the matrix of tokens by positions at one depth.

    Args:
        trace: of the candidate.
        depth: its number among those tapped, from 0; -1 for all of them together.
        steps: the first, and the one after the last, of the new steps: rows.
        positions: likewise, of what they looked at: columns.
        size: the most rows and columns. Where there are more steps or positions, each cell is the largest of its own.

    Returns:
        Cells as shares of `scale`, packed u2 from 0 to 65,535, and the steps and positions they are of.
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
