"""Promises of files whose names end wrongly: they are read as what they are, and a line says so, or what to choose."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

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


CONTENTS: dict[str, tuple[bytes, str | None, str]] = {
    "MIDI": (midi(), "midi", "MIDI"),
    "RIFF": (riff_midi(), "midi", "MIDI"),
    **{kind: (sound(kind), "audio", kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "AU")},
    "UTF-8": (TEXT, "text", "text"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "text", "text"),
    "Latin-1": ("Es war einmal ein Gärtner in Köln.".encode("latin-1"), "text", "text"),
    "PDF": (b"%PDF-1.7\n", None, "a PDF"),
    "soundfont": (b"RIFF\0\1\0\0sfbk", None, "a soundfont"),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("suffix", [".mid", ".wav", ".txt", ".mp3"])
def test_what_a_file_is_does_not_depend_on_its_name(name: str, suffix: str, tmp_path: Path) -> None:
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
def test_what_is_not_sure_is_what_its_name_says(data: bytes, tmp_path: Path) -> None:
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
def test_a_wrong_suffix_is_said_in_one_line(
    models: dict[str, Any], name: str, suffix: str, domain: str, called: str, tmp_path: Path
) -> None:
    path = tmp_path / f"song{suffix}"
    path.write_bytes(CONTENTS[name][0])
    said: list[str] = []
    models[domain].read(path, warn=said.append)
    assert said == [f"{path} is {called}, though its name ends in {suffix}; it is read as what it is"]
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


def test_the_command_continues_a_file_as_what_it_is(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(midi())
    short = ("--max-new-tokens", 5, "--sound", "false", "--out", tmp_path / "out")
    done = run("generate", path, "--checkpoint", random_checkpoint, *short)
    assert done.code == 0, done.err
    assert f"{path} is MIDI, though its name ends in .wav; it is read as what it is" in done.err
    assert (tmp_path / "out" / "song-1.mid").exists()
    done = run("generate", "audio", path, *short)
    assert done.code == 2
    assert f"{path} is MIDI, not sound; leave out audio, or name another file" in done.err
    (tmp_path / "score.pdf").write_bytes(b"%PDF-1.7\n")
    done = run("generate", tmp_path / "score.pdf", *short)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "score.pdf is a PDF; allowed: MIDI, sound or text" in done.err


def test_a_prepared_folder_has_what_is_misnamed_and_says_so(run: RunCommand, tmp_path: Path) -> None:
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
    assert "song.wav: is MIDI, though its name ends in .wav; it is read as what it is" in done.out
    assert "loud.mid: is not a MIDI file: it is FLAC; choose audio for it" in done.out
    assert "real.wav: ends in .wav; read are " in done.out


def test_the_page_and_the_api_read_a_misnamed_file(tmp_path: Path) -> None:
    one = visit(tmp_path)
    with pytest.warns(FileWarning, match=r"^song\.wav is MIDI, though its name ends in \.wav"):
        source = one.open(domain="midi", upload=one.upload(midi(), "song.wav"), name="song.wav")
    assert source.domain == "midi"
    with pytest.raises(TokenizerError, match=r"^song\.wav is not sound that can be read: it is MIDI; choose midi"):
        one.open(domain="audio", upload=one.upload(midi(), "song.wav"), name="song.wav")
    path = tmp_path / "song.wav"
    path.write_bytes(midi())
    with pytest.warns(FileWarning, match=r"song\.wav is MIDI, though its name ends in \.wav"):
        muse.load("midi").continue_(path, max_new_tokens=4)
