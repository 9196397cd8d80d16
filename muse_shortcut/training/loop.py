"""The training loop.

All randomness is a function of (seed, step): batches, augmentation, dropout. So the weights and the optimiser's state
are everything that must be saved, and a run that was killed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from muse_shortcut.cards import model_card
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.config import TrainConfig
from muse_shortcut.data.batches import TrainingBatches
from muse_shortcut.errors import TrainingError
from muse_shortcut.model.loss_mask import loss_mask
from muse_shortcut.training.gradients import Gradients
from muse_shortcut.training.log import MetricsLog
from muse_shortcut.training.optimiser import Optimiser, decay_begins, learning_rate
from muse_shortcut.training.run import RunFolder, TrainingProgress

__all__ = ["Status", "Trainer", "Validation"]

_NOT_SCORED = -100
"""Target that the loss of torch ignores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Metrics of one step."""

    step: int
    loss: float
    """Training loss of the batch, in nats per token."""
    validation: float | None
    """Validation loss in nats per token, if this step was evaluated."""
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Result of an evaluation."""

    nats: float
    """Nats per token."""
    by_stream: tuple[float, ...]
    """Nats per token of each stream, such as each codebook."""

    def to_log(self) -> dict[str, float]:
        """Return the metrics for the log, per stream if there are several."""
        several = self.by_stream if len(self.by_stream) > 1 else ()
        return {"validation": self.nats} | {f"validation/{k + 1}": nats for k, nats in enumerate(several)}


