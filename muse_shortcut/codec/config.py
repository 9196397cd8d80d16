"""How a codec is trained, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from muse_shortcut.checks import require, require_source_weights, require_types
from muse_tokenizers.audio.codec import CodecShape

__all__ = ["CODEC_PRESETS", "CodecTrainConfig"]

CODEC_PRESETS: dict[str, CodecShape] = {
    "small": CodecShape(filters=12, dimension=32, lstm=1, codebooks=8),
    "base": CodecShape(filters=16, dimension=128, codebooks=8),
    "meta": CodecShape(),
}
"""Shapes by name, all of 24 kHz and 75 frames per second. `small` is what ships; `meta` is encodec_24khz's."""


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig:
    """The training of a codec."""

    max_steps: int = 20_000
    """Steps in all."""
    batch_size: int = 16
    """Clips of a step."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """How often a second of each source is heard, {"librispeech": 2, "piano": 0.5}; those not named once."""
    clip_seconds: float = 1.0
    """Length of a clip."""
    learning_rate: float = 4e-4
    """The highest; AdamW."""
    final_learning_rate: float = 1e-5
    """Where it ends, after a cosine."""
    warmup_steps: int = 50
    """Steps of linear rise."""
    beta1: float = 0.8
    """AdamW's, of its mean of gradients."""
    beta2: float = 0.99
    """AdamW's, of its mean of squared gradients."""
    clip_gradient: float = 1.0
    """The largest norm of a gradient, which is scaled down to it."""
    time_weight: float = 1.0
    """Share of the gradient at the sound that comes of the mean absolute difference of samples ..."""
    mel_weight: float = 1.0
    """... and of the mel spectra's differences at seven scales."""
    commitment_weight: float = 0.1
    """Of the distance between what is quantised and its code, in every layer."""
    adversarial: bool = False
    """Train against encodec's MS-STFT discriminator, with feature matching, whose gradients have their shares too."""
    adversarial_weight: float = 1.0
    """Its share."""
    feature_weight: float = 1.0
    """Of feature matching."""
    discriminator_filters: int = 8
    """Channels of the discriminator's first layer."""
    discriminator_learning_rate: float = 3e-4
    """The highest learning rate of the discriminator."""
    quantise_after: int = 600
    """Steps in which encoder and decoder learn to pass sound without codebooks, which are then fitted to what the
    encoder gives. Codebooks from the first step on follow an encoder that still moves, and all sound falls to one."""
    decay: float = 0.99
    """Of the codebooks' moving means."""
    restart_below: float = 0.03
    """A code that comes less often than this times the mean is put where sound is."""
    loudest_gain: float = 6.0
    """dB: every clip is made louder or softer by a random gain up to this ..."""
    softest_gain: float = -12.0
    """... and down to this."""
    eval_every: int = 500
    """Steps between evaluations."""
    eval_seconds: float = 120.0
    """Of held-out sound that is judged while training, always the same."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 1
    """Checkpoints that are kept, the best one besides."""
    tensorboard: bool = True
    """Write TensorBoard's files beside metrics.jsonl."""

    def __post_init__(self) -> None:
        require_types(self)
        require_source_weights(self.source_weights)
        for name in ("max_steps", "batch_size", "discriminator_filters", "eval_every", "save_every", "keep"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("clip_seconds", "learning_rate", "discriminator_learning_rate", "clip_gradient", "eval_seconds"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in (
            "final_learning_rate", "warmup_steps", "time_weight", "mel_weight", "commitment_weight",
            "adversarial_weight", "feature_weight", "quantise_after", "restart_below",
        ):  # fmt: skip
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("beta1", "beta2", "decay"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 up to but not 1")
        require(self.clip_seconds >= 0.2, "clip_seconds", self.clip_seconds, "0.2 or more")
        require(self.softest_gain <= self.loudest_gain, "softest_gain", self.softest_gain, f"up to {self.loudest_gain}")
