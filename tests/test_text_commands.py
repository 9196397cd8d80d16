"""The commands on text, from a folder of files to continuations, with an untrained core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np
import pytest
from conftest import RunCommand
from small_commands import FAST, SMALL_CORE, run_apart
from small_texts import MANY_WRITINGS, VERSES

from muse_shortcut.data import preparation
from muse_shortcut.data.recipe import ByteSplit, load_recipe
from muse_shortcut.data.scan import in_parts, scan_files
from muse_shortcut.data.store import open_store
from muse_shortcut.generation.trace import load_trace
from muse_tokenizers.loading import load_tokenizer
from muse_tokenizers.text import files as text_files
from muse_tokenizers.text.files import spans_of


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    lines = VERSES.splitlines(keepends=True)
    for number in range(6):
        turned = b"".join(lines[number:] + lines[:number]) * 3
        (folder / f"{number}.txt").write_bytes(b"\xef\xbb\xbf" + turned.replace(b"\n", b"\r\n"))
    (folder / "latin.txt").write_bytes("Größe und Maß. ".encode("latin-1") * 20)
    (folder / "binary.txt").write_bytes(b"RIFF\0\0")
    (folder / "empty.txt").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def store(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    words = ("prepare", "text", library, "--out", out, "--vocabulary-size", 300, "--held-out", 0.3, "--workers", 2)
    assert "not used" in run_apart(*words).stdout
    return out


@pytest.fixture(scope="module")
def checkpoint(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    run_apart("train", "text", "--data", store, "--out", out, *SMALL_CORE, *FAST)
    samples = out / "samples" / "step-000003"
    assert {path.name for path in samples.iterdir()} == {"continued.txt", "from-nothing.txt"}
    return out / "checkpoints" / "step-000003"


def test_a_store_of_text_has_its_bytes_without_carriage_returns(store: Path, library: Path) -> None:
    opened = open_store(store)
    tokenizer = load_tokenizer(opened.tokenizer_folder)
    assert (opened.domain, tokenizer.kind, tokenizer.vocabulary_size) == ("text", "text", 303)
    assert {reject["name"]: reject["reason"] for reject in opened.manifest["rejects"]} == {
        "binary.txt": "is not text: byte 5 is zero",
        "empty.txt": "is empty",
    }
    assert opened.manifest["bytes"] == sum(piece.bytes or 0 for piece in opened.pieces)
    for number, piece in enumerate(opened.pieces):
        ids = opened.tokens[opened.offsets[number] : opened.offsets[number + 1]].astype(np.int64)
        raw = (library / piece.name).read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        # Text in another encoding is there as UTF-8.
        raw = raw.decode("latin-1").encode() if piece.name == "latin.txt" else raw
        assert tokenizer.decode(ids) == raw
        assert (piece.seconds, piece.bytes, piece.length) == (None, len(raw), float(len(raw)))


def test_a_large_file_becomes_pieces_of_one_group(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "_LONGEST", 1000)
    (tmp_path / "in").mkdir()
    for name in "abcde":
        (tmp_path / "in" / f"{name}.txt").write_bytes((name.encode() + VERSES) * 10)
    words = ("prepare", "text", tmp_path / "in", "--out", tmp_path / "store", "--tokenizer", "characters")
    done = run(*words, "--vocabulary-size", 300, "--held-out", 0.2, "--workers", 1)
    assert done.code == 0, done.err
    opened = open_store(tmp_path / "store")
    by_file: dict[str, set[str]] = {}
    for piece in opened.pieces:
        by_file.setdefault(piece.name.partition("#")[0], set()).add(piece.split)
        assert (piece.bytes or 0) <= 1000
    assert len(opened.pieces) > 5
    assert all(len(splits) == 1 for splits in by_file.values())
    assert set.union(*by_file.values()) == {"train", "validation", "test"}


def test_the_split_of_text8_is_by_bytes(tmp_path: Path) -> None:
    (tmp_path / "text8").write_bytes(b"a" * 1000)
    recipe = load_recipe("text8")
    files = in_parts(
        scan_files(tmp_path, recipe, frozenset({".txt"})), recipe, lambda path, marks: spans_of(path, (500, 700))
    )
    assert {file.split for file in files} == {"train"}
    recipe = replace(recipe, split=ByteSplit(train=500, validation=200))
    files = in_parts(scan_files(tmp_path, recipe, frozenset({".txt"})), recipe, spans_of)
    assert [(file.name, file.part, file.split) for file in files] == [
        ("text8#1", (0, 500), "train"), ("text8#2", (500, 700), "validation"), ("text8#3", (700, 1000), "test"),
    ]  # fmt: skip


def test_the_splits_of_wikitext_are_its_files(tmp_path: Path) -> None:
    for name in ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"):
        (tmp_path / name).write_text("= A title =")
    files = scan_files(tmp_path, load_recipe("wikitext103"), frozenset({".txt"}))
    assert [(file.name, file.split) for file in files] == [
        ("wiki.test.raw", "test"), ("wiki.train.raw", "train"), ("wiki.valid.raw", "validation"),
    ]  # fmt: skip


def test_only_the_text_between_the_gutenberg_markers_is_used(run: RunCommand, tmp_path: Path) -> None:
    book = (
        b"Licence.\r\n*** START OF THE PROJECT GUTENBERG EBOOK 84 ***\r\n"
        + VERSES
        + b"*** END OF THE PROJECT ***\r\nMore."
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "pg84.txt").write_bytes(book)
    words = ("prepare", "text", f"gutenberg={tmp_path / 'in'}", "--out", tmp_path / "store", "--vocabulary-size", 280)
    done = run(*words, "--workers", 1)
    assert done.code == 0, done.err
    opened = open_store(tmp_path / "store")
    assert load_tokenizer(opened.tokenizer_folder).decode(opened.tokens.astype(np.int64)) == VERSES
    (tmp_path / "in" / "pg85.txt").write_bytes(VERSES)
    # One that is none is left out with the reason, and so is an empty one; the others are not.
    (tmp_path / "in" / "pg86.txt").write_bytes(book.replace(VERSES, b""))
    done = run(*words[:4], tmp_path / "more", *words[5:], "--workers", 1)
    assert done.code == 0, done.err
    assert {one["name"]: one["reason"] for one in open_store(tmp_path / "more").manifest["rejects"]} == {
        "pg85.txt": "has no line that begins with '*** START OF', as the recipe gutenberg expects",
        "pg86.txt": "is empty between the lines that mark its beginning and end",
    }
    for word, message in (
        ("gutenberg", "the recipe gutenberg needs numbers (gutenberg:84,1342) or a folder"),
        ("gutenberg:x", "gutenberg:x does not list numbers"),
        ("text8:4", "the recipe text8 has no numbered files"),
    ):
        done = run("prepare", "text", word, "--out", tmp_path / "other")
        assert (done.code, message in done.err) == (2, True), done.err


@pytest.fixture
def generate(run: RunCommand, checkpoint: Path, tmp_path: Path) -> Any:
    def call(*words: object, out: str = "out") -> Any:
        return run("generate", "text", "--checkpoint", checkpoint, "--seed", 5, "--out", tmp_path / out, *words)

    return call


def test_words_are_continued_as_they_come_repeated_drawn_and_explained(
    run: RunCommand, generate: Any, checkpoint: Path, tmp_path: Path
) -> None:
    done = generate("--prompt", "The höher he's", "--bytes", 120, "--picture", "--explain", 4)
    assert done.code == 0, done.err
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        f"words-1.{ending}" for ending in ("txt", "json", "trace.npz", "png", "svg", "explain.json")
    }
    written = (out / "words-1.txt").read_bytes()
    assert written.startswith("The höher he's".encode())
    assert 100 < len(written) - len("The höher he's".encode()) <= 120
    # What was said while it came is what was written.
    shown = "".join("\ufffd" if category(one) == "Cc" and one not in "\n\t" else one for one in written.decode())
    assert shown in done.out
    assert "at byte " in done.out
    assert load_trace(out / "words-1.trace.npz").steps > 20
    done = run(
        "generate", "text", "--checkpoint", checkpoint, "--from-json", out / "words-1.json", "--out", tmp_path / "b"
    )
    assert done.code == 0, done.err
    assert (tmp_path / "b" / "words-1.txt").read_bytes() == written


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_all_files_are_written_after_the_output_is_closed(checkpoint: Path, tmp_path: Path, encoding: str) -> None:
    code = "from muse_shortcut.commands.generate import main; main()"
    out = tmp_path / "out"
    words = ["text", "--checkpoint", checkpoint, "--prompt", "Größe \u2014 it", "--bytes", 40, "--out", out]
    command = [sys.executable, "-c", code, *map(str, words)]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr is not None
    assert process.stderr.read().startswith(b"prompt: 14 bytes, 10 characters; new: ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "words-1.txt", "words-1.json", "words-1.trace.npz",
    }  # fmt: skip
    assert (tmp_path / "out" / "words-1.txt").read_bytes().startswith("Größe \u2014 it".encode())


def test_a_file_is_continued_and_kept_as_it_is(generate: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(MANY_WRITINGS)
    done = generate("--prompt", tmp_path / "mine.txt", "--max-new-tokens", 30, "--num-samples", 2, "--trace", "false")
    assert done.code == 0, done.err
    for number in (1, 2):
        written = (tmp_path / "out" / f"mine-{number}.txt").read_bytes()
        assert written.startswith(MANY_WRITINGS)
        written.decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seconds", 3), "--seconds is an option of music and sound, not of text; text takes --bytes"),
        (("--tempo", 90), "--tempo is an option of music, not of text"),
        (("--prompt", "x y", "--prompt-seconds", 3), "--prompt-seconds is an option of music and sound, not of text"),
        (("--prompt", ""), "--prompt is empty"),
        (("--prompt", "{library}/binary.txt"), "is not text: byte 5 is zero"),
        (("--prompt", "{library}/empty.txt"), "is empty"),
        (("--prompt", "{library}"), "is a folder, but a prompt is one file, such as "),
        (("--bytes", 0), "--bytes is 0; allowed: more than 0"),
        (("--explain", "0:03"), "--explain is 0:03; allowed: a step from 0, since text has no times"),
    ],
)
def test_impossible_requests_give_one_clear_line(generate: Any, library: Path, words: Any, message: str) -> None:
    done = generate(*(str(word).format(library=library) for word in words))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_text_is_evaluated_like_everything(run: RunCommand, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    words = ("--windows", 2, "--prompt-bytes", 200, "--bytes", 200, "--json", tmp_path / "found.json")
    done = run("evaluate", "text", "--checkpoint", checkpoint, "--data", store, *words)
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "found.json").read_text())
    opened = open_store(store)
    held_out = [piece for piece in opened.pieces if piece.split == "validation"]
    # Weights nobody trained know nothing: about ln 303 nats per token.
    scored = found["likelihood"]["all"]
    assert scored["nats_per_token"] == pytest.approx(np.log(303), abs=0.2)
    expected = scored["nats_per_token"] / np.log(2) * scored["tokens"] / sum(piece.bytes or 0 for piece in held_out)
    assert scored["bits_per_byte"] == pytest.approx(expected)
    assert {"letters", "distinct_1", "repetition"} <= {one["measure"] for one in found["continuations"]["comparisons"]}
    # The verses are all the same: what truly follows stands in the training texts.
    assert found["copies"]["true"]["passing"] == 1.0
    assert "over 50 characters" in done.out
    for option in ("--seconds", "--prompt-seconds"):
        done = run("evaluate", "text", "--checkpoint", checkpoint, "--data", store, option, 3)
        assert (done.code, f"{option} does not apply to text" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--vocabulary-size", 100), "--vocabulary-size is 100; allowed: 257 to"),
        (
            ("--tokenizer", "letters", "--vocabulary-size", 300),
            "--vocabulary-size is 300; allowed: none for letters",
        ),
        (("--tokenizer", "remi"), "--tokenizer is 'remi'; allowed: bpe, characters, letters, a tokenizer.json"),
        (("--tokenizer", "{library}/0.txt"), "it is not a tokenizer.json of Hugging Face's tokenizers"),
        (("--codebooks", 2), "--codebooks is an option of audio, not of text"),
        (("--tokenizer", "letters"), "none of the files can be used (9 files found)"),
        (("--tokenizer", "{store}", "--line-ends", "keep"), "--line-ends chooses a tokenizer; --tokenizer names a"),
    ],
)
def test_preparing_refuses_files_of_other_domains(
    run: RunCommand, library: Path, store: Path, tmp_path: Path, words: Any, message: str
) -> None:
    words = [str(word).format(library=library, store=store) for word in words]
    done = run("prepare", "text", library, "--out", tmp_path / "store", "--workers", 1, *words)
    assert done.code == 2
    assert message in done.err


def test_files_are_read_again_if_an_option_has_changed(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed preparation goes on with what it has only where that is what is asked for now."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.txt").write_bytes(name.encode() + VERSES.replace(b"\n", b"\r\n"))
    words = (
        "prepare",
        "text",
        tmp_path / "in",
        "--out",
        tmp_path / "store",
        "--workers",
        1,
        "--tokenizer",
        "characters",
    )
    with monkeypatch.context() as broken:
        broken.setattr(preparation, "write_store", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(*words, "--line-ends", "lf")
    assert run(*words, "--line-ends", "keep").code == 0
    opened = open_store(tmp_path / "store")
    tokenizer = load_tokenizer(opened.tokenizer_folder)
    assert tokenizer.decode(opened.tokens[: opened.offsets[1]].astype(np.int64)).count(b"\r\n") > 5


def test_missing_text_for_a_vocabulary_is_reported(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "wiki.test.raw").write_bytes(VERSES)
    done = run("prepare", "text", f"wikitext2={tmp_path}", "--out", tmp_path / "store")
    assert done.code == 2
    assert "the train split has no text to learn a vocabulary from; name a --tokenizer" in done.err


def test_a_store_of_another_vocabulary_is_refused(
    run: RunCommand, library: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ("prepare", "text", library, "--out", tmp_path / "store", "--vocabulary-size", 290, "--workers", 1)
    assert run(*words).code == 0
    done = run("train", "text", "--data", tmp_path / "store", "--out", tmp_path / "run", "--from", checkpoint)
    assert done.code == 2
    assert "was made by another tokenizer" in done.err
