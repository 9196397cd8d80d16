"""Continuations: while they are generated, and what they are: piece, ids, trace, sidecar, files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.api.options import Options, build_request
from muse_shortcut.api.prompts import LoadedPrompt
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.files import write_bytes, write_text
from muse_shortcut.generation.ablation import Explanation, explain
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request, StepEvent
from muse_shortcut.generation.sidecar import sidecar_text
from muse_shortcut.generation.trace import Trace, save_trace
from muse_shortcut.plots.timeline import clock
from muse_tokenizers.audio.waveforms import flac_bytes, wav_bytes
from muse_tokenizers.base import Ids, Tokenizer, Waveform
from muse_tokenizers.domain import Domain
from muse_tokenizers.levels import LOUDNESS

__all__ = ["Continuation", "Stream"]


class Continuation:
    """What a model made of a prompt.

    Attributes:
        request: with it, and the same weights, the same ids are generated again.
        candidate: its number among the request's samples, from 0.
        ids: (S, K) new token ids, up to where the piece is complete.
        log_probability: of all of them, in nats.
        source: what it continues.
    """

    def __init__(
        self,
        *,
        checkpoint: Checkpoint,
        request: Request,
        candidate: int,
        ids: Ids,
        log_probability: float,
        source: LoadedPrompt,
        generation: Generation | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._checkpoint, self._generation, self._trace = checkpoint, generation, trace
        self.request, self.candidate = request, candidate
        self.ids, self.log_probability = ids, log_probability
        self.source = source

    @property
    def tokenizer(self) -> Tokenizer[Any]:
        """Of its ids."""
        return self._checkpoint.tokenizer

    @property
    def domain(self) -> Domain[Any]:
        """Of its piece."""
        return self._checkpoint.domain

    @property
    def seed(self) -> int:
        """With it and the same options the same continuation is generated again."""
        return self.request.seed

    @property
    def start(self) -> float:
        """Where it begins in its piece: seconds, or bytes of text."""
        return self.request.prompt.split_point

    @cached_property
    def piece(self) -> Any:
        """The prompt and what follows: `symusic.Score`, `Waveform`, or `bytes` of text."""
        return self.domain.join(self.request.prompt, self.ids)

    @cached_property
    def trace(self) -> Trace:
        """What each new token attended to.

        Raises:
            ArgumentsError: it was generated with `trace=False`.
        """
        if self._trace is not None:
            return self._trace
        return self._traced().trace(self.candidate, len(self.ids))

    def _traced(self) -> Generation:
        if self._generation is None:
            raise ArgumentsError("this continuation was generated without a trace")
        return self._generation

    def sound(self, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        """The piece as sound; None for text.

        Args:
            soundfont: MIDI: an .sf2 or .sf3 file; None for the default one.
            loudness: MIDI: LUFS; None: as the soundfont has it.
        """
        return self.domain.sound(self.piece, soundfont, loudness)

    def sidecar(
        self,
        *,
        name: str | None = None,
        sound: dict[str, Any] | None = None,
        ranking: dict[str, Any] | None = None,
    ) -> str:
        """JSON from which `muse-generate --from-json` makes the same bytes again.

        Args:
            name: of the files; None: the prompt's.
            sound: what its sound was made with, as `Domain.describe_sound` gives it; None without sound.
            ranking: its place among the candidates; None where they were not ranked.
        """
        return sidecar_text(
            self.domain,
            self.request,
            checkpoint=self._checkpoint.digest,
            candidate=self.candidate,
            ids=self.ids,
            log_probability=self.log_probability,
            name=name or self.source.name,
            source=self.source.file,
            sound=sound,
            ranking=ranking,
        )

    def save(self, path: str | Path, *, soundfont: Path | None = None, loudness: float | None = LOUDNESS) -> Path:
        """Write a file; what it is follows from its ending. A file that is there is replaced.

        Args:
            path: ends in .mid, .wav, .flac, .txt (as the domain has them), .json (the sidecar), .npz (the trace),
                .png or .svg (the picture).
            soundfont: MIDI: what .wav and .flac are rendered with.
            loudness: MIDI: LUFS of .wav and .flac; None: as the soundfont has it.

        Raises:
            ArgumentsError: the domain has no such file.
            OutputError: it could not be written.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".npz":
            self.save_trace(path)
        elif ending in _PICTURES:
            self.plot(path)
        elif ending == ".json":
            write_text(path, self.sidecar(name=path.stem, sound=self.domain.describe_sound(soundfont, loudness)))
        elif ending == self.domain.suffix:
            write_bytes(path, self.domain.dumps(self.piece))
        elif ending in _SOUND and (waveform := self.sound(soundfont, loudness)) is not None:
            write_bytes(path, _SOUND[ending](waveform))
        else:
            sound = () if self.domain.sound_rate is None else tuple(_SOUND)
            allowed = dict.fromkeys((self.domain.suffix, *sound, ".json", ".npz", *_PICTURES))
            raise ArgumentsError(f"{path}: allowed endings for {self.tokenizer.kind}: {', '.join(allowed)}")
        return path

    def save_trace(self, path: Path) -> None:
        """Write the trace without holding it in memory, over one that is there. Raises ArgumentsError, OutputError."""
        if self._trace is None:
            self._traced().save_trace(self.candidate, path, len(self.ids))
        else:
            save_trace(self._trace, path)

    def step_at(self, seconds: float) -> int:
        """The step in force at a time in the piece: the frame of sound, or the first new note from then on.

        Raises:
            ArgumentsError: the domain has no times, or there is nothing then.
        """
        domain, start = self.domain, self.start
        if domain.unit != "seconds":
            raise OptionError("seconds", seconds, f"none of {domain.kind}; a step from 0 to {len(self.ids) - 1}")
        if domain.steps_per_second is not None:
            step = int((seconds - start) * domain.steps_per_second + 1e-6)
            if not 0 <= step < len(self.ids):
                end = start + len(self.ids) / domain.steps_per_second
                raise OptionError(
                    "seconds", seconds, f"{clock(start, 2)} to {clock(end, 2)}, the times of this continuation"
                )
            return step
        prompt = self.request.prompt
        tokens = domain.tokenizer.describe(np.concatenate([prompt.ids, self.ids]), prompt)[len(prompt.ids) :]
        begins = domain.note_starts()[self.ids[:, 0]]
        notes = [(token.start, number) for number, [token] in enumerate(tokens) if begins[number]]
        found = next((number for begin, number in notes if begin >= seconds), None)
        if found is None:
            times = (
                f"{clock(start, 2)} to {clock(notes[-1][0], 2)}, where the last new note begins" if notes else "none"
            )
            raise OptionError("seconds", seconds, times)
        return found

    def explain(self, step: int) -> Explanation:
        """What a token was drawn from: every depth and span of the past, its attention, and what hiding it changes.

        Args:
            step: of the continuation, from 0.

        Raises:
            ArgumentsError: there is no such step, or no trace.
        """
        return explain(self._checkpoint.core, self.domain, self.request, self.trace, step)

    def plot(self, path: str | Path, *, step: int | None = None, title: str | None = None) -> Path:
        """Draw the piece, the depth share of every new token, and what one of them attended to, over what is there.

        Args:
            path: ends in .png or .svg.
            step: the token whose sources are shown; None: the most telling one.
            title: above it; None: the file's name.

        Raises:
            ArgumentsError: neither .png nor .svg, or no trace.
            OutputError: it could not be written.
        """
        from muse_shortcut.plots.continuation import draw_continuation
        from muse_shortcut.plots.style import picture_bytes

        path = Path(path)
        kind = _PICTURES.get(path.suffix.lower())
        if kind is None:
            raise ArgumentsError(f"{path}: allowed endings for a picture: {', '.join(_PICTURES)}")
        figure = draw_continuation(self.domain, self.trace, self.piece, self.request.prompt, title or path.stem, step)
        write_bytes(path, picture_bytes(figure, kind))
        return path

    def stream(self, *, trace: bool = True, **options: Unpack[Options]) -> Stream:
        """Continue this continuation step by step; see `Model.stream`."""
        if options.get("prompt_seconds") is not None:
            raise OptionError(
                "prompt_seconds", options["prompt_seconds"], "only with the prompt of a first continuation"
            )
        prompt = self.domain.extended(self.request.prompt, self.ids)
        return self._stream(build_request(self.domain, prompt, self._checkpoint.sampling, options), trace)

    def continue_(self, *, trace: bool = True, **options: Unpack[Options]) -> list[Continuation]:
        """Continue this continuation; see `Model.continue_`."""
        return self.stream(trace=trace, **options).run()

    def branch(self, step: int, id: int, *, stream: int = 0, trace: bool = True) -> Stream:  # noqa: A002
        """The same continuation with another id at one step, and from there on sampled anew.

        Args:
            step: from 0.
            id: that takes the place of the one that was drawn.
            stream: in which of the K streams.

        Raises:
            ArgumentsError: there is no such step, or the id is not allowed there.
        """
        if not (0 <= step < len(self.ids) and 0 <= stream < self.ids.shape[1]):
            raise OptionError("step", step, f"0 to {len(self.ids) - 1}, of stream 0 to {self.ids.shape[1] - 1}")
        forced = self.ids[: step + 1].copy()
        forced[step, stream] = id
        return self._stream(replace(self.request, candidates=1, forced_ids=forced), trace)

    def _stream(self, request: Request, trace: bool) -> Stream:
        return Stream(self._checkpoint, request, self.source, trace=trace)

    def __repr__(self) -> str:
        unit = {"seconds": "s", "bytes": "bytes"}[self.domain.unit]
        length = self.domain.duration(self.piece) - self.start
        nats = -self.log_probability / max(1, self.ids.size)
        return (
            f"Continuation({self.source.name!r}, {length:.4g} {unit} after {self.start:.4g} {unit}, "
            f"{len(self.ids)} steps, {nats:.3f} nats per token, seed {self.seed})"
        )


