"""Promises of what ships: it is small, it has a card, it is what this repository writes, and it makes music."""

from __future__ import annotations

from pathlib import Path

import pytest

from muse_shortcut.checkpoints import load_checkpoint
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt
from muse_shortcut.shipped.writing_prompts import write_prompts

ROOT = Path(__file__).parent.parent


def test_the_midi_checkpoint_is_at_most_8_mib() -> None:
    files = [path for path in default_checkpoint("midi").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20


def test_the_midi_checkpoint_loads_and_has_a_card() -> None:
    checkpoint = load_checkpoint(default_checkpoint("midi"))
    assert checkpoint.tokenizer.kind == "midi"
    assert checkpoint.core.config.context == 1024
    for word in ("licence", "validation", "nats"):
        assert word in checkpoint.card.lower()


def test_the_prompts_are_the_bytes_that_their_notes_give(tmp_path: Path) -> None:
    write_prompts(tmp_path)
    assert prompt_names("midi") == ["bach-prelude", "greensleeves", "saints"]
    for name in prompt_names("midi"):
        path = shipped_prompt("midi", name)
        assert path is not None
        assert path.read_bytes() == (tmp_path / f"{name}.mid").read_bytes()


@pytest.mark.parametrize("name", ["bach-prelude", "greensleeves", "saints"])
def test_every_prompt_has_eight_whole_bars(name: str) -> None:
    tokenizer = load_checkpoint(default_checkpoint("midi")).tokenizer
    path = shipped_prompt("midi", name)
    assert path is not None
    prompt = tokenizer.prompt(tokenizer.read(path))
    bars = [token.label for [token] in tokenizer.describe(prompt.ids) if token.kind == "bar"]
    assert bars[-1] == "bar 9"


def test_an_unknown_prompt_has_no_file() -> None:
    assert shipped_prompt("midi", "../../secrets") is None


def test_the_repository_stays_small() -> None:
    made_here = {"output", "runs", "stores", "dist", "build"}
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".") and top.name not in made_here]
    files = [path for top in tops for path in [top, *top.rglob("*")]]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 48 * 2**20
