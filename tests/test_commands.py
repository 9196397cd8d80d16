"""Tests of the other commands: a folder of music in, a trained checkpoint out, one line for each error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import RunCommand

from muse_shortcut.shipped import prompt_names, shipped_prompt

TINY = (
    "--preset", "tiny", "--model.context", 32, "--model.width", 16, "--model.feed_forward", 32, "--model.layers", 3,
    "--model.heads", 2, "--train.max_steps", 3, "--train.batch_size", 2, "--train.eval_windows", 2,
    "--train.eval_every", 2, "--train.sample_every", 3,
)  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of music, with one file that is none."""
    folder = tmp_path_factory.mktemp("music")
    for name in prompt_names("midi"):
        path = shipped_prompt("midi", name)
        assert path is not None
        shutil.copy(path, folder)
    (folder / "letter.mid").write_text("not music")
    return folder


@pytest.fixture
def store(run: RunCommand, music: Path, tmp_path: Path) -> Path:
    done = run("prepare", "midi", music, "--out", tmp_path / "store", "--workers", 1)
    assert done.code == 0, done.err
    return tmp_path / "store"


def test_two_commands_train_on_a_folder_of_ones_own(run: RunCommand, store: Path, tmp_path: Path) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["pieces"] == 3
    assert [reject["name"] for reject in manifest["rejects"]] == ["letter.mid"]
    assert "not a MIDI file" in manifest["rejects"][0]["reason"]
    done = run("train", "midi", "--data", store, "--out", tmp_path / "run", *TINY)
    assert done.code == 0, done.err
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000003"
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text().strip() == "step-000003"
    samples = sorted(path.name for path in (tmp_path / "run" / "samples" / "step-000003").iterdir())
    assert samples == ["continued.mid", "continued.wav", "from-nothing.mid", "from-nothing.wav"]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    quiet = ("--sound", "false", "--out", tmp_path / "out")
    made = run("generate", "midi", "--checkpoint", checkpoint, "--max-new-tokens", 20, *quiet)
    assert made.code == 0, made.err


def test_excluded_files_are_listed_but_not_read(run: RunCommand, music: Path, tmp_path: Path) -> None:
    words = ("--exclude", "letter.mid, sa*", "--workers", 1, "--out", tmp_path / "store")
    done = run("prepare", "midi", music, *words)
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["pieces"] == 2
    assert {one["name"]: one["reason"] for one in manifest["rejects"]} == dict.fromkeys(
        ("letter.mid", "saints.mid"), "is left out by --exclude"
    )
    assert manifest["source"]["excluded"] == ["letter.mid", "sa*"]
    assert manifest["source"]["sources"][0]["files"] == manifest["pieces"]


