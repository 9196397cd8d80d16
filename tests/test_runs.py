"""A run is accepted wherever a checkpoint is: its best one is used, or else its latest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import RunCommand

from muse_shortcut.checkpoints import load_checkpoint
from muse_shortcut.errors import CheckpointError
from muse_shortcut.runs import find_checkpoint


def make_run(folder: Path, checkpoint: Path, *steps: int, best: int | None) -> Path:
    """A run with so many checkpoints, all of them alike; the last one is the latest."""
    for step in steps:
        shutil.copytree(checkpoint, folder / "checkpoints" / f"step-{step:06d}")
        (folder / "checkpoints" / "latest").write_text(f"step-{step:06d}\n")
    if best is not None:
        (folder / "checkpoints" / "best").write_text(f"step-{best:06d}\n")
    return folder


def test_a_run_selects_its_best_checkpoint_or_else_its_latest(random_checkpoint: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_checkpoint, 2, 3, best=2)
    assert find_checkpoint(run).name == find_checkpoint(run / "checkpoints").name == "step-000002"
    assert find_checkpoint(run / "checkpoints" / "step-000003").name == "step-000003"
    (run / "checkpoints" / "best").unlink()
    assert find_checkpoint(run).name == "step-000003"
    assert load_checkpoint(run).digest == load_checkpoint(random_checkpoint).digest


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        find_checkpoint(tmp_path / "run")


def test_commands_take_a_run_and_say_which_checkpoint_it_is(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path
) -> None:
    made = make_run(tmp_path / "run", random_checkpoint, 2, 3, best=2)
    said = "run is a run: using its checkpoint step-000002"
    quiet = ("--max-new-tokens", 5, "--sound", "false", "--out", tmp_path / "out")
    done = run("generate", "midi", "--checkpoint", made, *quiet)
    assert (done.code, said in done.err) == (0, True), done.err
    done = run("export", made, "--out", tmp_path / "exported")
    assert (done.code, said in done.err) == (0, True), done.err
    assert done.out.endswith(f"\nto try it: muse-generate midi --checkpoint {tmp_path / 'exported'}\n")
    done = run("export", made, "--out", tmp_path / "again", "--json")
    found = json.loads(done.out)
    assert (found["out"], found["url"]) == (str(tmp_path / "again"), None)
    assert found["bytes"] == sum(file.stat().st_size for file in (tmp_path / "again").rglob("*") if file.is_file())
    done = run("export", made, "--out", tmp_path / "quiet", "--quiet")
    assert done.out == f"{tmp_path / 'quiet'}\n"
    music = Path(__file__).parents[1] / "muse_shortcut" / "shipped" / "prompts" / "midi"
    words = ("midi", music, "--tokenizer", made, "--workers", 1, "--out", tmp_path / "store")
    done = run("prepare", *words)
    assert (done.code, said in done.err) == (0, True), done.err


def test_a_codec_without_codebooks_is_refused(run: RunCommand, tmp_path: Path) -> None:
    step = tmp_path / "run" / "checkpoints" / "step-000005"
    (step / "training").mkdir(parents=True)
    (step.parent / "latest").write_text("step-000005\n")
    (tmp_path / "sound.wav").write_bytes(b"")
    for words in (
        ("prepare", "audio", tmp_path, "--codec", tmp_path / "run", "--out", tmp_path / "store"),
        ("export", step, "--out", tmp_path / "exported"),
    ):
        done = run(*words)
        assert done.code == 2
        assert "has no codebooks yet: they are learned after --train.quantise_after steps" in done.err


def test_the_page_offers_a_run_by_its_name(random_checkpoint: Path, tmp_path: Path) -> None:
    from muse_web.checkpoint_registry import CheckpointRegistry

    run = make_run(tmp_path / "runs" / "mine", random_checkpoint, 2, 3, best=2)
    assert CheckpointRegistry(tmp_path / "runs", "cpu").names("midi") == ["midi-small", "mine"]
    assert CheckpointRegistry(run / "checkpoints", "cpu").names("midi") == ["midi-small", "checkpoints"]
    digest = load_checkpoint(random_checkpoint).digest
    assert CheckpointRegistry(run, "cpu").get("midi", "mine").digest == digest
