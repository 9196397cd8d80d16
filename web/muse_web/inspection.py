"""Inspection of a continuation: attention, alternatives and ablations of its tokens; also its sound."""

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

__all__ = ["ablate", "inspect_step", "matrix", "rows", "sound"]

_NOTE_SPAN = 8
"""Largest distance, in steps, between tokens of one note."""
_MAX_ROWS = 64
_MAX_CELLS = 512
"""Largest number of rows or columns in one tile of the matrix."""
_FULL_SCALE = 4.0
"""The amplitude that the largest 16-bit sample represents; the sum of a score's parts may exceed 1."""
_LOUDNESS_WINDOW = 60.0
"""Seconds at the end of the prompt whose loudness is measured."""
_MAX_GAIN_WITHOUT_PROMPT = 4.0
"""Largest gain if there is no prompt to measure."""


def _checked_step(trace: Trace, step: object) -> int:
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < trace.steps:
        raise ArgumentsError(f"step is {step!r}; this continuation has steps 0 to {trace.steps - 1}")
    return step


def inspect_step(run: Run, number: int, step: object) -> dict[str, Any]:
    """Return one generated step: the tokens of its note with probabilities and alternatives, and its weights.

    Raises:
        NotFoundError, ArgumentsError: The step does not exist.
    """
    candidate, trace = run.finished_candidate(number)
    here = _checked_step(trace, step)
    begin, row = trace.attended(here)
    tokens = _tokens_near(run, candidate, trace, here)
    return {
        "step": here,
        "begin": begin,
        "row": packed(row, "f4"),
        "tokens": [_token(run, trace, tokens[step], step) for step in _steps_of_note(tokens, here)],
    }


def _tokens_near(run: Run, candidate: Candidate, trace: Trace, step: int) -> dict[int, list[Token]]:
    """Describe the tokens around a generated step, by step."""
    domain, prompt = run.checkpoint.domain, trace.prompt_steps
    if not domain.note_starts().any():
        # Labels of codes and words do not depend on the context, and describing a long prompt takes seconds. Only
        # the neighbours are needed, since a character may consist of several tokens.
        first = max(0, prompt + step - _NOTE_SPAN)
        return {step: domain.tokenizer.describe(trace.ids[first : prompt + step + _NOTE_SPAN])[prompt + step - first]}
    if candidate.tokens is None:
        candidate.tokens = domain.tokenizer.describe(trace.ids, run.request.prompt)
    return {
        near: candidate.tokens[prompt + near]
        for near in range(max(0, step - _NOTE_SPAN), min(step + _NOTE_SPAN, trace.steps))
    }


def _steps_of_note(tokens: dict[int, list[Token]], step: int) -> list[int]:
    """Return the steps of the note that a step belongs to; the step alone if it belongs to none."""
    note = tokens[step][0].note
    return [step] if note is None else [near for near, row in tokens.items() if row[0].note == note]


def _token(run: Run, trace: Trace, tokens: list[Token], step: int) -> dict[str, Any]:
    """Return a step as JSON, with one entry per stream."""
    end = trace.prompt_steps + step
    given = 0 if run.request.forced_ids is None else len(run.request.forced_ids)
    streams = []
    for stream, token in enumerate(tokens):
        others = [other for other in trace.alternatives[step, stream].tolist() if other >= 0]
        labels = run.checkpoint.domain.labels_after(trace.ids[:end], stream, others, run.request.prompt)
        probabilities = np.exp(trace.alternative_log_probability[step, stream, : len(others)]).tolist()
        streams.append(
            {
                "id": token.id,
                "label": token.label,
                "kind": token.kind,
                "probability": float(np.exp(trace.log_probability[step, stream])),
                "entropy": float(trace.entropy[step, stream]),
                "alternatives": [
                    {"id": other, "label": label, "probability": chance}
                    for other, label, chance in zip(others, labels, probabilities, strict=True)
                ],
            }
        )
    return {"step": step, "forced": step < given, "streams": streams}


