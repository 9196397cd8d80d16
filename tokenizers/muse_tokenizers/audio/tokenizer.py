"""The audio tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from muse_tokenizers.audio.codec import Codec, load_codec
from muse_tokenizers.audio.codecs import META, SHIPPED, codec_folder, fetch_codec, find_codec
from muse_tokenizers.audio.delay import delayed, undelayed
from muse_tokenizers.base import Ids, NewTokenizer, Prompt, Token, Tokenizer, Waveform
from muse_tokenizers.errors import CodecError, InvalidOptionError, UnknownTokenizerError

__all__ = ["AudioTokenizer"]

_OWN = "own"
"""Name of any other codec, whose files are in the folder of the tokenizer."""
_CODEC = "codec"
_LAYOUT = "padding before, end after"
"""Version of the edges of the delay pattern in ids."""


class AudioTokenizer(Tokenizer[Waveform]):
    """Encodes waveforms with one channel as the codes of a codec, in the delay pattern."""

    kind: ClassVar[str] = "audio"
    uses_device: ClassVar[bool] = True

    def __init__(self, codec: Codec, codebooks: int, name: str = _OWN) -> None:
        """
        Args:
            codec: The codec.
            codebooks: K, the number of codebooks to use, coarsest first.
            name: Name of the codec: `muse_24khz`, `encodec_24khz`, or `own`.

        Raises:
            CodecError: The codec has fewer codebooks.
        """
        allowed = codec.shape.codebook_counts
        if type(codebooks) is not int or codebooks not in allowed:
            raise CodecError(f"codebooks is {codebooks!r}; allowed: {', '.join(map(str, allowed))}")
        self.codec, self._name = codec, name
        self.streams = codebooks
        self.codes = codec.shape.bins
        self.pad, self.begin, self.end = (self.codes + number for number in range(3))
        self.vocabulary_size = self.codes + 3

    @classmethod
    def with_codec(cls, name: str, codebooks: int) -> AudioTokenizer:
        """Build a tokenizer from the name or folder of a codec. Raises CodecError."""
        return cls(find_codec(name), codebooks, name if name in (SHIPPED, META) else _OWN)

    @classmethod
    def create(cls, new: NewTokenizer) -> AudioTokenizer:
        if new.name is not None:
            raise InvalidOptionError("tokenizer", new.name, "a checkpoint, or audio, the shipped one; see {codec}")
        name = new.options.get("codec") or new.of_recipe or SHIPPED
        if name == META:
            with new.progress(f"fetching {META}") as bar:
                fetch_codec(lambda done, total: bar.show(done / 2**20, f"of {(total or 0) / 2**20:.0f} MiB"))
        return cls.with_codec(name, new.options.get("codebooks", 4))

    # Ids

    def encode(self, piece: Waveform) -> Ids:
        return delayed(self.codec.encode(piece.samples[0], self.streams), self.pad, self.end)

    def encode_many(self, pieces: Sequence[Waveform]) -> list[Ids]:
        sounds = [piece.samples[0] for piece in pieces]
        return [delayed(codes, self.pad, self.end) for codes in self.codec.encode_many(sounds, self.streams)]

    def use_device(self, device: str) -> None:
        self.codec.use_device(device)

    def decode(self, ids: Ids) -> Waveform:
        samples = self.codec.decode(self.frames(ids))
        return Waveform(samples=np.clip(samples, -1.0, 1.0)[None], sample_rate=self.codec.shape.sample_rate)

    def frames(self, ids: Ids) -> Ids:
        """Return the codes of complete frames: (T, K) -> (F, K), without begin and end."""
        inner = ids[(ids != self.begin).all(axis=1)]
        return undelayed(inner, inner < self.codes)

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

    def extra_files(self) -> dict[str, bytes]:
        """Return the files of a codec that has no name."""
        return {f"{_CODEC}/{name}": data for name, data in self.codec.files.items()} if self._name == _OWN else {}

    def vocabulary(self) -> list[str]:
        return [*(f"Code_{code}" for code in range(self.codes)), "PAD_None", "BOS_None", "EOS_None"]

    def fingerprint(self) -> str:
        """Return the fingerprint, which covers the encoder and the codebooks: the decoder does not affect the meaning
        of codes."""
        return hashlib.sha256(f"{super().fingerprint()} {_LAYOUT} {self.codec.digest}".encode()).hexdigest()
