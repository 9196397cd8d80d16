"""A training that is killed at any moment and resumed ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from small_models import Nursery, Outcome
from small_stores import midi_store

from muse_shortcut.checkpoints import load_checkpoint
from muse_shortcut.config import ModelConfig, ShortcutConfig, TrainConfig
from muse_shortcut.data.store import open_store

SHAPE = {
    "context": 24, "layers": 4, "width": 30, "heads": 3, "feed_forward": 38, "dropout": 0.2,
    "shortcut": {"taps": [1, 2], "feature_width": 17},
}  # fmt: skip
TRAINING = {
    "max_steps": 24, "batch_size": 3, "accumulation": 2, "learning_rate": 0.01, "final_learning_rate": 0.001,
    "warmup_steps": 5, "augment": True, "eval_every": 4, "eval_windows": 5, "save_every": 3, "keep": 2,
    "sample_every": 0, "precision": "float32", "tensorboard": False, "patience": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return midi_store(tmp_path_factory)


def words(store: Path, run: Path, *more: object, **training: Any) -> list[object]:
    """A command line; the run's configuration lies in a file beside it."""
    file = run.with_name(f"{run.name}.yaml")
    file.write_text(yaml.safe_dump({"model": SHAPE, "train": TRAINING | training}))
    return ["midi", "--data", store, "--out", run, "--config", file, "--device", "cpu", "--seed", 7, *more]


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = nursery.train(*words(store, run))
    assert done.code == 0, done.err
    return run


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def latest(run: Path) -> Path:
    return run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()


def assert_same_training(run: Path, other: Path, besides: str = "nothing") -> None:
    """The same checkpoints by name, the same weights and optimiser by byte, and every step once with the same loss.

    `besides`: a checkpoint that only `run` may have.
    """
    checkpoints = [
        {str(path.relative_to(folder / "checkpoints")) for path in (folder / "checkpoints").rglob("*")}
        for folder in (run, other)
    ]
    assert {name for name in checkpoints[0] - checkpoints[1] if not name.startswith(besides)} == set()
    assert checkpoints[1] - checkpoints[0] == set()
    for pointer in ("latest", "best"):
        assert (run / "checkpoints" / pointer).read_text() == (other / "checkpoints" / pointer).read_text()
    for name in sorted(checkpoints[1]):
        if name.endswith(".safetensors"):
            assert (run / "checkpoints" / name).read_bytes() == (other / "checkpoints" / name).read_bytes(), name
    timed = ("tokens_per_second",)
    lines = [[{k: v for k, v in line.items() if k not in timed} for line in metrics(f)] for f in (run, other)]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == list(range(lines[0][-1]["step"] + 1))
    progress = [
        json.loads((latest(f) / "training" / "progress.json").read_text()) | {"seconds": 0} for f in (run, other)
    ]
    assert progress[0] == progress[1]


def finish(nursery: Nursery, command: list[object]) -> Outcome:
    done = nursery.train(*command, "--resume", "auto")
    assert done.code == 0, done.err
    return done


def test_the_uninterrupted_training_is_the_reference(undisturbed: Path) -> None:
    assert latest(undisturbed).name == "step-000024"
    assert {line["step"]: line for line in metrics(undisturbed)}[24]["validation"] < metrics(undisturbed)[0][
        "validation"
    ]
    assert [line["step"] for line in metrics(undisturbed) if "validation" in line] == [0, 4, 8, 12, 16, 20, 24]
    assert metrics(undisturbed)[-1]["tokens"] == 24 * 3 * 2 * 24
    names = {path.name for path in (undisturbed / "checkpoints").iterdir()}
    best = (undisturbed / "checkpoints" / "best").read_text().strip()
    assert names == {"latest", "best", "step-000021", "step-000024", best}


