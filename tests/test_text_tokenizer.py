"""Tests of the text domain: round trips of any bytes, well-formed samples, spans, and split points."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midi_pieces import draw
from small_texts import CONTENT, MANY_WRITINGS, VERSES, bpe, characters

from muse_tokenizers.errors import ConstraintError, UnknownTokenizerError, UnreadablePieceError
from muse_tokenizers.loading import load_tokenizer
from muse_tokenizers.measures import Histogram, Number
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.text import files, subwords
from muse_tokenizers.text.constraints import TextConstraints
from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.files import read_text, spans_of
from muse_tokenizers.text.measures import measure_text
from muse_tokenizers.text.subwords import LETTERS, BpeModel, CharacterModel, train_bpe
from muse_tokenizers.text.tokenizer import TextTokenizer, read_bpe
from muse_tokenizers.text.utf8 import ILL, STATES, WHOLE, runs, state_after, transitions

BOTH = pytest.mark.parametrize("make", [bpe, characters])


# Bytes


@BOTH
@given(data=st.binary(max_size=200))
def test_any_bytes_come_back(make: Callable[[], TextDomain], data: bytes) -> None:
    ids = make().tokenizer.encode(data)
    assert ids.shape == (len(ids), 1)
    assert make().tokenizer.decode(ids) == data


@BOTH
@given(text=st.text(max_size=100))
def test_any_text_comes_back(make: Callable[[], TextDomain], text: str) -> None:
    assert make().tokenizer.decode(make().tokenizer.encode(text.encode())) == text.encode()


def test_a_special_token_in_a_text_stays_text() -> None:
    for word in ("<|endoftext|>", "PAD_None", "BOS_None", "<s>"):
        ids = bpe().tokenizer.encode(word.encode())
        assert not np.isin(ids, [bpe().tokenizer.pad, bpe().tokenizer.begin, bpe().tokenizer.end]).any()
        assert bpe().tokenizer.decode(ids) == word.encode()


def test_a_text_is_encoded_in_parts_as_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = VERSES * 20 + MANY_WRITINGS * 20
    whole = bpe().tokenizer.encode(text)
    for size in (16, 100, 1000):
        monkeypatch.setattr(subwords, "_PART", size)
        assert bpe().tokenizer.encode(text).tolist() == whole.tolist()


def test_the_same_texts_give_the_same_vocabulary() -> None:
    again = train_bpe([VERSES * 3, MANY_WRITINGS], 320)
    assert again.content == CONTENT
    assert len(again.tokens) == 320
    assert set(again.tokens) >= {bytes([byte]) for byte in range(256)}
    assert bpe().tokenizer.encode(VERSES).shape[0] < 0.7 * len(VERSES)


def test_characters_are_the_likeliest_and_others_are_their_bytes() -> None:
    made = CharacterModel.of_texts(["aaa bb ü".encode(), b"c"], 256 + 4)
    assert made.characters == " abc"
    assert made.encode("aüb".encode()).tolist() == [1, 4 + 0xC3, 4 + 0xBC, 2]


def test_a_closed_alphabet_has_nothing_else() -> None:
    letters = TextDomain(TextTokenizer(CharacterModel(LETTERS, closed=True)))
    assert letters.tokenizer.vocabulary_size == 27 + 3
    assert letters.tokenizer.encode(b"abc z")[:, 0].tolist() == [0, 1, 2, 26, 25]
    with pytest.raises(
        UnreadablePieceError,
        match=r"has a character that the vocabulary lacks: character 3 is 'É'; allowed: 27 characters",
    ):
        letters.loads("abÉ".encode())


# UTF-8


def test_the_automaton_knows_every_character_and_nothing_else() -> None:
    for code in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        data = chr(code).encode()
        assert transitions([data])[WHOLE, 0] == WHOLE
        for split_point in range(1, len(data)):
            state = transitions([data[:split_point]])[WHOLE, 0]
            assert state not in (WHOLE, ILL)
            assert transitions([data[split_point:]])[state, 0] == WHOLE
            assert state_after(b"abc" + data[:split_point]) == state
    # Overlong, a surrogate, beyond the last, a continuation without a beginning.
    for bad in (b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xff", b""):
        assert transitions([bad])[WHOLE, 0] == ILL
    assert transitions([b"a", b"\x80"]).shape == (STATES, 2)


@given(data=st.binary(max_size=60))
def test_valid_runs_equal_those_that_python_decodes(data: bytes) -> None:
    parts = runs(data)
    assert b"".join(part if isinstance(part, bytes) else part.encode() for part in parts) == data
    ill = [part for part in parts if isinstance(part, bytes)]
    assert data.decode("utf-8", "ignore") == "".join(part for part in parts if isinstance(part, str))
    assert all(part.decode("utf-8", "ignore") == "" for part in ill)


@BOTH
@pytest.mark.parametrize("given_bytes", [b"", "größ".encode(), "a音".encode()[:-1], "🎹".encode()[:2], b"\xff"])
def test_pictures_are_well_formed(make: Callable[[], TextDomain], given_bytes: bytes) -> None:
    some = make()
    prompt = some.prompt(given_bytes or None)
    grammar = some.grammar(prompt.ids, 3, TextConstraints(bytes=10**6))
    for candidate in draw(grammar, 200, seed=0):
        # Nothing but the last character may be unfinished.
        text = (given_bytes + some.tokenizer.decode(candidate)).removeprefix(b"\xff")
        assert (
            "".join(part for part in runs(text) if isinstance(part, str)).encode()
            == text[: len(text) - unfinished(text)]
        )


def unfinished(text: bytes) -> int:
    """Bytes of a character that is not whole yet, at the end."""
    return next((n for n in range(1, min(4, len(text)) + 1) if state_after(text[-n:]) != WHOLE and text[-n] >= 0xC0), 0)


@BOTH
def test_a_length_is_counted_in_bytes_and_not_crossed(make: Callable[[], TextDomain]) -> None:
    some = make()
    prompt = some.prompt("größe".encode())
    grammar = some.grammar(prompt.ids, 1, TextConstraints(bytes=20))
    ids = draw(grammar, 100, seed=1)[0]
    assert grammar.finished.all()
    assert len(some.tokenizer.decode(ids[:-1])) <= 20 < len(some.tokenizer.decode(ids))


def test_constraints_that_text_does_not_support_are_refused() -> None:
    unwanted: dict[str, Any] = {"tempo": 90.0, "key": "C", "seconds": 4.0, "instruments": ("piano",)}
    for name, value in unwanted.items():
        with pytest.raises(ConstraintError, match=rf"^{name} is [^;]+; allowed: none, since text has none$"):
            bpe().constraints({name: value})
    with pytest.raises(ConstraintError, match=r"^constraints are MidiConstraints; allowed: TextConstraints"):
        bpe().grammar(bpe().prompt(None).ids, 1, MidiConstraints(tempo=90.0))


# Meaning


@BOTH
def test_spans_are_of_bytes_and_of_characters_also_of_parts_of_one(make: Callable[[], TextDomain]) -> None:
    text = MANY_WRITINGS.decode()
    some = make()
    described = [row[0] for row in some.tokenizer.describe(some.tokenizer.encode(MANY_WRITINGS))]
    place = 0
    for token in described:
        data = some.tokenizer.decode(np.array([[token.id]]))
        assert (token.start, token.end) == (place, place + len(data))
        first, last = token.characters
        # All the characters that it has a byte of, and no others.
        sizes = np.cumsum([0, *(len(character.encode()) for character in text)])
        touched = [c for c in range(len(text)) if sizes[c] < token.end and sizes[c + 1] > token.start]
        assert (first, last) == (touched[0], touched[-1] + 1)
        place += len(data)
    assert place == len(MANY_WRITINGS)
    assert {token.kind for token in described} >= {"word", "mark", "byte"}


def test_a_prompt_is_cut_after_a_word() -> None:
    prompt = bpe().prompt(VERSES, 30)
    assert prompt.piece == b"Gather ye rosebuds while ye"
    assert (prompt.split_point, prompt.split_index) == (27.0, 27)
    assert bpe().prompt("音楽と".encode(), 4).piece == "音".encode()
    # What has no spaces between its words is cut between characters, not at the end of a paragraph.
    assert len(bpe().prompt(("音楽と" * 100 + "\n").encode(), 100).piece or b"") == 99
    assert bpe().prompt(VERSES).piece == VERSES
    assert bpe().join(prompt, bpe().tokenizer.encode(b" may")) == b"Gather ye rosebuds while ye may"


def _value(data: bytes, name: str) -> float:
    found = measure_text(data)[name]
    assert isinstance(found, Number)
    return found.value


def test_measures_of_a_text_that_says_the_same() -> None:
    said = b"the sun the sun the sun the sun. "
    assert _value(said, "distinct_1") == 2 / 8
    assert _value(said, "distinct_2") == 2 / 7
    assert _value(said, "distinct_3") == 2 / 6
    assert _value(said, "repetition") == 1 - 2 / 5
    assert _value(b"One two three four five.", "repetition") == 0
    assert _value(b"One two. Three four! five six?", "sentence_length") == 2
    assert _value("naïve don\u2019t".encode(), "word_length") == 5
    letters = measure_text("Aaé".encode())["letters"]
    assert isinstance(letters, Histogram)
    assert letters.shares[[0, -1]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert set(measure_text(b"... 12")) == {"characters"}
    assert measure_text(b"") == {}


# Files


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_files_that_are_not_text_give_one_clear_line(tmp_path: Path) -> None:
    for path, message in (
        (_write(tmp_path / "empty.txt", b""), "is empty"),
        (_write(tmp_path / "binary.txt", b"RIFF\0\0WAVE"), "is not text: byte 5 is zero"),
        (tmp_path / "none.txt", "cannot read"),
        (_write(tmp_path / "large.txt", b"x" * (2**24 + 1)), "has 16,777,217 bytes; allowed: up to 16,777,216"),
        (tmp_path, "cannot read"),
    ):
        with pytest.raises(UnreadablePieceError, match=rf"^[^\n]*{message}[^\n]*$") as caught:
            bpe().read(path)
        assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_known_come_back(tmp_path: Path) -> None:
    data, said = b"\x81\x40\xfd\xfe text", list[str]()
    text = bpe()
    piece = text.read(_write(tmp_path / "a.txt", data), warn=said.append)
    assert piece == text.loads(text.dumps(piece)) == data
    assert said == [
        f"{tmp_path}/a.txt is neither UTF-8 nor Latin-1; its bytes are kept as they are (to convert them, set "
        "--encoding, in Python tokenizer.encoding)"
    ]


def test_prompts_keep_their_line_ends_and_stores_do_not(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert bpe().read(path) == b"one\r\ntwo\r\n"
    assert bpe().read_part(path, None) == b"one\ntwo\n"
    assert TextDomain(TextTokenizer(bpe().tokenizer.subword_model, "keep")).read_part(path, None) == b"one\r\ntwo\r\n"
    assert read_text(path, (3, 8), "lf") == b"one\n"


def test_a_large_file_is_cut_at_empty_lines_lines_or_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST", 100)
    for data, ends in (
        (b"a line of it\n\n" * 40, b"\n\n"),
        (b"a line of it\n" * 40, b"\n"),
        (("音" * 200).encode(), b""),
    ):
        path = _write(tmp_path / "a.txt", data)
        spans = spans_of(path)
        assert b"".join(data[start:stop] for start, stop in spans) == data
        assert all(0 < stop - start <= 100 for start, stop in spans)
        for start, stop in spans[:-1]:
            data[start:stop].decode()
            assert data[:stop].endswith(ends)
    path = _write(tmp_path / "b.txt", b"x" * 250)
    stops = [stop for _, stop in spans_of(path, (30, 130, 250, 999))]
    assert stops[0] == 30
    assert {130, 250} <= set(stops)


# Existing vocabularies


def _content(**changes: Any) -> str:
    read = json.loads(CONTENT)
    return json.dumps(read | changes)


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _sequence(*steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def test_another_pattern_is_encoded_in_parts_as_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made = BpeModel(_content(pre_tokenizer=_sequence(_split(_LLAMA, "Isolated"), _BYTES)))
    text = (VERSES + b"Oh!\nWhy?! \n 12345 6 ...\n\n\nSo.\n" + MANY_WRITINGS) * 20
    whole = made.encode(text)
    assert b"".join(made.tokens[number] for number in whole.tolist()) == text
    for size in (16, 100, 1000):
        monkeypatch.setattr(subwords, "_PART", size)
        assert made.encode(text).tolist() == whole.tolist()


def test_an_existing_vocabulary_keeps_its_ids_and_loses_its_special_tokens() -> None:
    read = json.loads(CONTENT)
    special = {"id": 320, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": True}  # fmt: skip
    read["model"]["vocab"]["<|endoftext|>"] = 320
    made = TextTokenizer(BpeModel(json.dumps(read | {"added_tokens": [special]})))
    assert made.vocabulary_size == 321 + 3
    assert made.encode(VERSES).tolist() == bpe().tokenizer.encode(VERSES).tolist()
    said = made.encode(b"<|endoftext|>")
    assert 320 not in said
    assert made.decode(said) == b"<|endoftext|>"
    # No text has it, so none is written.
    domain = TextDomain(made)
    assert not domain.grammar(domain.prompt(None).ids, 1).allowed()[0, 0, 320]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "it is not a tokenizer.json of Hugging Face's tokenizers, of BPE"),
        ("no json", "it is not a tokenizer.json"),
        (_content(pre_tokenizer={"type": "Whitespace"}), "it is not a byte-level BPE that gives every text back"),
        (_content(pre_tokenizer=_sequence({"type": "WhitespaceSplit"}, _BYTES)), "it is not a byte-level BPE"),
        (
            _content(pre_tokenizer=_sequence(_split(" ", "Removed"), _BYTES)),
            "it is not a byte-level BPE that gives every text back",
        ),
        (_content(pre_tokenizer={"type": "Sequence", "pretokenizers": None}), "it is not a tokenizer.json"),
        (_content(pre_tokenizer={"type": "Sequence", "pretokenizers": ["x"]}), "it is not a tokenizer.json"),
        (_content(normalizer={"type": "NFC"}), "it is not a byte-level BPE that gives every text back"),
        (_content(model={"type": "BPE", "vocab": {"a": 0}, "merges": []}), "its vocabulary lacks 255 of the 256 bytes"),
    ],
)
def test_a_vocabulary_that_loses_text_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(UnknownTokenizerError, match=f"^{path}: {message}"):
        read_bpe(path)


def test_a_saved_vocabulary_is_checked(tmp_path: Path) -> None:
    bpe().tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint() == bpe().tokenizer.fingerprint()
    assert bpe(300).tokenizer.fingerprint() != bpe().tokenizer.fingerprint()
    bpe(300).tokenizer.save(tmp_path / "other")
    (tmp_path / "bpe.json").write_text((tmp_path / "other" / "bpe.json").read_text())
    with pytest.raises(UnknownTokenizerError, match="is another one: its SHA-256 begins"):
        load_tokenizer(tmp_path)


def test_memory_for_encoding_grows_only_by_the_ids() -> None:
    words = random.Random(0).choices(VERSES.split(), k=400_000)
    text = b" ".join(words)
    bpe().tokenizer.encode(text[:1000])
    tracemalloc.start()
    ids = bpe().tokenizer.encode(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * ids.nbytes + 8 * len(text)
