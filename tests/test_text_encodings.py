"""Tests of reading text: other encodings become UTF-8 with a warning; other files are refused by name."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from small_texts import bpe

from muse_shortcut.commands.prompts import read_standard_input
from muse_tokenizers.errors import TokenizerError, UnreadablePieceError
from muse_tokenizers.loading import domain_of, load_tokenizer
from muse_tokenizers.text import files
from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.files import read_text, spans_of
from muse_tokenizers.text.tokenizer import TextTokenizer

FRENCH = "Il était une fois une chèvre très fâchée, à l'été. Où est-elle ?\n"
GERMAN = "Größe, Füße: süß!\n"
QUOTED = "\u201cWell\u201d \u2013 she said \u2026 it\u2019s 5 \u20ac.\n"
RUSSIAN = "Жила-была коза, очень сердитая.\n"
MARKED = {
    "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff",
}  # fmt: skip


def read(data: bytes, tmp_path: Path, encoding: str | None = None) -> tuple[str, list[str]]:
    """The text, and what was said of it, without the file's name."""
    path, said = tmp_path / "a.txt", list[str]()
    path.write_bytes(data)
    text = read_text(path, encoding=encoding, warn=said.append)
    assert all(line.startswith(f"{path} ") for line in said)
    return text.decode(), [line.removeprefix(f"{path} ") for line in said]


@pytest.mark.parametrize("encoding", list(MARKED))
def test_a_byte_order_mark_determines_the_encoding(encoding: str, tmp_path: Path) -> None:
    for text in (FRENCH, RUSSIAN, "𝄞 clef\n"):
        found = read(MARKED[encoding] + text.encode(encoding), tmp_path)
        assert found == (text, [f"is {encoding.upper()} and was converted to UTF-8"])
    broken, said = read(MARKED[encoding] + FRENCH.encode(encoding) + b"\0", tmp_path)
    assert broken == FRENCH + "\ufffd"
    assert said == [
        f"is {encoding.upper()} and was converted to UTF-8; 1 of its characters are damaged and became \ufffd"
    ]


def test_the_mark_of_utf8_is_no_text(tmp_path: Path) -> None:
    assert read(b"\xef\xbb\xbf" + FRENCH.encode(), tmp_path) == (FRENCH, [])
    assert read(FRENCH.encode(), tmp_path) == (FRENCH, [])


@pytest.mark.parametrize("text", [FRENCH, GERMAN, "Größe", "café", "naïve", FRENCH * 100 + "x" * 5000])
def test_latin1_is_recognised(text: str, tmp_path: Path) -> None:
    line = "is not UTF-8; it was read as Latin-1, the likely encoding (to choose another, "
    line += "set --encoding, in Python tokenizer.encoding)"
    assert read(text.encode("latin-1"), tmp_path) == (text, [line])


def test_cp1252_is_recognised(tmp_path: Path) -> None:
    line = "is not UTF-8; it was read as cp1252 (Windows), the likely encoding (to choose another, "
    line += "set --encoding, in Python tokenizer.encoding)"
    assert read(QUOTED.encode("cp1252"), tmp_path) == (QUOTED, [line])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), ("山羊がいました。\n", "shift_jis"), ("从前有一只山羊。\n", "gbk")],
)
def test_other_encodings_are_named_by_an_option_and_never_guessed(text: str, encoding: str, tmp_path: Path) -> None:
    data = text.encode(encoding)
    path, said = tmp_path / "a.txt", list[str]()
    path.write_bytes(data)
    assert read_text(path, warn=said.append) == data
    assert len(said) == 1
    assert said[0].endswith(
        "its bytes are kept as they are (to convert them, set --encoding, in Python tokenizer.encoding)"
    )
    assert read(data, tmp_path, encoding) == (text, [f"is {encoding.upper()} and was converted to UTF-8"])


def test_utf8_with_a_damaged_place_stays_utf8(tmp_path: Path) -> None:
    data = FRENCH.encode() + b"\xff" + RUSSIAN.encode()
    (tmp_path / "a.txt").write_bytes(data)
    assert read_text(tmp_path / "a.txt", warn=lambda _: None) == data


def test_a_wrong_encoding_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePieceError, match=r"a\.txt is not ascii: byte 4 is not valid in it$"):
        read("Il était".encode("latin-1"), tmp_path, "ascii")


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (b"%PDF-1.7\n", "a PDF"),
        (b"{\\rtf1\\ansi", "RTF"),
        (b"PK\x03\x04", "a ZIP archive"),
    ],
)
def test_files_that_are_not_text_are_named(begins: bytes, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadablePieceError, match=rf"a\.txt is not text: it is {kind}"):
        read(begins + b"much more of it", tmp_path)
    with pytest.raises(UnreadablePieceError, match=r"is not text: byte 3 is zero$"):
        read(b"ab\0c", tmp_path)


@pytest.mark.parametrize("encoding", [*MARKED, "latin-1"])
def test_large_files_are_cut_between_characters_of_their_encoding(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST", 120)
    texts = [(FRENCH + GERMAN) * 9, "Il est " * 80]
    # In UTF-16 the bytes of a line end are in other characters too, across their borders.
    texts += [] if encoding == "latin-1" else ["\u0a0a\u0a00\u000a\U0001d11e" * 40, "\u0a0a\u4e00\U0001d11e" * 40]
    for text in texts:
        path, said = tmp_path / "a.txt", list[str]()
        path.write_bytes(MARKED.get(encoding, b"") + text.encode(encoding))
        spans = spans_of(path)
        assert len(spans) > 2
        parts = [read_text(path, span, "lf", warn=said.append) for span in spans]
        assert b"".join(parts).decode() == text
        assert all("damaged" not in line for line in said)


def test_the_encoding_of_files_goes_with_their_tokenizer_but_not_into_prompts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(RUSSIAN.encode("koi8-r"))
    before = TextTokenizer(bpe().tokenizer.subword_model, "lf", "koi8-r")
    before.save(tmp_path / "tokenizer")
    after = load_tokenizer(tmp_path / "tokenizer")
    assert after.fingerprint() == bpe().tokenizer.fingerprint()
    assert domain_of(after).read_part(path, None, warn=lambda _: None) == RUSSIAN.encode()
    assert domain_of(after).read(path, warn=lambda _: None) == path.read_bytes()
    content = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())
    content["configuration"]["encoding"] = "klingon"
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(TokenizerError):
        load_tokenizer(tmp_path / "tokenizer")


# Commands


def test_a_prompt_may_come_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Où est la chèvre".encode("latin-1"))))
    piece = read_standard_input(lambda path, warn: bpe().read(path, warn=warn), said.append)
    assert piece == "Où est la chèvre".encode()
    assert said == [
        "stdin is not UTF-8; it was read as Latin-1, the likely encoding (to choose another, "
        "set --encoding, in Python tokenizer.encoding)"
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(UnreadablePieceError, match=r"^stdin is empty$"):
        read_standard_input(lambda path, warn: bpe().read(path, warn=warn), said.append)


def test_new_text_checkpoints_are_sampled_at_a_lower_temperature() -> None:
    from muse_shortcut.checkpoints import read_sampling
    from muse_shortcut.shipped import default_checkpoint

    assert TextDomain.default_temperature == 0.8
    assert read_sampling(default_checkpoint("text") / "generation.json").temperature == 0.8
