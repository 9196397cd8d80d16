"""Training of a codec, with or without a discriminator. A resumed training gives the same bytes.

Losses (EnCodec, Défossez et al. 2022, arXiv 2210.13438): of samples, of mel spectra, the commitment of every layer, and
optionally adversarial ones. Codebooks are exponential moving averages. All randomness is a function of (seed, step).
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from muse_shortcut.checkpoints import read_tensors
from muse_shortcut.codec.config import CodecTrainConfig
from muse_shortcut.codec.initialization import start_at_unit_variance
from muse_shortcut.codec.losses import mel_loss, time_loss
from muse_shortcut.codec.metrics import measure_codec
from muse_shortcut.codec.quantising import fit_codebooks, quantise
from muse_shortcut.codec.sounds import Sounds
from muse_shortcut.errors import ArgumentsError, CheckpointError, TrainingError
from muse_shortcut.files import make_folder, write_bytes, write_text
from muse_shortcut.runs import read_progress
from muse_shortcut.training.log import MetricsLog
from muse_shortcut.training.run import RunFolder
from muse_tokenizers.audio.codec import build_model, codec_of, save_codec
from muse_tokenizers.audio.codec_shape import CodecShape
from muse_tokenizers.audio.package import import_encodec

__all__ = ["CodecProgress", "CodecStatus", "CodecTrainer"]

_FRAMES_A_CODE = 32
"""Number of vectors that the codebooks are fitted to."""
_FITTING = 3
"""Third word of the seed for the fit of the codebooks; steps use 1 and 2."""


@dataclass(kw_only=True)
class CodecProgress:
    """Progress of a training."""

    step: int = 0
    best: float | None = None
    """Lowest mel distance so far in dB, averaged over 1, 2, 4 and 8 codebooks on held-out sound."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecStatus:
    """Metrics of one step."""

    step: int
    loss: float
    distance: float | None
    """Mel distance on held-out sound in dB, if this step evaluated it."""
    speed: float
    """Throughput in seconds of sound per second."""


