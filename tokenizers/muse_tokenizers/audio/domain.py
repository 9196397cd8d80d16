"""The domain of sound: its files, prompts, grammar and measures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.arrays import waveform_of_array
from muse_tokenizers.audio.constraints import AudioConstraints
from muse_tokenizers.audio.decoding import kinds_of_sound
from muse_tokenizers.audio.grammar import AudioGrammar
from muse_tokenizers.audio.measures import longest_silence, measure_sound
from muse_tokenizers.audio.tokenizer import AudioTokenizer
from muse_tokenizers.audio.waveforms import (
    SUFFIXES,
    float_wav_bytes,
    join_parts,
    read_waveform,
    wav_bytes,
    write_waveform,
)
from muse_tokenizers.base import Constraints, Grammar, Ids, Prompt, Waveform
from muse_tokenizers.built_in import BUILT_IN
from muse_tokenizers.domain import EMBEDDED, Domain, View
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import ConstraintError, UnreadablePieceError, Warn, warn_about_file
from muse_tokenizers.loudness import gain_to, integrated_loudness
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure

__all__ = ["AudioDomain"]

_MEASURED_SECONDS = 10.0
"""Seconds at the end of a prompt whose loudness the continuation matches."""
_LARGEST_GAIN = 2.0
_LONGEST_PROMPT = 3600.0
"""Seconds. Continuing a sound takes about 30 MB of memory per minute, since all of it is decoded and written again."""


class AudioDomain(Domain[Waveform]):
    """The domain of sound: waveforms with one channel."""

    tokenizer: AudioTokenizer
    info: ClassVar[DomainInfo] = replace(BUILT_IN["audio"], suffixes=SUFFIXES, reads=kinds_of_sound())
    view: ClassVar[View] = "sound"
    copy_threshold: ClassVar[CopyThreshold] = ("length", 2.0)
    constraints_type: ClassVar[type[Constraints]] = AudioConstraints

    def __init__(self, tokenizer: AudioTokenizer) -> None:
        super().__init__(tokenizer)
        self.steps_per_second = tokenizer.codec.shape.frame_rate
        self.sound_rate = tokenizer.codec.shape.sample_rate

    # Files

    def read(self, path: str | Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Waveform:
        return self._read(Path(path), str(path), limit, warn)

    def _read(self, file: Path | io.BytesIO, name: str, limit: float | None, warn: Warn) -> Waveform:
        rate = self.tokenizer.codec.shape.sample_rate
        # The shortest sound is one frame.
        limit = None if limit is None else max(limit, self.tokenizer.codec.shape.hop / rate)
        return self._long_enough(read_waveform(file, rate, name, limit=limit, warn=warn), name)

    def _long_enough(self, piece: Waveform, name: str) -> Waveform:
        least = self.tokenizer.codec.shape.hop
        if piece.samples.shape[1] < least:
            raise UnreadablePieceError(
                f"{name} is too short: it lasts less than a frame, {least / piece.sample_rate:.4f} s"
            )
        return piece

    def write(self, piece: Waveform, path: str | Path) -> None:
        write_waveform(piece, Path(path))

    def dumps(self, piece: Waveform) -> bytes:
        return wav_bytes(piece)

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Waveform:
        return self._read(io.BytesIO(data), name, None, warn)

    def piece_of(self, value: Any) -> Waveform | None:
        return waveform_of_array((value.samples, value.sample_rate) if isinstance(value, Waveform) else value)

    def reread(self, piece: Waveform, name: str, *, warn: Warn = warn_about_file) -> Waveform:
        # The 16 bits of `dumps` would round the samples, and clip those beyond full scale.
        return self._read(io.BytesIO(float_wav_bytes(piece)), name, None, warn)

    def duration(self, piece: Waveform) -> float:
        return float(piece.samples.shape[1] / piece.sample_rate)

    def sound(
        self, piece: Waveform, soundfont: str | Path | None = None, loudness: float | None = None
    ) -> Waveform | None:
        return piece

    def render_between(
        self, piece: Waveform, start: float, end: float, soundfont: str | Path | None = None
    ) -> Waveform | None:
        rate = piece.sample_rate
        return Waveform(samples=piece.samples[:, round(start * rate) : round(end * rate)], sample_rate=rate)

    # Continuing

    def prompt(self, piece: Waveform | None, length: float | None = None) -> Prompt[Waveform]:
        """See `Domain.prompt`. Raises ConstraintError: The prompt lasts longer than an hour."""
        begin = np.full((1, self.tokenizer.streams), self.tokenizer.begin, dtype=np.int64)
        nothing = np.zeros((0, self.tokenizer.streams), dtype=np.int64)
        if piece is None:
            return Prompt(ids=begin, piece=None, partial_frames=nothing)
        hop, frames = self.tokenizer.codec.shape.hop, self._prompt_frames(piece, length)
        given = Waveform(samples=piece.samples[:, : frames * hop], sample_rate=piece.sample_rate)
        steps = self.tokenizer.encode(given)
        # The last steps lack the finer codes of frames that do not exist yet.
        partial_frames = np.where(steps[frames:] == self.tokenizer.end, -1, steps[frames:])
        split_point = frames * hop
        ids = np.concatenate([begin, steps[:frames]])
        gain = self._gain(given, np.concatenate([ids, partial_frames]))
        return Prompt(
            ids=ids,
            piece=given,
            partial_frames=partial_frames,
            split_point=split_point / piece.sample_rate,
            split_index=split_point,
            gain=gain,
        )

    def _gain(self, given: Waveform, ids: Ids) -> float:
        """Return the gain that makes the decoded end of a prompt as loud as the original: a codec attenuates sound."""
        rate, shape = given.sample_rate, self.tokenizer.codec.shape
        frames = self.tokenizer.frames(np.where(ids < 0, self.tokenizer.pad, ids))[
            -round(_MEASURED_SECONDS * shape.frame_rate) :
        ]
        decoded = Waveform(samples=self.tokenizer.codec.decode(frames)[None], sample_rate=shape.sample_rate)
        end = Waveform(samples=given.samples[:, -len(frames) * shape.hop :], sample_rate=rate)
        target = integrated_loudness(end)
        if not np.isfinite(target):
            return 1.0
        # The gain neither attenuates, nor compensates for a codec that fails to reconstruct a sound at all.
        return min(max(gain_to(decoded, target), 1.0), _LARGEST_GAIN)

    def _prompt_frames(self, piece: Waveform, seconds: float | None) -> int:
        samples = int(piece.samples.shape[1])
        if seconds is not None:
            samples = round(min(samples, seconds * piece.sample_rate))
        if samples > _LONGEST_PROMPT * piece.sample_rate:
            raise ConstraintError(
                f"a prompt of sound lasts up to {_LONGEST_PROMPT / 60:g} minutes, and this one "
                f"{samples / piece.sample_rate / 60:.0f}; continue a part of it "
                "({prompt_seconds})",
                options=("prompt_seconds",),
            )
        return max(1, samples // self.tokenizer.codec.shape.hop)

    def find_split_point(self, piece: Waveform, length: float) -> float:
        return self._prompt_frames(piece, length) * self.tokenizer.codec.shape.hop / piece.sample_rate

    def join(self, prompt: Prompt[Waveform], ids: Ids) -> Waveform:
        second = round(self.tokenizer.codec.shape.frame_rate)
        parts = list(self.joining(prompt, (ids[at : at + second] for at in range(0, len(ids), second))))
        samples = join_parts(parts, sum(map(len, parts)))
        return Waveform(samples=samples[None], sample_rate=self.tokenizer.codec.shape.sample_rate)

    def extended(self, prompt: Prompt[Waveform], ids: Ids) -> Prompt[Waveform]:
        # The generated codes are kept: encoding the decoded sound again would give others. Codes after an end id are
        # ignored.
        ended = np.flatnonzero((ids == self.tokenizer.end).any(axis=1))
        new = ids[: int(ended[0])] if len(ended) else ids
        steps = np.concatenate([prompt.ids, new])
        open_ = (
            np.zeros((0, self.tokenizer.streams), dtype=np.int64)
            if prompt.partial_frames is None
            else prompt.partial_frames[len(new) :]
        )
        split_point = (
            max(len(steps) - 1 - (self.tokenizer.streams - 1) + len(open_), 0) * self.tokenizer.codec.shape.hop
        )
        return replace(
            prompt,
            ids=steps,
            partial_frames=open_,
            split_point=split_point / self.tokenizer.codec.shape.sample_rate,
            split_index=split_point,
        )

    def joining(self, prompt: Prompt[Waveform], steps: Iterable[Ids]) -> Iterator[NDArray[np.float32]]:
        """Decode the piece while the continuation is being generated; see `join`.

        Args:
            prompt: The prompt.
            steps: Successive chunks of (T, K) ids.

        Yields:
            Samples (N,) from the beginning of the prompt, as soon as their frames are complete; together they equal the
                result of `join`.
        """
        for samples in self.tokenizer.codec.decoding(self._whole_frames(prompt, steps)):
            yield np.clip(samples * np.float32(prompt.gain), -1.0, 1.0)

    def _whole_frames(self, prompt: Prompt[Waveform], steps: Iterable[Ids]) -> Iterator[Ids]:
        """Yield the codes (F, K) of prompt and continuation as soon as all codes of a frame are available."""
        waiting, made = prompt.ids[prompt.ids[:, 0] != self.tokenizer.begin], 0
        for ids in chain([waiting[:0]], steps):
            waiting = np.concatenate([waiting, ids])
            made += len(ids)
            frames = self.tokenizer.frames(waiting)
            yield frames
            waiting = waiting[len(frames) :]
        # If a continuation is shorter than the delay, the last frames of the prompt are still complete.
        rest = waiting[:0] if prompt.partial_frames is None else prompt.partial_frames[made:]
        yield self.tokenizer.frames(np.concatenate([waiting, np.where(rest < 0, self.tokenizer.pad, rest)]))

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        steps = int((prompt[:, 0] != self.tokenizer.begin).sum())
        return AudioGrammar(
            steps=steps,
            partial_frames=np.zeros((0, self.tokenizer.streams), dtype=np.int64)
            if partial_frames is None
            else partial_frames,
            candidates=candidates,
            vocabulary_size=self.tokenizer.vocabulary_size,
            codes=self.tokenizer.codes,
            pad=self.tokenizer.pad,
            end=self.tokenizer.end,
            frame_rate=self.tokenizer.codec.shape.frame_rate,
            seconds=AudioConstraints.of(constraints).seconds,
        )

    # What a piece is like

    def measure(self, piece: Waveform, start: float, end: float) -> dict[str, Measure]:
        return measure_sound(piece, start, end)

    def longest_silence(self, piece: Waveform, start: float, end: float) -> tuple[float, float]:
        return longest_silence(piece, start, end)

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        # The generated codes are used: encoding the decoded sound again would give others.
        rate = self.tokenizer.codec.shape.frame_rate
        first = round(start * rate)
        codes = self.tokenizer.frames(ids)[first : max(first, round(end * rate)), 0]
        return CopyUnits.of_codes(codes, self.tokenizer.codes, (first + np.arange(len(codes))) / rate)