class Trainer:
    """One training, from a checkpoint (trained or new) to the last step."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        batches: Callable[[int], TrainingBatches],
        windows: np.ndarray[Any, Any],
        run: RunFolder,
        config: TrainConfig,
        *,
        seed: int,
        precision: torch.dtype,
        threads: int = 1,
    ) -> None:
        """
        Args:
            checkpoint: The core to train, with its tokenizer.
            batches: Returns the training batches for a window length.
            windows: (W, T + 1, K) windows for evaluation.
            run: The run folder.
            config: Configuration of the training.
            seed: Seed of dropout.
            precision: Data type of the forward pass.
            threads: Number of threads that share a batch, see `training_threads`.
        """
        self._checkpoint, self._core = checkpoint, checkpoint.core
        self._batches, self._windows, self._run, self._config = batches, windows, run, config
        self._seed, self._precision = seed, precision
        self._device = next(self._core.parameters()).device
        self._forward: Callable[[Tensor], Tensor] = self._core
        if config.compile:
            self._forward = torch.compile(self._core)
        self._gradients = Gradients(self._core, self._losses, threads)
        self.optimiser = Optimiser(self._core, config)
        self.progress = TrainingProgress()

    def resume(self) -> bool:
        """Resume from the latest checkpoint of the run, whose weights the core already has. Returns false for a new
        run."""
        folder = self._run.latest()
        if folder is None:
            return False
        self.progress = self._run.restore(folder, self.optimiser)
        self._run.finish_save(folder, keep=self._config.keep)
        return True

    def train(
        self,
        watch: Callable[[Status], None] = lambda _: None,
        sample: Callable[[int], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainingProgress:
        """Train until the last step, until patience runs out, or until `should_stop` returns true. A checkpoint is
        saved in all cases.

        Args:
            watch: Called after every step.
            sample: Called with the step whenever samples are due.
            should_stop: Called after every step.

        Raises:
            TrainingError: The loss is not a finite number; the last good checkpoint remains.
            OutputError: A file could not be written.
        """
        with self._gradients.started():
            return self._train(watch, sample, should_stop)

    def _train(
        self, watch: Callable[[Status], None], sample: Callable[[int], None], should_stop: Callable[[], bool]
    ) -> TrainingProgress:
        config, progress = self._config, self.progress
        log = MetricsLog(self._run.folder, progress.step if progress.step else -1, config.tensorboard)
        try:
            if progress.step == 0:
                validation = self._begin()
                log.write(0, validation.to_log())
                watch(Status(step=0, loss=math.nan, validation=validation.nats, tokens_per_second=0.0))
                self._save(is_best=True)
            while not self._is_over():
                started = time.perf_counter()
                loss, norm, tokens = self._step(progress.step + 1)
                progress.step += 1
                progress.tokens += tokens
                taken = time.perf_counter() - started
                progress.seconds += taken
                validation_or_none: Validation | None = None
                is_best = False
                if progress.step % config.eval_every == 0 or self._is_over():
                    validation_or_none, is_best = self._judge()
                last = self._is_over()
                self._log(log, loss, norm, tokens / taken, validation_or_none)
                watch(
                    Status(
                        step=progress.step,
                        loss=loss,
                        validation=None if validation_or_none is None else validation_or_none.nats,
                        tokens_per_second=tokens / taken,
                    )
                )
                stop = should_stop()
                # Samples come before the checkpoint: after a kill between the two they are generated again instead of
                # missing.
                if config.sample_every and (progress.step % config.sample_every == 0 or last):
                    sample(progress.step)
                if is_best or last or stop or progress.step % config.save_every == 0:
                    self._save(is_best=is_best)
                if stop:
                    break
        finally:
            log.close()
        return progress

    def _begin(self) -> Validation:
        validation = self.evaluate()
        self.progress.best = self.progress.reference = validation.nats
        self.optimiser.begin()
        return validation

    def _step(self, step: int) -> tuple[float, float, int]:
        """Make one optimiser step. Returns the loss in nats per token, the gradient norm and the number of tokens."""
        config = self._config
        torch.manual_seed(int(np.random.SeedSequence((self._seed, 3, step)).generate_state(1, np.uint64)[0] >> 1))
        self._core.train()
        self.optimiser.forget()
        total, tokens = 0.0, 0
        batches = self._batches(self._window(step))
        for micro in range(config.accumulation):
            inputs, targets = batches((step - 1) * config.accumulation + micro)
            total += self._gradients.add(self._put(inputs), self._put(targets), 1.0 / config.accumulation)
            tokens += inputs.size
        norm = torch.nn.utils.clip_grad_norm_(self._core.parameters(), config.clip or math.inf).item()
        if not (math.isfinite(total) and math.isfinite(norm)):
            kept = self._run.latest() or "none"
            raise TrainingError(
                f"step {step}: the loss is {total}, its gradient {norm}; stopped before using it, "
                f"{kept} is the last good checkpoint. A lower {{learning_rate}} or a stricter {{clip}} may help",
                options=("learning_rate", "clip"),
            )
        self.optimiser.step(self._rate(step))
        return total, norm, tokens

    def _put(self, ids: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self._device, non_blocking=True)

    def _losses(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each target in nats and the mask of scored targets, (B, T, K) each; targets that are not
        scored have loss 0."""
        tokenizer = self._checkpoint.tokenizer
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            logits = self._forward(inputs)
        scored = loss_mask(inputs, targets, tokenizer.pad, tokenizer.end)
        wanted = targets.where(scored, _NOT_SCORED)
        losses = F.cross_entropy(
            logits.float().flatten(0, -2), wanted.flatten(), ignore_index=_NOT_SCORED, reduction="none"
        )
        return losses.view_as(wanted), scored

    def evaluate(self, windows: np.ndarray[Any, Any] | None = None) -> Validation:
        """Evaluate the loss in nats per token on the evaluation windows, or on others (W, T + 1, K)."""
        self._core.eval()
        windows = self._windows if windows is None else windows
        streams = windows.shape[-1]
        total, count = torch.zeros(streams, dtype=torch.float64), torch.zeros(streams, dtype=torch.float64)
        size = max(1, self._config.batch_size // self._gradients.threads)
        parts = [windows[start : start + size] for start in range(0, len(windows), size)]
        for nats, scored in self._gradients.map(self._sums, parts):
            total += nats
            count += scored
        by_stream = (total / count.clamp_min(1)).tolist()
        return Validation(nats=float(total.sum() / count.sum().clamp_min(1)), by_stream=tuple(by_stream))

    @torch.inference_mode()
    def _sums(self, windows: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses in nats and the number of scored targets of windows (W, T + 1, K), (K,) each."""
        window = self._put(windows)
        losses, scored = self._losses(window[:, :-1], window[:, 1:])
        return losses.sum((0, 1)).double().cpu(), scored.sum((0, 1)).cpu()

    def _judge(self) -> tuple[Validation, bool]:
        """Evaluate; return the result and whether it is the best so far. Counts evaluations without improvement."""
        progress, found = self.progress, self.evaluate()
        validation = found.nats
        is_best = progress.best is None or validation < progress.best
        if is_best:
            progress.best = validation
        if progress.reference is None or validation < progress.reference - self._config.min_delta:
            progress.reference, progress.evaluations_without_improvement = validation, 0
        else:
            progress.evaluations_without_improvement += 1
        # A decay that already ends at the last step is left as it is.
        standing = self._config.decay_steps and progress.step < decay_begins(self._config, progress.decay_start)
        if standing and progress.decay_start is None and self._out_of_patience():
            progress.decay_start = progress.step
        return found, is_best

    def _window(self, step: int) -> int:
        """Return the length of a training window in steps."""
        config, context = self._config, self._core.config.context
        falls = config.decay_steps and step > decay_begins(config, self.progress.decay_start)
        return context if falls else config.initial_window(context)

    def _rate(self, step: int) -> float:
        return learning_rate(step, self._config, self.progress.decay_start)

    def _out_of_patience(self) -> bool:
        return bool(self._config.patience) and self.progress.evaluations_without_improvement >= self._config.patience

    def _is_over(self) -> bool:
        progress, config = self.progress, self._config
        if progress.step >= config.max_steps:
            return True
        if config.decay_steps:
            return progress.decay_start is not None and progress.step >= progress.decay_start + config.decay_steps
        return self._out_of_patience()

    def _log(self, log: MetricsLog, loss: float, norm: float, rate: float, validation: Validation | None) -> None:
        values = {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": self._rate(self.progress.step),
            "tokens": float(self.progress.tokens),
            "tokens_per_second": rate,
        }
        log.write(self.progress.step, values | ({} if validation is None else validation.to_log()))

    def _save(self, *, is_best: bool) -> None:
        progress = self.progress
        facts = self._checkpoint.facts | {
            "steps": progress.step,
            "tokens_seen": progress.tokens,
            "training_seconds": round(progress.seconds, 1),
            "best_validation_nats_per_token": progress.best,
        }
        core, domain = self._core, self._checkpoint.tokenizer.kind
        card = model_card(self._run.folder.absolute().name, domain, core.config, core.parameter_count(), facts)
        self._run.save(
            replace(self._checkpoint, facts=facts, card=card),
            self.optimiser,
            progress,
            is_best=is_best,
            keep=self._config.keep,
        )
