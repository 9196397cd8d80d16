"""Tests of misnamed files: they are read by their content, and a line says so or what to choose instead."""

from __future__ import annotations

import gzip
import io
import re
import struct
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile
from conftest import RunCommand
from midi_pieces import scale
from small_visits import visit

import muse_shortcut as muse
from muse_tokenizers.contents import content_of, kind_of_file
from muse_tokenizers.errors import FileWarning, TokenizerError, UnreadablePieceError
from muse_tokenizers.midi.writing import dump_score

TEXT = b"Once upon a time there was a garden, and in it grew one rose.\n"


def sound(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * np.sin(np.arange(24_000) / 10), 24_000, format=kind)
    return buffer.getvalue()


def midi() -> bytes:
    return dump_score(scale(4))


def riff_midi() -> bytes:
    data = midi()
    return b"RIFF" + struct.pack("<I", len(data) + 12) + b"RMIDdata" + struct.pack("<I", len(data)) + data


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return buffer.getvalue()


MUSICXML = b'<?xml version="1.0" encoding="UTF-8"?>\n<score-partwise version="4.0"></score-partwise>\n'
MARKUP = {
    "a MusicXML score": MUSICXML,
    "a MuseScore score": b'<?xml version="1.0"?><museScore version="4.20"></museScore>',
    "a web page (HTML)": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
}

CONTENTS: dict[str, tuple[bytes, str | None, str]] = {
    "MIDI": (midi(), "midi", "MIDI"),
    "RIFF": (riff_midi(), "midi", "MIDI"),
    **{kind: (sound(kind), "audio", kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "AU")},
    "UTF-8": (TEXT, "text", "text"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "text", "text"),
    "Latin-1": ("Es war einmal ein Gärtner in Köln.".encode("latin-1"), "text", "text"),
    "PDF": (b"%PDF-1.7\n", None, "a PDF"),
    "Guitar Pro": (b"\x18FICHIER GUITAR PRO v5.00" + bytes(99), None, "a Guitar Pro score"),
    "ZIP": (zipped("a.mid"), None, "a ZIP archive"),
    "compressed MusicXML": (zipped("META-INF/container.xml", "score.xml"), None, "a MusicXML score"),
    "MuseScore": (zipped("META-INF/container.xml", "song.mscx"), None, "a MuseScore score"),
    "EPUB": (zipped("mimetype", "META-INF/container.xml"), None, "a document (such as .docx, .odt or .epub)"),
    "Live": (gzip.compress(b'<?xml version="1.0"?><Ableton>'), None, "an Ableton Live set"),
    "soundfont": (b"RIFF\0\1\0\0sfbk", None, "a soundfont"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("suffix", [".mid", ".wav", ".txt", ".mp3"])
def test_the_content_of_a_file_determines_its_kind(name: str, suffix: str, tmp_path: Path) -> None:
    data, domain, called = CONTENTS[name]
    found = content_of(data)
    assert found is not None
    assert (found.domain, found.called) == (domain, called)
    path = tmp_path / f"song{suffix}"
    path.write_bytes(data)
    if domain is not None:
        assert kind_of_file(path) == domain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\2\3" * 100,
        # Bits that are set as a frame's of MP3 are, without a second one.
        b"\xff\xfb\x90\x00" + bytes(5000),
        b"\xff\xf1\x50\x80" + bytes(5000),
        np.random.default_rng(0).bytes(5000),
    ],
)
def test_ambiguous_content_is_read_by_its_suffix(data: bytes, tmp_path: Path) -> None:
    for suffix, domain in ((".mid", "midi"), (".wav", "audio"), (".txt", "text"), (".xyz", None)):
        (tmp_path / f"a{suffix}").write_bytes(data)
        assert kind_of_file(tmp_path / f"a{suffix}") == domain


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {domain: muse.load(domain).domain for domain in ("midi", "audio", "text")}


