"""Promises of muse-evaluate: tables to read, everything in the JSON, and one clear line for every mistake."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome, RunCommand
from small_stores import midi_store, two_sources

PARTS = ("likelihood", "continuations", "copies")
SHORT = ("--windows", 2, "--prompt-seconds", 3, "--seconds", 3, "--top-k", 20)


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_sources(tmp_path_factory)


@pytest.fixture
def evaluate(run: RunCommand, random_checkpoint: Path, data: Path) -> Any:
    """muse-evaluate midi with the random checkpoint, over the store of two sources."""

    def call(*words: object, checkpoint: Path = random_checkpoint, store: Path = data) -> Outcome:
        return run("evaluate", "midi", "--checkpoint", checkpoint, "--data", store, *words)

    return call


def only(*parts: str) -> tuple[str, ...]:
    return tuple(f"--{part}={str(part in parts).lower()}" for part in PARTS)


def test_everything_is_on_the_terminal_and_in_the_json(evaluate: Any, tmp_path: Path) -> None:
    done = evaluate(*SHORT, "--json", tmp_path / "all.json", "--seed", 3)
    assert done.code == 0, done.err
    for line in ("How likely", "high", "together", "Continuations of 2", "note density", "loop for more than 4 bars"):
        assert line in done.out
    assert "\x1b" not in done.out
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["seed"] == 3
    scored = found["likelihood"]
    assert (scored["context"], scored["stride"]) == (192, 96)
    assert set(scored["sources"]) == {"high", "low"}
    assert scored["all"]["pieces"] == len(scored["pieces"]) == 8
    assert sum(piece["tokens"] for piece in scored["pieces"]) == scored["all"]["tokens"]
    # Weights nobody trained know nothing: about ln 1,116 nats.
    assert scored["all"]["nats_per_token"] == pytest.approx(7.02, abs=0.1)
    continued = found["continuations"]
    assert {window["source"] for window in continued["windows"]} == {"high", "low"}
    assert continued["sampling"]["top_k"] == 20
    assert continued["left_out"] == {"high": 1, "low": 1}
    assert {"pitch_classes", "note_density"} <= {one["measure"] for one in continued["comparisons"]}
    assert len(found["copies"]["windows"]) == 2
    assert found["copies"]["true"]["count"] == [12.0, 12.0, 12.0]


def test_the_value_of_a_depth_is_the_loss_of_likelihood_without_it(evaluate: Any, tmp_path: Path) -> None:
    words = (*only("likelihood"), "--hide-depths", "--context", 64, "--json", tmp_path / "hidden.json")
    done = evaluate(*words)
    assert done.code == 0, done.err
    assert "What hiding depths from the last layer costs, nats per token" in done.out
    assert "depth 1, 2" in done.out
    likelihood = json.loads((tmp_path / "hidden.json").read_text())["likelihood"]
    assert (likelihood["context"], likelihood["stride"]) == (64, 32)
    found = likelihood["hidden_depths"]
    assert [one["depths"] for one in found] == [[1], [2], [1, 2]]
    assert all(set(one["nats_per_token"]) == {"high", "low", "together"} for one in found)
    assert all(one["nats_per_token"]["together"] != 0 for one in found)


def test_a_seed_gives_the_same_numbers_again(evaluate: Any, tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        done = evaluate(*SHORT, *only("continuations"), "--seed", 4, "--json", tmp_path / name)
        assert done.code == 0, done.err
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_likelihood_alone_reads_the_pieces_and_sources_that_were_asked_for(evaluate: Any, tmp_path: Path) -> None:
    words = (*only("likelihood"), "--sources", "low", "--max-pieces", 2, "--stride", 192, "--batch-size", 3)
    done = evaluate(*words, "--json", tmp_path / "some.json")
    assert done.code == 0, done.err
    assert "Continuations" not in done.out
    found = json.loads((tmp_path / "some.json").read_text())
    assert set(found) & set(PARTS) == {"likelihood"}
    assert [piece["source"] for piece in found["likelihood"]["pieces"]] == ["low"] * 2


def test_an_interruption_keeps_the_finished_part(
    evaluate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muse_shortcut.evaluation import evaluating

    made = evaluating.continue_window

    def continue_and_interrupt(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return made(*arguments)

    monkeypatch.setattr(evaluating, "continue_window", continue_and_interrupt)
    done = evaluate(*SHORT, *only("continuations", "copies"), "--json", tmp_path / "some.json")
    assert done.code == 130, done.err
    assert "Continuations of 1" in done.out
    found = json.loads((tmp_path / "some.json").read_text())
    assert len(found["continuations"]["windows"]) == 1
    assert "copies" not in found


# Bad input: one line, exit code 2


def _refused(done: Outcome, *words: str) -> None:
    assert done.code == 2, done.err
    assert done.out == ""
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("muse-evaluate: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--windows", 0), "--windows is 0; allowed: more than 0"),
        (("--seconds", -1), "--seconds is -1.0; allowed: more than 0"),
        (("--prompt-seconds", 0), "--prompt-seconds is 0.0; allowed: more than 0"),
        (("--seconds", "long"), "--seconds is 'long'; allowed: a number"),
        (("--stride", 193), "--stride is 193; allowed: 1 to 192"),
        (("--context", 193), "--context is 193; allowed: 1 to the checkpoint's 192"),
        (("--context", 64, "--stride", 65), "--stride is 65; allowed: 1 to 64"),
        (("--stride", 0), "--stride is 0; allowed: 1 to 192"),
        (("--batch-size", 0), "--batch-size is 0; allowed: 1 to 4096"),
        (("--max-pieces", 0), "--max-pieces is 0; allowed: 1 or more"),
        (("--seed", -1), "--seed is -1; allowed: 0 to 2^63 - 1"),
        (("--temperature", 0), "temperature is 0.0; allowed: more than 0, up to 10"),
        (("--top-p", 2), "--top-p is 2.0; allowed"),
        (("--sources", "flute"), "--sources is 'flute'; allowed: high, low, those of the validation split of"),
        (("--sources", ","), "--sources is empty"),
        (("--split", "test"), "there is nothing to evaluate: the test split of"),
        (("--split", "noon"), "noon"),
        (("--device", "abacus"), "abacus"),
        (("--json", "nowhere/at/all.json"), "--json is 'nowhere/at/all.json'; there is no folder nowhere/at"),
        (("--json", "."), "--json is '.', a folder; allowed: a file"),
        (only(), "there is nothing to do: --likelihood, --continuations, --copies are all false"),
        ((*only("copies"), "--seconds", 100), "has 100 seconds before a split point and 100 after it"),
    ],
)
def test_impossible_arguments(evaluate: Any, words: tuple[object, ...], message: str) -> None:
    _refused(evaluate(*words), message)


def test_a_store_of_another_tokenizer(evaluate: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    _refused(evaluate(store=midi_store(tmp_path_factory)), "was made by another tokenizer", "random-checkpoint")


def test_a_store_or_a_checkpoint_that_is_not_there(evaluate: Any, tmp_path: Path) -> None:
    _refused(evaluate(store=tmp_path), f"{tmp_path} is not a token store")
    _refused(evaluate(checkpoint=tmp_path / "no"), "no checkpoint at", "there is no such folder")


def test_the_store_has_to_be_named(run: RunCommand) -> None:
    done = run("evaluate", "midi")
    assert done.code == 2
    assert "data" in done.err
    assert len(done.err.strip().splitlines()) == 1