def rows(run: Run, number: int, steps: object) -> dict[str, Any]:
    """Return the weights of several steps, for maps that follow the playhead. Raises NotFoundError, ArgumentsError."""
    _, trace = run.finished_candidate(number)
    if not isinstance(steps, list) or not 1 <= len(steps) <= _MAX_ROWS:
        raise ArgumentsError(f"steps should be a list of 1 to {_MAX_ROWS}")
    found = [trace.attended(_checked_step(trace, step)) for step in steps]
    return {
        "steps": steps,
        "begins": [begin for begin, _ in found],
        "lengths": [row.shape[1] for _, row in found],
        "rows": packed(np.concatenate([row.ravel() for _, row in found]), "f4"),
    }


def ablate(run: Run, number: int, step: object, depth: object, first: object, stop: object) -> dict[str, Any]:
    """Compute how a step's log-probability changes when a source is hidden from the last layer.

    Args:
        depth: A tapped depth; None hides all.
        first: First position of the source; None hides all positions in the window.
        stop: The position after its last.

    Raises:
        NotFoundError, ArgumentsError: The step or the source does not exist.
    """
    _, trace = run.finished_candidate(number)
    here = _checked_step(trace, step)
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
    """Return a tile of the matrix of steps by positions at a depth (-1: all). Raises NotFoundError, ArgumentsError."""
    _, trace = run.finished_candidate(number)
    if type(depth) is not int or not -1 <= depth < len(trace.depths):
        raise ArgumentsError(f"depth is {depth!r}; allowed: -1 to {len(trace.depths) - 1}")
    return tile_of(
        trace, depth, _range(steps, trace.steps), _range(positions, len(trace.ids)), (_MAX_CELLS, _MAX_CELLS)
    )


def _range(pair: object, most: int) -> tuple[int, int]:
    if isinstance(pair, list) and len(pair) == 2 and all(type(one) is int for one in pair):
        first, stop = pair
        if 0 <= first < stop <= most:
            return first, stop
    raise ArgumentsError(f"a part of the matrix is {pair!r}; allowed: two places from 0 to {most}")


def _gain(of: Run | Source, piece: Any) -> float:
    """Return the gain that brings a score to the target loudness.

    It is measured on the end of the prompt, so that it stays the same during generation. Without a prompt the first
    part that is played decides, within limits, since it may be one soft note.
    """
    domain = of.checkpoint.domain
    if isinstance(piece, Waveform):
        return 1.0
    given = of.piece if isinstance(of, Source) else of.request.prompt.piece
    end = domain.duration(piece if given is None else given)
    measured = domain.render_between(piece if given is None else given, max(0.0, end - _LOUDNESS_WINDOW), end + 1.0)
    gain = 1.0 if measured is None else gain_to(measured, LOUDNESS)
    return gain if given is not None else min(max(gain, 1 / _MAX_GAIN_WITHOUT_PROMPT), _MAX_GAIN_WITHOUT_PROMPT)


def sound(of: Run | Source, number: int, start: float, end: float) -> dict[str, Any]:
    """Return the sound of everything that starts in [start, end) of a source or of a candidate.

    The candidate may still be growing. Samples are fractions of `full_scale`.

    Raises:
        NotFoundError: The segment has not been generated yet, or the domain has no sound.
        ArgumentsError: The segment is invalid.
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
    rendered = domain.render_between(piece, start, end)
    if rendered is None:
        raise NotFoundError(f"{domain.kind} has no sound")
    if of.gain is None:
        of.gain = _gain(of, piece)
    samples = np.clip(np.round(rendered.samples.T * of.gain / _FULL_SCALE * 32767), -32767, 32767)
    return {"samples": packed(samples, "i2"), "rate": rendered.sample_rate, "full_scale": _FULL_SCALE, "start": start}