MISNAMED = [
    ("MIDI", ".wav", "midi", "MIDI"),
    ("RIFF", ".wav", "midi", "MIDI"),
    ("FLAC", ".mid", "audio", "FLAC"),
    ("MP3", ".wav", "audio", "MP3"),
    ("UTF-8", ".mid", "text", "text"),
]


@pytest.mark.parametrize(("name", "suffix", "domain", "called"), MISNAMED)
def test_a_wrong_suffix_is_reported_in_one_line(
    models: dict[str, Any], name: str, suffix: str, domain: str, called: str, tmp_path: Path
) -> None:
    path = tmp_path / f"song{suffix}"
    path.write_bytes(CONTENTS[name][0])
    said: list[str] = []
    models[domain].read(path, warn=said.append)
    assert said == [f"{path} is {called}, although its name ends in {suffix}; reading it as {called}"]
    for other in {"midi", "audio", "text"} - {domain}:
        with pytest.raises(
            UnreadablePieceError, match=rf"^{path} is no[^\n]*: it is {called}; choose {domain} for it$"
        ):
            models[other].read(path)


def test_a_right_suffix_is_not_worth_a_line(models: dict[str, Any], tmp_path: Path) -> None:
    for name, suffix, domain in (
        ("MIDI", ".kar", "midi"), ("RIFF", ".rmi", "midi"), ("MP3", ".mp3", "audio"), ("WAV", ".wav", "audio"),
        ("OGG", ".oga", "audio"), ("AIFF", ".aif", "audio"), ("UTF-8", ".md", "text"), ("UTF-8", ".abc", "text"),
    ):  # fmt: skip
        path = tmp_path / f"song{suffix}"
        path.write_bytes(CONTENTS[name][0])
        models[domain].read(path, warn=lambda line: pytest.fail(line))


