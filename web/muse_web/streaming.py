"""Generates a run and streams it to the page as events, with sound as it is decoded."""

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
from muse_shortcut.api.prompts import LoadedPrompt
from muse_shortcut.generation.request import StepEvent
from muse_tokenizers.base import Ids, Prompt, Waveform
from muse_tokenizers.domain import Domain
from muse_web.session import Candidate, Run, Visitor
from muse_web.views import SoundGrid, continuation_view, palette_view, progress_view, shares_view

__all__ = ["generate"]

Event = dict[str, Any]
"""One event, as JSON."""

_MIN_PERIOD = 0.08
"""Shortest time between two events, in seconds."""
_MAX_SHARE = 0.15
"""Largest fraction of the time that preparing events may take."""


def generate(run: Run, visitor: Visitor) -> Iterator[Event]:
    """Generate a run's candidates and yield events: `started`, then `progress` repeatedly, then `done`.

    Setting the run's `stop` ends generation; `done` then covers what exists. Closing the iterator ends it too.

    Raises:
        ConstraintError, ArgumentsError: The request is invalid.
        OutputError: The traces could not be written.
    """
    request = run.request
    streams: list[_CandidateStream] = []
    period = 0.0
    try:
        stream = Model(run.checkpoint).start(request, LoadedPrompt(request.prompt.piece, run.name, run.file))
        streams += [_CandidateStream(run, stream, number) for number in range(request.candidates)]
        yield _started(run)
        started = sent = time.perf_counter()
        for event in stream:
            run.steps = stream.steps
            now = time.perf_counter()
            if now - sent >= period and any(len(stream.ids(number)) for number in range(request.candidates)):
                part = _progress(run, streams, event, now - started)
                sent = time.perf_counter()
                # Events of a long piece take longer to prepare and become rarer, but not at the beginning, when the
                # visitor is waiting for the first note.
                period = max(_MIN_PERIOD, min((sent - now) / _MAX_SHARE, (sent - started) / 2))
                yield part
            if run.stop.is_set() or visitor.removed:
                break
        # The visitor may have left, or started so many runs since that this one was deleted.
        folder = visitor.folder / run.id
        if run.id in visitor.runs and not visitor.removed and _make_folder(folder):
            yield _done(run, stream, streams, folder)
    finally:
        for one in streams:
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
    """Return the requested length in the domain's unit; None if only steps were requested."""
    return run.request.constraints.length


def _progress(run: Run, streams: list[_CandidateStream], event: StepEvent, seconds: float) -> Event:
    elapsed = float(np.min(event.elapsed)) if np.isfinite(event.elapsed).all() else 0.0
    requested = _requested_length(run)
    return {
        "type": "progress",
        "steps": event.step + 1,
        "rate": (event.step + 1) / max(seconds, 1e-6),
        "seconds_left": None if not requested or elapsed <= 0 else max(0.0, seconds / elapsed * (requested - elapsed)),
        "candidates": [one.update() for one in streams],
    }


