"""Promises of the names of shipped models: they work in any folder, wherever a checkpoint is named."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from conftest import RunCommand

from muse_shortcut.commands.checkpoint_names import checkpoint_folder
from muse_shortcut.commands.command_line import Terminal
from muse_shortcut.shipped import default_checkpoint, named_checkpoint


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory that is no checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(run: RunCommand) -> Path:
    """A store of texts with the tokenizer of the shipped model."""
    Path("texts").mkdir()
    for number in range(8):
        Path("texts", f"{number}.txt").write_text(f"It was the {number}th night, and nobody slept. " * 20)
    done = run("prepare", "text", "texts", "--out", "store", "--tokenizer", "text-small", "--workers", 1)
    assert done.code == 0, done.err
    return Path("store")


@pytest.mark.parametrize("domain", ["midi", "audio", "text"])
def test_a_shipped_model_has_two_names_and_a_folder_of_that_name_its_path(
    domain: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (domain, f"{domain}-small"):
        assert named_checkpoint(name) == checkpoint_folder(name, Terminal("muse")) == default_checkpoint(domain)
        assert capfd.readouterr().err == ""
        shutil.copytree(default_checkpoint(domain), name)
        assert checkpoint_folder(name, Terminal("muse")) == default_checkpoint(domain)
        assert capfd.readouterr().err == f"{name} is the shipped model; ./{name} names the folder\n"
        assert checkpoint_folder(f"./{name}", Terminal("muse")) == Path(name)
        assert capfd.readouterr().err == ""


def test_a_quiet_command_does_not_say_which_checkpoint_it_uses(capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(default_checkpoint("midi"), "midi")
    for options in (Namespace(quiet=True), Namespace(json=True)):
        assert checkpoint_folder("midi", Terminal("muse", options)) == default_checkpoint("midi")
        assert capfd.readouterr().err == ""


def test_a_failed_start_lists_the_names_and_leaves_no_folder(run: RunCommand, store: Path) -> None:
    done = run("train", "text", "--data", store, "--out", "runs/new", "--from", "text-smal")
    assert done.code == 2
    assert "there is no such folder; allowed: the folder of a checkpoint or of a run, or midi, audio, text" in done.err
    assert not Path("runs").exists()
    Path("empty").mkdir()
    done = run("train", "text", "--data", store, "--out", "empty", "--from", "midi")
    assert (done.code, [*Path("empty").iterdir()]) == (2, [])
    assert "is of text, and the checkpoint " in done.err
    assert str(default_checkpoint("midi")) in done.err
    done = run("train", "codec", "--data", "texts", "--out", "codec")
    assert (done.code, Path("codec").exists()) == (2, False)
    done = run("prepare", "text", "texts", "--out", "other", "--tokenizer", "txt")
    assert "a tokenizer.json, a checkpoint, or text, the shipped one" in done.err
