"""Tests of the ranking of candidates: those without faults first, then by likelihood and distance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunCommand
from midi_pieces import domain, make_score
from small_texts import VERSES, bpe

import muse_shortcut as muse
from muse_shortcut.api.ranking import rank

PROMPT = VERSES[:200]


def _ranked(pieces: list[bytes], log_probabilities: list[float], prompt: bytes | None = PROMPT) -> list[Any]:
    tokens = [len(bpe().tokenizer.encode(piece)) for piece in pieces]
    return rank(bpe(), bpe().prompt(prompt), [(prompt or b"") + one for one in pieces], log_probabilities, tokens)


def test_of_equally_near_ones_the_likelier_is_first() -> None:
    found = _ranked([VERSES[200:300]] * 3, [-300.0, -100.0, -200.0])
    assert [one.candidate for one in found] == [1, 2, 0]
    assert [(one.place, one.of) for one in found] == [(1, 3), (2, 3), (3, 3)]


def test_of_equally_likely_ones_the_nearer_is_first() -> None:
    strange = b"ZZ QQ 0000 !!!! ???? ZZ QQ 0000 !!!! ????"
    tokens = [len(bpe().tokenizer.encode(one)) for one in (strange, VERSES[200:300])]
    found = _ranked([strange, VERSES[200:300]], [-2.0 * count for count in tokens])
    assert [one.candidate for one in found] == [1, 0]
    assert found[0].distance < 1 < found[1].distance


def test_nothing_written_is_last_and_without_a_prompt_likelihood_decides() -> None:
    found = _ranked([b"", VERSES[:50], VERSES[50:90]], [0.0, -500.0, -20.0], None)
    assert [one.candidate for one in found] == [2, 1, 0]
    assert found[-1].faults == ("nothing was written",)
    assert [one.distance for one in found] == [None, None, None]


def test_silence_and_loops_are_faults() -> None:
    remi = domain("remi")
    prompt = remi.prompt(make_score({0: [(beat, 1, 60 + beat % 5, 80) for beat in range(8)]}))
    loop = make_score({0: [(beat, 1, (60, 62, 64, 65)[beat % 4], 80) for beat in range(32)]})
    silent = make_score({0: [*((beat, 1, 60 + beat % 5, 80) for beat in range(10)), (20, 1, 60, 80)]})
    varied = make_score({0: [(beat, 1, 60 + beat * beat % 11, 80) for beat in range(20)]})
    found = rank(remi, prompt, [loop, silent, varied], [-1.0, -2.0, -900.0], [100, 100, 100])
    assert found[0].candidate == 2
    assert {one.candidate: one.faults for one in found} == {
        0: ("loops for more than 4 bars",), 1: ("silent for more than 2 s",), 2: (),
    }  # fmt: skip


def test_the_best_are_written_alone_and_the_sidecar_says_why(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("generate", "midi", "--checkpoint", random_checkpoint, "--seed", 3, "--seconds", 3, "--sound", "false")
    done = run(*common, "--num-samples", 4, "--keep", 2, "--out", tmp_path / "best")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "best").glob("*.mid"))) == 2
    assert len([line for line in done.out.splitlines() if line.startswith("place ")]) == 4
    run(*common, "--num-samples", 4, "--out", tmp_path / "all")
    kept = [json.loads((tmp_path / "best" / f"from-nothing-{n}.json").read_text()) for n in (1, 2)]
    assert [one["ranking"]["place"] for one in kept] == [1, 2]
    for number, one in enumerate(kept):
        same = tmp_path / "all" / f"from-nothing-{one['candidate'] + 1}.mid"
        assert (tmp_path / "best" / f"from-nothing-{number + 1}.mid").read_bytes() == same.read_bytes()
    nats = [one["ranking"]["nats_per_token"] for one in kept]
    assert all(np.isfinite(nats))
    # Python keeps the same ones, in the same order.
    model = muse.load(random_checkpoint, device="cpu")
    best = model.continue_(seed=3, seconds=3, num_samples=4, keep=2)
    assert [json.loads(one.sidecar())["ranking"] for one in best] == [one["ranking"] for one in kept]
    assert [one.ids.tolist() for one in best] == [one["ids"] for one in kept]
    # It is made again like any other.
    again = ("--from-json", tmp_path / "best" / "from-nothing-1.json", "--out", tmp_path / "again", "--sound", "false")
    done = run("generate", "midi", "--checkpoint", random_checkpoint, *again)
    assert done.code == 0, done.err
    first = tmp_path / "best" / "from-nothing-1.mid"
    assert (tmp_path / "again" / "from-nothing-1.mid").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("keep", [0, 3])
def test_more_than_there_are_cannot_be_kept(
    run: RunCommand, random_checkpoint: Path, tmp_path: Path, keep: int
) -> None:
    words = ("generate", "midi", "--checkpoint", random_checkpoint, "--num-samples", 2, "--keep", keep)
    done = run(*words, "--out", tmp_path / "out")
    assert done.code == 2
    assert f"--keep is {keep}; allowed: 1 to --num-samples, 2" in done.err
    model = muse.load(random_checkpoint, device="cpu")
    with pytest.raises(muse.OptionError, match=f"^keep is {keep}; allowed: 1 to num_samples, 2$"):
        model.continue_(num_samples=2, keep=keep)