class CodecTrainer:
    """Trains a codec in a run folder."""

    def __init__(
        self,
        shape: CodecShape,
        sounds: Sounds,
        run: RunFolder,
        config: CodecTrainConfig,
        *,
        seed: int,
        device: torch.device,
        facts: Mapping[str, Any],
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        """
        Args:
            shape: Configuration of the codec.
            sounds: Training and held-out sound.
            run: The run folder, locked by this process.
            config: Configuration of the training.
            seed: Seed of the weights and of everything random.
            device: Device to train on.
            facts: Metadata to store with every checkpoint.
            start: Weights of a codec of which only the decoder is trained further, so that its codes keep their
                meaning.

        Raises:
            ArgumentsError: There is no held-out sound, or `source_weights` names an unknown source.
        """
        self._shape, self._sounds, self._run, self._config = shape, sounds, run, config
        self._seed, self._device, self._facts = seed, device, dict(facts)
        torch.manual_seed(seed)
        self.model = build_model(shape).to(device)
        self._quantise_after = config.quantise_after
        """Step at which the codebooks are fitted; -1 if they come from an existing codec and are frozen."""
        if start is not None:
            self._quantise_after = -1
            self.model.load_state_dict({name: tensor.float() for name, tensor in start.items()}, strict=False)
            self.model.encoder.requires_grad_(False)
        betas = (config.beta1, config.beta2)
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(learning, lr=0.0, betas=betas, weight_decay=0.0)
        self.discriminator: Any = None
        if config.adversarial:
            with warnings.catch_warnings():
                # It uses torch's deprecated form of weight normalisation, which warns.
                warnings.simplefilter("ignore", FutureWarning)
                made = import_encodec().msstftd.MultiScaleSTFTDiscriminator(filters=config.discriminator_filters)
            self.discriminator = made.to(device)
            self._opponent = torch.optim.AdamW(self.discriminator.parameters(), lr=0.0, betas=betas, weight_decay=0.0)
        self.progress = CodecProgress()
        self._held_out = self._take_held_out()
        self._weights = sounds.weights(config.source_weights)
        if start is None:
            start_at_unit_variance(self.model, self._clips(0))

    def _take_held_out(self) -> list[np.ndarray[Any, Any]]:
        """Take the same number of seconds from the middle of every held-out file."""
        files = self._sounds.of_split("validation") or self._sounds.of_split("train")
        each = max(self._shape.sample_rate, round(self._config.eval_seconds * self._shape.sample_rate / len(files)))
        taken = [self._sounds.middle(file, each) for file in files]
        long_enough = [sound for sound in taken if len(sound) >= self._shape.hop * 8]
        if not long_enough:
            raise ArgumentsError(
                f"no held-out file is as long as eight frames, {8 / self._shape.frame_rate:.2f} s: the codec cannot be "
                "evaluated"
            )
        return long_enough

    # Resuming

    def _parts(self) -> list[tuple[str, Any, torch.optim.Optimizer]]:
        parts: list[tuple[str, Any, torch.optim.Optimizer]] = [("codec", self.model, self._optimiser)]
        return parts if self.discriminator is None else [*parts, ("discriminator", self.discriminator, self._opponent)]

    def tensors(self) -> dict[str, Tensor]:
        """Return all state that the next steps depend on, by name."""
        found: dict[str, Tensor] = {}
        for name, module, optimiser in self._parts():
            found |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
            for key, parameter in _learning(module):
                for part, value in optimiser.state[parameter].items():
                    found[f"{name}.{part}/{key}"] = value
        return {key: value.detach().cpu().contiguous().clone() for key, value in found.items()}

    def resume(self, folder: Path) -> None:
        """Resume from a checkpoint of this run. Raises CheckpointError."""
        path = folder / "training" / "state.safetensors"
        tensors = read_tensors(path)
        try:
            for name, module, optimiser in self._parts():
                module.load_state_dict({key: tensors[f"{name}/{key}"] for key in module.state_dict()})
                for key, parameter in _learning(module):
                    for part in ("step", "exp_avg", "exp_avg_sq"):
                        value = tensors[f"{name}.{part}/{key}"]
                        optimiser.state[parameter][part] = value if part == "step" else value.to(self._device)
            self.progress = CodecProgress(**read_progress(folder))
        except (KeyError, RuntimeError, TypeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise CheckpointError(f"{folder} is damaged, or of another shape: {reason}") from error
        self._run.finish_save(folder, keep=self._config.keep)

    def _save(self, *, is_best: bool) -> None:
        facts = self._facts | {"steps": self.progress.step, "training_seconds": round(self.progress.seconds, 1)}

        def write(folder: Path) -> None:
            # It is not a usable codec before its codebooks are fitted.
            if self.progress.step > self._quantise_after:
                save_codec(self.model.state_dict(), self._shape, folder, half=False, card=_card(facts))
            make_folder(folder / "training")
            write_bytes(folder / "training" / "state.safetensors", save_tensors(self.tensors()))
            write_text(folder / "training" / "progress.json", json.dumps(asdict(self.progress), indent=2) + "\n")

        self._run.save_with(write, self.progress.step, is_best=is_best, keep=self._config.keep)

    # Steps

    def train(
        self,
        watch: Callable[[CodecStatus], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> CodecProgress:
        """Train to the last step, or until `should_stop` returns true; a checkpoint is saved in both cases.

        Raises:
            TrainingError: The loss is not a finite number; the last good checkpoint remains.
            OutputError: A file could not be written.
        """
        config, progress = self._config, self.progress
        log = MetricsLog(self._run.folder, progress.step if progress.step else -1, config.tensorboard)
        clip = config.batch_size * config.clip_seconds
        try:
            while progress.step < config.max_steps:
                started = time.perf_counter()
                values = self._step(progress.step + 1)
                progress.step += 1
                taken = time.perf_counter() - started
                progress.seconds += taken
                last = progress.step == config.max_steps
                is_best, distance = False, None
                started = progress.step > self._quantise_after
                if last or (started and progress.step % config.eval_every == 0):
                    metrics = self.evaluate()
                    distance = metrics["mel_distance"]
                    values |= metrics
                    is_best = progress.best is None or distance < progress.best
                    progress.best = distance if is_best else progress.best
                log.write(progress.step, values)
                watch(
                    CodecStatus(step=progress.step, loss=values["loss"], distance=distance, speed=clip / taken)
                )  # fmt: skip
                stop = should_stop()
                if is_best or last or stop or progress.step % config.save_every == 0:
                    self._save(is_best=is_best)
                if stop:
                    break
        finally:
            log.close()
        return progress

    def evaluate(self) -> dict[str, float]:
        """Evaluate on held-out sound: the mean mel distance, that of each number of codebooks, and the entropy of each
        codebook."""
        codec = codec_of({k: v.detach().cpu() for k, v in self.model.state_dict().items()}, self._shape)
        found, entropies = measure_codec(codec, self._held_out)
        values = {"mel_distance": float(np.mean([one.mel_distance for one in found]))}
        for one in found:
            values |= {f"{name}/{one.name}": getattr(one, name) for name in ("mel_distance", "si_sdr")}
        return values | {f"entropy/{number + 1}": bits for number, bits in enumerate(entropies)}

    def _fit_codebooks(self) -> None:
        """Fit the codebooks to the encoder's output on clips that no step trains on."""
        found: list[Tensor] = []
        frames = 0
        self.model.eval()
        while frames < _FRAMES_A_CODE * self._shape.bins:
            with torch.no_grad():
                encoded = self.model.encoder(self._clips(len(found), _FITTING)[:, None])
            found.append(encoded.transpose(1, 2).flatten(0, 1))
            frames += len(found[-1])
        fit_codebooks(self.model.quantizer.vq, torch.cat(found), len(found[-1]))

    def _clips(self, step: int, use: int = 1) -> Tensor:
        config, rate = self._config, self._shape.sample_rate
        random = np.random.default_rng((self._seed, use, step))
        length = round(config.clip_seconds * rate) // self._shape.hop * self._shape.hop
        clips = self._sounds.clips(config.batch_size, length, random, self._weights)
        gains = 10 ** (random.uniform(config.softest_gain, config.loudest_gain, size=(len(clips), 1)) / 20)
        # The gain must not exceed full scale.
        gains = np.minimum(gains, 1 / np.maximum(np.abs(clips).max(1, keepdims=True), 1e-4))
        return torch.from_numpy((clips * gains).astype(np.float32)).to(self._device)

    def _rate(self, step: int, highest: float) -> float:
        config = self._config
        if step <= config.warmup_steps:
            return highest * step / config.warmup_steps
        place = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
        low = config.final_learning_rate * highest / config.learning_rate
        return low + (highest - low) * 0.5 * (1 + math.cos(math.pi * place))

    def _step(self, step: int) -> dict[str, float]:
        config, model = self._config, self.model
        torch.manual_seed(int(np.random.SeedSequence((self._seed, 2, step)).generate_state(1, np.uint64)[0] >> 1))
        if step == self._quantise_after + 1:
            self._fit_codebooks()
        model.train()
        target = self._clips(step)
        books = self._shape.codebook_counts
        codebooks = books[int(torch.randint(len(books), (1,)))]
        code, commitments = self._encode(step, target, codebooks)
        sound = model.decoder(code)[:, 0]
        losses = {
            "time": (config.time_weight, time_loss(sound, target)),
            "mel": (config.mel_weight, mel_loss(sound, target, self._shape.sample_rate)),
        }
        values: dict[str, float] = {}
        if self.discriminator is not None:
            values |= self._train_discriminator(step, sound.detach(), target)
            losses |= self._adversarial_losses(sound, target)
        commitment = config.commitment_weight * commitments.mean()
        values |= {name: loss.item() for name, (_, loss) in losses.items()} | {"commitment": commitment.item()}
        self._optimiser.zero_grad(set_to_none=True)
        if commitment.requires_grad:
            commitment.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        sound.backward(balanced_gradient(losses, sound))
        values["loss"] = values["time"] + values["mel"] + values["commitment"]
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_gradient).item()
        if not math.isfinite(values["loss"]) or not math.isfinite(norm):
            kept = self._run.latest() or "none"
            raise TrainingError(
                f"step {step}: the loss is {values['loss']}, its gradient {norm}; the last good checkpoint is {kept}. "
                "A lower {learning_rate} may help",
                options=("learning_rate",),
            )
        self._update(self._optimiser, self._rate(step, config.learning_rate))
        return values | {"gradient_norm": norm}

    def _encode(self, step: int, target: Tensor, codebooks: int) -> tuple[Tensor, Tensor]:
        """Return the input of the decoder (B, D, F), and the commitment loss of each layer."""
        encoded, vq = self.model.encoder(target[:, None]), self.model.quantizer.vq
        nothing = torch.zeros(1, device=encoded.device)
        if self._quantise_after < 0:
            return vq.decode(vq.encode(encoded, n_q=codebooks)), nothing
        if step <= self._quantise_after:
            return encoded, nothing
        decay, restart_below = self._config.decay, self._config.restart_below
        return quantise(vq, encoded, codebooks, decay=decay, restart_below=restart_below)

    def _train_discriminator(self, step: int, sound: Tensor, target: Tensor) -> dict[str, float]:
        """Train the discriminator for one step with the hinge loss: above 1 for real sound, below -1 for reconstructed
        sound."""
        real, _ = self.discriminator(target[:, None])
        made, _ = self.discriminator(sound[:, None])
        losses = [F.relu(1 - r).mean() + F.relu(1 + m).mean() for r, m in zip(real, made, strict=True)]
        loss = torch.stack(losses).mean()
        self._opponent.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.discriminator.parameters(), self._config.clip_gradient)
        self._update(self._opponent, self._rate(step, self._config.discriminator_learning_rate))
        return {"discriminator": loss.item()}

    def _adversarial_losses(self, sound: Tensor, target: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Return the weighted adversarial and feature-matching losses."""
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            _, true_maps = self.discriminator(target[:, None])
        made, maps = self.discriminator(sound[:, None])
        self.discriminator.requires_grad_(True)
        adversarial = torch.stack([F.relu(1 - one).mean() for one in made]).mean()
        features = [
            F.l1_loss(one, true) / true.abs().mean().clamp_min(1e-6)
            for scale, true_scale in zip(maps, true_maps, strict=True)
            for one, true in zip(scale, true_scale, strict=True)
        ]
        weights = self._config.adversarial_weight, self._config.feature_weight
        return {"adversarial": (weights[0], adversarial), "feature": (weights[1], torch.stack(features).mean())}

    def _update(self, optimiser: torch.optim.Optimizer, rate: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()


def _learning(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def balanced_gradient(losses: Mapping[str, tuple[float, Tensor]], sound: Tensor) -> Tensor:
    """Combine the gradients of weighted losses at the sound (B, N), so that each contributes its weight's share
    regardless of its scale.

    This is EnCodec's loss balancer (section 3.4) without its moving averages: the norms are those of this step's
    gradients, per sound, so that there is no state to resume.
    """
    total = sum(weight for weight, _ in losses.values()) or 1.0
    gradient = torch.zeros_like(sound)
    for weight, loss in losses.values():
        (own,) = torch.autograd.grad(loss, sound, retain_graph=True)
        norm = own.norm(dim=-1, keepdim=True).mean()
        gradient += weight / total * own / norm.clamp_min(1e-12)
    return gradient


def _card(facts: Mapping[str, Any]) -> str:
    return "# A codec\n\n" + "\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n"
