"""Comparisons: all cores see the same batches, killed runs resume, and reports match the results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muse_shortcut.comparison.dataset import Dataset, VocabularyInfo, open_dataset, write_pack
from muse_shortcut.comparison.plan import Plan, plan_names, read_plan
from muse_shortcut.comparison.report import write_report
from muse_shortcut.comparison.results import append_result, read_results
from muse_shortcut.comparison.runner import ComparisonProgress, run_plan
from muse_shortcut.comparison.summary import rows_of, runs_of
from muse_shortcut.comparison.worker import RunStoppedError, WorkOrder, train
from muse_shortcut.data.batches import TrainingBatches
from muse_shortcut.errors import ArgumentsError, OutputError, StoreError
from muse_tokenizers.base import Variations

PLAN: dict[str, Any] = {
    "name": "small",
    "stores": ["scales"],
    "tokens": 960,
    "evaluations": 3,
    "test_windows": 3,
    "shape": {"context": 16, "layers": 3, "width": 8, "heads": 2, "feed_forward": 12},
    "train": {"batch_size": 4, "eval_windows": 3, "precision": "float32"},
    "cores": {"plain": {"shortcut": None}, "paper": {"shortcut": {"taps": [1], "feature_width": 8, "norm": False}}},
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of stores, one of them, `scales`, of 13 ids that go up and down."""
    folder = tmp_path_factory.mktemp("stores")
    ids = np.abs(np.arange(4000) % 18 - 9)[:, None].astype(np.uint16) + 3
    material = Dataset(
        digest="scales",
        vocabulary=VocabularyInfo(kind="midi", vocabulary_size=13, streams=1, pad=0, end=2, folder=None),
        splits={"train": ids[:3000], "validation": ids[3000:3500], "test": ids[3500:]},
        variations=Variations(maps=np.arange(13)[None], valid=np.ones((1, 13), dtype=bool)),
    )
    write_pack(material, folder / "scales", tokens=2900)
    return folder


def orders(plan: Plan, stores: Path, out: Path) -> list[WorkOrder]:
    return [
        WorkOrder(
            job=job, plan=plan.name, digest=job.digest("scales 2900"), stores=stores, out=out, device="cpu", threads=1
        )
        for job in plan.jobs()
    ]


def trained(plan: Plan, stores: Path, out: Path) -> list[dict[str, Any]]:
    return [train(order, lambda _: None, lambda: False) for order in orders(plan, stores, out)]


# Plans


@pytest.mark.parametrize("name", plan_names())
def test_a_plan_that_ships_can_be_run(name: str) -> None:
    plan = read_plan(name)
    assert plan.name == name
    assert plan.about
    jobs = list(plan.jobs())
    assert len(jobs) == len(plan.cores) * len(plan.seeds) * len(plan.stores) * len(plan.rates)
    assert plan.model(plan.baseline).shortcut is None
    context = {job.model.context for job in jobs}.pop()
    assert jobs[0].train.max_steps * jobs[0].train.batch_size * context == pytest.approx(plan.tokens, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cores": {}}, "cores is []; allowed: at least one"),
        (
            {"cores": {"plain": {"widht": 3}}},
            "cores.plain has the unknown field 'widht'; allowed: vocabulary_size, streams, context",
        ),
        ({"cores": {"a b": {}}}, "a name is 'a b'; allowed: letters, digits, _ and -"),
        ({"cores": {"plain": None}}, "cores.plain is None; allowed: a mapping of fields"),
        (
            {"cores": {"x": {"shortcut": {"tap": [1]}}}},
            "cores.x.shortcut has the unknown field 'tap'; allowed: taps, include_last",
        ),
        (
            {"cores": {"x": {"context": 7, "shortcut": None}, "y": {"shortcut": None}}},
            "context is [7, 16]; allowed: the same for all cores",
        ),
        ({"cores": {"x": {"shortcut": None}, "y": {"shortcut": None}}}, "cores.y is 'x'; allowed: each core only once"),
        ({"train": {"max_steps": 3}}, "train.max_steps follows from other fields of the plan; remove it"),
        ({"seeds": [-1]}, "seeds is (-1,); allowed: 0 to 2^63"),
        ({"tokens": "many"}, "tokens is 'many'; allowed: a whole number"),
        ({"storse": ["scales"]}, "a plan has the unknown field 'storse'; allowed: name, about, stores"),
    ],
)
def test_an_impossible_plan_is_refused_with_the_reason(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN | changes))
    with pytest.raises(ArgumentsError) as found:
        read_plan(str(path))
    assert str(found.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(found.value)


def test_a_plan_that_is_not_there_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsError, match=r"found no plan 'swep'; allowed: cores, .*sweep"):
        read_plan("swep")
    path = tmp_path / "plan.yaml"
    path.write_text("name: [\n")
    with pytest.raises(ArgumentsError, match=r"plan.yaml: is not YAML at line 2"):
        read_plan(str(path))


