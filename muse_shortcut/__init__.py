"""muse-shortcut: continue music, sound and text with a GPT whose last layer attends to layers below it.

    import muse_shortcut as muse

    model = muse.load("midi")
    [best] = model.continue_("song.mid", prompt_seconds=20, seconds=30, seed=7)
    best.save("out.mid")

    store = muse.prepare("songs", "stores/mine", muse.load_tokenizer("midi"))
    result = muse.train(muse.TrainingOptions(data="stores/mine", out="runs/mine", start="midi"))
    scores = muse.evaluate_likelihood(muse.load(result.folder), store)

Every error is a `MuseError`. Importing this module is cheap: torch is imported when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Continuation, Stream
    from muse_shortcut.api.model import Model, load, load_tokenizer
    from muse_shortcut.api.options import Options
    from muse_shortcut.api.preparing import prepare
    from muse_shortcut.api.ranking import Ranked
    from muse_shortcut.checkpoints import Checkpoint, save_checkpoint
    from muse_shortcut.config import MixingConfig, ModelConfig, SamplingConfig, ShortcutConfig, TrainConfig
    from muse_shortcut.data.batches import TrainingBatches, evaluation_windows
    from muse_shortcut.data.recipe import Recipe, load_recipe
    from muse_shortcut.data.store import Piece, Store, open_store
    from muse_shortcut.errors import (
        ArgumentsError,
        CheckpointError,
        DownloadError,
        HubError,
        MuseError,
        OptionError,
        OutputError,
        PluginError,
        RecipeError,
        StoreError,
        TrainingError,
    )
    from muse_shortcut.evaluation.evaluating import (
        ContinuationResult,
        CopyResult,
        LikelihoodResult,
        evaluate_continuations,
        evaluate_copies,
        evaluate_likelihood,
    )
    from muse_shortcut.evaluation.likelihood import Likelihood, ScoringWindows
    from muse_shortcut.generation.ablation import Explanation
    from muse_shortcut.generation.request import StepEvent
    from muse_shortcut.generation.trace import Trace, load_trace
    from muse_shortcut.model.core import Core, StepOutput
    from muse_shortcut.model.own_last import register_last_layer
    from muse_shortcut.presets import PRESETS
    from muse_shortcut.training.loop import Status
    from muse_shortcut.training.training import TrainingObserver, TrainingOptions, TrainingPlan, TrainingResult, train
    from muse_shortcut.version import __version__
    from muse_tokenizers.audio.constraints import AudioConstraints
    from muse_tokenizers.audio.tokenizer import AudioTokenizer
    from muse_tokenizers.base import Constraints, Grammar, Ids, Prompt, Token, Tokenizer, Variations, Waveform
    from muse_tokenizers.domain import Domain
    from muse_tokenizers.domain_info import DomainInfo
    from muse_tokenizers.errors import (
        CodecError,
        ConstraintError,
        FileWarning,
        InvalidOptionError,
        TokenizerError,
        UnknownTokenizerError,
        UnreadablePieceError,
        UnwritablePieceError,
    )
    from muse_tokenizers.loading import domain_of, register_domain
    from muse_tokenizers.measures import CopyUnits
    from muse_tokenizers.midi.constraints import MidiConstraints
    from muse_tokenizers.midi.tokenizer import MidiTokenizer
    from muse_tokenizers.text.constraints import TextConstraints
    from muse_tokenizers.text.tokenizer import TextTokenizer

_MODULES = {
    "muse_shortcut.api.continuation": ("Continuation", "Stream"),
    "muse_shortcut.api.ranking": ("Ranked",),
    "muse_shortcut.api.model": ("Model", "load", "load_tokenizer"),
    "muse_shortcut.api.options": ("Options",),
    "muse_shortcut.api.preparing": ("prepare",),
    "muse_shortcut.checkpoints": ("Checkpoint", "save_checkpoint"),
    "muse_shortcut.config": (
        "MixingConfig",
        "ModelConfig",
        "SamplingConfig",
        "ShortcutConfig",
        "TrainConfig",
    ),
    "muse_shortcut.data.batches": ("TrainingBatches", "evaluation_windows"),
    "muse_shortcut.data.recipe": ("Recipe", "load_recipe"),
    "muse_shortcut.data.store": ("Piece", "Store", "open_store"),
    "muse_shortcut.errors": (
        "ArgumentsError",
        "CheckpointError",
        "DownloadError",
        "HubError",
        "MuseError",
        "OptionError",
        "OutputError",
        "PluginError",
        "RecipeError",
        "StoreError",
        "TrainingError",
    ),
    "muse_shortcut.evaluation.evaluating": (
        "ContinuationResult",
        "CopyResult",
        "LikelihoodResult",
        "evaluate_continuations",
        "evaluate_copies",
        "evaluate_likelihood",
    ),
    "muse_shortcut.evaluation.likelihood": ("Likelihood", "ScoringWindows"),
    "muse_shortcut.generation.ablation": ("Explanation",),
    "muse_shortcut.generation.request": ("StepEvent",),
    "muse_shortcut.generation.trace": ("Trace", "load_trace"),
    "muse_shortcut.model.core": ("Core", "StepOutput"),
    "muse_shortcut.model.own_last": ("register_last_layer",),
    "muse_shortcut.presets": ("PRESETS",),
    "muse_shortcut.training.loop": ("Status",),
    "muse_shortcut.training.training": (
        "TrainingObserver",
        "TrainingOptions",
        "TrainingPlan",
        "TrainingResult",
        "train",
    ),
    "muse_shortcut.version": ("__version__",),
    "muse_tokenizers.audio.constraints": ("AudioConstraints",),
    "muse_tokenizers.audio.tokenizer": ("AudioTokenizer",),
    "muse_tokenizers.base": ("Grammar", "Ids", "Prompt", "Token", "Tokenizer", "Variations", "Waveform", "Constraints"),
    "muse_tokenizers.domain": ("Domain",),
    "muse_tokenizers.errors": (
        "FileWarning",
        "InvalidOptionError",
        "ConstraintError",
        "TokenizerError",
        "UnknownTokenizerError",
        "UnreadablePieceError",
        "CodecError",
        "UnwritablePieceError",
    ),
    "muse_tokenizers.domain_info": ("DomainInfo",),
    "muse_tokenizers.loading": ("domain_of", "register_domain"),
    "muse_tokenizers.measures": ("CopyUnits",),
    "muse_tokenizers.midi.constraints": ("MidiConstraints",),
    "muse_tokenizers.midi.tokenizer": ("MidiTokenizer",),
    "muse_tokenizers.text.constraints": ("TextConstraints",),
    "muse_tokenizers.text.tokenizer": ("TextTokenizer",),
}
"""Public names and the modules that define them."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "PRESETS",
    "ArgumentsError",
    "AudioConstraints",
    "AudioTokenizer",
    "Checkpoint",
    "CheckpointError",
    "CodecError",
    "ConstraintError",
    "Constraints",
    "Continuation",
    "ContinuationResult",
    "CopyResult",
    "CopyUnits",
    "Core",
    "Domain",
    "DomainInfo",
    "DownloadError",
    "Explanation",
    "FileWarning",
    "Grammar",
    "HubError",
    "Ids",
    "InvalidOptionError",
    "Likelihood",
    "LikelihoodResult",
    "MidiConstraints",
    "MidiTokenizer",
    "MixingConfig",
    "Model",
    "ModelConfig",
    "MuseError",
    "OptionError",
    "Options",
    "OutputError",
    "Piece",
    "PluginError",
    "Prompt",
    "Ranked",
    "Recipe",
    "RecipeError",
    "SamplingConfig",
    "ScoringWindows",
    "ShortcutConfig",
    "Status",
    "StepEvent",
    "StepOutput",
    "Store",
    "StoreError",
    "Stream",
    "TextConstraints",
    "TextTokenizer",
    "Token",
    "Tokenizer",
    "TokenizerError",
    "Trace",
    "TrainConfig",
    "TrainingBatches",
    "TrainingError",
    "TrainingObserver",
    "TrainingOptions",
    "TrainingPlan",
    "TrainingResult",
    "UnknownTokenizerError",
    "UnreadablePieceError",
    "UnwritablePieceError",
    "Variations",
    "Waveform",
    "__version__",
    "domain_of",
    "evaluate_continuations",
    "evaluate_copies",
    "evaluate_likelihood",
    "evaluation_windows",
    "load",
    "load_recipe",
    "load_tokenizer",
    "load_trace",
    "open_store",
    "prepare",
    "register_domain",
    "register_last_layer",
    "save_checkpoint",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