def test_a_preset_in_a_file_is_the_preset_that_is_trained(run: RunCommand, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("preset: tiny\ntrain:\n  max_steps: 1\n  batch_size: 1\n  eval_windows: 1\n  sample_every: 0\n")
    done = run("train", "midi", "--config", path, "--data", store, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "4 layers" in done.err
    assert f"to try it: muse-generate midi --checkpoint {tmp_path / 'run'}" in done.err
    assert "\nstep 1 of 1: validation " in done.err
    # The options of a run alone are the whole command.
    again = run("train", "--config", tmp_path / "run" / "config.yaml", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    weights = [tmp_path / name / "checkpoints" / "step-000001" / "model.safetensors" for name in ("run", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_training_goes_on_only_as_it_began(run: RunCommand, store: Path, tmp_path: Path) -> None:
    words = ("train", "midi", "--data", store, "--out", tmp_path / "run", *TINY, "--train.sample_every", 0)
    assert run(*words).code == 0
    for option, value, message in (
        ("--train.batch_size", 1, "--train.batch_size is 1"),
        ("--seed", 3, "--seed is 3"),
        ("--model.layers", 4, "--model cannot be changed when a training is resumed"),
    ):
        done = run(*words, "--resume", "auto", option, value)
        assert done.code == 2
        assert message in done.err
    assert run(*words, "--resume", "auto", "--train.max_steps", 4).code == 0


def test_fine_tuning_takes_another_dropout_and_no_other_shape(
    run: RunCommand, music: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert run("prepare", "midi", music, "--out", store, "--tokenizer", random_checkpoint).code == 0
    shape = (
        "--model.context", 192, "--model.layers", 3, "--model.width", 24, "--model.heads", 2,
        "--model.feed_forward", 48, "--model.shortcut.taps", "[1,2]", "--model.shortcut.feature_width", 16,
    )  # fmt: skip
    fast = ("--train.max_steps", 1, "--train.batch_size", 1, "--train.eval_windows", 1, "--train.sample_every", 0)
    words = ("train", "midi", "--data", store, "--from", random_checkpoint, *fast)
    done = run(*words, *shape, "--model.dropout", 0.3, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "run" / "checkpoints" / "step-000001" / "config.json").read_text())
    assert config["model"]["dropout"] == 0.3
    done = run(*words, "--model.layers", 9, "--out", tmp_path / "other")
    assert done.code == 2
    assert "--model cannot be changed with --from" in done.err


def test_a_checkpoint_is_exported_without_its_optimiser(run: RunCommand, store: Path, tmp_path: Path) -> None:
    assert run("train", "midi", "--data", store, "--out", tmp_path / "run", *TINY, "--train.sample_every", 0).code == 0
    card = tmp_path / "card.md"
    card.write_text("# Mine\n")
    done = run("export", tmp_path / "run", "--out", tmp_path / "small", "--card", card)
    assert done.code == 0, done.err
    assert not (tmp_path / "small" / "training").exists()
    assert (tmp_path / "small" / "README.md").read_text() == "# Mine\n"
    words = ("--checkpoint", tmp_path / "small", "--max-new-tokens", 9, "--sound", "false", "--out", tmp_path / "o")
    assert run("generate", "midi", *words).code == 0


def test_the_benches_end_with_a_line_of_json(run: RunCommand, random_checkpoint: Path) -> None:
    done = run("bench", "generate", "--checkpoint", random_checkpoint, "--steps", 5, "--rounds", 1)
    found = json.loads(done.out.splitlines()[-1])
    assert found["steps_per_second_1_candidate"] > 0
    # The context of this model, 192, less the steps.
    assert found["bare_context"] == 187
    assert min(found[f"bare_{what}_steps_per_second"] for what in ("torch_1", "plain_4", "read_limit_1")) > 0
    assert run("bench", "generate", "--checkpoint", random_checkpoint, "--steps", 5, "--context", 188).code == 2
    done = run("bench", "train", "--preset", "tiny", "--batch-size", 1, "--steps", 2, "--rounds", 1)
    assert json.loads(done.out.splitlines()[-1])["shortcut_tokens_per_second"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["midi", "nowhere"],
            "there is no source 'nowhere': it is neither a file nor a folder, nor one of the recipes",
        ),
        (["midi", "{music}", "--tokenizer", "abc"], "--tokenizer is 'abc'; allowed: parts, remi, performance"),
        (["midi", "{music}", "--held-out", "0.9"], "--held-out is 0.9; allowed: 0 to 0.4"),
        (["midi", "{music}", "--workers", "0"], "--workers is 0; allowed: 1 or more"),
        (["midi", "{music}", "--from-folder", "x"], "--from-folder goes with one recipe"),
        (
            ["midi", "{music}", "--exclude", "*.mid,*.xyz"],
            "--exclude '*.xyz' matches none of the 4 files; the first is ",
        ),
        (["midi", "{music}", "--exclude", "**"], "--exclude '**' leaves none of the 4 files"),
        (["opera", "{music}"], "opera"),
    ],
)
def test_prepare_refuses_in_one_line(
    run: RunCommand, music: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = run("prepare", *[word.format(music=music) for word in words], "--out", tmp_path / "store")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert message in done.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.max_steps", "0"], "max_steps is 0; allowed: 1 or more"),
        (["--train.learning_rate", "-1"], "learning_rate is -1.0; allowed: more than 0"),
        (["--model.width", "100"], "width is 100; allowed: a multiple of 2 x --model.heads, 6"),
        (["--model.shortcut.taps", "[9]"], "--model.shortcut.taps is [9]; allowed: depths up to"),
        (["--model.wings", "2"], "wings"),
        (["--preset", "huge"], "huge"),
        (["--seed", "-1"], "--seed is -1; allowed: 0 to 2^63 - 1"),
        (["--seed", "99999999999999999999"], "--seed is 99999999999999999999; allowed: 0 to 2^63 - 1"),
        (["--from", "nowhere"], "no checkpoint at nowhere"),
    ],
)
def test_train_refuses_in_one_line(
    run: RunCommand, store: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = run("train", "midi", "--data", store, "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert message in done.err


def test_a_store_of_another_tokenizer_is_refused(
    run: RunCommand, music: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    words = ("midi", music, "--tokenizer", "performance", "--workers", 1, "--out", tmp_path / "store")
    assert run("prepare", *words).code == 0
    words = ("--data", tmp_path / "store", "--from", random_checkpoint, "--out", tmp_path / "run")
    done = run("train", "midi", *words)
    assert done.code == 2
    assert "was made by another tokenizer" in done.err
    assert str(random_checkpoint) in done.err


def test_a_folder_that_is_no_store_is_refused(run: RunCommand, tmp_path: Path) -> None:
    done = run("train", "midi", "--data", tmp_path, "--out", tmp_path / "run")
    assert done.code == 2
    assert "is not a token store: it has no manifest.json" in done.err