def test_extending_a_plan_keeps_finished_runs() -> None:
    plan = Plan.from_json(PLAN)
    grown = Plan.from_json(PLAN | {"seeds": [0, 1], "about": "more", "rates": [1, 2]})
    before = {job.digest("x") for job in plan.jobs()}
    assert before < {job.digest("x") for job in grown.jobs()}
    assert not before & {job.digest("x") for job in plan.shrunk(0.5).jobs()}
    assert not before & {job.digest("y") for job in plan.jobs()}


# Runs


def test_every_core_sees_the_same_batches(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    draw = TrainingBatches.__call__

    def draw_and_note(self: TrainingBatches, index: int) -> Any:
        batch = draw(self, index)
        seen.append((index, hash(batch[0].tobytes())))
        return batch

    monkeypatch.setattr(TrainingBatches, "__call__", draw_and_note)
    trained(Plan.from_json(PLAN), stores, tmp_path)
    assert len(seen) == 30
    assert seen[:15] == seen[15:]


def test_a_result_records_the_training_and_its_losses(stores: Path, tmp_path: Path) -> None:
    plan = Plan.from_json(PLAN)
    plain, paper = trained(plan, stores, tmp_path)
    assert (plain["core"], plain["store"], plain["seed"], plain["rate"]) == ("plain", "scales", 0, 1.0)
    assert (plain["steps"], plain["tokens"]) == (15, 960)
    assert [tokens for tokens, _ in plain["curve"]] == [0, 320, 640, 960]
    assert plain["curve"][-1][1] < plain["curve"][0][1]
    assert plain["validation"] == pytest.approx(plain["curve"][-1][1], abs=1e-4)  # as many windows here as there
    assert paper["parameters"] == plain["parameters"] + 2 * 8 * 8
    assert paper["model"]["shortcut"]["taps"] == (1,)
    assert json.loads(json.dumps(plain))["torch"]


def test_a_run_that_is_stopped_ends_as_one_that_is_not(stores: Path, tmp_path: Path) -> None:
    plan = replace(Plan.from_json(PLAN), cores={"plain": {"shortcut": None}})
    whole = trained(plan, stores, tmp_path / "whole")[0]
    [order] = orders(plan, stores, tmp_path / "parts")
    made: list[int] = []
    for stop in (4, 5, 12):
        with pytest.raises(RunStoppedError):
            train(order, made.append, lambda stop=stop: made[-1] == stop)  # type: ignore[misc]
    parts = train(order, made.append, lambda: False)
    assert made == [*range(5), 5, *range(6, 16)]
    assert {**parts, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_whatever_is_killed_is_gone_on_with_and_nothing_is_run_twice(stores: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN | {"tokens": 6400, "evaluations": 10}))
    out, command = tmp_path / "out", [sys.executable, "-c", "from muse_shortcut.commands.compare import main; main()"]
    words = [str(tmp_path / "plan.json"), "--out", str(out), "--stores", str(stores), "--device", "cpu"]
    running = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not read_results(out) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    [first] = read_results(out)
    with (out / "results.jsonl").open("a") as file:
        file.write('{"digest": "cut o')
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"all 2 runs are in {out / 'results.jsonl'}\n"
    results = read_results(out)
    assert results[0] == first
    assert [result["core"] for result in results] == ["plain", "paper"]
    assert sorted(path.name.split("-")[1] for path in (out / "cores").iterdir()) == ["paper", "plain"]
    assert not list((out / "runs").iterdir())
    again = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=240)
    assert again.returncode == 0
    assert read_results(out) == results


