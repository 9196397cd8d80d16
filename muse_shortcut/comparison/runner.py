"""Runs a plan with several worker processes in parallel, until it is complete or is stopped.

    OUT/  plan.json  results.jsonl   cores/NAME/ (finished, as checkpoints)   runs/NAME/ (as `muse-train` has them)

It can be killed at any time: an unfinished run resumes from its last checkpoint, and the others follow from the plan.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from muse_shortcut.comparison.dataset import digest_of
from muse_shortcut.comparison.plan import Plan
from muse_shortcut.comparison.results import append_result, read_results
from muse_shortcut.comparison.worker import WorkOrder, archive, serve
from muse_shortcut.errors import OutputError, TrainingError
from muse_shortcut.files import make_folder, write_text

__all__ = ["ComparisonProgress", "run_plan"]


@dataclass(frozen=True, kw_only=True)
class ComparisonProgress:
    """Progress of a comparison."""

    steps: int
    """Steps of all runs so far, including finished ones."""
    total: int
    done: int
    """Number of finished runs."""
    runs: int
    seconds_left: float | None
    """Estimated seconds left at the rate so far; None before it is known."""
    result: dict[str, Any] | None = None
    """Result of the run that has just finished, if one has."""


class _Worker:
    """A process that trains one core."""

    def __init__(self, order: WorkOrder) -> None:
        self.order, self.steps = order, 0
        # The process is spawned: torch cannot be forked once it has threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(order, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def close(self) -> None:
        self.connection.close()
        self.process.join()


def run_plan(
    plan: Plan,
    *,
    stores: Path,
    out: Path,
    workers: int = 1,
    device: str = "cpu",
    watch: Callable[[ComparisonProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    may_start: Callable[[], bool] = lambda: True,
) -> bool:
    """Execute the runs of a plan that are not finished, and return whether all are finished.

    Args:
        plan: The plan.
        stores: Folder that contains the stores of the plan.
        out: Folder of the comparison.
        workers: Number of runs in parallel, each with one thread.
        device: `cpu`, `cuda` or `auto`.
        watch: Called with the progress.
        should_stop: Called many times per second; once it returns true, running runs save a checkpoint and stop.
        may_start: Called before a run starts; once it returns false, no further run starts.

    Raises:
        StoreError: A store is missing.
        OutputError: Another process writes to the same folder, or a file could not be written.
        TrainingError: A run failed.
    """
    make_folder(out)
    with _exclusive(out):
        write_text(out / "plan.json", json.dumps(plan.to_json(), indent=2) + "\n")
        orders = list(_orders(plan, stores, out, device))
        finished = {result["digest"] for result in read_results(out)}
        for order in orders:
            if order.digest in finished:
                archive(order)
        return _Run(orders, finished, out, watch).run(workers, should_stop, may_start)


def _orders(plan: Plan, stores: Path, out: Path, device: str) -> Iterator[WorkOrder]:
    digests = {store: digest_of(stores / store) for store in plan.stores}
    for job in plan.jobs():
        yield WorkOrder(
            job=job,
            plan=plan.name,
            digest=job.digest(digests[job.store]),
            stores=stores,
            out=out,
            device=device,
            threads=1,
        )


class _Run:
    def __init__(
        self, orders: list[WorkOrder], finished: set[str], out: Path, watch: Callable[[ComparisonProgress], None]
    ) -> None:
        self._out, self._watch, self._workers = out, watch, list[_Worker]()
        self._orders = orders
        self._waiting = [order for order in orders if order.digest not in finished]
        self._done = len(orders) - len(self._waiting)
        self._steps = sum(order.job.train.max_steps for order in orders if order.digest in finished)
        self._total = sum(order.job.train.max_steps for order in orders)
        self._started, self._new_steps = time.monotonic(), 0

    def run(self, workers: int, should_stop: Callable[[], bool], may_start: Callable[[], bool]) -> bool:
        stopping = closed = False
        try:
            while self._workers or (self._waiting and not stopping and not closed):
                while self._waiting and not stopping and not closed and len(self._workers) < workers:
                    closed = not may_start()
                    if not closed:
                        self._workers.append(_Worker(self._waiting.pop(0)))
                if not stopping and should_stop():
                    stopping = True
                    for worker in self._workers:
                        with suppress(OSError):
                            worker.connection.send("stop")
                by_connection = {worker.connection: worker for worker in self._workers}
                for connection in wait(list(by_connection), timeout=0.2):
                    assert isinstance(connection, Connection)
                    self._receive(by_connection[connection])
        finally:
            for worker in self._workers:
                worker.process.terminate()
        return self._done == len(self._orders)

    def _receive(self, worker: _Worker) -> None:
        name = worker.order.job.name(worker.order.digest)
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError) as error:
            worker.process.join()
            raise TrainingError(
                f"the run {name} exited with code {worker.process.exitcode}; run the same command to resume"
            ) from error
        if kind == "step":
            if worker.steps:  # the first message has the step at which it resumes
                self._new_steps += content - worker.steps
            worker.steps = content
            self._report(None)
            return
        self._workers.remove(worker)
        worker.close()
        if kind == "failed":
            raise TrainingError(f"the run {name}: {content}")
        if kind == "done":
            append_result(self._out, content)
            archive(worker.order)
            self._done += 1
            self._steps += worker.order.job.train.max_steps
            self._report(content)

    def _report(self, result: dict[str, Any] | None) -> None:
        steps = self._steps + sum(worker.steps for worker in self._workers)
        pace = self._new_steps / (time.monotonic() - self._started)
        left = (self._total - steps) / pace if pace else None
        self._watch(
            ComparisonProgress(
                steps=steps,
                total=self._total,
                done=self._done,
                runs=len(self._orders),
                seconds_left=left,
                result=result,
            )
        )


@contextmanager
def _exclusive(out: Path) -> Iterator[None]:
    """Lock the folder: two comparisons in one folder would train the same runs into the same files."""
    try:
        import fcntl
    except ImportError:  # Windows has no fcntl: the user must not start two comparisons in one folder.
        yield
        return
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"another muse-compare is writing to {out}") from error
        yield
