"""Configuration dataclasses of models, training and sampling. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from muse_shortcut.checks import require, require_source_weights, require_types
from muse_shortcut.errors import ArgumentsError, CheckpointError

__all__ = ["MixingConfig", "ModelConfig", "SamplingConfig", "ShortcutConfig", "TrainConfig"]


def _require_fields(kind: Any, name: str, content: Any) -> None:
    allowed = [item.name for item in fields(kind)]
    if set(content) != set(allowed):
        raise CheckpointError(f"{name}'s fields are {', '.join(allowed)}; found {', '.join(map(str, content))}")


@dataclass(frozen=True, kw_only=True)
class ShortcutConfig:
    """The last layer's attention over depth and context (arXiv 2409.10870)."""

    taps: tuple[int, ...] = (2, 4, 6)
    """Depths to attend to; depth d is the output of block d, and 0 is the embedding."""
    include_last: bool = False
    """Also attend to the depth just below the last layer."""
    include_embedding: bool = False
    """Also attend to depth 0."""
    feature_map: Literal["mlp", "residual", "linear", "norm"] = "mlp"
    """Module between the norm of a depth's output and its key and value projections. `residual` is an MLP with a skip
    connection."""
    feature_width: int = 512
    """Hidden width of `mlp` and `residual`."""
    norm: bool = True
    """Normalise the queries and keys of every head, so that no depth can take all attention by the size of its keys."""
    scope: Literal["context", "column", "cross"] = "context"
    """Which sources are attended to: all past positions of all depths (context); all depths at the current position
    (column); or all past positions of the depth just below the last layer, and the other depths at the current position
    (cross)."""
    start: Literal["normal", "zero"] = "normal"
    """Initialisation of the attention's output matrix: like that of the others, or zero."""

    def __post_init__(self) -> None:
        require_types(self)
        taps = list(self.taps)
        require(all(type(tap) is int and tap >= 0 for tap in taps), "shortcut.taps", taps, "depths from 0")
        require(len(set(taps)) == len(taps), "shortcut.taps", taps, "each depth once")
        maps = ("mlp", "residual", "linear", "norm")
        require(self.feature_map in maps, "feature_map", self.feature_map, ", ".join(maps))
        require(self.feature_width >= 1, "feature_width", self.feature_width, "1 or more")
        require(self.scope in ("context", "column", "cross"), "scope", self.scope, "context, column, cross")
        require(self.start in ("normal", "zero"), "start", self.start, "normal, zero")

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP of a depth; 0 if it has none."""
        return self.feature_width if self.feature_map in ("mlp", "residual") else 0


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """Other connections between depths, to compare with the shortcut. Each is a class in
    `muse_shortcut.model.stream_mixing` or `memory_mixing`, which name their sources."""

    kind: Literal["weights", "query", "key_value", "value_residual", "depth_attention"]
    """Mixing of a layer's input: `weights` learns a weight for each depth; `query` learns one query over depths. Mixing
    of its keys and values: `key_value` learns a weight for those of every layer and head; `value_residual` adds the
    values of the first layer; `depth_attention` attends over the values at the current position."""
    layers: Literal["last", "every"] = "last"
    """Which layers mix: only the last one, or every one that has others below it."""

    def __post_init__(self) -> None:
        kinds = ("weights", "query", "key_value", "value_residual", "depth_attention")
        require(self.kind in kinds, "mixing.kind", self.kind, ", ".join(kinds))
        require(self.layers in ("last", "every"), "mixing.layers", self.layers, "last, every")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Configuration of a network (a core)."""

    vocabulary_size: int = 0
    """V, the number of ids in each stream; set from the store's tokenizer."""
    streams: int = 1
    """K, the number of ids per step; set from the store's tokenizer."""
    context: int = 1024
    """T, the context length in steps."""
    layers: int = 7
    """L, the number of layers, including the last one. With fewer, set --model.shortcut.taps too."""
    width: int = 192
    """D, the width of the residual stream."""
    heads: int = 6
    """H, the number of attention heads; D / H must be even, for rotary positions."""
    feed_forward: int = 768
    """Hidden width of the feed-forward layers."""
    dropout: float = 0.0
    """Dropout probability on residuals and in feed-forward layers; there is none inside attention."""
    tied_embeddings: bool = False
    """Share the weights of the embedding and the output head."""
    shortcut: ShortcutConfig | None = ShortcutConfig()
    """Attention of the last layer to several depths; null for a plain GPT, whose last layer attends like the others."""
    query_key_norm: bool = False
    """Normalise the queries and keys of every head in all ordinary layers, including the last one of a plain GPT."""
    mixing: MixingConfig | None = None
    """Another connection between depths; requires `shortcut: null`."""
    last_layer: str | None = None
    """Name of a custom last layer, registered in Python with `muse_shortcut.register_last_layer`; null for the built-in
    one. It receives the depths of `shortcut`, and cannot be combined with `mixing`."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("streams", "width", "heads", "feed_forward"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        # The context sizes a table and the layers a loop before any weights are read: a damaged file must not request
        # arbitrary amounts.
        for name, most in (("context", 2**20), ("layers", 1000)):
            require(1 <= getattr(self, name) <= most, name, getattr(self, name), f"1 to {most}")
        require(self.vocabulary_size >= 0, "vocabulary_size", self.vocabulary_size, "0 or more")
        require(
            self.width % (2 * self.heads) == 0, "width", self.width, f"a multiple of 2 x {{heads}}, {2 * self.heads}"
        )
        require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "0 up to but not 1")
        allowed = "a ShortcutConfig, or null for a plain GPT"
        require(self.shortcut is None or isinstance(self.shortcut, ShortcutConfig), "shortcut", self.shortcut, allowed)
        allowed = "a MixingConfig together with shortcut null, or null"
        mixing_fits = self.mixing is None or (isinstance(self.mixing, MixingConfig) and self.shortcut is None)
        require(mixing_fits, "mixing", self.mixing, allowed)
        last = self.last_layer
        own = last is None or (isinstance(last, str) and last.isidentifier() and self.mixing is None)
        require(own, "last_layer", repr(self.last_layer), "a registered name where mixing is null, or null")
        if self.shortcut is not None:
            deepest = self.layers - 1
            fitting = ",".join(str(tap) for tap in self.shortcut.taps if tap <= deepest) or deepest
            require(
                all(tap <= deepest for tap in self.shortcut.taps),
                "shortcut.taps",
                list(self.shortcut.taps),
                f"depths up to {deepest}, the last below layer {self.layers}; with so many layers choose other taps: "
                f"{{shortcut.taps}} {fitting}",
            )
            require(len(self.depths) > 0, "shortcut.taps", [], "at least one depth")
            crosses = self.shortcut.scope != "cross" or deepest in self.depths
            require(crosses, "shortcut.taps", list(self.shortcut.taps), "include_last true with scope cross")

    @property
    def depths(self) -> tuple[int, ...]:
        """S, the depths that the last layer attends to, in ascending order."""
        if self.shortcut is None:
            return (self.layers - 1,)
        extra = {self.layers - 1} if self.shortcut.include_last else set[int]()
        return tuple(sorted({*self.shortcut.taps} | extra | ({0} if self.shortcut.include_embedding else set())))

    @property
    def remembered(self) -> tuple[int, ...]:
        """The depths of S whose past positions are attended to, and therefore cached."""
        scope = "context" if self.shortcut is None or self.last_layer is not None else self.shortcut.scope
        return {"context": self.depths, "column": (), "cross": self.depths[-1:]}[scope]

    @property
    def head_width(self) -> int:
        """C, the width of a head."""
        return self.width // self.heads

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ModelConfig:
        """Build a configuration from parsed JSON. Raises CheckpointError if a field is missing, unknown or out of its
        range."""
        try:
            if isinstance(content, dict):
                # Checkpoints of 0.1.0 lack these fields.
                content = {"query_key_norm": False, "mixing": None, "last_layer": None} | content
            _require_fields(cls, "a model", content)
            mixing = content["mixing"]
            if mixing is not None:
                _require_fields(MixingConfig, "a mixing", mixing)
                mixing = MixingConfig(**mixing)
            shortcut = content["shortcut"]
            if isinstance(shortcut, dict):
                # Checkpoints of 0.1.0 lack this field.
                shortcut = {"norm": False} | shortcut
            if shortcut is not None:
                _require_fields(ShortcutConfig, "a shortcut", shortcut)
                shortcut = ShortcutConfig(**{**shortcut, "taps": tuple(shortcut["taps"])})
            return cls(**{**content, "shortcut": shortcut, "mixing": mixing})
        except (TypeError, KeyError, ArgumentsError) as error:
            raise CheckpointError(f"impossible model: {error}") from error

    def for_vocabulary(self, vocabulary_size: int, streams: int) -> ModelConfig:
        """Return the same configuration with the vocabulary of a tokenizer."""
        return replace(self, vocabulary_size=vocabulary_size, streams=streams)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Configuration of a training."""

    max_steps: int = 2000
    """Total number of optimiser steps."""
    batch_size: int = 8
    """Windows per forward pass."""
    window: int = 0
    """Length of a training window in steps while the learning rate is constant; 0 for the model's context. During the
    decay (`decay_steps`) windows have the whole context, and a batch has fewer of them."""
    accumulation: int = 1
    """Forward passes per optimiser step (gradient accumulation)."""
    optimiser: Literal["muon", "adamw"] = "muon"
    """muon: Muon for matrices, AdamW for embeddings, heads and vectors. adamw: AdamW for all parameters."""
    learning_rate: float = 6e-3
    """Peak learning rate of the chosen optimiser."""
    # Of the two rates below, None is replaced in __post_init__: whoever reads them gets a number.
    final_learning_rate: float = None  # type: ignore[assignment]
    """Learning rate of the last step; by default a twentieth of learning_rate."""
    embedding_learning_rate: float = None  # type: ignore[assignment]
    """muon: peak learning rate of embeddings, heads and vectors, on the same schedule; by default a third of
    learning_rate."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    decay_steps: int = 0
    """0: a cosine schedule that ends at max_steps. Otherwise the learning rate stays constant until patience runs out
    or only this many steps remain, then decays linearly over this many steps, and training ends."""
    weight_decay: float = 0.1
    """Weight decay of matrices. Vectors and embeddings have none, nor do heads with Muon."""
    beta1: float = 0.9
    """AdamW's decay of the first moment."""
    beta2: float = 0.95
    """AdamW's decay of the second moment."""
    clip: float = 1.0
    """Gradients are clipped to this norm; 0 turns it off."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """How often an epoch sees each source of the store, for example {"mutopia": 1, "groove": 0.5}; sources that are not
    named have weight 1."""
    augment: bool = True
    """Augment every window with a random variation of the tokenizer (MIDI: transpositions)."""
    eval_every: int = 200
    """Steps between evaluations."""
    eval_windows: int = 64
    """Number of validation windows in an evaluation, always the same ones."""
    patience: int = 0
    """Evaluations without improvement after which training ends, or the learning rate decays (`decay_steps`); 0 for
    never."""
    min_delta: float = 0.005
    """Smallest decrease of the validation loss that counts as an improvement, in nats per token."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """Number of most recent checkpoints to keep, besides the best one."""
    sample_every: int = 1000
    """Steps between samples; 0 for none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the forward pass; auto uses bfloat16 if the hardware gains by it; on a CPU that is measured for half
    a second when training starts."""
    threads: int = 0
    """CPU: threads that each compute the gradient of a share of a batch's windows; 0 for one per core, up to 16. It is
    recorded in the run and kept when it is resumed. With dropout or compile there is one."""
    compile: bool = False
    """Compile the model with torch.compile."""
    tensorboard: bool = True
    """Write TensorBoard event files in addition to metrics.jsonl."""

    def __post_init__(self) -> None:
        if type(self.learning_rate) in (int, float):
            # Exactly 3e-4 and 2e-3 with the default rate.
            for name, rate in (("final_learning_rate", 3e-4), ("embedding_learning_rate", 2e-3)):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, rate * (self.learning_rate / 6e-3))
        require_types(self)
        for name in ("max_steps", "batch_size", "accumulation", "eval_every", "eval_windows", "save_every", "keep"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in (
            "warmup_steps",
            "decay_steps",
            "weight_decay",
            "clip",
            "patience",
            "min_delta",
            "sample_every",
            "threads",
            "window",
        ):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.optimiser in ("muon", "adamw"), "optimiser", self.optimiser, "muon, adamw")
        for name in ("learning_rate", "embedding_learning_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        require(
            0 <= self.final_learning_rate <= self.learning_rate,
            "final_learning_rate",
            self.final_learning_rate,
            f"0 to {{learning_rate}}, {self.learning_rate}",
        )
        require(
            not self.window or self.decay_steps > 0,
            "window",
            self.window,
            "0; any other number needs {decay_steps} above 0",
        )
        require(
            not self.decay_steps or self.warmup_steps + self.decay_steps <= self.max_steps,
            "decay_steps",
            self.decay_steps,
            f"0, or at most max_steps less warmup_steps, {self.max_steps - self.warmup_steps}",
        )
        require_source_weights(self.source_weights)
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 up to but not 1")
        require(
            self.precision in ("auto", "float32", "bfloat16"), "precision", self.precision, "auto, float32, bfloat16"
        )

    def initial_window(self, context: int) -> int:
        """Length of a window in steps while the learning rate is constant."""
        return min(self.window or context, context)

    def windows_per_batch(self, context: int, window: int) -> int:
        """Number of windows per batch, so that batches have the same number of tokens whatever the length of a
        window."""
        return max(1, self.batch_size * self.initial_window(context) // window)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next id is sampled from the model's distribution. The fields are applied in their order."""

    repetition_penalty: float = 1.0
    """Divide the odds of ids among the last 64 steps by this; 1 turns it off."""
    no_repeat_ngram: int = 0
    """Never generate the same n-gram of this many steps twice; 0 turns it off."""
    greedy: bool = False
    """Always choose the likeliest id; the fields below then have no effect."""
    temperature: float = 1.0
    """Values below 1 favour likely ids, values above 1 flatten the distribution."""
    top_k: int = 0
    """Sample from the k likeliest ids only; 0 turns it off."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest ids that together have this probability; 1 turns it off."""
    min_p: float = 0.0
    """Sample only from ids that are at least this fraction as likely as the likeliest one; 0 turns it off."""

    def __post_init__(self) -> None:
        require_types(self)
        penalty = self.repetition_penalty
        require(1.0 <= penalty <= 1000, "repetition_penalty", penalty, "1 or more, up to 1,000")
        for name in ("no_repeat_ngram", "top_k"):
            value = getattr(self, name)
            require(0 <= value <= 10**6, name, value, "0 (off) or more, up to 1,000,000")
        require(
            0.0 < self.temperature <= 10.0,
            "temperature",
            self.temperature,
            "more than 0, up to 10; {greedy} always takes the likeliest token",
        )
        require(0.0 < self.top_p <= 1.0, "top_p", self.top_p, "more than 0, up to 1 (off)")
        require(0.0 <= self.min_p < 1.0, "min_p", self.min_p, "0 (off) up to but not 1")