def test_a_stopped_comparison_keeps_its_unfinished_runs(stores: Path, tmp_path: Path) -> None:
    news: list[ComparisonProgress] = []
    plan = Plan.from_json(PLAN | {"tokens": 64_000})
    done = run_plan(plan, stores=stores, out=tmp_path, workers=2, watch=news.append, should_stop=lambda: len(news) > 9)
    assert not done
    assert read_results(tmp_path) == []
    assert len(list((tmp_path / "runs").glob("*/checkpoints/step-*"))) >= 1
    assert {(one.total, one.runs, one.done) for one in news} == {(2000, 2, 0)}


def test_two_comparisons_in_one_folder_are_refused(stores: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another muse-compare is writing to"):
            run_plan(Plan.from_json(PLAN), stores=stores, out=tmp_path)


def test_a_store_that_is_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="scales is not a token store; create one with muse-prepare"):
        run_plan(Plan.from_json(PLAN), stores=tmp_path, out=tmp_path / "out")


def test_a_pack_has_the_ids_of_its_store(stores: Path, tmp_path: Path) -> None:
    material = open_dataset(stores / "scales")
    assert [len(material.splits[split]) for split in ("train", "validation", "test")] == [2900, 362, 362]
    assert material.vocabulary == VocabularyInfo(kind="midi", vocabulary_size=13, streams=1, pad=0, end=2, folder=None)
    write_pack(material, tmp_path / "again", tokens=10**6)
    assert np.array_equal(open_dataset(tmp_path / "again").splits["train"], material.splits["train"])
    (tmp_path / "again" / "test.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match="is damaged"):
        open_dataset(tmp_path / "again")


REFUSED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"yaml", "jsonargparse", "rich", "tensorboard", "miditok", "symusic", "mido", "pooch",
                                  "matplotlib", "tokenizers", "soundfile", "soxr", "encodec", "gradio", "av"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""
"""All but torch, numpy and safetensors."""


def without_other_libraries(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", REFUSED + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_needs_torch_numpy_and_safetensors_alone(stores: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    code = f"""
from pathlib import Path
from muse_shortcut.comparison.plan import read_plan
from muse_shortcut.comparison.worker import WorkOrder, train
plan = read_plan({str(tmp_path / "plan.json")!r})
[job, _] = plan.jobs()
order = WorkOrder(job=job, plan="", digest="d", stores=Path({str(stores)!r}), out=Path({str(tmp_path / "out")!r}),
              device="cpu", threads=1)
print(train(order, lambda _: None, lambda: False)["steps"])
"""
    assert without_other_libraries(code) == "15\n"


def test_the_gpu_script_runs_and_its_cores_compute_the_expected_values() -> None:
    script, plan = Path(__file__).parent.parent / "benchmarks" / "gpu.py", read_plan("gpu")
    code = f"""
import json, runpy
gpu = runpy.run_path({str(script)!r})
plan = gpu["Plan"].from_json(json.loads({json.dumps(plan.to_json())!r}))
cores = {{name: gpu["_tiny_core"](core) for name, core in plan.cores.items()}}
tiny = gpu["replace"](plan, shape=plan.shape | gpu["TINY"], cores=cores)
found = list(gpu["parity"](tiny, gpu["torch"].device("cpu")))
print(len(found), [one for one in found if one[1] > one[2]])
"""
    assert without_other_libraries(code) == f"{4 + 5 * len(plan.cores)} []\n"


# Results


def result(core: str, store: str, seed: int, validation: float) -> dict[str, Any]:
    plan = Plan.from_json(PLAN | {"stores": ["scales", "other"], "seeds": [0, 1, 2]})
    [job] = [one for one in plan.jobs() if (one.core, one.store, one.seed) == (core, store, seed)]
    return {
        "core": core, "store": store, "seed": seed, "rate": 1.0, "validation": validation, "test": validation + 1,
        "curve": [[0, 3.0], [320, validation + 0.2], [960, validation]], "steps": 15, "tokens": 960, "parameters": 1234,
        "flops_per_token": 5_000_000, "cache_bytes_per_token": 64, "data": store, "digest": job.digest(store),
    }  # fmt: skip


def test_differences_are_between_runs_of_one_store_and_seed() -> None:
    plan = Plan.from_json(PLAN | {"stores": ["scales", "other"], "seeds": [0, 1, 2]})
    results = [result("plain", "scales", seed, 2.0 + seed) for seed in (0, 1, 2)]
    results += [result("paper", "scales", seed, 2.0 + seed + by) for seed, by in ((0, 0.1), (1, 0.2), (2, 0.3))]
    results += [result("plain", "other", 0, 7.0), result("paper", "other", 0, 7.4), result("paper", "other", 1, 9.9)]
    stranger = results[0] | {"digest": "of another plan"}
    runs = runs_of(plan, [*results, stranger, results[0]])
    assert runs == results
    plain, paper = rows_of(plan, runs, ["scales"])
    assert (plain.validation, plain.spread, plain.difference) == (3.0, 1.0, None)
    assert paper.difference is not None
    assert paper.difference.mean == pytest.approx(0.2)
    assert paper.difference.pairs == 3
    assert paper.difference.error == pytest.approx(0.1 / 3**0.5)
    assert paper.difference.half == pytest.approx(4.303 * 0.1 / 3**0.5)  # Student's t of two degrees of freedom
    overall = rows_of(plan, runs, ["scales", "other"])[1].difference
    assert overall is not None
    assert (overall.pairs, overall.mean) == (4, pytest.approx(0.25))  # a run without its pair says nothing
    alone = rows_of(plan, runs, ["other"])[1].difference
    assert (str(alone), alone and alone.half) == ("+0.4000", None)


def test_a_report_shows_finished_runs_as_a_table_and_a_picture(tmp_path: Path) -> None:
    plan = Plan.from_json(PLAN | {"stores": ["scales", "other"], "seeds": [0, 1, 2]})
    with pytest.raises(ArgumentsError, match="is not the folder of a comparison"):
        write_report(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    with pytest.raises(ArgumentsError, match="has no finished run yet"):
        write_report(tmp_path)
    for core, validation in (("plain", 2.5), ("paper", 2.4)):
        append_result(tmp_path, result(core, "scales", 0, validation))
    text = write_report(tmp_path)
    assert text.startswith("# small: 2 of 12 runs\n")
    assert "| paper | 1,234 | 5.00 |  |  | 64 | 1 | 2.4000 | -0.1000 | 3.4000 | -0.1000 |" in text
    times = {"step_seconds": 0.5, "step_ratio": 1.0, "decode_seconds": 0.01, "decode_ratio": 1.0}
    cores = {"plain": times, "paper": times | {"step_ratio": 1.25, "decode_ratio": 1.125}}
    (tmp_path / "times.json").write_text(json.dumps({"cores": cores}))
    assert "| paper | 1,234 | 5.00 | 1.25 | 1.12 | 64 | 1 |" in write_report(tmp_path)
    assert (tmp_path / "report.md").read_text() == write_report(tmp_path)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "times.json").write_text("{}")
    with pytest.raises(ArgumentsError, match=r"times.json is damaged; muse-compare time writes it again"):
        write_report(tmp_path)


def test_times_are_measured_for_every_core_beside_the_first() -> None:
    import torch

    from muse_shortcut.comparison.timing import time_cores

    rounds: list[int] = []
    times = time_cores(
        Plan.from_json(PLAN),
        vocabulary_size=13,
        streams=1,
        rounds=2,
        device=torch.device("cpu"),
        watch=rounds.append,
    )
    assert rounds == [1, 2, 3]
    assert list(times) == ["plain", "paper"]
    assert times["plain"]["step_ratio"] == times["plain"]["decode_ratio"] == 1.0
    assert all(value > 0 for core in times.values() for value in core.values())
