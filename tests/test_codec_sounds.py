"""Tests of the sounds for codec training: no duplicates, speakers in one split, clips from training files only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_codecs import RATE, gather, tone, write_music

from muse_shortcut.codec.sounds import Sounds, gather_sounds, open_sounds
from muse_shortcut.data.sources import find_files
from muse_shortcut.data.splits import assign_splits
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.audio.waveforms import SUFFIXES


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def sounds(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    folder = tmp_path_factory.mktemp("sounds") / "sounds"
    gather(music, folder)
    return open_sounds(folder, RATE)


def test_sounds_are_read_once_into_one_file(music: Path, tmp_path: Path) -> None:
    rejects = gather(music, tmp_path / "sounds")
    assert len(rejects) == 1
    assert "broken.wav" in rejects[0]
    sounds = open_sounds(tmp_path / "sounds", RATE)
    assert len(sounds.files) == 7
    assert [len(sounds.of_split(split)) for split in ("train", "validation", "test")] == [5, 1, 1]
    for file in sounds.files:
        original, _ = soundfile.read(music / file.name, dtype="float32")
        np.testing.assert_allclose(sounds.take(file.first, file.stop), original, atol=2e-4)


def test_clips_are_of_the_training_split_and_short_files_end_in_silence(sounds: Sounds) -> None:
    length = RATE // 4
    clips = sounds.clips(200, length, np.random.default_rng(0), sounds.weights({}))
    assert clips.shape == (200, length)
    training = np.concatenate([sounds.take(file.first, file.stop) for file in sounds.of_split("train")])
    windows = {training[at : at + 50].tobytes() for at in range(len(training) - 50)}
    assert all(clip[:50].tobytes() in windows for clip in clips)
    shortest = min(file.stop - file.first for file in sounds.of_split("train"))
    if shortest < length:
        assert any((clip[shortest:] == 0).all() for clip in clips)


def test_source_weights_determine_how_often_a_source_is_heard(tmp_path: Path) -> None:
    sources = []
    for name, count in (("low", 3), ("high", 3)):
        (tmp_path / name).mkdir()
        for number in range(count):
            soundfile.write(
                tmp_path / name / f"{number}.wav", tone(0.5, (100 if name == "low" else 3000) + number), RATE
            )
        sources.append((None, tmp_path / name))
    gather_sounds(find_files(sources, SUFFIXES, None)[0], tmp_path / "out", RATE, seed=0, held_out=0, made_of={})
    sounds = open_sounds(tmp_path / "out", RATE)
    assert sounds.weights({"low": 3}).tolist() == pytest.approx([0.25] * 3 + [1 / 12] * 3)
    weights = sounds.weights({"low": 0})
    clips = sounds.clips(50, RATE // 4, np.random.default_rng(0), weights)
    assert (np.abs(np.diff(np.sign(clips), axis=1)).sum(1) > 500).all()
    with pytest.raises(ArgumentsError, match=r"train.source_weights has 'speech'; the sources are high, low"):
        sounds.weights({"speech": 1})
    with pytest.raises(ArgumentsError, match=r"leaves nothing to learn from"):
        sounds.weights({"low": 0, "high": 0})


def test_sounds_of_something_else_are_not_taken(music: Path, tmp_path: Path) -> None:
    gather(music, tmp_path / "sounds")
    assert open_sounds(tmp_path / "sounds", RATE, {"folder": "music"}).files
    for rate, other in ((16_000, {"folder": "music"}), (RATE, {"folder": "speech"})):
        with pytest.raises(ArgumentsError, match=r"holds sounds of another rate, seed or folder; delete it"):
            open_sounds(tmp_path / "sounds", rate, other)


def test_a_speakers_folder_is_not_torn_apart(tmp_path: Path) -> None:
    for speaker in range(5):
        (tmp_path / "in" / str(speaker)).mkdir(parents=True)
        for number in range(3):
            soundfile.write(
                tmp_path / "in" / str(speaker) / f"{number}.wav", tone(0.2, 100 + 10 * speaker + number), RATE
            )
    gather(tmp_path / "in", tmp_path / "out", "folder")
    files = open_sounds(tmp_path / "out", RATE).files
    splits = {file.name[0]: {other.split for other in files if other.name[0] == file.name[0]} for file in files}
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}


def test_the_same_sound_twice_is_there_once_and_splits_are_drawn_without_it(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(8)]
    for number, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone(0.2, 100 + 10 * number), RATE)
    gather(tmp_path / "in", tmp_path / "once")
    splits = {file.name: file.split for file in open_sounds(tmp_path / "once", RATE).files}
    held, trained = (next(name for name in names if splits[name] == split) for split in ("test", "train"))
    (tmp_path / "in" / trained).write_bytes((tmp_path / "in" / held).read_bytes())
    rejects = gather(tmp_path / "in", tmp_path / "twice")
    files = open_sounds(tmp_path / "twice", RATE).files
    assert len(files) == 7
    assert len(rejects) == 1
    assert "is the same sound as" in rejects[0]
    staying = [name for name in names if name != max(held, trained)]
    drawn = assign_splits(dict.fromkeys(staying), 0, 0.2)
    assert [file.split for file in files] == [drawn[name] for name in staying]


def test_nothing_to_train_on_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_text("no")
    with pytest.raises(ArgumentsError, match=r"^none of the 1 sound files can be trained on: .*a.wav"):
        gather(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ArgumentsError, match=r"is not a run of muse-train codec: it has no "):
        open_sounds(tmp_path, RATE)
