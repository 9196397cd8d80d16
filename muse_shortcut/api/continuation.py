"""Continuations: `Stream` while they are generated, `Continuation` when they are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.api.options import Options, build_request, plain_number
from muse_shortcut.api.prompts import LoadedPrompt
from muse_shortcut.api.ranking import Ranked, rank
from muse_shortcut.api.step_times import step_at
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.files import write_bytes, write_text
from muse_shortcut.generation.ablation import Explanation, explain
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request, StepEvent
from muse_shortcut.generation.sidecar import sidecar_text
from muse_shortcut.generation.trace import Trace, load_trace, save_trace
from muse_tokenizers.audio.waveforms import flac_bytes, wav_bytes
from muse_tokenizers.base import Ids, Tokenizer, Waveform
from muse_tokenizers.domain import Domain
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.wording import counted

__all__ = ["Continuation", "Stream", "rank_continuations"]


class Continuation:
    """A prompt and what a model generated after it.

    Attributes:
        request: The request. With the same weights, it generates the same ids again.
        candidate: Number of this continuation among the samples of its request, from 0.
        ids: (S, K) int64, the generated token ids, up to the point where the piece is complete.
        log_probability: Sum of `log_probabilities`, in nats.
        source: The prompt that it continues.
        ranking: Its place among the samples of its request, with the reasons; None if they were not ranked.
    """

    ranking: Ranked | None = None

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
    def log_probabilities(self) -> NDArray[np.float32]:
        """(S, K) log-probability of each id in nats, under the grammar, before temperature and truncation.

        Raises:
            ArgumentsError: The continuation was generated with `trace=False`.
        """
        return self.trace.log_probability

    @property
    def tokenizer(self) -> Tokenizer[Any]:
        """Tokenizer of the ids."""
        return self._checkpoint.tokenizer

    @property
    def domain(self) -> Domain[Any]:
        """Domain of the piece."""
        return self._checkpoint.domain

    @property
    def seed(self) -> int:
        """Seed of the request. The same seed and options generate the same continuation."""
        return self.request.seed

    @property
    def start(self) -> float:
        """Position in the piece at which the continuation begins, in seconds, or in bytes for text."""
        return self.request.prompt.split_point

    @cached_property
    def piece(self) -> Any:
        """The prompt followed by the continuation: `symusic.Score`, `Waveform`, or `bytes` of text."""
        return self.domain.join(self.request.prompt, self.ids)

    @property
    def prompt_length(self) -> dict[str, float]:
        """Length of the prompt by unit: seconds, for music also bars; for text bytes and characters."""
        return self._lengths[0]

    @property
    def length(self) -> dict[str, float]:
        """Length of the generated part, in the units of `prompt_length`. The last bar may be incomplete."""
        return self._lengths[1]

    @cached_property
    def _lengths(self) -> tuple[dict[str, float], dict[str, float]]:
        return self.domain.lengths(self.request.prompt, self.ids, self.piece)

    @cached_property
    def trace(self) -> Trace:
        """What each generated token attended to.

        Raises:
            ArgumentsError: The continuation was generated with `trace=False`.
        """
        if self._trace is not None:
            return self._trace
        return self._traced().trace(self.candidate, len(self.ids))

    def _traced(self) -> Generation:
        if self._generation is None:
            raise ArgumentsError("this continuation was generated without a trace")
        return self._generation

    def sound(self, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS) -> Waveform | None:
        """Render the piece as sound; None for text.

        Args:
            soundfont: MIDI: path of an .sf2 or .sf3 file; None for the default soundfont.
            loudness: MIDI: integrated loudness in LUFS; None leaves the level of the soundfont unchanged.

        Returns:
            (C, N) float32 samples and their sample rate in Hz, as a `Waveform`.
        """
        return self.domain.sound(self.piece, soundfont, loudness)

    def sidecar(self, *, name: str | None = None, sound: dict[str, Any] | None = None) -> str:
        """Return the JSON from which `muse-generate --from-json` generates the same bytes again.

        Args:
            name: Name of the files; None for the name of the prompt.
            sound: How the sound was rendered, as returned by `Domain.describe_sound`; None if there is no sound.
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
            ranking=None if self.ranking is None else self.ranking.to_json(),
        )

    def save(self, path: str | Path, *, soundfont: str | Path | None = None, loudness: float | None = LOUDNESS) -> Path:
        """Write a file, whose type follows from its suffix. An existing file is replaced.

        Args:
            path: Path that ends in .mid, .wav, .flac or .txt (depending on the domain), .json (the sidecar), .npz (the
                trace), .png or .svg (the picture).
            soundfont: MIDI: soundfont with which .wav and .flac are rendered.
            loudness: MIDI: loudness of .wav and .flac in LUFS; None leaves the level of the soundfont unchanged.

        Raises:
            ArgumentsError: The domain has no files of this type.
            OutputError: The file could not be written.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".npz":
            self.save_trace(path)
        elif ending in _PICTURES:
            self.plot(path)
        elif ending == ".json":
            write_text(path, self.sidecar(name=path.stem, sound=self.domain.describe_sound(soundfont, loudness)))
        elif ending == self.domain.info.suffix:
            write_bytes(path, self.domain.dumps(self.piece))
        elif ending in _SOUND and (waveform := self.sound(soundfont, loudness)) is not None:
            write_bytes(path, _SOUND[ending](waveform))
        else:
            info = self.domain.info
            allowed = dict.fromkeys((info.suffix, *(_SOUND if info.has_sound else ()), ".json", ".npz", *_PICTURES))
            raise ArgumentsError(f"{path}: allowed endings for {self.tokenizer.kind}: {', '.join(allowed)}")
        return path

    def save_trace(self, path: str | Path) -> None:
        """Write the trace without loading it into memory. An existing file is replaced.

        Raises:
            ArgumentsError: The continuation was generated with `trace=False`.
            OutputError: The file could not be written.
        """
        if self._trace is None:
            self._traced().save_trace(self.candidate, Path(path), len(self.ids))
        else:
            save_trace(self._trace, Path(path))

    def move_trace(self, path: str | Path) -> None:
        """Write the trace to a file, and read it from there whenever it is needed, instead of keeping it in memory. An
        existing file is replaced.

        Raises:
            ArgumentsError: The continuation was generated with `trace=False`.
            OutputError: The file could not be written.
        """
        self.save_trace(path)
        self._trace = self.trace = load_trace(path)
        self._generation = None

    def step_at(self, seconds: float) -> int:
        """Return the step at a time in the piece: the first audio frame, or the first new note, at or after that time.

        Args:
            seconds: Time from the beginning of the piece, in seconds.

        Raises:
            ArgumentsError: The domain has no times, or there is no step at that time.
        """
        return step_at(self.domain, self.request.prompt, self.ids, seconds)

    def explain(self, step: int) -> Explanation:
        """Explain a token: the attention on every depth and span of the past, and the effect of hiding each of them.

        Args:
            step: Step of the continuation, from 0.

        Raises:
            ArgumentsError: There is no such step, or no trace was recorded.
        """
        return explain(self._checkpoint.core, self.domain, self.request, self.trace, step)

    def plot(self, path: str | Path, *, step: int | None = None, title: str | None = None) -> Path:
        """Draw the piece, the depth share of every new token, and what one of them attended to. An existing file is
        replaced.

        Args:
            path: Path that ends in .png or .svg.
            step: Step whose sources are shown; None chooses the step that shows most.
            title: Title of the picture; None for the name of the file.

        Raises:
            ArgumentsError: The suffix is neither .png nor .svg, or no trace was recorded.
            OutputError: The file could not be written.
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
        request = build_request(self.domain, prompt, self._checkpoint.sampling, options)
        return Stream(self._checkpoint, request, self.source, trace=trace, keep=plain_number(options.get("keep")))

    def continue_(self, *, trace: bool = True, **options: Unpack[Options]) -> list[Continuation]:
        """Continue this continuation; see `Model.continue_`."""
        return self.stream(trace=trace, **options).run()

    def branch(self, step: int, id: int, *, stream: int = 0, trace: bool = True) -> Stream:  # noqa: A002
        """Replace one id of this continuation, and sample everything after it anew.

        Args:
            step: Step of the id, from 0.
            id: Id that replaces the sampled one.
            stream: Which of the K streams the id belongs to.

        Raises:
            ArgumentsError: There is no such step, or the grammar or a constraint does not allow the id there.
        """
        if not (0 <= step < len(self.ids) and 0 <= stream < self.ids.shape[1]):
            raise OptionError("step", step, f"0 to {len(self.ids) - 1}, of stream 0 to {self.ids.shape[1] - 1}")
        if not 0 <= id < self.tokenizer.vocabulary_size:
            raise OptionError("id", id, f"0 to {self.tokenizer.vocabulary_size - 1}, the ids of the vocabulary")
        forced = self.ids[: step + 1].copy()
        forced[step, stream] = id
        return Stream(
            self._checkpoint, replace(self.request, candidates=1, forced_ids=forced), self.source, trace=trace
        )

    def __repr__(self) -> str:
        unit = {"seconds": "s", "bytes": "bytes"}[self.domain.unit]
        length, nats = self.length[self.domain.unit], -self.log_probability / max(1, self.ids.size)
        return (
            f"Continuation({self.source.name!r}, {length:.4g} {unit} after {self.start:.4g} {unit}, "
            f"{counted(len(self.ids), 'step', 'd')}, {nats:.3f} nats per token, seed {self.seed})"
        )


