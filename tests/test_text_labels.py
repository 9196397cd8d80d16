"""Tests of the labels of text tokens: readable characters, whole or in parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from muse_shortcut.plots.text import _layout, columns_of
from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.labels import characters_starting_in, label_in
from muse_tokenizers.text.subwords import train_bpe
from muse_tokenizers.text.tokenizer import TextTokenizer


def single_bytes() -> TextTokenizer:
    """A tokenizer whose every token is a byte."""
    return TextTokenizer(train_bpe([b"a"], 257))


@pytest.mark.parametrize(("character", "size"), [("é", 2), ("漢", 3), ("🎵", 4)])
def test_a_part_of_a_character_says_of_which_and_which(character: str, size: int) -> None:
    data = f"a{character}b".encode()
    assert [label_in(data, 1 + part, 2 + part)[0] for part in range(size)] == [
        f"{character} ({part + 1}/{size})" for part in range(size)
    ]
    assert label_in(data, 1, 1 + size) == (character, "mark" if character == "🎵" else "word")
    assert label_in(data, 0, 1 + size)[0] == f"a{character}"
    assert label_in(data, size, size + 2)[0] == f"{character} ({size}/{size})b"
    if size > 2:
        assert label_in(data, 1, size)[0] == f"{character} (1-{size - 1}/{size})"


def test_incomplete_and_invalid_characters_are_labelled_by_their_bytes() -> None:
    assert label_in("🎵".encode()[:2], 0, 2) == ("f0 9f (1-2/4)", "byte")
    assert label_in(b"a\xff", 1, 2) == ("ff", "byte")
    assert label_in(b"\x80", 0, 1) == ("80", "byte")
    assert characters_starting_in("é🎵".encode(), 1, 3) == "🎵"
    assert characters_starting_in("é".encode(), 1, 2) == ""


@pytest.mark.parametrize("text", ["naïve café", "漢字かな", "a 🎵 b", "ß\n漢"])
def test_bytes_of_a_character_share_its_cell_in_the_picture(text: str) -> None:
    tokenizer = single_bytes()
    ids = tokenizer.encode(text.encode())
    tokens = [step[0] for step in tokenizer.describe(ids)]
    placed = _layout(tokens, tokenizer.decode(ids), 0, None)
    assert "".join(one.text for one in placed) == text.replace("\n", "⏎").replace(" ", "␣")
    for line, words in enumerate(text.split("\n")):
        width = sum(one.width for one in placed if one.line == line)
        assert width == pytest.approx(sum(map(columns_of, words)) + (line < text.count("\n")))
    assert all(one.width > 0 for one in placed)


@pytest.mark.parametrize(
    "text", [90 * "flourishing " + "end", 60 * "naïve  café\t", "a" * 300, 100 * "漢字 " + "かな" * 80]
)
def test_lines_of_the_picture_break_at_spaces_and_lose_no_letter(text: str) -> None:
    words = TextTokenizer(train_bpe([b"flourishing naive"] * 50, 300))
    for tokenizer in (single_bytes(), words):
        ids = tokenizer.encode(text.encode())
        placed = _layout([step[0] for step in tokenizer.describe(ids)], tokenizer.decode(ids), 0, None)
        lines = ["".join(one.text for one in placed if one.line == line) for line in range(placed[-1].line + 1)]
        plain = [line.replace("␣", " ").replace("⇥", "\t") for line in lines]
        assert len(lines) > 1
        assert "".join("".join(plain).split()) == "".join(text.split())
        if " " in text and text.isascii():
            assert {word for line in plain for word in line.split()} == set(text.split())
        for line in range(len(lines)):
            own = [one for one in placed if one.line == line]
            assert sum(one.width for one in own) < 127.01
            assert all(one.column + one.width == pytest.approx(other.column) for one, other in itertools.pairwise(own))


def test_other_ids_are_labelled_by_the_character_that_they_would_complete() -> None:
    tokenizer = single_bytes()
    ids = tokenizer.encode("caf\u00e9".encode())
    others = [int(ids[-1, 0]), int(tokenizer.encode("\u00e8".encode())[1, 0])]
    text = TextDomain(tokenizer)
    assert text.labels_after(ids[:-1], 0, others) == ["é (2/2)", "è (2/2)"]
    assert text.labels_after(np.zeros((0, 1), dtype=np.int64), 0, [int(ids[0, 0])]) == ["c"]