def _make_folder(folder: Path) -> bool:
    """Create a folder; return False if its parent has been deleted meanwhile."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        return False
    return True


def _done(run: Run, stream: Stream, streams: list[_CandidateStream], folder: Path) -> Event:
    views = []
    for number, one in enumerate(stream.continuations()):
        one.move_trace(folder / f"trace-{number}.npz")
        sound = streams[number].end()
        if sound is not None:
            one.piece = sound
        view = continuation_view(run.checkpoint.domain, one.trace, one.piece, run.request.prompt)
        if sound is not None:
            view["sound"] = SoundGrid(sound.sample_rate, sound.samples.shape[1]).view(sound.samples[0])
        run.candidates[number] = Candidate(
            ids=one.ids, ready=float("inf"), sound=None if sound is None else sound.samples[0], continuation=one
        )
        views.append(view | {"nats_per_token": -one.log_probability / max(1, one.ids.size)})
    return {"type": "done", "stopped": run.stop.is_set(), "steps": stream.steps, "candidates": views}


class _CandidateStream:
    """Prepares the events of one candidate."""

    def __init__(self, run: Run, stream: Stream, number: int) -> None:
        self._run, self._stream, self._number = run, stream, number
        self._sent = 0
        domain = run.checkpoint.domain
        self._sound: _SoundStream | None = None
        if domain.streams_sound:
            self._sound = _SoundStream(domain, run.request.prompt)

    def update(self) -> Event:
        """Return everything that is new since the last call."""
        domain, prompt = self._run.checkpoint.domain, self._run.request.prompt
        ids = self._stream.ids(self._number)
        shares = self._stream.depth_shares(self._number, self._sent)[: len(ids) - self._sent]
        part, last = progress_view(domain, prompt, ids, self._sent)
        sound = None
        # Later tokens start no earlier than the last one.
        ready = self._run.candidates[self._number].ready if last is None else last
        if self._sound is not None:
            new, sound = self._sound.decode(ids[self._sent :])
            part["sound"] = new
            ready = len(sound) / self._sound.sample_rate
        self._run.candidates[self._number] = Candidate(ids=ids, ready=ready, sound=sound)
        self._sent = len(ids)
        return part | {"steps": len(ids), "ready": ready, "shares": shares_view(shares)}

    def end(self) -> Waveform | None:
        """Return the piece with its prompt, if it was decoded while it was generated."""
        if self._sound is None:
            return None
        samples = self._sound.end(self._stream.ids(self._number)[self._sent :])
        return Waveform(samples=samples[None], sample_rate=self._sound.sample_rate)

    def close(self) -> None:
        """Stop decoding."""
        if self._sound is not None:
            self._sound.close()


class _SoundStream:
    """Decodes the sound of one candidate during generation, to the same samples as `Domain.join`."""

    def __init__(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        assert domain.sound_rate is not None
        assert domain.steps_per_second is not None
        self.sample_rate = domain.sound_rate
        self._part = round(domain.steps_per_second)
        self._pending = np.zeros((0, domain.tokenizer.streams), dtype=np.int64)
        self._queue: queue.SimpleQueue[Ids | None] = queue.SimpleQueue()
        given = round(prompt.split_point * self.sample_rate)
        # Allocated with spare capacity, so that samples are not copied for every event.
        self._samples = np.zeros(given + 60 * self.sample_rate, dtype=np.float32)
        self._length = 0
        self._failure: Exception | None = None
        """The exception that ended the thread."""
        self._grid = SoundGrid(self.sample_rate, given)
        self._shown = given // self._grid.hop
        # In a thread of its own, since a codec may need many steps before it returns any samples.
        self._thread = threading.Thread(target=self._decode, args=(domain, prompt), daemon=True)
        self._thread.start()

    def _decode(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        try:
            self._decode_all(domain, prompt)
        except Exception as error:  # raised again by decode and end
            self._failure = error

    def _decode_all(self, domain: Domain[Any], prompt: Prompt[Any]) -> None:
        for samples in domain.joining(prompt, self._steps()) or ():
            end = self._length + len(samples)
            if end > len(self._samples):
                self._samples = np.concatenate([self._samples[: self._length], np.zeros(2 * end, np.float32)])
            self._samples[self._length : end] = samples
            self._length = end

    def _steps(self) -> Iterator[Ids]:
        while (ids := self._queue.get()) is not None:
            yield ids

    def decode(self, ids: Ids) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Add steps; return the new spectrogram columns and all samples so far. Raises any error of the decoder."""
        if self._failure is not None:
            raise self._failure
        self._pending = np.concatenate([self._pending, ids])
        # In chunks of a second, as `join` does; other chunks would give slightly different samples.
        while len(self._pending) >= self._part:
            self._queue.put(self._pending[: self._part])
            self._pending = self._pending[self._part :]
        sound = self._samples[: self._length]
        view = self._grid.view(sound, self._shown)
        self._shown += view["peaks"]["shape"][0]
        return view, sound

    def end(self, ids: Ids) -> NDArray[np.float32]:
        """Add the last steps and return all samples. Raises any error of the decoder."""
        self.decode(ids)
        if len(self._pending):
            self._queue.put(self._pending)
        self.close()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._samples[: self._length]

    def close(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self._queue.put(None)
