"""The commands on sound, from a folder of files to a continuation, with an untrained codec and core."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import RunCommand
from small_codecs import HOP, RATE, tone, write_codec
from small_commands import FAST, SMALL_CORE, run_apart

from muse_shortcut.data import preparation
from muse_shortcut.data.scan import SourceFile
from muse_shortcut.data.store import open_store
from muse_shortcut.generation.trace import load_trace
from muse_tokenizers.loading import domain_of, load_tokenizer


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    random = np.random.default_rng(0)
    for number in range(5):
        # Noises that swell in their own time: to a codec that nobody trained all tones are alike.
        swell = 0.02 + 0.3 * np.abs(np.sin(np.arange(4 * RATE) / RATE * (number + 1)))
        soundfile.write(folder / f"{number}.flac", tone(4.0) + swell * random.normal(size=4 * RATE) / 2, RATE)
    soundfile.write(folder / "stereo.wav", np.stack([tone(3.0, rate=44_100)] * 2, 1), 44_100)
    (folder / "broken.mp3").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_codec(tmp_path_factory.mktemp("own") / "codec")


@pytest.fixture(scope="module")
def store(music: Path, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    words = ("prepare", "audio", music, "--out", out, "--codec", codec, "--held-out", 0.34, "--workers", 2)
    assert "not used" in run_apart(*words).stdout
    return out


@pytest.fixture(scope="module")
def checkpoint(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    run_apart("train", "audio", "--data", store, "--out", out, *SMALL_CORE, *FAST)
    assert {path.suffix for path in (out / "samples" / "step-000003").iterdir()} == {".wav"}
    return out / "checkpoints" / "step-000003"


def test_a_store_of_sound_has_codes_with_the_delay_pattern(store: Path, music: Path) -> None:
    opened = open_store(store)
    tokenizer = load_tokenizer(opened.tokenizer_folder)
    assert (opened.domain, tokenizer.kind, tokenizer.streams) == ("audio", "audio", 4)
    assert [reject["name"] for reject in opened.manifest["rejects"]] == ["broken.mp3"]
    assert len(opened.pieces) == 6
    for number, piece in enumerate(opened.pieces):
        ids = opened.tokens[opened.offsets[number] : opened.offsets[number + 1]].astype(np.int64)
        expected = tokenizer.encode(domain_of(tokenizer).read(music / piece.name))
        assert (ids[0] == tokenizer.begin).all()
        assert (ids[-1] == tokenizer.end).all()
        assert (ids[1:-1] == expected).all()


def test_files_encoded_together_equal_files_encoded_alone(
    store: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(store / "tokenizer")
    monkeypatch.setattr(preparation, "_domain", domain_of(tokenizer), raising=False)
    names = sorted(path.name for path in music.iterdir())
    files = [SourceFile(path=music / name, name=name, split=None, group=name) for name in names]
    together, alone = preparation._tokenize(files), [preparation._tokenize([file])[0] for file in files]
    for (entry, ids), (other, expected) in zip(together, alone, strict=True):
        assert (entry.name, entry.reason, entry.length) == (other.name, other.reason, other.length)
        assert (ids is None) == (expected is None) == (entry.name == "broken.mp3")
        if ids is not None and expected is not None:
            assert ids.shape == expected.shape
            assert (ids == expected).mean() > 0.999

    def fail(self: Any, pieces: Any) -> Any:
        if len(pieces) > 1 or pieces[0].samples.shape[1] == 3 * RATE:
            raise MemoryError("too much")
        return [self.encode(piece) for piece in pieces]

    # One that is too much for the device is left out; the others are not.
    monkeypatch.setattr(type(tokenizer), "encode_many", fail)
    reasons = {entry.name: entry.reason for entry, _ in preparation._tokenize(files)}
    assert reasons.pop("stereo.wav") == "MemoryError: too much"
    assert reasons.pop("broken.mp3") is not None
    assert set(reasons.values()) == {None}


def test_a_core_of_sound_has_an_embedding_and_a_head_for_every_stream(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    assert (config["model"]["streams"], config["model"]["vocabulary_size"]) == (4, 67)


@pytest.fixture
def generate(run: RunCommand, checkpoint: Path, tmp_path: Path) -> Any:
    def call(*words: object, out: str = "out") -> Any:
        return run("generate", "audio", "--checkpoint", checkpoint, "--seed", 5, "--out", tmp_path / out, *words)

    return call


def test_a_sound_is_continued_repeated_drawn_and_explained(
    run: RunCommand, generate: Any, checkpoint: Path, music: Path, tmp_path: Path
) -> None:
    words = ("--prompt", music / "stereo.wav", "--prompt-seconds", 1, "--seconds", 0.5, "--num-samples", 2)
    done = generate(*words, "--picture", "--explain", "0:01.2")
    assert done.code == 0, done.err
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        f"stereo-{number}.{ending}"
        for number in (1, 2)
        for ending in ("wav", "json", "trace.npz", "png", "svg", "explain.json")
    }
    with wave.open(str(out / "stereo-1.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        assert file.getnframes() == (75 + 37) * HOP
    trace = load_trace(out / "stereo-1.trace.npz")
    assert trace.log_probability.shape[1] == 4
    # What the prompt had begun was settled.
    assert (trace.log_probability[0, 1:] == 0).all()
    assert json.loads((out / "stereo-1.explain.json").read_text())["step"] == 15
    sidecar = out / "stereo-2.json"
    again = ("--from-json", sidecar, "--out", tmp_path / "again", "--trace", "false")
    done = run("generate", "audio", "--checkpoint", checkpoint, *again)
    assert done.code == 0, done.err
    assert (tmp_path / "again" / "stereo-1.wav").read_bytes() == (out / "stereo-2.wav").read_bytes()


def test_the_prompt_is_the_codecs_own_whatever_follows(generate: Any, music: Path, store: Path, tmp_path: Path) -> None:
    done = generate("--prompt", music / "0.flac", "--prompt-seconds", 2, "--seconds", 0.3)
    assert done.code == 0, done.err
    tokenizer = load_tokenizer(store / "tokenizer")
    domain = domain_of(tokenizer)
    prompt = domain.prompt(domain.read(music / "0.flac"), 2.0)
    expected = np.clip(tokenizer.decode(tokenizer.encode(prompt.piece)).samples[0] * prompt.gain, -1.0, 1.0)
    made, _ = soundfile.read(tmp_path / "out" / "0-1.wav", dtype="float32")
    np.testing.assert_allclose(made[: 2 * RATE], expected[: 2 * RATE], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tempo", 90), "--tempo is an option of music, not of sound"),
        (("--bars", 4), "--bars is an option of music, not of sound; sound takes --seconds"),
        (("--prompt", "{music}/broken.mp3"), "broken.mp3 is text, not sound; leave out audio, or name another file"),
        (("--prompt", "flute"), "there is no file flute; the shipped prompts are bach-fugue, speech"),
        (("--seconds", 0.2, "--explain", "0:09"), "--explain is 0:09; allowed: times from 0:00.00 to 0:00."),
    ],
)
def test_impossible_requests_give_one_clear_line(generate: Any, music: Path, words: Any, message: str) -> None:
    done = generate(*(str(word).format(music=music) for word in words))
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_sound_is_evaluated_like_everything(run: RunCommand, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    words = ("--windows", 2, "--prompt-seconds", 1, "--seconds", 0.5, "--json", tmp_path / "found.json")
    done = run("evaluate", "audio", "--checkpoint", checkpoint, "--data", store, *words)
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["likelihood"]["all"]["bits_per_second"] > 0
    assert len(found["likelihood"]["all"]["nats_by_stream"]) == 4
    assert "Nats per token of each codebook" in done.out
    measures = {one["measure"] for one in found["continuations"]["comparisons"]}
    assert {"level", "mel_energy"} <= measures
    done = run("evaluate", "midi", "--checkpoint", checkpoint, "--data", store)
    assert done.code == 2
    assert "is a store of audio, not of midi" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audio", "--codec", "nowhere"), "cannot read the codec nowhere/codec.json"),
        (("audio", "--codec", "{codec}", "--codebooks", 3), "codebooks is 3; allowed: 1, 2, 4, 8"),
        (
            ("audio", "--codec", "{codec}", "--tokenizer", "remi"),
            "--tokenizer is 'remi'; allowed: a checkpoint, or audio, the shipped one",
        ),
        (("midi", "--codebooks", 2), "--codebooks is an option of audio, not of midi"),
        (("midi", "--device", "cpu"), "--device is an option of audio, not of midi"),
        (("audio", "--tokenizer", "{store}", "--codebooks", 2), "--codebooks chooses a tokenizer; --tokenizer names a"),
        (("audio", "--tokenizer", "{midi}"), "--tokenizer names a checkpoint of midi, not of audio"),
    ],
)
def test_preparing_refuses_files_of_other_domains(
    run: RunCommand, music: Path, codec: Path, store: Path, random_checkpoint: Path, tmp_path: Path,
    words: Any, message: str,
) -> None:  # fmt: skip
    words = [str(word).format(codec=codec, midi=random_checkpoint, store=store) for word in words]
    done = run("prepare", words[0], music, "--out", tmp_path / "store", *words[1:])
    assert done.code == 2
    assert message in done.err


def test_the_bench_counts_seconds_of_sound(run: RunCommand, codec: Path, checkpoint: Path) -> None:
    done = run("bench", "codec", "--checkpoint", codec, "--rounds", 1)
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert found["codebooks"] == 8
    assert min(found[f"{what}_times_real_time"] for what in ("encode", "decode", "decode_by_the_second")) > 0
    done = run("bench", "generate", "--checkpoint", checkpoint, "--rounds", 1, "--steps", 20)
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])
    assert found["times_real_time_1_candidate"] == pytest.approx(found["steps_per_second_1_candidate"] / 75, abs=0.01)


def test_the_shipped_model_prepares_and_continues_sound(run: RunCommand, music: Path, tmp_path: Path) -> None:
    done = run("prepare", "audio", music, "--out", tmp_path / "store", "--codebooks", 2, "--workers", 1)
    assert done.code == 0, done.err
    tokenizer = load_tokenizer(tmp_path / "store" / "tokenizer")
    assert (tokenizer.streams, tokenizer.configuration()["codec"]) == (2, "muse_24khz")
    # It is the program's own: its files go nowhere.
    assert {path.name for path in (tmp_path / "store" / "tokenizer").iterdir()} == {"tokenizer.json"}
    words = ("--prompt", "speech", "--prompt-seconds", 1, "--seconds", 0.3, "--seed", 1, "--out", tmp_path / "out")
    done = run("generate", "audio", *words)
    assert done.code == 0, done.err
    with wave.open(str(tmp_path / "out" / "speech-1.wav")) as file:
        assert file.getnframes() == (75 + 22) * HOP
