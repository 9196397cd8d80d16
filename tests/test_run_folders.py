"""The checkpoints of a run are found in its folder, whatever its pointers say."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from muse_shortcut.commands.checkpoint_names import describe_unimproved
from muse_shortcut.errors import ArgumentsError, CheckpointError
from muse_shortcut.runs import (
    best_checkpoint,
    find_checkpoint,
    newest_checkpoint,
    problem_of,
    read_progress,
    unimproved_steps,
    write_checksums,
)
from muse_shortcut.training.run import RunFolder

TENSORS = struct.pack("<Q", 60) + b'{"a": {"dtype": "U8", "shape": [5], "data_offsets": [0, 5]}}' + b"12345"


def make(run: Path, step: int, best: float | None = None, *, sums: bool = True) -> Path:
    """A checkpoint as a training of a core leaves it."""
    folder = run / "checkpoints" / f"step-{step:06d}"
    for name in ("training", "tokenizer"):
        (folder / name).mkdir(parents=True)
    for name in ("config.json", "generation.json", "tokenizer/tokenizer.json"):
        (folder / name).write_text("{}")
    for name in ("model.safetensors", "training/optimiser.safetensors"):
        (folder / name).write_bytes(TENSORS)
    (folder / "training" / "progress.json").write_text(json.dumps({"step": step, "best": best}))
    if sums:
        write_checksums(folder)
    return folder


def test_the_newest_checkpoint_is_by_step_and_the_best_by_validation(tmp_path: Path) -> None:
    for step, best in ((0, 5.0), (999_999, 3.0), (1_000_000, 3.0), (1_000_001, 3.0)):
        made = make(tmp_path, step, best)
    checkpoints = tmp_path / "checkpoints"
    assert newest_checkpoint(checkpoints) == (made, [])
    best = best_checkpoint(checkpoints)
    assert best is not None
    assert best.name == "step-999999"
    for named in (tmp_path, checkpoints):
        assert find_checkpoint(named) == best
    assert find_checkpoint(made) == made


def test_where_nothing_was_judged_the_newest_stands_for_the_run(tmp_path: Path) -> None:
    older, newest = make(tmp_path, 1), make(tmp_path, 2)
    assert find_checkpoint(tmp_path) == newest
    (tmp_path / "checkpoints" / "best").write_text(older.name)
    assert find_checkpoint(tmp_path) == older
    for nonsense in ("../checkpoints/step-000001", "step-000009", "", "\0", "."):
        (tmp_path / "checkpoints" / "best").write_text(nonsense)
        assert find_checkpoint(tmp_path) == newest


def test_latest_and_best_are_names_of_checkpoints(tmp_path: Path) -> None:
    best, newest, damaged = make(tmp_path, 1, 3.0), make(tmp_path, 2, 3.0), make(tmp_path, 3, 3.0)
    (damaged / "model.safetensors").unlink()
    checkpoints = tmp_path / "checkpoints"
    # Found by looking, as everywhere: the files may be stale or missing.
    (checkpoints / "latest").write_text("step-000001\n")
    assert find_checkpoint(checkpoints / "latest") == newest
    assert find_checkpoint(checkpoints / "best") == best
    assert find_checkpoint(tmp_path / "latest") == tmp_path / "latest"


def test_a_run_that_never_improved_on_its_beginning_is_known(tmp_path: Path) -> None:
    for run, bests in (("improved", (5.0, 4.0)), ("spoilt", (5.0, 5.0)), ("begun", (5.0,))):
        for step, best in enumerate(bests):
            make(tmp_path / run, 7 * step, best)
    first = tmp_path / "spoilt" / "checkpoints" / "step-000000"
    assert unimproved_steps(first) == 7
    assert [unimproved_steps(tmp_path / run / "checkpoints" / "step-000000") for run in ("improved", "begun")] == [0, 0]
    assert unimproved_steps(first.with_name("step-000007")) == 0
    assert describe_unimproved(first) == ""  # it does not say what it holds
    (first / "config.json").write_text('{"facts": {}}')
    assert describe_unimproved(first).startswith("which has untrained weights: no evaluation after step 0 improved")
    (first / "config.json").write_text('{"facts": {"parent": {"name": "bach"}}}')
    assert describe_unimproved(first).startswith("which has the weights of its parent bach, unchanged: no evaluation")


def test_a_run_that_was_stopped_before_its_first_evaluation_is_not_called_unimproved(tmp_path: Path) -> None:
    for step in (0, 3):
        folder = make(tmp_path / "run", step, 5.0)
        path = folder / "training" / "progress.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluations_without_improvement": 0}))
    first = tmp_path / "run" / "checkpoints" / "step-000000"
    (first / "config.json").write_text('{"facts": {}}')
    assert unimproved_steps(first) == 0
    assert "untrained weights: the training was stopped before its first evaluation; the" in describe_unimproved(first)


def test_a_run_without_checkpoints_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        find_checkpoint(tmp_path)
    assert newest_checkpoint(tmp_path / "checkpoints") == (None, [])


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("part", ["model.safetensors", "training/optimiser.safetensors"])
@pytest.mark.parametrize(
    "content", [None, b"", b"12345678", TENSORS[:-1], TENSORS + b"0", TENSORS.replace(b"5]}", b"x]}")]
)
def test_damage_of_weights_or_state_is_seen(part: str, content: bytes | None, sums: bool, tmp_path: Path) -> None:
    folder = make(tmp_path, 3, sums=sums)
    assert problem_of(folder) is None
    (folder / part).unlink() if content is None else (folder / part).write_bytes(content)
    problem = problem_of(folder)
    assert problem is not None
    assert str(folder / part) in problem


def test_every_changed_byte_of_weights_or_state_is_seen(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    for part in ("model.safetensors", "training/optimiser.safetensors", "training/progress.json"):
        good = (folder / part).read_bytes()
        for place in range(len(good)):
            (folder / part).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            assert problem_of(folder) is not None, (part, place)
        (folder / part).write_bytes(good)
    assert problem_of(folder) is None


def test_a_card_and_the_default_sampling_may_be_edited(tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    (folder / "generation.json").write_text('{"temperature": 0.9}')
    (folder / "README.md").write_text("mine")
    assert problem_of(folder) is None


@pytest.mark.parametrize("name", ["training", "tokenizer"])
def test_a_folder_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    folder = make(tmp_path, 1)
    shutil.rmtree(folder / name)
    problem = problem_of(folder)
    assert problem is not None
    assert problem.startswith(str(folder / name))


def test_checksums_name_nothing_outside_their_checkpoint(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    for name in ("../outside", "/etc/passwd"):
        sums = json.loads((folder / "training" / "checksums.json").read_text())
        (folder / "training" / "checksums.json").write_text(json.dumps({name: "0", **sums}))
        assert "which is not in its checkpoint" in str(problem_of(folder))
        write_checksums(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "training/optimiser.safetensors"])
def test_checksums_that_leave_out_the_tensors_are_damaged(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path, 3)
    path = folder / "training" / "checksums.json"
    sums = json.loads(path.read_text())
    del sums[name]
    path.write_text(json.dumps(sums))
    assert problem_of(folder) == f"{path} is damaged: it has no checksum of {name}"
    path.write_text("{}")
    assert problem_of(folder) == f"{path} is damaged: it has no checksum of model.safetensors"


def test_checksums_of_a_codec_include_its_state(tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    (folder / "training" / "state.safetensors").write_bytes(TENSORS)
    path = folder / "training" / "checksums.json"
    assert problem_of(folder) == f"{path} is damaged: it has no checksum of training/state.safetensors"
    write_checksums(folder)
    assert problem_of(folder) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"step": 4}, "it says step 4, its folder is called step-000003"),
        ({"step": 3.0}, "step is 3.0"),
        ({"step": True}, "step is True"),
        ({}, "step is None"),
        ({"step": 3, "best": float("inf")}, "best is inf"),
        ({"step": 3, "tokens": 10**30}, "tokens is 1000"),
        ({"step": 3, "seconds": "3"}, "seconds is '3'"),
        ([], "it is not an object"),
    ],
)
def test_progress_that_cannot_be_is_refused(content: Any, reason: str, tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    (folder / "training" / "progress.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError) as refused:
        read_progress(folder)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_newer_damaged_checkpoint_is_left_where_it_is(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    older, newer = make(tmp_path, 5, 2.0), make(tmp_path, 9, 1.0)
    (newer / "model.safetensors").write_bytes(b"")
    said: list[str] = []
    assert run.latest(said.append) == older
    assert said == [
        f"skipping a newer checkpoint: {newer / 'model.safetensors'} is damaged: its SHA-256 differs "
        "from the recorded one"
    ]
    run.finish_save(older, keep=1)
    assert newer.is_dir()
    assert {name: (run.checkpoints / name).read_text() for name in ("latest", "best")} == {
        "latest": "step-000005\n",
        "best": "step-000005\n",
    }


def test_samples_alone_are_a_training_too(tmp_path: Path) -> None:
    (tmp_path / "samples" / "step-000010").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has samples of a training and no checkpoint"):
        RunFolder(tmp_path).claim()
    with pytest.raises(ArgumentsError, match="has a training already"):
        RunFolder(tmp_path).claim(go_on=False)


def test_a_training_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 7}\n{"step": 8}\n')
    with pytest.raises(CheckpointError, match="has a log up to step 8 of a training and no checkpoint"):
        RunFolder(tmp_path).claim(first_save=7)
    RunFolder(tmp_path).claim(first_save=8)
