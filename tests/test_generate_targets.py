"""Tests of the arguments of muse-generate: the domain follows from the prompt, outputs have the given name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunCommand

from muse_shortcut.commands.explained_step import parse_explained_step
from muse_shortcut.commands.generation_progress import GenerationProgress
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.request import Request, StepEvent
from muse_tokenizers.contents import kind_of_file
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.domain import RemiDomain
from muse_tokenizers.midi.remi import RemiTokenizer

SHORT = ("--max-new-tokens", 12, "--seed", 1, "--sound", "false")


@pytest.fixture
def generate(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> Any:
    """muse-generate with the random checkpoint, into tmp_path/out where nothing else is said."""

    def call(*words: object, out: Path = tmp_path / "out") -> Any:
        return run("generate", *words, "--checkpoint", random_checkpoint, "--out", out)

    return call


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_domain_follows_from_a_file_at_any_position(generate: Any, prompt_file: Path, tmp_path: Path) -> None:
    for number, words in enumerate(
        (
            (prompt_file, *SHORT),
            (*SHORT, prompt_file),
            ("midi", *SHORT, prompt_file),
            ("midi", "--prompt", prompt_file, *SHORT),
            ("bach-prelude", *SHORT),
        )
    ):
        assert generate(*words, out=tmp_path / str(number)).code == 0
        assert _names(tmp_path / str(number)) == [f"bach-prelude-1.{end}" for end in ("json", "mid", "trace.npz")]
        made = (tmp_path / str(number) / "bach-prelude-1.mid").read_bytes()
        assert made == (tmp_path / "0" / "bach-prelude-1.mid").read_bytes()


def test_a_sidecar_and_a_checkpoint_say_their_domain(generate: Any, tmp_path: Path) -> None:
    assert generate(*SHORT).code == 0
    again = generate("--from-json", tmp_path / "out" / "from-nothing-1.json", "--sound", "false", out=tmp_path / "b")
    assert again.code == 0
    assert _names(tmp_path / "b") == _names(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audio", "{prompt}"], "bach-prelude.mid is MIDI, not sound; leave out audio, or name another file"),
        (["text", "--prompt", "{prompt}"], "bach-prelude.mid is MIDI, not text"),
        (["{folder}/song.xyz"], "song.xyz is text by its content, but .xyz is not one of the endings of text"),
        (["{folder}/song.bin"], "shows its domain; a prompt is a MIDI file, a sound file or a text file"),
        (["{folder}/empty.bin"], "{folder}/empty.bin is empty"),
        (["{folder}"], "{folder} is a folder, but a prompt is one file, such as {folder}/bach-prelude.mid; "),
        (["text", "{folder}"], "{folder} is a folder, but a prompt is one file"),
        (["midi", "{prompt}", "--prompt", "saints"], "there are two prompts"),
        (["{prompt}", "saints"], "bach-prelude.mid, saints; allowed: one at a time"),
        (
            ["midi", "saints", "{prompt}", "{prompt}", "{prompt}"],
            "there are 4 prompts, saints, {prompt}, {prompt}, ...;",
        ),
        (["{folder}/my", "song.mid"], "a file name with spaces needs quotes: '{folder}/my song.mid'"),
        (["text", "Once", "upon"], 'words to continue need quotes: muse-generate text "Once upon"'),
        (["audoi", "{prompt}"], "'audoi' is not a domain; allowed: midi, audio, text; did you mean audio?"),
        (["midi", "nofile.mid"], "there is no file nofile.mid; the shipped prompts are bach-prelude, "),
        (["Once upon a time"], 'to continue words: muse-generate text "WORDS"'),
        (["bach-prelud"], "did you mean bach-prelude?"),
        (["midi", "bach-prelud"], "did you mean bach-prelude?"),
        ([], "there is no prompt; allowed: a file, a shipped prompt (bach-prelude, "),
        (["--from-json", "{folder}/none.json"], "cannot read {folder}/none.json: No such file"),
        (
            ["--from-json", "{folder}/song.xyz"],
            "muse-generate wrote together with a continuation; {folder}/song.xyz is not one",
        ),
        (["--from-json", "{folder}"], "cannot read {folder}: it is a folder; --from-json takes a .json file"),
        (["midi", "--from-json", "{prompt}"], "{prompt} is MIDI; did you mean {folder}/bach-prelude.json?"),
        (["{folder}/bach-prelude.json"], "to generate it again: muse-generate --from-json {folder}/bach-prelude.json"),
        (["midi", "--key", "H"], "--key is 'H'; allowed: a tonic"),
        (["midi", "--bytes", "3"], "--bytes is an option of text, not of music; music takes --seconds"),
        (["midi", "--out", "{folder}/piece.mp3"], "piece.mp3; allowed: a folder, or a file that ends in .mid or .wav"),
        (["midi", "--temperature", "-1"], "--temperature is -1.0; allowed: more than 0, up to 10"),
        (["midi", "--top-k", "-1"], "--top-k is -1; allowed"),
        (["midi", "--tempo", "900"], "--tempo is 900.0; allowed: 10 to 400"),
        (["midi", "--bars", "0"], "--bars is 0; allowed: more than 0"),
        (["midi", "--repeats", "-1"], "--repeats is -1; allowed: more than 0, up to 100,000, or 0 for any"),
        (["midi", "--num-samples", "65"], "--num-samples is 65; allowed: 1 to 64"),
        (["midi", "--num-samples", "2", "--keep", "3"], "--keep is 3; allowed: 1 to --num-samples, 2"),
        (["midi", "--seed", "-1"], "--seed is -1; allowed"),
        (["midi", "--prompt-seconds", "3"], "--prompt-seconds is 3.0; allowed: only with a prompt"),
        (["midi", "--instruments", "kazoo"], "--instruments is 'kazoo'; allowed: drums"),
        (["midi", "--explain", "9:99"], "--explain is '9:99'; allowed: a step from 0 such as 150, or a time in"),
        (["midi", "--explain", "9" * 5000], f"--explain is '{'9' * 60}'; allowed: a step from 0"),
        (["midi", "--explain", "9" * 5000 + ":00"], f"--explain is '{'9' * 60}'; allowed: a step from 0"),
        (["midi", "--soundfont", "nowhere.sf2"], "cannot read the soundfont nowhere.sf2"),
        (["text", "hm", "--encoding", "runes"], "--encoding is 'runes'; allowed: utf-8"),
        (["text", "--out", "{folder}/piece.mid"], "piece.mid; allowed: a folder, or a file that ends in .txt"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_loaded(
    run: RunCommand, prompt_file: Path, tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "song.xyz").write_bytes(b"la la la")
    (tmp_path / "song.bin").write_bytes(b"\0\1\2\3")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "my song.mid").touch()
    prompt_file = Path(shutil.copy(prompt_file, tmp_path / "bach-prelude.mid"))
    prompt_file.with_suffix(".json").write_text('{"domain": "midi"}')
    # Whoever loads a model now finds none.
    monkeypatch.setitem(sys.modules, "muse_shortcut.checkpoints", None)
    done = run("generate", *(word.format(prompt=prompt_file, folder=tmp_path) for word in words))
    assert done.code == 2
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert message.format(folder=tmp_path, prompt=prompt_file) in done.err


def test_no_seed_is_printed_where_nothing_is_made(generate: Any) -> None:
    assert generate("midi", "--instruments", "kazoo").out == ""


def test_an_out_with_an_ending_names_the_file(generate: Any, tmp_path: Path) -> None:
    assert generate("midi", *SHORT, out=tmp_path / "new" / "mine.mid").code == 0
    assert _names(tmp_path / "new") == ["mine.json", "mine.mid", "mine.trace.npz"]
    before = (tmp_path / "new" / "mine.mid").read_bytes()
    again = generate("midi", *SHORT, out=tmp_path / "new" / "mine.mid")
    assert (again.code, again.out) == (2, "")
    assert "mine.mid already exists and is not overwritten" in again.err
    assert (tmp_path / "new" / "mine.mid").read_bytes() == before
    # Several have numbers.
    assert generate("midi", *SHORT, "--num-samples", 2, out=tmp_path / "two" / "mine.mid").code == 0
    assert [name for name in _names(tmp_path / "two") if name.endswith(".mid")] == ["mine-1.mid", "mine-2.mid"]
    # A folder that is there is one, whatever it is called.
    (tmp_path / "album.mid").mkdir()
    assert generate("midi", *SHORT, out=tmp_path / "album.mid").code == 0
    assert "from-nothing-1.mid" in _names(tmp_path / "album.mid")


def test_the_last_line_suggests_the_next_step(generate: Any, tmp_path: Path, prompt_file: Path) -> None:
    silent = generate("midi", *SHORT)
    assert silent.out.splitlines()[-1].startswith(f"open {tmp_path}/out/from-nothing-1.mid; ")
    shutil.rmtree(tmp_path / "out")
    heard = generate(prompt_file, *SHORT[:4], "--prompt-seconds", 4, "--instruments", "piano", "--picture")
    assert heard.out.splitlines()[-1] == (
        f"listen to {tmp_path}/out/bach-prelude-1.wav (or open the .mid in a notation program)"
    )


def test_the_version_is_printed(run: RunCommand) -> None:
    done = run("generate", "--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("muse-generate ")


def test_progress_counts_in_the_requested_unit() -> None:
    domain = RemiDomain(RemiTokenizer())
    tokenizer = domain.tokenizer
    vocabulary = {tokenizer.describe(np.array([[id_]]))[0][0].kind: id_ for id_ in range(tokenizer.vocabulary_size)}
    prompt = domain.prompt(None)

    def event(step: int, kinds: list[str], elapsed: float, ended: list[bool]) -> StepEvent:
        ids = np.array([[vocabulary[kind]] for kind in kinds])
        return StepEvent(
            step=step,
            ids=ids,
            log_probabilities=np.zeros((2, 1)),
            elapsed=np.full(2, elapsed),
            finished=np.array(ended),
        )

    bars = GenerationProgress(Request(prompt=prompt, candidates=2, constraints=MidiConstraints(bars=3)), domain)
    assert bars.total == 3
    bars.advance(event(0, ["bar", "bar"], 0.0, [False, False]))
    bars.advance(event(1, ["bar", "pitch"], 1.0, [False, False]))
    assert (bars.done, bars.note.split(",")[0]) == (1, "bars")
    bars.advance(event(2, ["bar", "pitch"], 1.0, [False, True]))
    assert bars.done == 3
    request = Request(prompt=prompt, candidates=2, constraints=MidiConstraints(seconds=20.0))
    seconds = GenerationProgress(request, domain)
    seconds.advance(event(0, ["pitch", "pitch"], 21.3, [True, True]))
    assert (seconds.done, seconds.total) == (20.0, 20.0)


def test_a_frame_of_sound_is_explained_by_its_time(run: RunCommand, tmp_path: Path) -> None:
    done = run(
        "generate", "speech", "--prompt-seconds", 1, "--seconds", 0.2, "--seed", 1, "--explain", 3, "--out", tmp_path
    )
    line = next(line for line in done.out.splitlines() if line.startswith("step 3: "))
    assert line.startswith("step 3: a frame at 1.04 s (codes ")
    assert not [line for line in done.out.splitlines() if line.startswith("code ")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speech", "--seconds", "1", "--explain", "80"], "--explain is 80; allowed: steps from 0 to 79, since there"),
        (["speech", "--seconds", "1", "--explain", "9.5"], "--explain is 9.5; allowed: times from 0:08.00 to 0:09.00"),
        (["speech", "--seconds", "1", "--explain", "2.5"], "--explain is 2.5; allowed: times from 0:08.00 to 0:09.00"),
        (["saints", "--seconds", "5", "--explain", "0:17.0"], "allowed: times from 0:12.00 to 0:17.00, when the"),
        (["saints", "--max-new-tokens", "9", "--explain", "9"], "--explain is 9; allowed: steps from 0 to 8"),
        (["text", "Once", "--bytes", "50", "--explain", "51"], "--explain is 51; allowed: steps from 0 to 50"),
        (["text", "Once", "--explain", "1.5"], "--explain is 1.5; allowed: a step from 0, since text has no times"),
    ],
)
def test_invalid_explain_steps_are_refused_before_generation(
    run: RunCommand, tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muse_shortcut.api.model.Model.start", None)
    done = run("generate", *words, "--out", tmp_path)
    assert done.code == 2
    assert message in done.err


def test_a_number_with_a_point_is_a_time_and_a_whole_one_a_step() -> None:
    assert parse_explained_step("150").step == 150
    assert [parse_explained_step(word).seconds for word in ("31.5", "31.", ".5", "0:31.5")] == [31.5, 31.0, 0.5, 31.5]
    for word in ("1e3", "-1.5", "1.5.0", "1:75", "5s"):
        with pytest.raises(ArgumentsError, match="allowed: a step from 0 such as 150, or a time"):
            parse_explained_step(word)


@pytest.mark.parametrize(
    ("seconds", "remark", "prompt"),
    [
        (7, "", "prompt: 6.67 s, 2 bars; new: "),
        (
            1,
            "bach-prelude cannot be split in its first 1 s: the prompt is its first bar, 3.33 s",
            "prompt: 3.33 s, 1 bar; new: ",
        ),
        (
            600,
            "bach-prelude has only {end} s, 8 bars: all of it is used as the prompt",
            "prompt: {end} s, 8 bars; new: ",
        ),
    ],
)
def test_a_line_says_how_long_the_prompt_is_and_how_much_is_new(
    generate: Any, seconds: int, remark: str, prompt: str
) -> None:
    end = f"{8 * 10 / 3:.1f}"
    done = generate("bach-prelude", *SHORT, "--prompt-seconds", seconds, "--instruments", "piano")
    remarks = [line for line in done.err.splitlines() if line.startswith("muse-generate: bach-prelude ")]
    assert remarks == ([f"muse-generate: {remark.format(end=end)}"] if remark else [])
    assert done.err.splitlines()[-1].startswith(prompt.format(end=end))


def test_an_ending_that_only_an_extra_reads_names_its_domain() -> None:
    assert kind_of_file(Path("voice.m4a")) == "audio"
    assert kind_of_file(Path("voice.xyz")) is None
