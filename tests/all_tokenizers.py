"""A tokenizer of every kind with pieces of its own. A plugin of the modules that test what all of them promise.

A new domain joins by one more entry in `DOMAINS`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from midi_pieces import band, scale, tokenizer
from small_codecs import audio_tokenizer, waveform
from small_texts import MANY_WRITINGS, VERSES, bpe, characters

from muse_tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Domain:
    make: Callable[[], Tokenizer[Any]]
    pieces: Callable[[], list[Any]]
    damaged: bytes
    """The content of a file that is none of this domain's."""


@cache
def audio() -> Tokenizer[Any]:
    return audio_tokenizer(Path(tempfile.mkdtemp()) / "codec")


DOMAINS = {
    "remi": Domain(lambda: tokenizer("remi"), lambda: [scale(), band()], b"no piece"),
    "performance": Domain(lambda: tokenizer("performance"), lambda: [scale(), band()], b"no piece"),
    "bpe": Domain(bpe, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "characters": Domain(characters, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "audio": Domain(audio, lambda: [waveform(0.9), waveform(2.5, hertz=331.0)], b"no piece"),
}


@pytest.fixture(params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    return DOMAINS[request.param]


@pytest.fixture
def some(domain: Domain) -> Tokenizer[Any]:
    return domain.make()
