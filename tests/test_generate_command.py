"""Promises of muse-generate: the same bytes, nothing lost, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import RunCommand
from symusic import ControlChange, Note, Score, Tempo, TextMeta, Track

PIANO = ("--instruments", "0", "--tempo", "120")


@pytest.fixture
def generate(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> Any:
    """muse-generate midi with the random checkpoint, into tmp_path/out.

    Sound is left out where it is not asked for: random weights play a hundred instruments at once, which takes a
    synthesiser long.
    """

    def call(
        *words: object, checkpoint: Path = random_checkpoint, out: Path = tmp_path / "out", sound: bool = False
    ) -> Any:
        sounding = ("--sound", str(sound).lower())
        return run("generate", "midi", "--checkpoint", checkpoint, "--out", out, *sounding, *words)

    return call


def _score(notes: list[tuple[int, int, int]], tpq: int = 480) -> Score:
    score = Score(tpq)
    score.tempos.append(Tempo(0, 120.0))
    track = Track(program=0, is_drum=False, name="Piano")
    for tick, length, pitch in notes:
        track.notes.append(Note(tick, length, pitch, 80))
    score.tracks.append(track)
    return score


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_seed_and_arguments_write_the_same_bytes(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        done = generate(
            *("--prompt", prompt_file, "--prompt-seconds", 7, "--seconds", 3, "--seed", 5, *PIANO),
            out=tmp_path / folder,
            sound=True,
        )
        assert done.code == 0, done.err
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "other")
    assert [*_bytes(tmp_path / "one")] == [f"bach-prelude-1.{ending}" for ending in ("json", "mid", "trace.npz", "wav")]


def test_a_sidecar_makes_the_same_bytes_though_the_prompt_is_gone(
    generate: Any, prompt_file: Path, tmp_path: Path
) -> None:
    prompt = tmp_path / "mine.mid"
    shutil.copy(prompt_file, prompt)
    words = ("--prompt", prompt, "--prompt-seconds", 7, "--bars", 2, "--seed", 5, "--num-samples", 3, *PIANO)
    first = generate(*words, sound=True)
    assert first.code == 0, first.err
    prompt.unlink()
    again = generate("--from-json", tmp_path / "out" / "mine-2.json", out=tmp_path / "again", sound=True)
    assert (again.code, again.err.count("\n")) == (0, 1)
    assert again.err.startswith("prompt: 6.67 s, 2 bars; new: ")
    made, wanted = _bytes(tmp_path / "again"), _bytes(tmp_path / "out")
    assert {name: made[name] for name in made} == {
        f"mine-1.{ending}": wanted[f"mine-2.{ending}"] for ending in ("json", "mid", "trace.npz", "wav")
    }


def test_a_sidecar_makes_the_same_bytes_of_a_prompt_with_an_instrument_that_enters_after_it(
    generate: Any, tmp_path: Path
) -> None:
    score = _score([(480 * beat, 400, 60 + beat) for beat in range(16)])
    words, violin = Track(program=53, name="Words"), Track(program=40, name="Violin")
    words.lyrics.append(TextMeta(480, "la"))
    words.notes.append(Note(480 * 14, 400, 65, 80))
    violin.controls.append(ControlChange(0, 7, 90))
    violin.notes.append(Note(480 * 12, 400, 72, 80))
    score.tracks.insert(0, words)
    score.tracks.append(violin)
    score.dump_midi(tmp_path / "late.mid")
    song = ("--prompt-seconds", 4.1, "--bars", 2, "--seed", 5, "--instruments", "piano, violin", "--tempo", "120")
    assert generate("--prompt", tmp_path / "late.mid", *song).code == 0
    assert generate("--from-json", tmp_path / "out" / "late-1.json", out=tmp_path / "again").code == 0
    assert _bytes(tmp_path / "again") == _bytes(tmp_path / "out")
    assert b"la" in (tmp_path / "out" / "late-1.mid").read_bytes()


def test_the_prompt_is_in_the_output_as_it_is_in_the_file(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    done = generate("--prompt", prompt_file, "--prompt-seconds", 7, "--bars", 2, "--seed", 1)
    assert done.code == 0, done.err
    before, after = Score(prompt_file), Score(tmp_path / "out" / "bach-prelude-1.mid")
    split_point = 2 * 4 * before.ticks_per_quarter
    assert json.loads((tmp_path / "out" / "bach-prelude-1.json").read_text())["prompt"]["split_index"] == split_point

    def notes(score: Score) -> list[tuple[int, int, int, int]]:
        return sorted(
            (n.time, n.duration, n.pitch, n.velocity) for t in score.tracks for n in t.notes if n.time < split_point
        )

    assert notes(before) == notes(after)
    assert [(tempo.time, tempo.mspq) for tempo in after.tempos if tempo.time < split_point] == [
        (0, before.tempos[0].mspq)
    ]
    assert sum(len(track.notes) for track in after.tracks) > len(notes(before))


def test_nothing_that_is_there_is_written_over(generate: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert generate("--max-new-tokens", 30, "--seed", 1).code == 0
    assert [*_bytes(tmp_path / "out")] == [
        f"from-nothing-{n}.{e}" for n in (1, 2) for e in ("json", "mid", "trace.npz")
    ]


def test_a_seed_that_was_not_given_is_printed_and_works(generate: Any, tmp_path: Path) -> None:
    first = generate("--max-new-tokens", 40, out=tmp_path / "one")
    seed = first.out.split()[1]
    generate("--max-new-tokens", 40, "--seed", seed, out=tmp_path / "other")
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "other")


def test_the_sound_neither_clips_nor_trails_off_in_silence(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    assert generate("--prompt", prompt_file, "--bars", 1, "--seed", 1, *PIANO, sound=True).code == 0
    samples, rate = soundfile.read(tmp_path / "out" / "bach-prelude-1.wav", dtype="float32")
    assert (rate, samples.shape[1]) == (44_100, 2)
    assert 0.05 < np.abs(samples).max() <= 0.9
    end = Score(tmp_path / "out" / "bach-prelude-1.mid").to("second").end()
    assert len(samples) / rate <= end + 3.1
    assert np.abs(samples[-rate // 10 :]).max() > 0


def test_dashes_and_underscores_are_the_same(generate: Any) -> None:
    assert generate("--max_new_tokens=10", "--top-k=5", "--no_repeat-ngram", 4).code == 0


def test_an_interruption_keeps_the_finished_part(random_checkpoint: Path, tmp_path: Path) -> None:
    words = ["midi", "--checkpoint", str(random_checkpoint), "--out", str(tmp_path), "--bars", "100000"]
    words += ["--sound", "false"]
    main = "from muse_shortcut.commands.generate import main\nmain()"
    code = f"import sys\nsys.argv = ['muse-generate', *{words!r}]\n{main}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("seed ")
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".mid", ".npz"]
    assert Score(tmp_path / "from-nothing-1.mid").note_num() > 0


def test_a_sidecar_of_an_interrupted_one_makes_the_same_bytes(random_checkpoint: Path, tmp_path: Path) -> None:
    words = ["midi", "--checkpoint", str(random_checkpoint), "--sound", "false", "--out"]
    main = "from muse_shortcut.commands.generate import main\nmain()"
    code = f"import sys\nsys.argv = ['muse-generate', *{words!r}, {str(tmp_path / 'one')!r}, '--bars', '9000']\n{main}"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    sidecar = str(tmp_path / "one" / "from-nothing-1.json")
    code = (
        f"import sys\nsys.argv = ['muse-generate', *{words!r}, {str(tmp_path / 'two')!r}, '--from-json', {sidecar!r}]\n"
    )
    again = subprocess.run([sys.executable, "-c", code + main], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "differs" not in again.stdout
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


# Bad input: one line, exit code 2, nothing written


def _refused(done: Any, folder: Path, *words: str) -> None:
    assert done.code == 2
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("muse-generate: ")
    for word in words:
        assert word in lines[0]
    assert not folder.exists() or not list(folder.iterdir())


def test_a_prompt_that_is_not_there(generate: Any, tmp_path: Path) -> None:
    done = generate("--prompt", "nowhere.mid")
    _refused(done, tmp_path / "out", "there is no file nowhere.mid", "bach-prelude, greensleeves, saints")


def test_a_prompt_that_is_a_folder(generate: Any, tmp_path: Path) -> None:
    _refused(generate("--prompt", tmp_path), tmp_path / "out", "is a folder, but a prompt is one file", str(tmp_path))


def test_a_text_file_named_mid(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "letter.mid"
    path.write_text("Dear Sir or Madam, will you read my book?")
    _refused(generate("--prompt", path), tmp_path / "out", f"{path} is text, not MIDI; leave out midi")


def test_a_truncated_midi_file_is_read_as_far_as_it_goes(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.mid"
    path.write_bytes(prompt_file.read_bytes()[:300])
    done = generate("--prompt", path, "--bars", 1)
    assert done.code == 0
    assert f"muse-generate: {path}: 3 notes without a note-off" in done.err
    assert (tmp_path / "out" / "half-1.mid").is_file()


def test_a_midi_file_without_notes(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "silence.mid"
    _score([]).dump_midi(path)
    _refused(generate("--prompt", path), tmp_path / "out", f"{path} has no notes")


def test_a_midi_file_of_six_hours(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.mid"
    _score([(0, 480, 60), (6 * 3600 * 960, 480, 62)]).dump_midi(path)
    _refused(generate("--prompt", path), tmp_path / "out", f"{path} is 6.0 hours long; allowed: up to 4 hours")


def test_a_million_notes(generate: Any, tmp_path: Path) -> None:
    path = tmp_path / "many.mid"
    score = _score([])
    count = 1_000_000
    score.tracks[0].notes = Note.from_numpy(
        time=np.arange(count, dtype=np.int32),
        duration=np.ones(count, dtype=np.int32),
        pitch=np.full(count, 60, dtype=np.int8),
        velocity=np.full(count, 80, dtype=np.int8),
    )
    score.dump_midi(path)
    _refused(generate("--prompt", path), tmp_path / "out", "1,000,000 notes; allowed: up to 200,000")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top-p", "2"], "--top-p is 2.0; allowed: more than 0, up to 1"),
        (["--temperature", "0"], "--temperature is 0.0; allowed: more than 0, up to 10; --greedy always takes"),
        (["--instruments", "kazoo"], "--instruments is 'kazoo'; allowed: drums, a program from 0 to 127"),
        (["--instruments", ","], "--instruments is ','; allowed: names"),
        (["--key", "H dur"], "--key is 'H dur'; allowed"),
        (["--tempo", "900"], "--tempo is 900.0; allowed: 10 to 400"),
        (["--seconds", "-3"], "--seconds is -3.0; allowed: more than 0"),
        (["--seconds", "soon"], "--seconds is 'soon'; allowed: a number"),
        (["--bars", "0"], "--bars is 0; allowed: more than 0"),
        (["--num-samples", "1000"], "--num-samples is 1000; allowed: 1 to 64"),
        (["--seed", "-1"], "--seed is -1; allowed"),
        (["--prompt-seconds", "3"], "--prompt-seconds is 3.0; allowed: only with a prompt"),
        (["--prompt", "saints", "--prompt-seconds", "0"], "--prompt-seconds is 0.0; allowed: more than 0"),
        (["--top-k", "1.5"], "--top-k is '1.5'; allowed: a whole number"),
        (["--kazoo"], "--kazoo"),
        (["--device", "abacus"], "abacus"),
        (
            ["--soundfont", "nowhere.sf2", "--max-new-tokens", "9", "--sound", "true"],
            "cannot read the soundfont nowhere.sf2",
        ),
    ],
)
def test_impossible_arguments(generate: Any, tmp_path: Path, words: list[str], message: str) -> None:
    _refused(generate(*words), tmp_path / "out", message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "is not a checkpoint: it has no config.json"),
        ("config.json", b"{", "config.json is damaged: it is not JSON"),
        ("config.json", b"[]", "config.json' is not the configuration of a checkpoint"),
        ("config.json", b'{"version": 1, "model": {"layers": 3}}', "a model's fields are"),
        ("model.safetensors", None, "model.safetensors: No such file"),
        ("model.safetensors", b"\x00" * 100, "model.safetensors is damaged"),
        ("generation.json", b'{"temperature": -1}', "temperature is -1; allowed"),
        ("generation.json", b'{"colour": 1}', "generation.json is damaged"),
        ("tokenizer/tokenizer.json", None, "tokenizer.json: No such file"),
        ("tokenizer/tokenizer.json", b"nonsense", "tokenizer.json is damaged"),
    ],
)
def test_a_checkpoint_with_a_missing_or_damaged_file(
    generate: Any, random_checkpoint: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    copy = tmp_path / "checkpoint"
    shutil.copytree(random_checkpoint, copy)
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    done = generate("--seed", 1, checkpoint=copy)
    _refused(done, tmp_path / "out", message.replace("json' is", "json is"), str(copy))


def test_a_checkpoint_that_is_not_there(generate: Any, tmp_path: Path) -> None:
    _refused(generate(checkpoint=tmp_path / "no"), tmp_path / "out", "no checkpoint at", "there is no such folder")


def test_a_sidecar_of_other_weights(generate: Any, random_checkpoint: Path, tmp_path: Path) -> None:
    assert generate("--max-new-tokens", 20, "--sound", "false", out=tmp_path / "made").code == 0
    path = tmp_path / "made" / "from-nothing-1.json"
    path.write_text(path.read_text().replace('"checkpoint": "', '"checkpoint": "0'))
    _refused(generate("--from-json", path), tmp_path / "out", "was made with the weights 0", str(random_checkpoint))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"version": 2}', b"\xff\xfe", b'{"version": 1}', b"[" * 100_000]
)
def test_a_file_that_is_no_sidecar(generate: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sidecar.json"
    path.write_bytes(content)
    _refused(generate("--from-json", path), tmp_path / "out", str(path))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("prompt", "ids"), []),
        (("prompt", "ids"), [[10**30]]),
        (("prompt", "ids"), [[5], [6]]),
        (("prompt", "ids"), [[10**6]]),
        (("prompt", "split_index"), float("inf")),
        (("prompt", "piece"), "not base64"),
        (("candidates",), 2.0),
        (("candidate",), 3),
        (("seed",), 1.5),
        (("constraints", "key"), 5),
        (("constraints", "bars"), "many"),
        (("sampling", "top_p"), 7),
        (("sampling",), None),
    ],
)
def test_a_sidecar_that_was_tampered_with(generate: Any, tmp_path: Path, place: tuple[str, ...], value: object) -> None:
    assert generate("--max-new-tokens", 9, "--seed", 1, out=tmp_path / "made").code == 0
    path = tmp_path / "made" / "from-nothing-1.json"
    content = json.loads(path.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    _refused(generate("--from-json", path), tmp_path / "out")


def test_a_sidecar_is_not_changed_by_options(generate: Any, tmp_path: Path) -> None:
    assert generate("--max-new-tokens", 9, out=tmp_path / "made").code == 0
    done = generate("--from-json", tmp_path / "made" / "from-nothing-1.json", "--seed", 3)
    _refused(done, tmp_path / "out", "--from-json generates the same continuation again; it does not go with --seed")


def test_an_output_folder_that_cannot_be_made(generate: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = generate("--max-new-tokens", 5, out=tmp_path / "file" / "out")
    _refused(done, tmp_path / "out", "cannot make the folder", str(tmp_path / "file" / "out"))


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX's")
def test_a_full_disk_while_saving(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The sound is larger than this; the system then refuses to write on, as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        done = generate("--prompt", prompt_file, "--bars", 1, "--seed", 1, *PIANO, sound=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.code == 2
    [line] = done.err.strip().splitlines()
    assert line.startswith(f"muse-generate: cannot write {tmp_path}/out/bach-prelude-1.wav: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"bach-prelude-1.{ending}" for ending in ("json", "mid", "trace.npz")
    ]


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX's")
def test_a_full_disk_while_the_trace_grows_loses_no_note(
    generate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muse_shortcut.generation.recorder._IN_MEMORY", 10_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        done = generate("--max-new-tokens", 400, "--seed", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.code == 2
    line = done.err.strip().splitlines()[-1]
    assert line.startswith("muse-generate: cannot write the trace to the temporary folder: ")
    assert Score(tmp_path / "out" / "from-nothing-1.mid").note_num() > 0
