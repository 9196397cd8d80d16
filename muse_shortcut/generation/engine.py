"""Growing candidates step by step, as events that whoever watches can draw while they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.recorder import Recorder
from muse_shortcut.generation.request import Request, StepEvent
from muse_shortcut.generation.sampling import Sampler
from muse_shortcut.generation.trace import Trace
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core
from muse_tokenizers.base import Ids
from muse_tokenizers.domain import Domain

__all__ = ["Generation"]


class Generation:
    """An iterator of step events. What there is can be taken at any time, also after an interruption."""

    def __init__(self, core: Core, domain: Domain[Any], request: Request, *, trace: bool = True) -> None:
        """
        Args:
            core: in evaluation mode.
            domain: of its ids.
            request: what is to be generated.
            trace: keep what each step attended to.

        Raises:
            ConstraintError: (of the tokenizer) something is requested that it cannot grant.
        """
        if request.prompt.clock is not None:
            request = replace(request, prompt=domain.timed(request.prompt, request.constraints))
        self._core, self._domain, self.request = core, domain, request
        self._device = next(core.parameters()).device
        partial_frames, clock = request.prompt.partial_frames, request.prompt.clock
        self._grammar = domain.grammar(
            request.prompt.ids, request.candidates, request.constraints, partial_frames, clock
        )
        prompt = np.repeat(request.prompt.ids[None], request.candidates, axis=0)
        self._sampler = Sampler(request.sampling, request.seed, prompt)
        self._prompt_steps = prompt.shape[1]
        self._history = prompt
        """(C, room, K): prompt and new ids; doubled when it is full."""
        self._steps = 0
        self._finished = np.zeros(request.candidates, dtype=bool)
        self._complete_steps = np.zeros(request.candidates, dtype=np.int64)
        self._log_probability, self._complete_log_probability = np.zeros((2, request.candidates))
        """Of all steps so far; of those up to the last at which nothing is left dangling."""
        self._cache: Cache | None = None
        self._recorder = Recorder(request.candidates, core.config.depths) if trace else None

    def __iter__(self) -> Iterator[StepEvent]:
        while not self.finished:
            event = self._next(self._finished)
            self._finished = event.finished
            yield event

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to come."""
        return self._steps >= self.request.limit or bool(self._finished.all())

    def _next(self, was_finished: NDArray[np.bool_]) -> StepEvent:
        domain, grammar = self._domain, self._grammar
        logits, weights = self._read()
        allowed = None if grammar is None else grammar.allowed()
        drawn = self._sampler.draw(logits, allowed, self._settled(allowed))
        ids = drawn.ids
        log_probabilities = np.take_along_axis(drawn.log_probabilities, ids[..., None], -1)[..., 0]
        end = self._prompt_steps + self._steps
        if self._recorder is not None:
            assert self._cache is not None
            self._recorder.add(end - self._cache.length, weights, log_probabilities, drawn.log_probabilities)
        if end == self._history.shape[1]:
            self._history = np.concatenate([self._history, np.zeros_like(self._history)], axis=1)
        self._history[:, end] = ids
        self._steps += 1
        if grammar is not None:
            grammar.advance(ids)
            finished, complete = was_finished | grammar.finished, grammar.complete & ~was_finished
            elapsed = grammar.elapsed.copy()
        else:
            finished = was_finished | (ids == domain.tokenizer.end).all(-1)
            complete, elapsed = ~finished, np.full(len(ids), np.nan)
        self._log_probability[~was_finished] += log_probabilities.sum(-1)[~was_finished]
        self._complete_steps[complete] = self._steps
        self._complete_log_probability[complete] = self._log_probability[complete]
        return StepEvent(self._steps - 1, ids, log_probabilities, elapsed, finished)

    def _settled(self, allowed: NDArray[np.bool_] | None) -> Ids | None:
        """(C, K): the next step where it is given."""
        forced_ids = self.request.forced_ids
        if forced_ids is None or self._steps >= len(forced_ids):
            return None
        step = forced_ids[self._steps]
        if allowed is not None and not np.take_along_axis(allowed[0], step[:, None], -1).all():
            raise ArgumentsError(f"step {self._steps} of the given ones, {step.tolist()}, is not allowed there")
        return np.repeat(step[None], self.request.candidates, axis=0)

    @torch.inference_mode()
    def _read(self) -> tuple[NDArray[np.float32], torch.Tensor]:
        """Let the core read what it has not read yet.

        Returns:
            Logits (C, K, V) of the next step, and the last layer's weights (C, H, n, T) over the last T positions.
        """
        end, context = self._prompt_steps + self._steps, self._core.config.context
        if self._cache is None:
            # The candidates share a prompt: it is read once. Of one that does not fit, the last three quarters.
            start = 0 if end < context else end - context + context // 4
            self._cache = self._core.make_cache(1)
            self._prefill(start, end - 1, slice(0, 1))
            self._cache.repeat(self.request.candidates)
        elif self._cache.length == self._cache.capacity:
            # Past the context: begin again with the last half window.
            self._cache = self._core.make_cache(self.request.candidates)
            self._prefill(end - context // 2, end - 1, slice(None))
        output = self._core.step(self._put(self._history[:, end - 1]), self._cache)
        return output.logits.float().cpu().numpy(), output.weights

    def _prefill(self, start: int, end: int, candidates: slice) -> None:
        assert self._cache is not None
        if end > start:
            self._core.prefill(self._put(self._history[candidates, start:end]), self._cache)

    def _put(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self._device)

    @property
    def steps(self) -> int:
        """How many steps have been made."""
        return self._steps

    def continuations(self) -> list[Ids]:
        """(T, K) for each candidate: its new ids, up to the last step at which nothing is left dangling."""
        return [self.continuation(candidate) for candidate in range(self.request.candidates)]

    def continuation(self, candidate: int) -> Ids:
        """(T, K): one of `continuations`."""
        start = self._prompt_steps
        return self._history[candidate, start : start + int(self._complete_steps[candidate])].copy()

    def log_probabilities(self) -> list[float]:
        """Of each candidate's continuation, in nats, all streams together."""
        return [float(value) for value in self._complete_log_probability]

    def trace(self, candidate: int, steps: int | None = None) -> Trace:
        """What each step of a candidate's continuation attended to, so far; of its first `steps` alone.

        Raises:
            ValueError: nothing was kept.
        """
        recorder, ids = self._recorded(candidate)
        return recorder.trace(candidate, self.request.prompt.ids, ids[:steps])

    def depth_shares(self, candidate: int, since: int = 0) -> NDArray[np.float32]:
        """(S, n, H): how much of each head's attention lay at each depth, of the steps from `since` on.

        Raises:
            ValueError: nothing was kept.
        """
        recorder, _ = self._recorded(candidate)
        return recorder.shares(candidate, since)

    def save_trace(self, candidate: int, path: Path, steps: int | None = None) -> None:
        """Write a candidate's trace, of its first `steps` alone, without holding it in memory.

        Raises:
            ValueError: nothing was kept.
            OutputError: it could not be written.
        """
        recorder, ids = self._recorded(candidate)
        recorder.save(candidate, self.request.prompt.ids, ids[:steps], path)

    def _recorded(self, candidate: int) -> tuple[Recorder, Ids]:
        if self._recorder is None:
            raise ValueError("this generation keeps no trace")
        return self._recorder, self.continuations()[candidate]
