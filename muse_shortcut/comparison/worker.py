"""One run of a comparison, in its own process: trains, evaluates and stores a core."""

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

__all__ = ["RunStoppedError", "WorkOrder", "archive", "serve", "train"]


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """A job with the folders it uses."""

    job: Job
    plan: str
    digest: str
    stores: Path
    """Folder that contains the store."""
    out: Path
    """Folder of the comparison."""
    device: str
    threads: int

    @property
    def run(self) -> Path:
        """Folder of the run while it is trained."""
        return self.out / "runs" / self.job.name(self.digest)

    @property
    def core(self) -> Path:
        """Folder of the finished core."""
        return self.out / "cores" / self.job.name(self.digest)


class RunStoppedError(Exception):
    """The run was stopped; it can resume from its checkpoint."""


def train(order: WorkOrder, watch: Callable[[int], None], should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Train a core, or resume its training, and evaluate it. Returns its line of results.

    Args:
        order: The job.
        watch: Called with the number of finished steps.
        should_stop: Called after every step.

    Raises:
        RunStoppedError: `should_stop` returned true.
        MuseError: The store is damaged, the loss is not finite, or a file could not be written.
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
        # A run is short: one that lost its checkpoints starts again.
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
        # Training needs no more of a tokenizer than a `VocabularyInfo` has.
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
    """Return the numbers of tokens seen and the validation loss in nats per token during training."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [[line.get("tokens", 0), round(line["validation"], 5)] for line in lines if "validation" in line]


def archive(order: WorkOrder) -> None:
    """Move the core and metrics of a finished run to their place, and delete what only its training needed. May be
    called again."""
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
    """Main function of a worker process. It sends the number of steps, then the result or the error, through the
    connection. Any message from the other side stops it, and so does a closed connection."""
    import signal

    # Ctrl-C reaches all processes of a terminal; the runner tells each worker what to do.
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
