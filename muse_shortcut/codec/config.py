"""Configuration of the training of a codec."""

from __future__ import annotations

from dataclasses import dataclass, field

from muse_shortcut.checks import require, require_source_weights, require_types
from muse_tokenizers.audio.codec_shape import CodecShape

__all__ = ["CODEC_PRESETS", "CodecTrainConfig"]

CODEC_PRESETS: dict[str, CodecShape] = {
    "small": CodecShape(filters=12, dimension=32, lstm=1, codebooks=8),
    "base": CodecShape(filters=16, dimension=128, codebooks=8),
    "meta": CodecShape(),
}
"""Configurations by name, all with 24 kHz and 75 frames per second. `small` is the shipped codec's; `meta` is that of
encodec_24khz."""


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig:
    """The training of a codec."""

    max_steps: int = 20_000
    """Total number of steps."""
    batch_size: int = 16
    """Clips per step."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """Sampling weight of each source per second of sound, for example {"librispeech": 2, "piano": 0.5}; sources that
    are not named have weight 1."""
    clip_seconds: float = 1.0
    """Length of a clip in seconds."""
    learning_rate: float = 4e-4
    """Peak learning rate of AdamW."""
    final_learning_rate: float = 1e-5
    """Learning rate at the end of the cosine schedule."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    beta1: float = 0.8
    """AdamW's decay of the first moment."""
    beta2: float = 0.99
    """AdamW's decay of the second moment."""
    clip_gradient: float = 1.0
    """Gradients are clipped to this norm."""
    time_weight: float = 1.0
    """Share of the mean absolute difference of samples in the balanced gradient."""
    mel_weight: float = 1.0
    """Share of the mel-spectrogram loss at seven scales in the balanced gradient."""
    commitment_weight: float = 0.1
    """Weight of the commitment loss of every layer of the quantiser."""
    adversarial: bool = False
    """Train against EnCodec's MS-STFT discriminator with feature matching, each with its own share of the gradient."""
    adversarial_weight: float = 1.0
    """Share of the adversarial loss in the balanced gradient."""
    feature_weight: float = 1.0
    """Share of feature matching in the balanced gradient."""
    discriminator_filters: int = 8
    """Channels of the first layer of the discriminator."""
    discriminator_learning_rate: float = 3e-4
    """Peak learning rate of the discriminator."""
    quantise_after: int = 600
    """Steps of training without a quantiser, after which the codebooks are fitted to the encoder's output. Codebooks
    that are trained from the first step follow an encoder that still changes, and collapse to one code."""
    decay: float = 0.99
    """Decay of the codebooks' exponential moving averages."""
    restart_below: float = 0.03
    """A code that is used less often than this fraction of the mean is moved to a random encoder output."""
    loudest_gain: float = 6.0
    """Largest random gain of a clip in dB."""
    softest_gain: float = -12.0
    """Smallest random gain of a clip in dB."""
    eval_every: int = 500
    """Steps between evaluations."""
    eval_seconds: float = 120.0
    """Seconds of held-out sound in an evaluation during training, always the same."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 1
    """Number of most recent checkpoints to keep, besides the best one."""
    tensorboard: bool = True
    """Write TensorBoard event files in addition to metrics.jsonl."""

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
