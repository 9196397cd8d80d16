"""A continuation as it is being written, told in parts that the page draws; its sound, as far as there is any."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.engine import Generation, StepEvent
from muse_shortcut.generation.trace import load_trace
from muse_tokenizers.audio.tokenizer import AudioTokenizer
from muse_tokenizers.base import Ids, Prompt
from muse_web.figures import SoundGrid, continuation_view, growth_view, packed, palette_view
from muse_web.session import Candidate, Run, Visitor

__all__ = ["grow"]

Told = dict[str, Any]
"""One part, as JSON."""

_PERIOD = 0.08
"""Seconds between two parts, at least."""
_SHARE = 0.15
"""Of the time that telling may take."""


def grow(run: Run, visitor: Visitor) -> Iterator[Told]:
    """Write a run's continuations, and tell of them: `begun`, then `grew` many times, then `done`.

    Whoever stops listening, or sets the run's `stop`, ends it; what there is stays.

    Raises:
        ImpossibleWish, ArgumentsError: the request cannot be granted.
        OutputError: there is no room for the traces.
    """
    tokenizer, request = run.checkpoint.tokenizer, run.request
    telling: list[_Telling] = []
    period = 0.0
    try:
        generation = Generation(run.checkpoint.core, tokenizer, request)
        telling += [_Telling(run, generation, number) for number in range(request.candidates)]
        yield _begun(run)
        started = told = time.perf_counter()
        for event in generation:
            run.steps = generation.steps
            now = time.perf_counter()
            if now - told >= period and any(len(ids) for ids in generation.continuations()):
                part = _grew(run, telling, event, now - started)
                told = time.perf_counter()
                # Of a long piece telling takes longer, and then comes less often.
                period = max(_PERIOD, (told - now) / _SHARE)
                yield part
            if run.stop.is_set() or visitor.gone:
                break
        for one in telling:
            one.tell()
    finally:
        for one in telling:
            one.close()
        run.finished = True
    if not visitor.gone:
        yield _done(run, generation, visitor.folder / run.id)


def _begun(run: Run) -> Told:
    config = run.checkpoint.core.config
    prompt = run.request.prompt
    return {
        "type": "begun",
        "run": run.id,
        "domain": run.domain,
        "seed": run.request.seed,
        "cut": prompt.cut,
        "prompt_steps": len(prompt.ids),
        "candidates": run.request.candidates,
        "depths": list(config.depths),
        "heads": config.heads,
        "streams": config.streams,
        "colours": palette_view(len(config.depths)),
        "steps_per_second": run.checkpoint.tokenizer.steps_per_second,
        "sound_rate": run.checkpoint.tokenizer.sound_rate,
        "wished": wished_length(run),
    }


def wished_length(run: Run) -> float | None:
    """How long a run's continuations should become, in the domain's unit; None where only their steps are counted."""
    wishes = run.request.wishes
    length: float | None = getattr(wishes, run.checkpoint.tokenizer.unit)
    return length


def _grew(run: Run, telling: list[_Telling], event: StepEvent, seconds: float) -> Told:
    elapsed = float(np.min(event.elapsed)) if np.isfinite(event.elapsed).all() else 0.0
    wished = wished_length(run)
    return {
        "type": "grew",
        "steps": event.step + 1,
        "rate": (event.step + 1) / max(seconds, 1e-6),
        "elapsed": elapsed,
        "left": None if not wished or elapsed <= 0 else max(0.0, seconds / elapsed * (wished - elapsed)),
        "candidates": [one.tell() for one in telling],
    }


def _done(run: Run, generation: Generation, folder: Path) -> Told:
    tokenizer, prompt = run.checkpoint.tokenizer, run.request.prompt
    folder.mkdir(exist_ok=True)
    views = []
    for number, (ids, nats) in enumerate(zip(generation.continuations(), generation.log_probabilities(), strict=True)):
        path = folder / f"trace-{number}.npz"
        generation.save_trace(number, path)
        trace = load_trace(path)
        piece = tokenizer.join(prompt, ids)
        sound = piece.samples[0] if isinstance(tokenizer, AudioTokenizer) else None
        run.candidates[number] = Candidate(
            ids=ids, ready=float("inf"), sound=sound, piece=piece, trace=trace, log_probability=nats
        )
        view = continuation_view(tokenizer, trace, piece, prompt.cut)
        if sound is not None:
            rate = piece.sample_rate
            grid = SoundGrid(rate, len(sound))
            view["sound"] = grid.view(sound)
        views.append(view | {"nats_a_token": -nats / max(1, ids.size)})
    return {"type": "done", "stopped": run.stop.is_set(), "steps": generation.steps, "candidates": views}


class _Telling:
    """What has been told of one candidate."""

    def __init__(self, run: Run, generation: Generation, number: int) -> None:
        self._run, self._generation, self._number = run, generation, number
        self._told = 0
        tokenizer = run.checkpoint.tokenizer
        self._sound: _GrowingSound | None = None
        if isinstance(tokenizer, AudioTokenizer):
            self._sound = _GrowingSound(tokenizer, run.request.prompt)

    def tell(self) -> Told:
        """What is new."""
        tokenizer, prompt = self._run.checkpoint.tokenizer, self._run.request.prompt
        ids = self._generation.continuations()[self._number]
        shares = self._generation.depth_shares(self._number, self._told)[: len(ids) - self._told]
        part, last = growth_view(tokenizer, prompt.ids, ids, self._told)
        sound = None
        # What comes later begins no earlier than the last id does.
        ready = self._run.candidates[self._number].ready if last is None else last
        if self._sound is not None:
            new, sound = self._sound.hear(ids[self._told :])
            part["sound"] = new
            ready = len(sound) / self._sound.sample_rate
        self._run.candidates[self._number] = Candidate(ids=ids, ready=ready, sound=sound)
        self._told = len(ids)
        return part | {"steps": len(ids), "ready": ready, "shares": packed(np.round(shares * 255), "u1")}

    def close(self) -> None:
        """No more is told."""
        if self._sound is not None:
            self._sound.close()


class _GrowingSound:
    """The sound of one candidate, decoded beside its growth."""

    def __init__(self, tokenizer: AudioTokenizer, prompt: Prompt[Any]) -> None:
        self.sample_rate = tokenizer.codec.shape.sample_rate
        self._parts: list[NDArray[np.float32]] = []
        self._waiting: queue.SimpleQueue[Ids | None] = queue.SimpleQueue()
        self._grid: SoundGrid | None = None
        self._shown = 0
        self._length = round(prompt.cut * self.sample_rate)
        # Its own thread: how much a codec must have before it gives anything is its own affair.
        self._thread = threading.Thread(target=self._decode, args=(tokenizer, prompt), daemon=True)
        self._thread.start()

    def _decode(self, tokenizer: AudioTokenizer, prompt: Prompt[Any]) -> None:
        for samples in tokenizer.joining(prompt, self._steps()):
            self._parts.append(samples)

    def _steps(self) -> Iterator[Ids]:
        while (ids := self._waiting.get()) is not None:
            yield ids

    def hear(self, ids: Ids) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Give new steps; get the columns that are new, and all samples there are."""
        if len(ids):
            self._waiting.put(ids)
        sound = np.concatenate([np.zeros(0, np.float32), *self._parts])
        if self._grid is None:
            self._grid = SoundGrid(self.sample_rate, self._length)
            self._shown = self._length // self._grid.hop
        view = self._grid.view(sound, self._shown)
        self._shown += view["peaks"]["shape"][0]
        return view, sound

    def close(self) -> None:
        """Let the decoder end."""
        self._waiting.put(None)
        self._thread.join(timeout=10)
