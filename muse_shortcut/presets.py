"""Model configurations by name."""

from __future__ import annotations

from muse_shortcut.config import ModelConfig, ShortcutConfig

__all__ = ["PRESETS", "PRESET_WORDS", "preset_of"]

_TIED = ModelConfig(
    context=1024,
    layers=7,
    width=192,
    heads=3,
    feed_forward=672,
    tied_embeddings=True,
    shortcut=ShortcutConfig(taps=(2, 4, 6), feature_map="residual", feature_width=384),
)

PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        context=256,
        layers=4,
        width=64,
        heads=4,
        feed_forward=256,
        shortcut=ShortcutConfig(taps=(1, 2), feature_map="residual", feature_width=128),
    ),
    "small": ModelConfig(
        context=1024,
        layers=7,
        width=192,
        heads=3,
        feed_forward=768,
        shortcut=ShortcutConfig(taps=(2, 4, 6), feature_map="residual", feature_width=384),
    ),
    "audio": _TIED,
    "text": _TIED,
    "base": ModelConfig(
        context=1024,
        layers=10,
        width=416,
        heads=8,
        feed_forward=1664,
        dropout=0.1,
        shortcut=ShortcutConfig(taps=(2, 4, 6, 8), feature_map="residual", feature_width=832),
    ),
    "medium": ModelConfig(
        context=1024,
        layers=12,
        width=768,
        heads=12,
        feed_forward=3072,
        dropout=0.1,
        tied_embeddings=True,
        shortcut=ShortcutConfig(taps=(2, 4, 6, 8, 10), feature_map="residual", feature_width=1024),
    ),
    "paper": ModelConfig(
        context=512,
        layers=10,
        width=256,
        heads=8,
        feed_forward=1024,
        dropout=0.1,
        shortcut=ShortcutConfig(taps=(2, 4, 6, 8), feature_width=1024, norm=False),
    ),
}
"""Configurations by name."""

PRESET_WORDS: dict[str, str] = {
    "tiny": "4 layers of width 64, for trying things out",
    "small": "7 layers of width 192, about 4 M parameters; the model for MIDI that ships",
    "audio": "small with one matrix for embedding and head of each codebook; the model for sound that ships",
    "text": "the same shape; the model for text that ships",
    "base": "10 layers of width 416, about 25 M parameters",
    "medium": "12 layers of width 768, as GPT-2 small",
    "paper": "arXiv 2409.10870 as far as it is known: 10 layers, 4 taps, MLPs of 1,024; width and context are chosen",
}
"""A description of each preset."""


def preset_of(domain: str) -> str:
    """Return the default preset of a domain."""
    return domain if domain in PRESETS else "small"