_SOUND = {".wav": wav_bytes, ".flac": flac_bytes}
_PICTURES: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}


class Stream:
    """An iterator of `StepEvent`. Iteration may stop and continue later.

    Attributes:
        request: The request that is being generated.
    """

    def __init__(
        self, checkpoint: Checkpoint, request: Request, source: LoadedPrompt, *, trace: bool, keep: int | None = None
    ) -> None:
        self._checkpoint, self._source, self._trace, self._keep = checkpoint, source, trace, keep
        self._generation = Generation(checkpoint.core, checkpoint.domain, request, trace=trace)
        self.request = self._generation.request
        self._events = iter(self._generation)

    def __iter__(self) -> Iterator[StepEvent]:
        return self._events

    def __next__(self) -> StepEvent:
        return next(self._events)

    @property
    def steps(self) -> int:
        """Number of steps generated so far."""
        return self._generation.steps

    def ids(self, candidate: int) -> Ids:
        """Return the ids of one candidate so far, (S, K) int64, up to the point where the piece is complete."""
        return self._generation.continuation(candidate)

    def depth_shares(self, candidate: int, since: int = 0) -> NDArray[np.float32]:
        """Return the share of each head's attention at each depth, (S, n, H) float32, for the steps from `since` on.

        Raises:
            ArgumentsError: No trace is recorded.
        """
        if not self._trace:
            raise ArgumentsError("this stream was started without a trace")
        return self._generation.depth_shares(candidate, since)

    def run(self) -> list[Continuation]:
        """Generate the remaining steps and return the continuations."""
        for _ in self._events:
            pass
        return self.continuations()

    def continuations(self) -> list[Continuation]:
        """Return what has been generated so far, up to the point where each piece is complete (no note without its end,
        no partial UTF-8 character). With the option `keep` these are the best ones only, best first."""
        request = self.request if self._generation.finished else self.request.stopped_after(self.steps)
        nats = self._generation.log_probabilities()
        found = [
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
        return found if self._keep is None else rank_continuations(found)[: self._keep]

    def __repr__(self) -> str:
        return f"Stream({counted(self.request.candidates, 'continuation')}, {counted(self.steps, 'step', 'd')})"


def rank_continuations(continuations: Sequence[Continuation]) -> list[Continuation]:
    """Return all samples of a request, best first, with their `ranking`."""
    first = continuations[0]
    nats, tokens = [one.log_probability for one in continuations], [one.ids.size for one in continuations]
    places = rank(first.domain, first.request.prompt, [one.piece for one in continuations], nats, tokens)
    for place in places:
        continuations[place.candidate].ranking = place
    return [continuations[place.candidate] for place in places]
