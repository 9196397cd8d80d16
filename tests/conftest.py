"""Shared fixtures: a checkpoint with random weights, and a function that runs a command in this process."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from small_models import Nursery

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each core has a process of its own; threads of two would wait for one another.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

# Plugins that some modules also import from: their assertions should tell what they compare.
pytest.register_assert_rewrite("all_tokenizers", "served_pages")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command: exit code, standard output and standard error."""

    code: int
    out: str
    err: str


RunCommand = Callable[..., Outcome]


@pytest.fixture(scope="session", autouse=True)
def _native_step() -> None:
    """Compile the native step, if there is a compiler, so that all tests of a session decode with the same engine."""
    from muse_shortcut.native.compiling import CompilationError, compile_step

    with contextlib.suppress(CompilationError):
        compile_step()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunCommand:
    """Run a command, such as run("generate", "midi", "--seed", "1"), or another module's, by its whole name."""

    def call(command: str, *words: object) -> Outcome:
        module = command if "." in command else f"muse_shortcut.commands.{command}"
        monkeypatch.setattr("sys.argv", [f"muse-{command}", *map(str, words)])
        main = importlib.import_module(module).main
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capfd.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained checkpoint with the REMI vocabulary."""
    from muse_shortcut.checkpoints import Checkpoint, save_checkpoint
    from muse_shortcut.config import ModelConfig, ShortcutConfig
    from muse_shortcut.model.core import Core
    from muse_tokenizers.midi.remi import RemiTokenizer

    torch.manual_seed(0)
    tokenizer = RemiTokenizer()
    shape = ModelConfig(
        vocabulary_size=tokenizer.vocabulary_size,
        context=192,
        layers=3,
        width=24,
        heads=2,
        feed_forward=48,
        shortcut=ShortcutConfig(taps=(1, 2), feature_map="residual", feature_width=16),
    )
    folder = tmp_path_factory.mktemp("random-checkpoint")
    save_checkpoint(Checkpoint(core=Core(shape), tokenizer=tokenizer, card="# Random\n"), folder)
    return folder


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Runs trainings in processes of their own."""
    from small_models import Nursery

    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def prompt_file() -> Path:
    """A shipped prompt: eight bars of 4/4 for piano, 72 beats per minute."""
    from muse_shortcut.shipped import shipped_prompt

    path = shipped_prompt("midi", "bach-prelude")
    assert path is not None
    return path
