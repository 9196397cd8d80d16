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

from muse_shortcut.api.continuation import Stream
from muse_shortcut.api.model import Model
from muse_shortcut.generation.request import StepEvent
from muse_shortcut.generation.trace import load_trace
from muse_tokenizers.base import Ids, Prompt, Waveform
from muse_tokenizers.domain import Domain
from muse_web.session import Candidate, Run, Visitor
from muse_web.views import SoundGrid, continuation_view, growth_view, palette_view, shares_view

__all__ = ["grow"]

Event = dict[str, Any]
"""One part, as JSON."""

_PERIOD = 0.08
"""Seconds between two parts, at least."""
_SHARE = 0.15
"""Of the time that telling may take."""


def grow(run: Run, visitor: Visitor) -> Iterator[Event]:
    """Write a run's continuations, and tell of them: `started`, then `grew` many times, then `done`.

    Setting the run's `stop` ends it, and what there is is told; whoever stops listening ends it too.

    Raises:
        ConstraintError, ArgumentsError: the request cannot be granted.
        OutputError: there is no room for the traces.
    """
    request = run.request
    telling: list[_Telling] = []
    period = 0.0
    try:
        stream = Model(run.checkpoint).start(request)
        telling += [_Telling(run, stream, number) for number in range(request.candidates)]
        yield _started(run)
        started = told = time.perf_counter()
        for event in stream:
            run.steps = stream.steps
            now = time.perf_counter()
            if now - told >= period and any(len(stream.ids(number)) for number in range(request.candidates)):
                part = _grew(run, telling, event, now - started)
                told = time.perf_counter()
                # Of a long piece telling takes longer, and then comes less often; but not at the beginning, where it is
                # waited for.
                period = max(_PERIOD, min((told - now) / _SHARE, (told - started) / 2))
                yield part
            if run.stop.is_set() or visitor.gone:
                break
        # Nobody is there any more, or has begun so much since that this one had to go.
        folder = visitor.folder / run.id
        if run.id in visitor.runs and not visitor.gone and _made(folder):
            yield _done(run, stream, telling, folder)
    finally:
        for one in telling:
            one.close()
        run.finished = True


def _started(run: Run) -> Event:
    config = run.checkpoint.core.config
    prompt = run.request.prompt
    return {
        "type": "started",
        "run": run.id,
        "domain": run.domain,
        "seed": run.request.seed,
        "split_point": prompt.split_point,
        "prompt_steps": len(prompt.ids),
        "candidates": run.request.candidates,
        "depths": list(config.depths),
        "heads": config.heads,
        "colours": palette_view(len(config.depths)),
        "steps_per_second": run.checkpoint.domain.steps_per_second,
        "sound_rate": run.checkpoint.domain.sound_rate,
        "requested": _requested_length(run),
    }


def _requested_length(run: Run) -> float | None:
    """How long a run's continuations should become, in the domain's unit; None where only their steps are counted."""
    return run.request.constraints.length


def _grew(run: Run, telling: list[_Telling], event: StepEvent, seconds: float) -> Event:
    elapsed = float(np.min(event.elapsed)) if np.isfinite(event.elapsed).all() else 0.0
    requested = _requested_length(run)
    return {
        "type": "grew",
        "steps": event.step + 1,
        "rate": (event.step + 1) / max(seconds, 1e-6),
        "left": None if not requested or elapsed <= 0 else max(0.0, seconds / elapsed * (requested - elapsed)),
        "candidates": [one.tell() for one in telling],
    }