def test_the_command_continues_a_file_by_its_content(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(midi())
    short = ("--max-new-tokens", 5, "--sound", "false", "--out", tmp_path / "out")
    done = run("generate", path, "--checkpoint", random_checkpoint, *short)
    assert done.code == 0, done.err
    assert f"{path} is MIDI, although its name ends in .wav; reading it as MIDI" in done.err
    assert (tmp_path / "out" / "song-1.mid").exists()
    done = run("generate", "audio", path, *short)
    assert done.code == 2
    assert f"{path} is MIDI, not sound; leave out audio, or name another file" in done.err
    (tmp_path / "score.pdf").write_bytes(b"%PDF-1.7\n")
    done = run("generate", tmp_path / "score.pdf", *short)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "score.pdf is a PDF; allowed: a MIDI file, a sound file or a text file" in done.err


def test_misnamed_files_are_prepared_and_reported(run: RunCommand, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for number in range(3):
        (music / f"{number}.mid").write_bytes(dump_score(scale(4 + number)))
    (music / "song.wav").write_bytes(dump_score(scale(9)))
    (music / "nameless").write_bytes(dump_score(scale(10)))
    (music / "loud.mid").write_bytes(sound("FLAC"))
    (music / "real.wav").write_bytes(sound("WAV"))
    done = run("prepare", "midi", music, "--workers", 1, "--out", tmp_path / "store")
    assert done.code == 0, done.err
    assert "5 pieces" in done.out
    assert "song.wav is MIDI, although its name ends in .wav; reading it as MIDI" in done.out
    assert "loud.mid is not a MIDI file: it is FLAC; choose audio for it" in done.out
    assert "real.wav ends in .wav; allowed: " in done.out


def test_the_page_and_the_api_read_a_misnamed_file(tmp_path: Path) -> None:
    one = visit(tmp_path)
    with pytest.warns(FileWarning, match=r"^song\.wav is MIDI, although its name ends in \.wav"):
        source = one.open(domain="midi", upload=one.upload(midi(), "song.wav"), name="song.wav")
    assert source.domain == "midi"
    with pytest.raises(
        TokenizerError, match=r"^song\.wav is not a sound file that can be read: it is MIDI; choose midi"
    ):
        one.open(domain="audio", upload=one.upload(midi(), "song.wav"), name="song.wav")
    path = tmp_path / "song.wav"
    path.write_bytes(midi())
    with pytest.warns(FileWarning, match=r"song\.wav is MIDI, although its name ends in \.wav"):
        muse.load("midi").continue_(path, max_new_tokens=4)


@pytest.mark.parametrize("called", MARKUP)
@pytest.mark.parametrize("suffix", [".mid", ".wav", ".xml", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_markup_is_continued_as_text_only_where_that_is_chosen(
    models: dict[str, Any], called: str, suffix: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / f"song{suffix}"
    path.write_bytes(MARKUP[called].decode().encode(encoding))
    assert kind_of_file(path) is None
    for domain in ("midi", "audio"):
        with pytest.raises(
            UnreadablePieceError, match=rf"is not a [^\n]*: it is {re.escape(called)}; (export|download)"
        ):
            models[domain].read(path)
    assert models["text"].read(path, warn=lambda _: None)
    (tmp_path / "song.txt").write_bytes(MARKUP[called])
    assert kind_of_file(tmp_path / "song.txt") == "text"


def test_commands_and_page_name_a_score_format_and_suggest_an_export(
    run: RunCommand, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    advice = "is a MusicXML score; export it as MIDI (in MuseScore: File > Export)"
    paths = [tmp_path / "song.musicxml", tmp_path / "song.mid", tmp_path / "song.mxl"]
    for path, data in zip(paths, (MUSICXML, MUSICXML, zipped("META-INF/container.xml", "a.xml")), strict=True):
        path.write_bytes(data)
        assert run("generate", path).err == f"muse-generate: {path} {advice}\n"
        one = visit(tmp_path_factory.mktemp("visit"))
        upload = one.upload(data, path.name)
        with pytest.raises(TokenizerError, match=re.escape(f"{path.name} is not a MIDI file: it {advice}")):
            one.open(domain="midi", upload=upload, name=path.name)
    assert run("prepare", "midi", paths[0], "--out", tmp_path / "store").err == f"muse-prepare: {paths[0]} {advice}\n"
    paths[1].unlink()
    assert run("prepare", "midi", tmp_path, "--out", tmp_path / "store").err.endswith(f"; song.musicxml {advice}\n")


@pytest.mark.parametrize(("domain", "suffix"), [("midi", ".mid"), ("audio", ".wav"), ("text", ".txt")])
def test_an_empty_file_is_called_empty(models: dict[str, Any], domain: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(UnreadablePieceError, match=rf"^{tmp_path}/a{suffix} is empty$"):
        models[domain].read(tmp_path / f"a{suffix}")


def test_a_folder_is_not_a_prompt_from_python_either(tmp_path: Path) -> None:
    for prompt in (tmp_path, str(tmp_path)):
        with pytest.raises(muse.ArgumentsError, match=rf"^{tmp_path} is a folder, but a prompt is one file; "):
            muse.load("midi").continue_(prompt, max_new_tokens=4)


@pytest.mark.parametrize(
    ("name", "data", "domain"),
    [
        ("bad.wav", b"RIFF", "audio"),
        ("bad.wav", b"RIFF and so on, in letters", "audio"),
        ("bad.flac", b"fLaC", "audio"),
        ("bad.aiff", b"FORM", "audio"),
        ("bad.mid", b"MThd", "midi"),
        ("letter.mid", b"hello", "text"),
        ("letter.txt", b"RIFF", "text"),
        ("letter.wav", b"Dear all, here is no sound", "text"),
    ],
)
def test_the_beginning_of_a_sound_or_midi_file_is_a_damaged_one(
    tmp_path: Path, name: str, data: bytes, domain: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert kind_of_file(path) == domain
