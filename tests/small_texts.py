"""Texts for tests, and tokenizers that were learned from them."""

from __future__ import annotations

from functools import cache

from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.subwords import CharacterModel, train_bpe
from muse_tokenizers.text.tokenizer import TextTokenizer

# Robert Herrick, 1648.
VERSES = b"""Gather ye rosebuds while ye may,
Old time is still a-flying:
And this same flower that smiles to-day
To-morrow will be dying.

The glorious lamp of heaven, the sun,
The higher he's a-getting,
The sooner will his race be run,
And nearer he's to setting.
"""
MANY_WRITINGS = "Größe, naïve \u2019tis — 音楽 и музыка 🎹🎼\n\tÅ: a\u030a.\n\n  two  spaces\r\n<|endoftext|>".encode()


@cache
def bpe(size: int = 320) -> TextDomain:
    return TextDomain(TextTokenizer(train_bpe([VERSES * 3, MANY_WRITINGS], size)))


CONTENT = train_bpe([VERSES * 3, MANY_WRITINGS], 320).content
"""Vocabulary size of `bpe()`."""


@cache
def characters() -> TextDomain:
    return TextDomain(TextTokenizer(CharacterModel.of_texts([VERSES], 300)))