def test_the_same_training_again_ends_with_the_same_bytes(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    assert nursery.train(*words(store, tmp_path / "run")).code == 0
    assert_same_training(tmp_path / "run", undisturbed)


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    command = words(store, tmp_path / "run", "--resume", "auto")
    started = time.monotonic()
    nursery.train(*words(store, tmp_path / "timed"))
    whole = time.monotonic() - started
    moments, kills = random.Random(11), 0
    for part in (0.1, *(moments.uniform(0.3, 0.8) for _ in range(4))):
        kills += nursery.train(*command, kill_after=part * whole).code == -signal.SIGKILL
    assert kills > 0
    finish(nursery, command)
    assert_same_training(tmp_path / "run", undisturbed)


def test_killed_anywhere_in_the_writing_of_a_checkpoint_it_ends_with_the_same_bytes(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = words(store, run, "--resume", "auto")
    deaths = 0
    # Renaming, syncing and removing happen nearly nowhere else; a checkpoint takes about fifty of them. A process
    # that is killed before its first checkpoint gets one step further at the next try.
    for call in (*range(3, 60, 9), *range(60, 110, 7), *range(58, 80, 2)):
        done = nursery.train(*command, kill_at=call)
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.err
        deaths += 1
        if (run / "checkpoints" / "latest").exists():
            load_checkpoint(latest(run))
    assert deaths > 15
    finish(nursery, command)
    assert_same_training(run, undisturbed)


@pytest.mark.parametrize("name", ["best", "latest", "step-000004"])
def test_killed_while_it_names_its_best_checkpoint_it_names_it_in_the_end(
    name: str, nursery: Nursery, store: Path, tmp_path: Path
) -> None:
    command = words(store, tmp_path / "run", "--resume", "auto", max_steps=4)
    # It names the first at step 0, the latest at 3 as well.
    number = {"best": 2, "latest": 3, "step-000004": 1}[name]
    assert nursery.train(*command, kill_before=(name, number)).code == -signal.SIGKILL
    finish(nursery, command)
    assert metrics(tmp_path / "run")[4]["validation"] < metrics(tmp_path / "run")[0]["validation"]
    for pointer in ("best", "latest"):
        assert (tmp_path / "run" / "checkpoints" / pointer).read_text() == "step-000004\n"


def test_the_installed_command_killed_from_outside_ends_with_the_same_bytes(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = words(store, run)
    program = Path(sys.executable).with_name("muse-train")
    process = subprocess.Popen(
        [program, *map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    log = run / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 2):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    finish(nursery, command)
    assert_same_training(run, undisturbed)


@pytest.mark.parametrize("batch", [1, 13, 30])
def test_a_ctrl_c_leaves_a_checkpoint_and_going_on_ends_with_the_same_bytes(
    batch: int, nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = words(store, run)
    done = nursery.train(*command, interrupt_at=batch)
    step = (batch - 1) // 2 + 1
    assert done.code == 130
    assert done.out.startswith(f"step {step}: best validation ")
    assert latest(run).name == f"step-{step:06d}"
    assert metrics(run)[-1]["step"] == step
    finish(nursery, command)
    assert_same_training(run, undisturbed, besides=f"step-{step:06d}")


def test_going_on_with_a_finished_training_changes_nothing(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    done = finish(nursery, words(store, run))
    assert done.out.startswith("step 24: ")
    assert_same_training(run, undisturbed)


def test_a_training_can_be_given_more_steps(nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    assert nursery.train(*words(store, run, max_steps=26), "--resume", "auto").code == 0
    assert [line["step"] for line in metrics(run)] == list(range(27))
    assert latest(run).name == "step-000026"
    assert latest(run) != latest(undisturbed)


def test_a_folder_with_a_training_is_refused_without_resume(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    done = nursery.train(*words(store, run))
    assert done.code == 2
    assert (
        done.err == f"muse-train: {run} has a training already; resume it with --resume auto, or choose another --out\n"
    )
    assert_same_training(run, undisturbed)


def test_going_on_with_another_store_is_refused(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    other = shutil.copytree(store, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"sha256": "0" * 64}))
    done = nursery.train(*words(other, run), "--resume", "auto")
    assert done.code == 2
    assert done.err == (
        f"muse-train: {latest(run)} was trained on another store than {other}; use --from to start from its weights\n"
    )


def test_a_store_of_another_tokenizer_is_refused(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(store, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": "0123456789abcdef"}))
    for more in ([], ["--from", latest(undisturbed)]):
        done = nursery.train(*words(other, tmp_path / "run", *more))
        assert done.code == 2
        assert "was made by another tokenizer (0123456789ab) than " in done.err
        assert open_store(store).fingerprint[:12] in done.err
        assert done.err.count("\n") == 1


# What there is is found by looking


@pytest.mark.parametrize("damage", ["missing", "step-000000", "../step-000024", "step-000007", "\xff", "a folder"])
def test_training_resumes_from_existing_checkpoints_whatever_the_pointers_say(
    damage: str, nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    for pointer in ("latest", "best"):
        path = run / "checkpoints" / pointer
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes(damage.encode("latin-1"))
    if damage == "a folder":
        done = nursery.train(*words(store, run), "--resume", "auto")
        assert done.code == 2
        assert f"cannot write {run / 'checkpoints' / 'best'}: " in done.err
        return
    done = finish(nursery, words(store, run))
    assert f"resuming from {run / 'checkpoints' / 'step-000024'}\n" in done.err
    assert_same_training(run, undisturbed)
    assert not (run / "metrics.superseded.jsonl").exists()


def test_without_latest_a_training_given_more_steps_loses_nothing(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    for name in ("checkpoints/latest", "checkpoints/best", "config.yaml"):
        (run / name).unlink()
    before = metrics(run)
    assert nursery.train(*words(store, run, max_steps=26, keep=9), "--resume", "auto").code == 0
    assert metrics(run)[: len(before)] == before
    assert [line["step"] for line in metrics(run)] == list(range(27))
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names >= {path.name for path in (undisturbed / "checkpoints").iterdir()} | {"step-000026"}
    assert (run / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("part", "damage", "reason"),
    [
        ("training/optimiser.safetensors", None, "is missing"),
        ("training/optimiser.safetensors", b"noise", "is damaged"),
        ("training/optimiser.safetensors", 5000, "is damaged: its SHA-256 differs from the recorded one"),
        ("model.safetensors", 5000, "is damaged: its SHA-256 differs from the recorded one"),
        ("training/progress.json", None, "No such file"),
        ("training/progress.json", b"[]", "is damaged: it is not an object"),
        ("training/progress.json", b'{"step": "3"}', "step is '3'"),
        ("training/progress.json", b'{"step": 100000000000000}', "it says step 100,000,000,000,000"),
        ("training/progress.json", b'{"step": 24, "seconds": NaN}', "seconds is nan"),
        ("training/checksums.json", b"noise", "is damaged: it is not JSON"),
        ("config.json", b"", "is damaged: it is not JSON"),
        ("config.json", 300, "is damaged: its SHA-256 differs from the recorded one"),
        ("generation.json", b"[]", "is damaged: it is not an object"),
        ("tokenizer/tokenizer.json", b"noise", "is damaged: it is not JSON"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_and_reported(
    part: str, damage: bytes | int | None, reason: str, nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    damage_file(latest(run) / part, damage)
    before = metrics(run)
    done = finish(nursery, words(store, run))
    said, going_on, *_ = done.err.splitlines()
    assert said.startswith("muse-train: skipping a newer checkpoint: ")
    assert str(latest(undisturbed).name) in said
    assert reason in said
    assert going_on == f"resuming from {run / 'checkpoints' / 'step-000021'}"
    assert_same_training(run, undisturbed)
    superseded = [json.loads(line) for line in (run / "metrics.superseded.jsonl").read_text().splitlines()]
    assert superseded == before[22:]


def damage_file(path: Path, damage: bytes | int | None) -> None:
    """Remove a file, write another, or turn over one bit of a byte."""
    if damage is None:
        path.unlink()
    elif isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        content = bytearray(path.read_bytes())
        content[damage] ^= 16
        path.write_bytes(content)


def test_where_no_checkpoint_is_whole_nothing_is_changed(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    for folder in (run / "checkpoints").glob("step-*"):
        (folder / "model.safetensors").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = nursery.train(*words(store, run), "--resume", "auto")
    assert done.code == 2
    assert done.err == (
        f"muse-train: {run / 'checkpoints'} has no complete checkpoint to resume from: "
        f"{latest(run) / 'model.safetensors'} is missing\n"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resume", ["auto", "never"])
@pytest.mark.parametrize("lost", ["checkpoints", "checkpoints/step-*"])
def test_a_training_that_lost_its_checkpoints_does_not_start_again(
    lost: str, resume: str, nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    for path in run.glob(lost):
        shutil.rmtree(path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = nursery.train(*words(store, run), "--resume", resume)
    assert done.code == 2
    assert done.err.startswith(f"muse-train: {run} has a ")
    assert ("log up to step 24 of a training" if resume == "auto" else "training already") in done.err
    assert done.err.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_full_disk_is_one_line_and_the_checkpoints_before_it_stay(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = words(store, run)
    assert nursery.train(*command, interrupt_at=13).code == 130
    assert latest(run).name == "step-000007"
    size = (latest(run) / "training" / "optimiser.safetensors").stat().st_size
    for limit in (size - 1, 1800, 100):  # no room for a checkpoint, for the log, for anything
        full = nursery.train(*command, "--resume", "auto", largest_file=limit)
        assert full.code == 2
        assert full.err.splitlines()[-1].startswith("muse-train: cannot write ")
        assert full.err.endswith(": File too large\n")
        assert "Traceback" not in full.err
        assert latest(run).name == "step-000007"
        load_checkpoint(latest(run))
    finish(nursery, command)
    assert_same_training(run, undisturbed, besides="step-000007")


# Fine-tuning


def test_fine_tuning_starts_at_the_loss_of_the_parent(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    best = undisturbed / "checkpoints" / (undisturbed / "checkpoints" / "best").read_text().strip()
    run = tmp_path / "run"
    done = nursery.train(*words(store, run, "--from", best, max_steps=2, keep=5))
    assert done.code == 0, done.err
    lowest = min(line["validation"] for line in metrics(undisturbed) if "validation" in line)
    assert metrics(run)[0]["validation"] == lowest
    assert load_checkpoint(latest(run)).core.config == load_checkpoint(best).core.config
    start = load_file(run / "checkpoints" / "step-000000" / "model.safetensors")
    for name, weight in load_file(best / "model.safetensors").items():
        assert (start[name] == weight).all()


def test_fine_tuning_killed_ends_with_the_same_bytes(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    runs = [tmp_path / "whole", tmp_path / "killed"]
    commands = [words(store, run, "--from", latest(undisturbed), max_steps=7) for run in runs]
    assert nursery.train(*commands[0]).code == 0
    for call in (40, 90):
        assert nursery.train(*commands[1], "--resume", "auto", kill_at=call).code == -signal.SIGKILL
    finish(nursery, commands[1])
    assert_same_training(runs[1], runs[0])


def test_fine_tuning_from_something_else_than_a_checkpoint_is_refused(
    nursery: Nursery, store: Path, tmp_path: Path
) -> None:
    done = nursery.train(*words(store, tmp_path / "run", "--from", tmp_path))
    assert done.code == 2
    assert done.err == f"muse-train: {tmp_path} is not a checkpoint: it has no config.json\n"


# What a run says of itself


def test_options_win_over_the_config_file(nursery: Nursery, store: Path, tmp_path: Path) -> None:
    options = ["--model.shortcut", "null", "--train.max_steps", 1, "--train.batch-size=2", "--model.layers=2"]
    done = nursery.train(*words(store, tmp_path / "run", *options))
    assert done.code == 0, done.err
    config = load_checkpoint(latest(tmp_path / "run")).core.config
    assert (config.shortcut, config.layers, config.width) == (None, 2, 30)
    assert metrics(tmp_path / "run")[-1]["tokens"] == 1 * 2 * 2 * 24


def test_a_run_says_how_it_was_made(undisturbed: Path, store: Path) -> None:
    checkpoint = load_checkpoint(latest(undisturbed))
    # What the file leaves out is as in the preset.
    shortcut = ShortcutConfig(taps=(1, 2), feature_width=17, feature_map="residual")
    expected = ModelConfig(**(SHAPE | {"shortcut": shortcut}))  # type: ignore[arg-type]
    assert checkpoint.core.config == expected.for_vocabulary(391, 1)
    manifest = open_store(store).manifest
    assert checkpoint.facts["store"] == manifest["sha256"]
    assert checkpoint.facts["data"] == manifest["source"]
    assert (checkpoint.facts["seed"], checkpoint.facts["steps"]) == (7, 24)
    assert checkpoint.facts["tokens_seen"] == 24 * 3 * 2 * 24
    lowest = min(line["validation"] for line in metrics(undisturbed) if "validation" in line)
    assert checkpoint.facts["best_validation_nats_per_token"] == lowest
    written = yaml.safe_load((undisturbed / "config.yaml").read_text())
    assert TrainConfig(**written["train"]) == TrainConfig(**TRAINING)  # type: ignore[arg-type]


def test_the_config_file_of_a_run_makes_the_run_again(
    nursery: Nursery, store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    done = nursery.train("midi", "--config", undisturbed / "config.yaml", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert_same_training(tmp_path / "run", undisturbed)
