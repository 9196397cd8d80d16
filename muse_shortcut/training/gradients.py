"""Gradients of a batch; on a CPU each of several threads computes those of a share of its windows.

Threads inside an operation have to wait for one another some hundred times per step. Threads that each compute a share
of the batch wait once, which is up to twice as fast on two cores (EXPERIMENTS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from muse_shortcut.config import TrainConfig
from muse_shortcut.errors import CheckpointError
from muse_shortcut.installation import available_cores
from muse_shortcut.model.core import Core

__all__ = ["Gradients", "training_threads"]

_MOST = 16
"""Most threads that are chosen automatically."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Returns the loss of each target, 0 where it is not scored, and which are scored, for inputs and targets (B, T, K)."""


def training_threads(config: TrainConfig, core: Core, facts: Mapping[str, Any], *, resumed: bool) -> int:
    """Return the number of threads that share a batch; 1 where torch divides the operations instead.

    Args:
        config: Configuration of the training; `threads` is 0 for one per core.
        core: The core, on its device.
        facts: Facts of its checkpoint. A training that resumes keeps the number recorded there, on which the rounding
            of its sums depends.
        resumed: Whether the training resumes. Trainings from before the number was recorded have 1.

    Raises:
        CheckpointError: The recorded number is impossible.
    """
    if resumed:
        recorded = facts.get("threads", 1)
        if type(recorded) is not int or not 1 <= recorded <= 1024:
            raise CheckpointError(f"the recorded number of threads is {recorded!r}; allowed: 1 to 1024")
        return recorded
    if core.norm.weight.device.type != "cpu" or config.compile or core.config.dropout:
        # Dropout of several threads would draw from one random stream in an order that varies.
        return 1
    return min(config.batch_size, config.threads or min(available_cores(), _MOST))


class Gradients:
    """Adds gradients to those of the parameters of a core.

    Attributes:
        threads: Number of threads that share a batch.
    """

    def __init__(self, core: Core, losses: Losses, threads: int) -> None:
        self._core, self._losses, self.threads = core, losses, threads
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def started(self) -> Iterator[None]:
        """Run the threads; meanwhile torch does not divide operations."""
        if self.threads == 1:
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None
                torch.set_num_threads(before)

    def add(self, inputs: Tensor, targets: Tensor, share: float) -> float:
        """Add `share` times the gradient of the mean loss, and return the same share of the loss in nats per token.

        Args:
            inputs: (B, T, K) ids.
            targets: (B, T, K) ids of the next steps.
            share: Weight of this batch among those of a step.
        """
        if self._pool is None:
            losses, scored = self._losses(inputs, targets)
            loss = losses.sum() / scored.sum() * share
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()
        parameters = [parameter for parameter in self._core.parameters() if parameter.requires_grad]

        def part(pair: tuple[Tensor, Tensor]) -> tuple[float, int, tuple[Tensor, ...]]:
            losses, scored = self._losses(*pair)
            total = losses.sum()
            return total.item(), int(scored.sum()), torch.autograd.grad(total, parameters)

        pairs = zip(inputs.tensor_split(self.threads), targets.tensor_split(self.threads), strict=True)
        found = list(self._pool.map(part, [pair for pair in pairs if len(pair[0])]))
        weight = share / max(1, sum(count for _, count, _ in found))
        with torch.no_grad():
            # In the order of the windows: the rounding of a sum must not depend on which thread was first.
            for parameter, *parts in zip(parameters, *(gradients for _, _, gradients in found), strict=True):
                gradient = torch.stack(parts).sum(0).mul_(weight)
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return sum(total for total, _, _ in found) * weight

    def map(self, work: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """Apply a function that computes no gradients to each item, in the threads."""
        return [work(one) for one in items] if self._pool is None else list(self._pool.map(work, items))