_SOUND = {".wav": wav_bytes, ".flac": flac_bytes}
_PICTURES: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}


class Stream:
    """An iterator of `StepEvent`; leaving it, and coming back to it, is fine.

    Attributes:
        request: what is generated.
    """

    def __init__(self, checkpoint: Checkpoint, request: Request, source: LoadedPrompt, *, trace: bool) -> None:
        self._checkpoint, self._source, self._trace = checkpoint, source, trace
        self._generation = Generation(checkpoint.core, checkpoint.domain, request, trace=trace)
        self.request = self._generation.request
        self._events = iter(self._generation)

    def __iter__(self) -> Iterator[StepEvent]:
        return self._events

    def __next__(self) -> StepEvent:
        return next(self._events)

    @property
    def steps(self) -> int:
        """How many steps there are so far."""
        return self._generation.steps

    def ids(self, candidate: int) -> Ids:
        """(S, K): the new ids of one continuation so far, up to where it is complete."""
        return self._generation.continuation(candidate)

    def depth_shares(self, candidate: int, since: int = 0) -> NDArray[np.float32]:
        """(S, n, H): how much of each head's attention lay at each depth, of the steps from `since` on.

        Raises:
            ArgumentsError: no trace is kept.
        """
        if not self._trace:
            raise ArgumentsError("this stream keeps no trace")
        return self._generation.depth_shares(candidate, since)

    def run(self) -> list[Continuation]:
        """Generate what is left; all continuations."""
        for _ in self._events:
            pass
        return self.continuations()

    def continuations(self) -> list[Continuation]:
        """What exists so far, up to where each is complete (no note without its end, no half of a letter)."""
        request = self.request if self._generation.finished else self.request.stopped_after(self.steps)
        nats = self._generation.log_probabilities()
        return [
            Continuation(
                checkpoint=self._checkpoint,
                request=request,
                candidate=candidate,
                ids=ids,
                log_probability=nats[candidate],
                source=self._source,
                generation=self._generation if self._trace else None,
            )
            for candidate, ids in enumerate(self._generation.continuations())
        ]

    def __repr__(self) -> str:
        return f"Stream({self.request.candidates} continuations, {self.steps} steps)"
