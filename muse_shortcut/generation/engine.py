"""The decoding loop: generates candidates step by step, as an iterator of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.generation.decoders import choose_decoder
from muse_shortcut.generation.recorder import Recorder
from muse_shortcut.generation.request import Request, StepEvent, first_visible_step
from muse_shortcut.generation.sampling import Sampler
from muse_shortcut.generation.trace import Trace
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core
from muse_tokenizers.base import Ids
from muse_tokenizers.domain import Domain

__all__ = ["Generation"]


class Generation:
    """An iterator of step events. The candidates so far can be taken at any time, also after an interruption."""

    def __init__(self, core: Core, domain: Domain[Any], request: Request, *, trace: bool = True) -> None:
        """
        Args:
            core: Core in evaluation mode.
            domain: Domain of the ids.
            request: The request.
            trace: Whether to record what each step attends to.

        Raises:
            ConstraintError: The domain does not support a requested constraint.
            OptionError: The requested engine cannot decode this core here.
        """
        engine, self._decoder = choose_decoder(core, request.engine)
        # The engine of `auto` is part of what reproduces the generation.
        request = replace(request, engine=engine)
        if request.prompt.clock is not None:
            request = replace(request, prompt=domain.timed(request.prompt, request.constraints))
        self._domain, self.request = domain, request
        self._device = next(core.parameters()).device
        partial_frames, clock = request.prompt.partial_frames, request.prompt.clock
        self._grammar = domain.grammar(
            request.prompt.ids, request.candidates, request.constraints, partial_frames, clock
        )
        prompt = np.repeat(request.prompt.ids[None], request.candidates, axis=0)
        self._sampler = Sampler(request.sampling, request.seed, prompt)
        self._prompt_steps = prompt.shape[1]
        self._history = prompt
        """(C, capacity, K) ids of prompt and continuation; the capacity is doubled when it is reached."""
        self._steps = 0
        self._finished = np.zeros(request.candidates, dtype=bool)
        self._complete_steps = np.zeros(request.candidates, dtype=np.int64)
        self._log_probability, self._complete_log_probability = np.zeros((2, request.candidates))
        """Log-probability of all steps so far, and of those up to the last step at which the piece is complete."""
        self._cache: Cache | None = None
        self._recorder = Recorder(request.candidates, core.config.depths) if trace else None

    def __iter__(self) -> Iterator[StepEvent]:
        while not self.finished:
            event = self._next(self._finished)
            self._finished = event.finished
            yield event

    @property
    def finished(self) -> bool:
        """Whether all candidates have ended."""
        return self._steps >= self.request.limit or bool(self._finished.all())

    def _next(self, was_finished: NDArray[np.bool_]) -> StepEvent:
        domain, grammar = self._domain, self._grammar
        logits, weights = self._read()
        allowed = bias = None
        if grammar is not None:
            allowed = grammar.allowed()
            bias = grammar.bias(logits, allowed)
        drawn = self._sampler.draw(logits, allowed, self._forced(allowed), bias)
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

    def _forced(self, allowed: NDArray[np.bool_] | None) -> Ids | None:
        """Return the ids of the next step if it is forced, (C, K)."""
        forced_ids = self.request.forced_ids
        if forced_ids is None or self._steps >= len(forced_ids):
            return None
        step = forced_ids[self._steps]
        tokenizer = self._domain.tokenizer
        for stream, one in enumerate(step.tolist()):
            if not 0 <= one < tokenizer.vocabulary_size:
                raise OptionError("id", one, f"0 to {tokenizer.vocabulary_size - 1}, the ids of the vocabulary")
            if allowed is not None and not allowed[0, stream, one]:
                label = tokenizer.vocabulary()[one]
                raise ArgumentsError(
                    f"id {one} ({label!r}) is not allowed at step {self._steps}: the grammar of "
                    f"{self._domain.info.noun} or a constraint excludes it there"
                )
        return np.repeat(step[None], self.request.candidates, axis=0)

    @torch.inference_mode()
    def _read(self) -> tuple[NDArray[np.float32], torch.Tensor]:
        """Run the core on the ids that it has not read yet.

        Returns:
            Logits (C, K, V) of the next step, and the weights (C, H, n, T) of the last layer over the last T positions.
        """
        end, context = self._prompt_steps + self._steps, self._decoder.config.context
        if self._cache is None:
            # The candidates share a prompt, which is read once.
            start = first_visible_step(end, context)
            self._cache = self._decoder.make_cache(1)
            self._prefill(start, end - 1, slice(0, 1))
            self._cache.repeat(self.request.candidates)
        elif self._cache.length == self._cache.capacity:
            # The context is full: restart the cache with the last half of it.
            self._cache = self._decoder.make_cache(self.request.candidates)
            self._prefill(end - context // 2, end - 1, slice(None))
        output = self._decoder.step(self._put(self._history[:, end - 1]), self._cache)
        return output.logits.float().cpu().numpy(), output.weights

    def _prefill(self, start: int, end: int, candidates: slice) -> None:
        assert self._cache is not None
        if end > start:
            self._decoder.prefill(self._put(self._history[candidates, start:end]), self._cache)

    def _put(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self._device)

    @property
    def steps(self) -> int:
        """Number of steps generated so far."""
        return self._steps

    def continuations(self) -> list[Ids]:
        """Return the new ids of each candidate, (T, K), up to the last step at which the piece is complete."""
        return [self.continuation(candidate) for candidate in range(self.request.candidates)]

    def continuation(self, candidate: int) -> Ids:
        """Return one of `continuations`, (T, K)."""
        start = self._prompt_steps
        return self._history[candidate, start : start + int(self._complete_steps[candidate])].copy()

    def log_probabilities(self) -> list[float]:
        """Return the log-probability of each candidate's continuation in nats, summed over streams."""
        return [float(value) for value in self._complete_log_probability]

    def trace(self, candidate: int, steps: int | None = None) -> Trace:
        """Return the trace of a candidate's continuation so far, or of its first `steps`.

        Raises:
            ValueError: No trace was recorded.
        """
        recorder, ids = self._recorded(candidate)
        return recorder.trace(candidate, self.request.prompt.ids, ids[:steps])

    def depth_shares(self, candidate: int, since: int = 0) -> NDArray[np.float32]:
        """Return the share of each head's attention at each depth, (S, n, H), for the steps from `since` on.

        Raises:
            ValueError: No trace was recorded.
        """
        recorder, _ = self._recorded(candidate)
        return recorder.shares(candidate, since)

    def save_trace(self, candidate: int, path: Path, steps: int | None = None) -> None:
        """Write the trace of a candidate, or of its first `steps`, without loading it into memory.

        Raises:
            ValueError: No trace was recorded.
            OutputError: The file could not be written.
        """
        recorder, ids = self._recorded(candidate)
        recorder.save(candidate, self.request.prompt.ids, ids[:steps], path)

    def _recorded(self, candidate: int) -> tuple[Recorder, Ids]:
        if self._recorder is None:
            raise ValueError("this generation was started without a trace")
        return self._recorder, self.continuations()[candidate]
