"""Checks and measures a GPU within a time budget, with torch, numpy and safetensors only and without a network.

1. Does it compute what a CPU does: fused attention beside its definition, cached steps beside one pass, losses and
   gradients of every core of the plan beside the CPU's, in float32 and bfloat16; tests marked by device, where there is
   pytest (60 s at the most).
2. What a training step and a decoded token cost: `small`, `paper`, `medium`, plain and shortcut (60 s at the most).
3. The plan `gpu`, several processes side by side, with the time that is left.

Everything found is written at once, to OUT/*.json and OUT/results.jsonl; it stops by itself, and leaves under 1 MB.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from muse_shortcut.comparison.dataset import open_dataset, write_pack
from muse_shortcut.comparison.plan import Plan, read_plan
from muse_shortcut.comparison.runner import ComparisonProgress, run_plan
from muse_shortcut.comparison.timing import time_cores
from muse_shortcut.model.attention import cross_attend, cross_attend_spelled_out, joint_attend, joint_attend_spelled_out
from muse_shortcut.model.core import Core
from muse_shortcut.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "gpu_data"
TOKENS = {"maestro-performance": 16_000_000, "letters": 16_000_000}
"""Number of steps of each training split that are packed: a run of the plan sees as many."""
TINY: dict[str, Any] = {"context": 64, "layers": 10, "width": 32, "heads": 2, "feed_forward": 64}


def pack(stores: Path) -> None:
    """Fill DATA from token stores."""
    DATA.mkdir(exist_ok=True)
    plan = read_plan("gpu")
    (DATA / "plan.json").write_text(json.dumps(plan.to_json(), indent=2) + "\n")
    for store in plan.stores:
        write_pack(open_dataset(stores / store), DATA / store, tokens=TOKENS[store])
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    print(f"{DATA}: {size / 1e6:.1f} MB")


class Report:
    """Prints results, and writes them immediately."""

    def __init__(self, out: Path) -> None:
        self.out, self._began = out, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, found: object) -> None:
        (self.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        self.say(f"{name}: {json.dumps(found)[:1500]}")

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


# 1. Does it compute the same as a CPU?


def parity(plan: Plan, device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Yield name, error and tolerance."""
    for name, fused, spelled_out in (
        ("joint attention", joint_attend, joint_attend_spelled_out),
        ("cross attention", cross_attend, cross_attend_spelled_out),
    ):
        yield f"{name}, bfloat16", *_attention(fused, spelled_out, device, torch.bfloat16, 0.02)
        yield f"{name}, float32", *_attention(fused, spelled_out, device, torch.float32, 1e-4)
    for name in plan.cores:
        model = plan.model(name).for_vocabulary(391, 1)
        torch.manual_seed(0)
        core = Core(model).eval()
        ids = torch.randint(391, (2, 65, 1))
        on_cpu = _loss_and_gradient(core, ids, None)
        there = Core(model).to(device).eval()
        there.load_state_dict(core.state_dict())
        ids = ids.to(device)
        exact, half = (_loss_and_gradient(there, ids, precision) for precision in (None, torch.bfloat16))
        yield f"{name}: loss", abs(exact[0] - on_cpu[0]), 1e-3
        yield f"{name}: gradient", _apart(exact[1], on_cpu[1]), 1e-2
        yield f"{name}: loss in bfloat16", abs(half[0] - on_cpu[0]), 2e-2
        yield f"{name}: gradient in bfloat16", _apart(half[1], on_cpu[1]), 0.2
        with torch.inference_mode():
            cache = there.make_cache(2)
            there.prefill(ids[:, :40], cache)
            steps = torch.stack([there.step(ids[:, place], cache).logits for place in range(40, 64)], 1)
            yield f"{name}: cached steps", _apart(steps, there(ids[:, :64])[:, 40:]), 1e-3


def _attention(
    fused: Callable[..., torch.Tensor], spelled_out: Any, device: torch.device, dtype: torch.dtype, allowed: float
) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(5)
    shapes = ((2, 4, 300, 32), (3, 2, 4, 300, 32), (3, 2, 4, 300, 32))
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    found = []
    for function, kind, where in ((fused, dtype, device), (lambda *x: spelled_out(*x)[0], torch.float64, "cpu")):
        inputs = [x.to(dtype).to(where, kind).requires_grad_() for x in drawn]
        out = function(*inputs)
        weights = torch.linspace(-1.0, 1.0, out.numel(), dtype=torch.float64).view(out.shape).to(out)
        found.append([out, *torch.autograd.grad((out * weights).sum(), inputs)])
    return max(_apart(own, other) for own, other in zip(*found, strict=True)), allowed


def _loss_and_gradient(core: Core, ids: torch.Tensor, precision: torch.dtype | None) -> tuple[float, torch.Tensor]:
    core.zero_grad()
    with torch.autocast(ids.device.type, precision or torch.bfloat16, enabled=precision is not None):
        logits = core(ids[:, :-1])
    loss = F.cross_entropy(logits.float().flatten(0, -2), ids[:, 1:].flatten())
    loss.backward()
    gradients = [p.grad.flatten() for p in core.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients).cpu()