def _made(folder: Path) -> bool:
    """Make a folder in one that may go at any moment; False where it has gone."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        return False
    return True


def _done(run: Run, stream: Stream, telling: list[_Telling], folder: Path) -> Event:
    views = []
    for number, one in enumerate(stream.continuations()):
        path = folder / f"trace-{number}.npz"
        one.save_trace(path)
        trace, (ids, piece) = load_trace(path), telling[number].end()
        sound = piece.samples[0] if isinstance(piece, Waveform) else None
        run.candidates[number] = Candidate(
            ids=ids, ready=float("inf"), sound=sound, piece=piece, trace=trace, log_probability=one.log_probability
        )
        view = continuation_view(run.checkpoint.domain, trace, piece, run.request.prompt)
        if isinstance(piece, Waveform):
            view["sound"] = SoundGrid(piece.sample_rate, piece.samples.shape[1]).view(piece.samples[0])
        views.append(view | {"nats_per_token": -one.log_probability / max(1, ids.size)})
    return {"type": "done", "stopped": run.stop.is_set(), "steps": stream.steps, "candidates": views}


class _Telling:
    """What has been told of one candidate."""

    def __init__(self, run: Run, stream: Stream, number: int) -> None:
        self._run, self._stream, self._number = run, stream, number
        self._told = 0
        domain = run.checkpoint.domain
        self._sound: _GrowingSound | None = None
        if domain.view == "sound":
            self._sound = _GrowingSound(domain, run.request.prompt)

    def tell(self) -> Event:
        """What is new."""
        domain, prompt = self._run.checkpoint.domain, self._run.request.prompt
        ids = self._stream.ids(self._number)
        shares = self._stream.depth_shares(self._number, self._told)[: len(ids) - self._told]
        part, last = growth_view(domain, prompt, ids, self._told)
        sound = None
        # What comes later begins no earlier than the last id does.
        ready = self._run.candidates[self._number].ready if last is None else last
        if self._sound is not None:
            new, sound = self._sound.hear(ids[self._told :])
            part["sound"] = new
            ready = len(sound) / self._sound.sample_rate
        self._run.candidates[self._number] = Candidate(ids=ids, ready=ready, sound=sound)
        self._told = len(ids)
        return part | {"steps": len(ids), "ready": ready, "shares": shares_view(shares)}

    def end(self) -> tuple[Ids, Any]:
        """All ids, and the piece that they are with their prompt."""
        ids = self._stream.ids(self._number)
        if self._sound is None:
            return ids, self._run.checkpoint.domain.join(self._run.request.prompt, ids)
        samples = self._sound.end(ids[self._told :])
        return ids, Waveform(samples=samples[None], sample_rate=self._sound.sample_rate)

    def close(self) -> None:
        """No more is told."""
        if self._sound is not None:
            self._sound.close()


class _GrowingSound:
    """The sound of one candidate, decoded beside its growth: what `Domain.join` would give, as it comes."""

    def __init__(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        assert domain.sound_rate is not None
        assert domain.steps_per_second is not None
        self.sample_rate = domain.sound_rate
        self._part = round(domain.steps_per_second)
        self._held = np.zeros((0, domain.tokenizer.streams), dtype=np.int64)
        self._waiting: queue.SimpleQueue[Ids | None] = queue.SimpleQueue()
        given = round(prompt.split_point * self.sample_rate)
        # With room: it is looked at often, and a minute would be copied each time.
        self._samples = np.zeros(given + 60 * self.sample_rate, dtype=np.float32)
        self._length = 0
        self._failure: Exception | None = None
        """What ended the thread early."""
        self._grid = SoundGrid(self.sample_rate, given)
        self._shown = given // self._grid.hop
        # Its own thread: how much a codec must have before it gives anything is its own affair.
        self._thread = threading.Thread(target=self._decode, args=(domain, prompt), daemon=True)
        self._thread.start()

    def _decode(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        try:
            self._decode_all(domain, prompt)
        except Exception as error:  # whoever asks for the sound is told
            self._failure = error

    def _decode_all(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        for samples in domain.joining(prompt, self._steps()) or ():
            end = self._length + len(samples)
            if end > len(self._samples):
                self._samples = np.concatenate([self._samples[: self._length], np.zeros(2 * end, np.float32)])
            self._samples[self._length : end] = samples
            self._length = end

    def _steps(self) -> Iterator[Ids]:
        while (ids := self._waiting.get()) is not None:
            yield ids

    def hear(self, ids: Ids) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Give new steps; get the columns that are new, and all samples there are. Raises what decoding them raised."""
        if self._failure is not None:
            raise self._failure
        self._held = np.concatenate([self._held, ids])
        # By the second, as `join` does: other parts would be other sums, and in the end other bytes.
        while len(self._held) >= self._part:
            self._waiting.put(self._held[: self._part])
            self._held = self._held[self._part :]
        sound = self._samples[: self._length]
        view = self._grid.view(sound, self._shown)
        self._shown += view["peaks"]["shape"][0]
        return view, sound

    def end(self, ids: Ids) -> NDArray[np.float32]:
        """Give the last steps; get all samples. Raises what decoding them raised."""
        self.hear(ids)
        if len(self._held):
            self._waiting.put(self._held)
        self.close()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._samples[: self._length]

    def close(self) -> None:
        """Let the thread end, whenever it does."""
        self._waiting.put(None)
