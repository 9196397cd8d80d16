"""The training loop.

Everything random is drawn from (seed, step): batches, augmentation, dropout. So the weights and the optimiser's state
are all there is to save, and a run that was killed ends with the bytes of one that was not.
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
from muse_shortcut.training.log import MetricsLog
from muse_shortcut.training.optimiser import Optimiser, decay_begins, learning_rate
from muse_shortcut.training.run import RunFolder, TrainingProgress

__all__ = ["Status", "Trainer", "Validation"]

_NOT_SCORED = -100
"""As torch has it: the target that costs nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What one step gave, for whoever watches."""

    step: int
    loss: float
    """Nats a token, of the training batch."""
    validation: float | None
    """Nats a token, where this step was evaluated."""
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Of the evaluation windows."""

    nats: float
    """A token."""
    by_stream: tuple[float, ...]
    """Nats a token of each stream: of each codebook, where there are several."""

    def to_log(self) -> dict[str, float]:
        """As lines of the log; streams apart where there are several."""
        several = self.by_stream if len(self.by_stream) > 1 else ()
        return {"validation": self.nats} | {f"validation/{k + 1}": nats for k, nats in enumerate(several)}


class Trainer:
    """One training, from a checkpoint (trained or fresh) to the last step."""

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
    ) -> None:
        """
        Args:
            checkpoint: the core to train, with its tokenizer.
            batches: training batches of windows of so many steps.
            windows: (W, T + 1, K) for evaluation.
            run: where to write.
            config: how to train.
            seed: of dropout.
            precision: what the forward pass computes in.
        """
        self._checkpoint, self._core = checkpoint, checkpoint.core
        self._batches, self._windows, self._run, self._config = batches, windows, run, config
        self._seed, self._precision = seed, precision
        self._device = next(self._core.parameters()).device
        self._forward: Callable[[Tensor], Tensor] = self._core
        if config.compile:
            self._forward = torch.compile(self._core)
        self.optimiser = Optimiser(self._core, config)
        self.progress = TrainingProgress()

    def resume(self) -> bool:
        """Go on from the run's latest checkpoint, whose weights the core already has; False for a new run."""
        folder = self._run.latest()
        if folder is None:
            return False
        self.progress = self._run.restore(folder, self.optimiser)
        self._run.settle(folder, keep=self._config.keep)
        return True

    def train(
        self,
        watch: Callable[[Status], None] = lambda _: None,
        sample: Callable[[int], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainingProgress:
        """Train to the end, or until patience ends or `should_stop` says so; leaves a checkpoint either way.

        Args:
            watch: called after every step.
            sample: called with the step whenever samples are due.
            should_stop: asked after every step.

        Raises:
            TrainingError: the loss is no longer a number; the last good checkpoint stays.
            OutputError: something could not be written.
        """
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
                # Samples before the checkpoint: a kill between the two makes them again instead of leaving them out.
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
        """One optimiser step; loss in nats per token, gradient norm, tokens."""
        config = self._config
        torch.manual_seed(int(np.random.SeedSequence((self._seed, 3, step)).generate_state(1, np.uint64)[0] >> 1))
        self._core.train()
        self.optimiser.forget()
        total, tokens = 0.0, 0
        batches = self._batches(self._window(step))
        for micro in range(config.accumulation):
            inputs, targets = batches((step - 1) * config.accumulation + micro)
            losses, scored = self._losses(self._put(inputs), self._put(targets))
            loss = losses.sum() / scored.sum() / config.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            tokens += inputs.size
        norm = torch.nn.utils.clip_grad_norm_(self._core.parameters(), config.clip or math.inf).item()
        if not (math.isfinite(total) and math.isfinite(norm)):
            kept = self._run.latest() or "none"
            raise TrainingError(
                f"step {step}: the loss is {total}, its gradient {norm}; stopped before using it, "
                f"{kept} is the last good checkpoint. A lower --train.learning_rate or a stricter --train.clip may help"
            )
        self.optimiser.step(self._rate(step))
        return total, norm, tokens

    def _put(self, ids: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self._device, non_blocking=True)

    def _losses(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, K) each: nats of each target, and which of them are scored; what is not costs nothing."""
        tokenizer = self._checkpoint.tokenizer
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            logits = self._forward(inputs)
        scored = loss_mask(inputs, targets, tokenizer.pad, tokenizer.end)
        wanted = targets.where(scored, _NOT_SCORED)
        losses = F.cross_entropy(
            logits.float().flatten(0, -2), wanted.flatten(), ignore_index=_NOT_SCORED, reduction="none"
        )
        return losses.view_as(wanted), scored

    @torch.inference_mode()
    def evaluate(self, windows: np.ndarray[Any, Any] | None = None) -> Validation:
        """Nats a token over the evaluation windows, or over others (W, T + 1, K)."""
        self._core.eval()
        windows = self._windows if windows is None else windows
        streams = windows.shape[-1]
        total, count = torch.zeros(streams, dtype=torch.float64), torch.zeros(streams, dtype=torch.float64)
        for start in range(0, len(windows), self._config.batch_size):
            window = self._put(windows[start : start + self._config.batch_size])
            losses, scored = self._losses(window[:, :-1], window[:, 1:])
            total += losses.sum((0, 1)).double().cpu()
            count += scored.sum((0, 1)).cpu()
        by_stream = (total / count.clamp_min(1)).tolist()
        return Validation(nats=float(total.sum() / count.sum().clamp_min(1)), by_stream=tuple(by_stream))

    def _judge(self) -> tuple[Validation, bool]:
        """Evaluate; whether it is the best so far. Keeps count of evaluations without a gain."""
        progress, found = self.progress, self.evaluate()
        validation = found.nats
        is_best = progress.best is None or validation < progress.best
        if is_best:
            progress.best = validation
        if progress.reference is None or validation < progress.reference - self._config.min_delta:
            progress.reference, progress.evaluations_without_improvement = validation, 0
        else:
            progress.evaluations_without_improvement += 1
        # A fall that has begun in time for the last step goes on as it is.
        standing = self._config.decay_steps and progress.step < decay_begins(self._config, progress.decay_start)
        if standing and progress.decay_start is None and self._out_of_patience():
            progress.decay_start = progress.step
        return found, is_best

    def _window(self, step: int) -> int:
        """Steps of a training window."""
        config, context = self._config, self._core.config.context
        falls = config.decay_steps and step > decay_begins(config, self.progress.decay_start)
        return context if falls else config.standing_window(context)

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
