"""One run of a comparison, in a process of its own: a core trained, measured, and put away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from muse_shortcut.comparison.plan import Job
from muse_shortcut.errors import CheckpointError, MuseError
from muse_shortcut.files import make_folder

__all__ = ["RunStoppedError", "WorkOrder", "put_away", "serve", "train"]


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """A job, and where it is done."""

    job: Job
    plan: str
    digest: str
    stores: Path
    """The folder in which the store is."""
    out: Path
    """The comparison's folder."""
    device: str
    threads: int

    @property
    def run(self) -> Path:
        """Where it is while it is trained."""
        return self.out / "runs" / self.job.name(self.digest)

    @property
    def core(self) -> Path:
        """Where the finished core is kept."""
        return self.out / "cores" / self.job.name(self.digest)


class RunStoppedError(Exception):
    """The run was asked to stop; its checkpoint is there to go on from."""


def train(order: WorkOrder, watch: Callable[[int], None], should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Train a core, or go on where its training stopped, and measure it: the line of results.

    Args:
        order: what to do.
        watch: told the steps that have been made.
        should_stop: asked after every step.

    Raises:
        Stopped: `should_stop` said so.
        MuseError: the store is damaged, the loss no number, the disk full.
    """
    import torch

    from muse_shortcut.checkpoints import Checkpoint, read_core
    from muse_shortcut.comparison.dataset import open_dataset
    from muse_shortcut.data.batches import TrainingBatches, evaluation_windows
    from muse_shortcut.devices import choose_device, choose_precision
    from muse_shortcut.model.core import Core
    from muse_shortcut.model.flops import cache_bytes_per_token, flops_per_token
    from muse_shortcut.training.loop import Trainer
    from muse_shortcut.training.run import RunFolder

    torch.set_num_threads(order.threads)
    job, device = order.job, choose_device(order.device)
    material = open_dataset(order.stores / job.store)
    model = job.model.for_vocabulary(material.vocabulary.vocabulary_size, material.vocabulary.streams)
    folder = RunFolder(order.run)
    try:
        folder.claim()
        started = folder.latest()
    except CheckpointError:
        # A run is short: what lost its checkpoints is begun again.
        shutil.rmtree(order.run)
        folder.claim()
        started = None
    torch.manual_seed(job.seed)
    core = (Core(model) if started is None else read_core(model, started / "model.safetensors")).to(device)

    @cache
    def batches(window: int) -> TrainingBatches:
        return TrainingBatches(
            material.splits["train"],
            context=window,
            batch=job.train.windows_per_batch(model.context, window),
            seed=job.seed,
            variations=material.variations if job.train.augment else None,
        )

    def windows(split: str, count: int) -> Any:
        return evaluation_windows(material.splits[split], context=model.context, count=count)

    precision = choose_precision(job.train.precision, device)
    trainer = Trainer(
        # All that training asks of a tokenizer is in a vocabulary.
        Checkpoint(core=core, tokenizer=cast(Any, material.vocabulary), facts=_facts(order)),
        batches,
        windows("validation", job.train.eval_windows),
        folder,
        job.train,
        seed=job.seed,
        precision=precision,
    )
    trainer.resume()
    progress = trainer.train(lambda status: watch(status.step), should_stop=should_stop)
    if progress.step < job.train.max_steps:
        raise RunStoppedError
    return {
        "plan": order.plan,
        "store": job.store,
        "core": job.core,
        "seed": job.seed,
        "rate": job.rate,
        "validation": round(trainer.evaluate(windows("validation", job.test_windows)).nats, 5),
        "test": round(trainer.evaluate(windows("test", job.test_windows)).nats, 5),
        "curve": _curve(order.run / "metrics.jsonl"),
        "steps": progress.step,
        "tokens": progress.tokens,
        "parameters": core.parameter_count(),
        "flops_per_token": flops_per_token(model),
        "cache_bytes_per_token": cache_bytes_per_token(model),
        "seconds": round(progress.seconds, 1),
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
        "torch": torch.__version__,
        "model": model.to_json(),
        "train": asdict(job.train),
        "data": material.digest,
        "digest": order.digest,
    }


def _facts(order: WorkOrder) -> dict[str, Any]:
    job = order.job
    return {
        "comparison": order.plan,
        "core": job.core,
        "store": job.store,
        "seed": job.seed,
        "rate": job.rate,
        "train": asdict(job.train),
    }


def _curve(path: Path) -> list[list[float]]:
    """Tokens seen, and the validation windows' nats per token, on the way."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [[line.get("tokens", 0), round(line["validation"], 5)] for line in lines if "validation" in line]


def put_away(order: WorkOrder) -> None:
    """Keep a finished run's core and its metrics; drop what only its training needed. Does nothing twice."""
    if not order.run.is_dir():
        return
    from muse_shortcut.training.run import RunFolder

    last = RunFolder(order.run).latest()
    if last is not None and not order.core.exists():
        make_folder(order.core.parent)
        shutil.rmtree(last / "training", ignore_errors=True)
        with suppress(OSError):
            (order.run / "metrics.jsonl").replace(last / "metrics.jsonl")
        last.replace(order.core)
    shutil.rmtree(order.run, ignore_errors=True)


def serve(order: WorkOrder, connection: Connection) -> None:
    """The body of a worker's process: steps made, then the result or what went wrong, go through the connection; a
    word that comes the other way stops it. Where nobody listens any more it ends."""
    import signal

    # A Ctrl-C reaches all processes of a terminal: the runner tells each worker what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    try:
        result = train(order, lambda step: connection.send(("step", step)), connection.poll)
    except RunStoppedError:
        connection.send(("stopped", None))
    except MuseError as error:
        connection.send(("failed", str(error)))
    except (BrokenPipeError, ConnectionError, EOFError):
        os._exit(1)
    else:
        connection.send(("done", result))
