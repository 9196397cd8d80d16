"""Why: what a token looked at, what else it could have been, what it loses without a source; and how it sounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.ablation import SourceSpan, ablate_sources, allowed_at
from muse_shortcut.generation.trace import Trace
from muse_tokenizers.base import Token, Waveform
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.loudness import gain_to
from muse_web.session import Candidate, NotFoundError, Run, Source
from muse_web.views import packed, tile_of

__all__ = ["ablate", "look", "matrix", "rows", "sound"]

_NOTE = 8
"""Ids of a note stand no further apart."""
_MOST_ROWS = 64
_MOST_CELLS = 512
"""Rows or columns of a part of the matrix."""
_LOUDEST = 4.0
"""What the largest 16-bit sample stands for: parts of a score that sound together may pass 1."""
_MEASURED = 60.0
"""Seconds of which loudness is measured."""
_MOST_GUESSED = 4.0
"""The largest gain where there is no prompt."""


def _step(trace: Trace, step: object) -> int:
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < trace.steps:
        raise ArgumentsError(f"step is {step!r}; this continuation has steps 0 to {trace.steps - 1}")
    return step


def look(run: Run, number: int, step: object) -> dict[str, Any]:
    """One new step: its tokens and those of its note, their chances and alternatives, and its row of weights.

    Raises:
        NotFoundError, ArgumentsError: there is no such step.
    """
    candidate, trace = run.traced(number)
    here = _step(trace, step)
    begin, row = trace.attended(here)
    tokens = _tokens_near(run, candidate, trace, here)
    return {
        "step": here,
        "begin": begin,
        "row": packed(row, "f4"),
        "tokens": [_token(run, trace, tokens[step], step) for step in _of_note(tokens, here)],
    }


def _tokens_near(run: Run, candidate: Candidate, trace: Trace, step: int) -> dict[int, list[Token]]:
    """What the ids around a new step mean, by their steps."""
    domain, prompt = run.checkpoint.domain, trace.prompt_steps
    if not domain.note_starts().any():
        # Codes and words are called alike wherever they stand: to describe a long prompt for one takes seconds.
        # But for the few of which a character may be made.
        first = max(0, prompt + step - _NOTE)
        return {step: domain.tokenizer.describe(trace.ids[first : prompt + step + _NOTE])[prompt + step - first]}
    if candidate.tokens is None:
        candidate.tokens = domain.tokenizer.describe(trace.ids, run.request.prompt)
    return {
        near: candidate.tokens[prompt + near] for near in range(max(0, step - _NOTE), min(step + _NOTE, trace.steps))
    }


def _of_note(tokens: dict[int, list[Token]], step: int) -> list[int]:
    """The steps of the note that a step is of; itself alone where it is of none."""
    note = tokens[step][0].note
    return [step] if note is None else [near for near, row in tokens.items() if row[0].note == note]


def _token(run: Run, trace: Trace, tokens: list[Token], step: int) -> dict[str, Any]:
    """A step as words and numbers, a part for each stream."""
    end = trace.prompt_steps + step
    given = 0 if run.request.forced_ids is None else len(run.request.forced_ids)
    streams = []
    for stream, token in enumerate(tokens):
        others = [other for other in trace.alternatives[step, stream].tolist() if other >= 0]
        labels = run.checkpoint.domain.labels_after(trace.ids[:end], stream, others, run.request.prompt)
        chances = np.exp(trace.alternative_log_probability[step, stream, : len(others)]).tolist()
        streams.append(
            {
                "id": token.id,
                "label": token.label,
                "kind": token.kind,
                "chance": float(np.exp(trace.log_probability[step, stream])),
                "entropy": float(trace.entropy[step, stream]),
                "alternatives": [
                    {"id": other, "label": label, "chance": chance}
                    for other, label, chance in zip(others, labels, chances, strict=True)
                ],
            }
        )
    return {"step": step, "forced": step < given, "streams": streams}


def rows(run: Run, number: int, steps: object) -> dict[str, Any]:
    """The rows of weights of several steps, for maps that follow the playhead. Raises NotFoundError, ArgumentsError."""
    _, trace = run.traced(number)
    if not isinstance(steps, list) or not 1 <= len(steps) <= _MOST_ROWS:
        raise ArgumentsError(f"steps should be a list of 1 to {_MOST_ROWS}")
    found = [trace.attended(_step(trace, step)) for step in steps]
    return {
        "steps": steps,
        "begins": [begin for begin, _ in found],
        "lengths": [row.shape[1] for _, row in found],
        "rows": packed(np.concatenate([row.ravel() for _, row in found]), "f4"),
    }


def ablate(run: Run, number: int, step: object, depth: object, first: object, stop: object) -> dict[str, Any]:
    """What truly changes of a step's log-probability when a source is hidden from the last layer.

    Args:
        depth: one of those tapped; None for all.
        first: of the source's positions; None for all in sight.
        stop: the position after its last.

    Raises:
        NotFoundError, ArgumentsError: there is no such step or source.
    """
    _, trace = run.traced(number)
    here = _step(trace, step)
    span = None
    if first is not None or stop is not None:
        if type(first) is not int or type(stop) is not int:
            raise ArgumentsError(f"positions are {first!r} to {stop!r}; allowed: whole numbers")
        span = SourceSpan(label="", kind="", start=0.0, end=0.0, first=first, stop=stop)
    if depth is not None and type(depth) is not int:
        raise ArgumentsError(f"depth is {depth!r}; allowed: a whole number")
    allowed = allowed_at(run.checkpoint.domain, run.request, trace, here)
    found = ablate_sources(run.checkpoint.core, trace, here, [(depth, span)], allowed)[0]
    return {
        "step": here,
        "weight": found.weight,
        "before": [float(nats) for nats in trace.log_probability[here]],
        "change": list(found.change),
    }


def matrix(run: Run, number: int, depth: object, steps: object, positions: object) -> dict[str, Any]:
    """A part of the matrix of new steps by positions, at one depth (-1: all). Raises NotFoundError, ArgumentsError."""
    _, trace = run.traced(number)
    if type(depth) is not int or not -1 <= depth < len(trace.depths):
        raise ArgumentsError(f"depth is {depth!r}; allowed: -1 to {len(trace.depths) - 1}")
    return tile_of(
        trace, depth, _range(steps, trace.steps), _range(positions, len(trace.ids)), (_MOST_CELLS, _MOST_CELLS)
    )


def _range(pair: object, most: int) -> tuple[int, int]:
    if isinstance(pair, list) and len(pair) == 2 and all(type(one) is int for one in pair):
        first, stop = pair
        if 0 <= first < stop <= most:
            return first, stop
    raise ArgumentsError(f"a part of the matrix is {pair!r}; allowed: two places from 0 to {most}")


def _gain(of: Run | Source, piece: Any) -> float:
    """What brings a score to its loudness: measured on the prompt's end, so that nothing changes while it grows.

    Of what was begun from nothing the first part that is heard decides, within limits: it may be one soft note.
    """
    domain = of.checkpoint.domain
    if isinstance(piece, Waveform):
        return 1.0
    given = of.piece if isinstance(of, Source) else of.request.prompt.piece
    end = domain.duration(piece if given is None else given)
    measured = domain.render_between(piece if given is None else given, max(0.0, end - _MEASURED), end + 1.0)
    gain = 1.0 if measured is None else gain_to(measured, LOUDNESS)
    return gain if given is not None else min(max(gain, 1 / _MOST_GUESSED), _MOST_GUESSED)


def sound(of: Run | Source, number: int, start: float, end: float) -> dict[str, Any]:
    """The sound of what begins in [start, end) of a source, or of a candidate, also of one that is being written.

    Samples are shares of `loudest`.

    Raises:
        NotFoundError: it has not been written so far, or its domain has no sound.
        ArgumentsError: it is no such segment.
    """
    if not 0 <= start < end <= start + 10:
        raise ArgumentsError(f"a segment of sound goes from {start!r} to {end!r}; allowed: at most 10 seconds")
    domain = of.checkpoint.domain
    if isinstance(of, Source):
        piece = of.piece
    else:
        candidate = of.candidate(number)
        if candidate.ready < end:
            raise NotFoundError(f"{end:g} s have not been generated so far")
        piece = candidate.piece
        if piece is None and candidate.sound is not None and domain.sound_rate is not None:
            piece = Waveform(samples=candidate.sound[None], sample_rate=domain.sound_rate)
        elif piece is None:
            piece = domain.join(of.request.prompt, candidate.ids)
    heard = domain.render_between(piece, start, end)
    if heard is None:
        raise NotFoundError(f"{domain.kind} has no sound")
    if of.gain is None:
        of.gain = _gain(of, piece)
    samples = np.clip(np.round(heard.samples.T * of.gain / _LOUDEST * 32767), -32767, 32767)
    return {"samples": packed(samples, "i2"), "rate": heard.sample_rate, "loudest": _LOUDEST, "start": start}
