"""A tokenizer of every kind with pieces of its own. A plugin of the modules that test what all of them promise.

A new domain joins by one more entry in `EXAMPLES`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from midi_pieces import band, domain, scale
from small_codecs import audio_domain, waveform
from small_texts import MANY_WRITINGS, VERSES, bpe, characters

from muse_tokenizers.domain import Domain


@dataclass(frozen=True)
class Example:
    make: Callable[[], Domain[Any]]
    pieces: Callable[[], list[Any]]
    damaged: bytes
    """The content of a file of another domain."""


@cache
def audio() -> Domain[Any]:
    return audio_domain(Path(tempfile.mkdtemp()) / "codec")


EXAMPLES = {
    "parts": Example(lambda: domain("parts"), lambda: [scale(), band()], b"no piece"),
    "remi": Example(lambda: domain("remi"), lambda: [scale(), band()], b"no piece"),
    "performance": Example(lambda: domain("performance"), lambda: [scale(), band()], b"no piece"),
    "bpe": Example(bpe, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "characters": Example(characters, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "audio": Example(audio, lambda: [waveform(0.9), waveform(2.5, hertz=331.0)], b"no piece"),
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    return EXAMPLES[request.param]


@pytest.fixture
def some(example: Example) -> Domain[Any]:
    return example.make()
