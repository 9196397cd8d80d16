"""The audio domain behind the one interface of `muse_tokenizers.base`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.codec import Codec, load_codec
from muse_tokenizers.audio.codecs import META, SHIPPED, codec_folder, find_codec
from muse_tokenizers.audio.delay import delayed, undelayed
from muse_tokenizers.audio.grammar import AudioGrammar
from muse_tokenizers.audio.measures import measure_sound
from muse_tokenizers.audio.waveforms import SUFFIXES, read_waveform, wav_bytes, write_waveform
from muse_tokenizers.base import EMBEDDED, Constraints, Grammar, Ids, Prompt, Token, Tokenizer, Variations, Waveform
from muse_tokenizers.errors import CodecError, UnknownTokenizerError, UnreadablePieceError, Warn, warn_about_file
from muse_tokenizers.loudness import gain_to, integrated_loudness
from muse_tokenizers.measures import CopyThreshold, CopyUnits, Measure

__all__ = ["AudioTokenizer"]

_OWN = "own"
"""The name of a codec that is none of those by name: its files stand in the tokenizer's folder."""
_CODEC = "codec"
_LAYOUT = "padding before, end after"
"""Of the delay pattern's edges in ids."""
_MEASURED_SECONDS = 10.0
"""Of a prompt's end, whose loudness is what goes on."""
_LARGEST_GAIN = 2.0


