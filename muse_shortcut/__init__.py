"""muse-shortcut: continue music, sound and text with a GPT whose last layer attends to layers below it.

    import muse_shortcut as muse

    model = muse.load("midi")
    [best] = model.continue_("song.mid", prompt_seconds=20, seconds=30, seed=7)
    best.save("out.mid")

Importing this module is cheap: torch is imported when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Continuation, Stream
    from muse_shortcut.api.model import Model, load
    from muse_shortcut.api.options import Options
    from muse_shortcut.config import ModelConfig, SamplingConfig, ShortcutConfig, TrainConfig
    from muse_shortcut.errors import (
        ArgumentsError,
        CheckpointError,
        DownloadError,
        MuseError,
        OutputError,
        RecipeError,
        StoreError,
        TrainingError,
    )
    from muse_shortcut.generation.explaining import Explanation
    from muse_shortcut.generation.request import StepEvent
    from muse_shortcut.generation.trace import Trace, load_trace
    from muse_shortcut.model.core import Core
    from muse_shortcut.version import __version__
    from muse_tokenizers.base import Prompt, Token, Tokenizer, Waveform
    from muse_tokenizers.errors import FileWarning, TokenizerError

_MODULES = {
    "muse_shortcut.api.continuation": ("Continuation", "Stream"),
    "muse_shortcut.api.model": ("Model", "load"),
    "muse_shortcut.api.options": ("Options",),
    "muse_shortcut.config": ("ModelConfig", "SamplingConfig", "ShortcutConfig", "TrainConfig"),
    "muse_shortcut.errors": (
        "ArgumentsError",
        "CheckpointError",
        "DownloadError",
        "MuseError",
        "OutputError",
        "RecipeError",
        "StoreError",
        "TrainingError",
    ),
    "muse_shortcut.generation.request": ("StepEvent",),
    "muse_shortcut.generation.explaining": ("Explanation",),
    "muse_shortcut.generation.trace": ("Trace", "load_trace"),
    "muse_shortcut.model.core": ("Core",),
    "muse_shortcut.version": ("__version__",),
    "muse_tokenizers.base": ("Prompt", "Token", "Tokenizer", "Waveform"),
    "muse_tokenizers.errors": ("FileWarning", "TokenizerError"),
}
"""Where each public name is defined."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ArgumentsError",
    "CheckpointError",
    "Continuation",
    "Core",
    "DownloadError",
    "Explanation",
    "FileWarning",
    "Model",
    "ModelConfig",
    "MuseError",
    "Options",
    "OutputError",
    "Prompt",
    "RecipeError",
    "SamplingConfig",
    "ShortcutConfig",
    "StepEvent",
    "StoreError",
    "Stream",
    "Token",
    "Tokenizer",
    "TokenizerError",
    "Trace",
    "TrainConfig",
    "TrainingError",
    "Waveform",
    "__version__",
    "load",
    "load_trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
