"""Progress of a generation, in the unit of its requested length: seconds, bytes, bars or steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from muse_shortcut.generation.request import Request, StepEvent
    from muse_tokenizers.domain import Domain

__all__ = ["GenerationProgress"]


class GenerationProgress:
    """Progress of the slowest candidate."""

    def __init__(self, request: Request, domain: Domain[Any]) -> None:
        constraints = request.constraints
        self._domain = domain
        self._length = constraints.length
        bars: int | None = getattr(constraints, "bars", None)
        self.total: float = self._length or bars or request.limit
        """Target of `done`."""
        self.done: float = 0
        self._unit = domain.unit if self._length else "bars" if bars else "steps"
        self._bars = [0] * request.candidates
        self._is_bar: dict[int, bool] = {}
        self._steps = 0
        self._started = time.perf_counter()

    def advance(self, event: StepEvent) -> None:
        """Count one step."""
        self._steps = event.step + 1
        if self._length:
            self.done = round(min(float(event.elapsed.min()), self._length), 1)
        elif self._unit == "bars":
            for candidate, ids in enumerate(event.ids):
                self._bars[candidate] += self._begins_bar(ids)
            # A candidate that has ended does not count as slow.
            behind = [bars for bars, ended in zip(self._bars, event.finished, strict=True) if not ended]
            self.done = min([*behind, self.total])
        else:
            self.done = self._steps

    def _begins_bar(self, ids: NDArray[np.int64]) -> bool:
        found = int(ids[0])
        if found not in self._is_bar:
            self._is_bar[found] = self._domain.tokenizer.describe(ids[None])[0][0].kind == "bar"
        return self._is_bar[found]

    @property
    def note(self) -> str:
        """Return the unit of `done` and its rate."""
        return f"{self._unit}, {self._steps / max(time.perf_counter() - self._started, 1e-6):.0f} steps/s"