class AudioTokenizer(Tokenizer[Waveform]):
    """Waveforms of one channel to the codes of a codec and back."""

    kind: ClassVar[str] = "audio"
    suffixes: ClassVar[frozenset[str]] = SUFFIXES
    suffix: ClassVar[str] = ".wav"
    counted: ClassVar[str] = "frames"
    copy_threshold: ClassVar[CopyThreshold] = ("length", 2.0)

    def __init__(self, codec: Codec, codebooks: int, name: str = _OWN) -> None:
        """
        Args:
            codec: what makes codes of sound.
            codebooks: K, how many of its codebooks are used, the coarsest first.
            name: of the codec: `muse_24khz`, `encodec_24khz`, or `own`.

        Raises:
            CodecError: it has fewer codebooks.
        """
        allowed = codec.shape.codebook_counts
        if type(codebooks) is not int or codebooks not in allowed:
            raise CodecError(f"codebooks is {codebooks!r}; allowed: {', '.join(map(str, allowed))}")
        self.codec, self._name = codec, name
        self.streams = codebooks
        self._codes = codec.shape.bins
        self.pad, self.begin, self.end = (self._codes + number for number in range(3))
        self.vocabulary_size = self._codes + 3
        self.steps_per_second = codec.shape.frame_rate
        self.sound_rate = codec.shape.sample_rate

    @classmethod
    def with_codec(cls, name: str, codebooks: int) -> AudioTokenizer:
        """Of a codec by name or folder. Raises CodecError."""
        return cls(find_codec(name), codebooks, name if name in (SHIPPED, META) else _OWN)

    # Files

    def read(self, path: Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> Waveform:
        return self._read(path, str(path), limit, warn)

    def _read(self, file: Path | io.BytesIO, name: str, limit: float | None, warn: Warn) -> Waveform:
        rate = self.codec.shape.sample_rate
        # Nothing is shorter than a frame.
        limit = None if limit is None else max(limit, self.codec.shape.hop / rate)
        return self._long_enough(read_waveform(file, rate, name, limit=limit, warn=warn), name)

    def _long_enough(self, piece: Waveform, name: str) -> Waveform:
        least = self.codec.shape.hop
        if piece.samples.shape[1] < least:
            raise UnreadablePieceError(
                f"{name} is too short: it lasts less than a frame, {least / piece.sample_rate:.4f} s"
            )
        return piece

    def write(self, piece: Waveform, path: Path) -> None:
        write_waveform(piece, path)

    def dumps(self, piece: Waveform) -> bytes:
        return wav_bytes(piece)

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> Waveform:
        return self._read(io.BytesIO(data), name, None, warn)

    def duration(self, piece: Waveform) -> float:
        return float(piece.samples.shape[1] / piece.sample_rate)

    def render(self, piece: Waveform, soundfont: Path | None = None, loudness: float | None = None) -> Waveform | None:
        # Its file is its sound.
        return None

    def render_between(
        self, piece: Waveform, start: float, end: float, soundfont: Path | None = None
    ) -> Waveform | None:
        rate = piece.sample_rate
        return Waveform(samples=piece.samples[:, round(start * rate) : round(end * rate)], sample_rate=rate)

    def describe_sound(self, soundfont: Path | None = None, loudness: float | None = None) -> dict[str, Any] | None:
        return None

    # Ids

    def encode(self, piece: Waveform) -> Ids:
        return delayed(self.codec.encode(piece.samples[0], self.streams), self.pad, self.end)

    def encode_many(self, pieces: Sequence[Waveform]) -> list[Ids]:
        sounds = [piece.samples[0] for piece in pieces]
        return [delayed(codes, self.pad, self.end) for codes in self.codec.encode_many(sounds, self.streams)]

    def use_device(self, device: str) -> None:
        self.codec.use_device(device)

    def decode(self, ids: Ids) -> Waveform:
        samples = self.codec.decode(self._frames(ids))
        return Waveform(samples=np.clip(samples, -1.0, 1.0)[None], sample_rate=self.codec.shape.sample_rate)

    def _frames(self, ids: Ids) -> Ids:
        """(T, K) -> (F, K) codes, without begin, end and unfinished frames."""
        inner = ids[(ids != self.begin).all(axis=1)]
        return undelayed(inner, inner < self._codes)

    def describe(self, ids: Ids, prompt: Prompt[Waveform] | None = None) -> list[list[Token]]:
        rate = self.codec.shape.frame_rate
        special = {self.pad: "padding", self.begin: "begin", self.end: "end"}
        described, step = [], 0
        for row in ids.tolist():
            tokens = []
            for stream, code in enumerate(row):
                frame = max(step - stream, 0)
                label = special.get(code) or f"code {code}"
                kind = "special" if code in special else f"codebook {stream + 1}"
                value = None if code in special else code
                start, end = frame / rate, (frame + (code not in special)) / rate
                tokens.append(Token(id=code, label=label, kind=kind, start=start, end=end, value=value))
            described.append(tokens)
            step += row[0] != self.begin
        return described

    # Continuing

    def prompt(self, piece: Waveform | None, length: float | None = None) -> Prompt[Waveform]:
        begin = np.full((1, self.streams), self.begin, dtype=np.int64)
        nothing = np.zeros((0, self.streams), dtype=np.int64)
        if piece is None:
            return Prompt(ids=begin, piece=None, partial_frames=nothing)
        hop, frames = self.codec.shape.hop, self._given_frames(piece, length)
        given = Waveform(samples=piece.samples[:, : frames * hop], sample_rate=piece.sample_rate)
        steps = self.encode(given)
        # The last steps lack the finer codes of frames that are not there yet.
        partial_frames = np.where(steps[frames:] == self.end, -1, steps[frames:])
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
        """What makes the decoded end of a prompt as loud as it was: a codec gives sound back more softly."""
        rate, shape = given.sample_rate, self.codec.shape
        frames = self._frames(np.where(ids < 0, self.pad, ids))[-round(_MEASURED_SECONDS * shape.frame_rate) :]
        decoded = Waveform(samples=self.codec.decode(frames)[None], sample_rate=shape.sample_rate)
        end = Waveform(samples=given.samples[:, -len(frames) * shape.hop :], sample_rate=rate)
        target = integrated_loudness(end)
        if not np.isfinite(target):
            return 1.0
        # Not to turn down what is loud by itself, nor to make up for a codec that does not give a sound back at all.
        return min(max(gain_to(decoded, target), 1.0), _LARGEST_GAIN)

    def _given_frames(self, piece: Waveform, seconds: float | None) -> int:
        samples = int(piece.samples.shape[1])
        if seconds is not None:
            samples = round(min(samples, seconds * piece.sample_rate))
        return max(1, samples // self.codec.shape.hop)

    def find_split_point(self, piece: Waveform, length: float) -> float:
        return self._given_frames(piece, length) * self.codec.shape.hop / piece.sample_rate

    def join(self, prompt: Prompt[Waveform], ids: Ids) -> Waveform:
        second = round(self.codec.shape.frame_rate)
        parts = list(self.joining(prompt, (ids[at : at + second] for at in range(0, len(ids), second))))
        samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
        return Waveform(samples=samples[None], sample_rate=self.codec.shape.sample_rate)

    def extended(self, prompt: Prompt[Waveform], ids: Ids) -> Prompt[Waveform]:
        # Its own codes: those of its sound, encoded once more, would be others. From an end on they say nothing.
        ended = np.flatnonzero((ids == self.end).any(axis=1))
        new = ids[: int(ended[0])] if len(ended) else ids
        steps = np.concatenate([prompt.ids, new])
        open_ = (
            np.zeros((0, self.streams), dtype=np.int64)
            if prompt.partial_frames is None
            else prompt.partial_frames[len(new) :]
        )
        split_point = max(len(steps) - 1 - (self.streams - 1) + len(open_), 0) * self.codec.shape.hop
        return replace(
            prompt,
            ids=steps,
            partial_frames=open_,
            split_point=split_point / self.codec.shape.sample_rate,
            split_index=split_point,
        )

    def joining(self, prompt: Prompt[Waveform], steps: Iterable[Ids]) -> Iterator[NDArray[np.float32]]:
        """`join` while the continuation is still being made.

        Args:
            prompt: what is continued.
            steps: (T, K) ids each, one after another.

        Yields:
            Samples (N,), from the beginning of the prompt on, as soon as the frames they belong to are whole; all
            together they are what `join` gives.
        """
        for samples in self.codec.decoding(self._whole_frames(prompt, steps)):
            yield np.clip(samples * np.float32(prompt.gain), -1.0, 1.0)

    def _whole_frames(self, prompt: Prompt[Waveform], steps: Iterable[Ids]) -> Iterator[Ids]:
        """The codes (F, K) of the prompt and of what follows it, as soon as all codes of a frame are there."""
        waiting, made = prompt.ids[prompt.ids[:, 0] != self.begin], 0
        for ids in chain([waiting[:0]], steps):
            waiting = np.concatenate([waiting, ids])
            made += len(ids)
            frames = self._frames(waiting)
            yield frames
            waiting = waiting[len(frames) :]
        # Where a continuation is shorter than the delay, the last frames of the prompt are whole all the same.
        rest = waiting[:0] if prompt.partial_frames is None else prompt.partial_frames[made:]
        yield self._frames(np.concatenate([waiting, np.where(rest < 0, self.pad, rest)]))

    def grammar(
        self,
        prompt: Ids,
        candidates: int,
        constraints: Constraints | None = None,
        partial_frames: Ids | None = None,
        clock: object = None,
    ) -> Grammar:
        constraints = (constraints or Constraints()).only(("seconds",), "sound")
        steps = int((prompt[:, 0] != self.begin).sum())
        return AudioGrammar(
            steps=steps,
            partial_frames=np.zeros((0, self.streams), dtype=np.int64) if partial_frames is None else partial_frames,
            candidates=candidates,
            vocabulary_size=self.vocabulary_size,
            codes=self._codes,
            pad=self.pad,
            end=self.end,
            frame_rate=self.codec.shape.frame_rate,
            seconds=constraints.seconds,
        )

    def default_constraints(self) -> Constraints:
        return Constraints()

    def variations(self) -> Variations:
        identity = np.arange(self.vocabulary_size)[None]
        return Variations(maps=identity, valid=np.ones_like(identity, dtype=bool))

    # What a piece is like

    def measure(self, piece: Waveform, start: float, end: float) -> dict[str, Measure]:
        return measure_sound(piece, start, end)

    def copy_units(self, ids: Ids, start: float, end: float) -> CopyUnits:
        # Of the codes that were said: those of their sound, encoded once more, would be others.
        rate = self.codec.shape.frame_rate
        first = round(start * rate)
        codes = self._frames(ids)[first : max(first, round(end * rate)), 0]
        return CopyUnits.of_codes(codes, self._codes, (first + np.arange(len(codes))) / rate)

    def note_starts(self) -> NDArray[np.bool_]:
        return np.zeros(self.vocabulary_size, dtype=bool)

    # The tokenizer as data

    def configuration(self) -> dict[str, Any]:
        return {"codebooks": self.streams, "codec": self._name, "codec_sha256": self.codec.digest}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> AudioTokenizer:
        try:
            codebooks, name, digest = (configuration[key] for key in ("codebooks", "codec", "codec_sha256"))
        except (KeyError, TypeError) as error:
            raise UnknownTokenizerError("an audio tokenizer's fields are codebooks, codec and codec_sha256") from error
        if name not in (SHIPPED, META, _OWN) or (name == _OWN and folder is None):
            raise UnknownTokenizerError(f"codec is {name!r}; allowed: {SHIPPED}, {META}, {_OWN} with its files")
        place = codec_folder(name) if name != _OWN else Path(folder or "") / _CODEC
        codec = find_codec(name) if name != _OWN else load_codec(place)
        if codec.digest != digest:
            raise UnknownTokenizerError(
                f"the codec {place} is another one: the SHA-256 of its codes begins {codec.digest[:12]}"
            )
        return cls(codec, codebooks, name)

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self._name == _OWN:
            (folder / _CODEC).mkdir(exist_ok=True)
            for name, data in self.codec.files.items():
                (folder / _CODEC / name).write_bytes(data)

    def vocabulary(self) -> list[str]:
        return [*(f"Code_{code}" for code in range(self._codes)), "PAD_None", "BOS_None", "EOS_None"]

    def fingerprint(self) -> str:
        """Codes mean the same with the same encoder and codebooks alone."""
        return hashlib.sha256(f"{super().fingerprint()} {_LAYOUT} {self.codec.digest}".encode()).hexdigest()