def _apart(own: torch.Tensor, other: torch.Tensor) -> float:
    """Return the relative norm of a difference."""
    own, other = own.detach().double().cpu(), other.detach().double().cpu()
    return float((own - other).norm() / other.norm())


def check(plan: Plan, device: torch.device, report: Report, until: float) -> None:
    found = []
    for name, off, allowed in parity(plan, device):
        found.append({"what": name, "off": float(f"{off:.3g}"), "allowed": allowed, "passed": off <= allowed})
        if not found[-1]["passed"]:
            report.say(f"FAILED {name}: off by {off:.3g}, allowed {allowed}")
        if time.monotonic() > until:
            break
    passed = sum(bool(one["passed"]) for one in found)
    report("parity", {"passed": passed, "of": len(found), "checks": found})
    left = until - time.monotonic()
    if device.type != "cuda" or importlib.util.find_spec("pytest") is None or left < 10:
        return
    tests = ["tests/test_attention.py", "tests/test_core.py"]
    words = ["-m", "pytest", "-q", "-x", "-k", "cuda", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=left, check=False
        )
        report("tests", {"code": done.returncode, "tail": done.stdout[-2000:]})
    except subprocess.TimeoutExpired:
        report("tests", {"code": None, "tail": f"did not finish in {left:.0f} s"})


# 2. Cost of a step


def times(device: torch.device, report: Report, until: float, *, dry_run: bool) -> None:
    found: dict[str, Any] = {}
    for name in ("small", "paper", "medium"):
        if time.monotonic() > until:
            break
        preset = PRESETS[name]
        shape = {
            item: getattr(preset, item)
            for item in ("context", "layers", "width", "heads", "feed_forward", "dropout", "tied_embeddings")
        }
        plan = Plan(
            name=name,
            stores=("none",),
            shape=shape | ({"context": 32} if dry_run else {}),
            train={"batch_size": 1 if dry_run else 16, "precision": "auto"},
            cores={"plain": {"shortcut": None}, "shortcut": {"shortcut": preset.shortcut}},
        )
        if not (dry_run and name == "medium"):
            rounds = 1 if dry_run else 7
            found[name] = time_cores(
                plan, vocabulary_size=1116, streams=1, rounds=rounds, device=device, watch=lambda _: None
            )
            report("times", found)


# 3. The plan


def compare(plan: Plan, device: torch.device, report: Report, until: float, workers: int) -> None:
    """Run as much of the plan as time allows."""
    began: list[float] = []
    longest = 0.0

    def may_start() -> bool:
        began.append(time.monotonic())
        # A run that would not finish is not started; the first ones show how long a run takes in parallel with others.
        return time.monotonic() + longest < until

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def watch(news: ComparisonProgress) -> None:
            nonlocal longest
            if news.result is None:
                return
            # Runs start in order, so this one started no earlier than the preceding ones.
            longest = max(longest, time.monotonic() - began[max(0, news.done - 1)])
            shutil.copy(work / "results.jsonl", report.out / "results.jsonl")
            one = {name: news.result[name] for name in ("store", "core", "seed", "validation", "test", "seconds")}
            report.say(f"run {news.done} of {news.runs}: {json.dumps(one)}")

        (report.out / "plan.json").write_text(json.dumps(plan.to_json(), indent=2) + "\n")
        run_plan(
            plan,
            stores=DATA,
            out=work,
            workers=workers,
            device=device.type,
            watch=watch,
            should_stop=lambda: time.monotonic() > until,
            may_start=may_start,
        )


def run(out: Path, seconds: float, workers: int, *, dry_run: bool) -> None:
    started = time.monotonic()
    report = Report(out)
    device = torch.device("cpu" if dry_run else "cuda")
    plan = Plan.from_json(json.loads((DATA / "plan.json").read_text()))
    name = "CPU" if dry_run else torch.cuda.get_device_name()
    report("machine", {"device": name, "torch": torch.__version__, "seconds": seconds, "dry_run": dry_run})
    tiny = replace(plan, shape=plan.shape | TINY, cores={n: _tiny_core(c) for n, c in plan.cores.items()})
    first = min(60.0, seconds / 8)
    check(tiny, device, report, started + first)
    times(device, report, time.monotonic() + first, dry_run=dry_run)
    if dry_run:
        plan = replace(tiny, tokens=2048, test_windows=4, train=plan.train | {"batch_size": 4, "eval_windows": 4})
    compare(plan, device, report, started + seconds - 8, workers)
    report.say("done")


def _tiny_core(core: dict[str, Any]) -> dict[str, Any]:
    """Adapt numbers of heads and widths to a smaller width."""
    return core | ({"feed_forward": 90} if "feed_forward" in core else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="fill benchmarks/gpu_data from token stores")
    packing.add_argument("--stores", type=Path, default=Path("stores"))
    running = commands.add_parser("run", help="check, time and compare")
    running.add_argument("seconds", type=float, nargs="?", default=480.0)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--workers", type=int, default=6, help="runs side by side")
    running.add_argument("--dry-run", action="store_true", help="all of it, tiny, on the CPU")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.stores)
    else:
        run(arguments.out, arguments.seconds, arguments.workers, dry_run=arguments.dry_run)


if __name__ == "__main__":
    main()
