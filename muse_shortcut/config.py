"""Every choice that can be made about a model, a training or a generation, as plain data. Free of torch."""

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
    """Depths whose outputs are attended to; depth d is the output of block d, 0 is the embedding."""
    include_last: bool = False
    """Also attend to the depth just below the last layer."""
    include_embedding: bool = False
    """Also attend to depth 0."""
    feature_map: Literal["mlp", "residual", "linear", "norm"] = "mlp"
    """What a tapped output passes before it becomes keys and values, after its norm. `residual`: an MLP whose output is
    added to what went in."""
    feature_width: int = 512
    """Hidden width of `mlp` and `residual`."""
    norm: bool = True
    """Norm every head's queries and keys: depths then compete on equal terms, and none can take all attention by the
    size of its keys."""
    scope: Literal["context", "column", "cross"] = "context"
    """Attend to all positions up to one's own (context), to the depths of one's own position alone (column), or to all
    positions of the depth just below the last layer and of the other depths to one's own alone (cross)."""
    start: Literal["normal", "zero"] = "normal"
    """How the attention's output matrix begins: like the others, or at zero."""

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
        """Hidden width of a depth's MLP; 0 where it has none."""
        return self.feature_width if self.feature_map in ("mlp", "residual") else 0


@dataclass(frozen=True, kw_only=True)
class MixingConfig:
    """How else layers can be given what those below them have made, to compare the shortcut with. Each is a class with
    its source in `muse_shortcut.model.stream_mixing` or `memory_mixing`."""

    kind: Literal["weights", "query", "key_value", "value_residual", "depth_attention"]
    """Of the stream that a layer reads: `weights`, a learned number for each depth; `query`, one learned query over
    depths. Of its keys and values: `key_value`, those of all layers and heads, each with a learned number;
    `value_residual`, the first layer's values; `depth_attention`, the values of one's own column."""
    layers: Literal["last", "every"] = "last"
    """The last layer alone, or every one that has others below."""

    def __post_init__(self) -> None:
        kinds = ("weights", "query", "key_value", "value_residual", "depth_attention")
        require(self.kind in kinds, "mixing.kind", self.kind, ", ".join(kinds))
        require(self.layers in ("last", "every"), "mixing.layers", self.layers, "last, every")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a core. What an id means is not its affair."""

    vocabulary_size: int = 0
    """V, ids of each stream; set from the store's tokenizer."""
    streams: int = 1
    """K, ids of one step; set from the store's tokenizer."""
    context: int = 1024
    """T, the most steps it can see."""
    layers: int = 7
    """L, how many there are, the last one included. With fewer name --model.shortcut.taps too."""
    width: int = 192
    """D, numbers in each vector between two layers."""
    heads: int = 6
    """H, of attention; D / H must be even, for rotary positions."""
    feed_forward: int = 768
    """Hidden width of the feed-forward layers."""
    dropout: float = 0.0
    """On residuals and in feed-forward layers, never inside attention."""
    tied_embeddings: bool = False
    """The head is the embedding's transpose."""
    shortcut: ShortcutConfig | None = ShortcutConfig()
    """The last layer's attention to several depths; null: a plain GPT, whose last layer attends like the others."""
    query_key_norm: bool = False
    """Norm every head's queries and keys in all ordinary layers, a plain GPT's last one among them."""
    mixing: MixingConfig | None = None
    """Another way from depth to depth, beside `shortcut: null` alone."""
    last_layer: str | None = None
    """Name of a last layer of one's own, registered in Python by `muse_shortcut.register_last_layer`; null: this one.
    It sees the depths of `shortcut`, and has no `mixing`."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("streams", "width", "heads", "feed_forward"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        # Positions are a table and layers a loop, whatever the weights: a damaged file must not ask for any number.
        for name, most in (("context", 2**20), ("layers", 1000)):
            require(1 <= getattr(self, name) <= most, name, getattr(self, name), f"1 to {most}")
        require(self.vocabulary_size >= 0, "vocabulary_size", self.vocabulary_size, "0 or more")
        require(self.width % (2 * self.heads) == 0, "width", self.width, f"a multiple of 2 x heads, {2 * self.heads}")
        require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "0 up to but not 1")
        allowed = "a ShortcutConfig, or null for a plain GPT"
        require(self.shortcut is None or isinstance(self.shortcut, ShortcutConfig), "shortcut", self.shortcut, allowed)
        allowed = "a MixingConfig beside shortcut null, or null"
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
                f"depths up to {deepest}, the last below layer {self.layers}; for so many layers name the taps too: "
                f"{{shortcut.taps}} {fitting}",
            )
            require(len(self.depths) > 0, "shortcut.taps", [], "at least one depth")
            crosses = self.shortcut.scope != "cross" or deepest in self.depths
            require(crosses, "shortcut.taps", list(self.shortcut.taps), "include_last true with scope cross")

    @property
    def depths(self) -> tuple[int, ...]:
        """S: the depths the last layer attends to, rising."""
        if self.shortcut is None:
            return (self.layers - 1,)
        extra = {self.layers - 1} if self.shortcut.include_last else set[int]()
        return tuple(sorted({*self.shortcut.taps} | extra | ({0} if self.shortcut.include_embedding else set())))

    @property
    def remembered(self) -> tuple[int, ...]:
        """The depths of S whose past is attended to, and cached."""
        scope = "context" if self.shortcut is None or self.last_layer is not None else self.shortcut.scope
        return {"context": self.depths, "column": (), "cross": self.depths[-1:]}[scope]

    @property
    def head_width(self) -> int:
        """C."""
        return self.width // self.heads

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ModelConfig:
        """Raises CheckpointError: a field is missing, unknown or impossible."""
        try:
            if isinstance(content, dict):
                # Checkpoints of 0.1.0 had none of them.
                content = {"query_key_norm": False, "mixing": None, "last_layer": None} | content
            _require_fields(cls, "a model", content)
            mixing = content["mixing"]
            if mixing is not None:
                _require_fields(MixingConfig, "a mixing", mixing)
                mixing = MixingConfig(**mixing)
            shortcut = content["shortcut"]
            if isinstance(shortcut, dict):
                # Checkpoints of 0.1.0 had none.
                shortcut = {"norm": False} | shortcut
            if shortcut is not None:
                _require_fields(ShortcutConfig, "a shortcut", shortcut)
                shortcut = ShortcutConfig(**{**shortcut, "taps": tuple(shortcut["taps"])})
            return cls(**{**content, "shortcut": shortcut, "mixing": mixing})
        except (TypeError, KeyError, ArgumentsError) as error:
            raise CheckpointError(f"impossible model: {error}") from error

    def for_vocabulary(self, vocabulary_size: int, streams: int) -> ModelConfig:
        """The same shape for a tokenizer."""
        return replace(self, vocabulary_size=vocabulary_size, streams=streams)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a core is trained."""

    max_steps: int = 2000
    """Optimiser steps in all."""
    batch_size: int = 8
    """Windows of one forward pass."""
    window: int = 0
    """Steps of a window while the rate stands, 0: as many as the model's context. In the fall (`decay_steps`) windows
    have the whole context, and a batch as many fewer of them."""
    accumulation: int = 1
    """Forward passes of one optimiser step."""
    optimiser: Literal["muon", "adamw"] = "muon"
    """muon: Muon for matrices, AdamW for embeddings, heads and vectors. adamw: AdamW for all."""
    learning_rate: float = 6e-3
    """The highest learning rate of what `optimiser` names."""
    final_learning_rate: float = 3e-4
    """The learning rate of the last step."""
    embedding_learning_rate: float = 2e-3
    """muon: the highest of embeddings, heads and vectors; it falls with the other."""
    warmup_steps: int = 100
    """Steps of linear rise."""
    decay_steps: int = 0
    """0: a cosine that ends at max_steps. Otherwise the rate stands until patience ends, or max_steps is so near, and
    then falls in a line for so many steps, with which training ends."""
    weight_decay: float = 0.1
    """On matrices; vectors and embeddings, and beside Muon heads, are left alone."""
    beta1: float = 0.9
    """AdamW's, of its mean of gradients."""
    beta2: float = 0.95
    """AdamW's, of its mean of squared gradients."""
    clip: float = 1.0
    """The largest norm of a gradient, which is scaled down to it; 0: any."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """How often an epoch sees each source of the store, {"mutopia": 1, "groove": 0.5}; those not named once."""
    augment: bool = True
    """Draw one of the tokenizer's variations for every window (MIDI: transpositions)."""
    eval_every: int = 200
    """Steps between evaluations."""
    eval_windows: int = 64
    """Windows of the validation split that are evaluated, always the same."""
    patience: int = 0
    """Evaluations without a gain after which training ends, or its rate falls (`decay_steps`); 0: never."""
    min_delta: float = 0.005
    """What counts as a gain, nats per token."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept, the best one besides."""
    sample_every: int = 1000
    """Steps between samples; 0: none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the chip computes in it."""
    compile: bool = False
    """Run the model through torch.compile."""
    tensorboard: bool = True
    """Write TensorBoard's files beside metrics.jsonl."""

    def __post_init__(self) -> None:
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
            f"0 to learning_rate, {self.learning_rate}",
        )
        require(
            not self.window or self.decay_steps > 0,
            "window",
            self.window,
            "0, or any number beside decay_steps above 0",
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

    def standing_window(self, context: int) -> int:
        """Steps of a window while the rate stands."""
        return min(self.window or context, context)

    def windows_per_batch(self, context: int, window: int) -> int:
        """A batch has as many tokens whatever its windows."""
        return max(1, self.batch_size * self.standing_window(context) // window)


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next id is chosen from the model's distribution. Applied in the order of the fields."""

    repetition_penalty: float = 1.0
    """Divide the odds of ids among the last 64 steps by this; 1: off."""
    no_repeat_ngram: int = 0
    """Never write the same run of this many steps twice; 0: off."""
    greedy: bool = False
    """Always the likeliest id; the fields below then do nothing."""
    temperature: float = 1.0
    """Below 1 safer, above 1 wilder."""
    top_k: int = 0
    """Only the k likeliest; 0: off."""
    top_p: float = 1.0
    """Only the likeliest that together have this probability; 1: off."""
    min_p: float = 0.0
    """Only ids at least this fraction as likely as the likeliest; 0: off."""

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
            "more than 0, up to 10; {greedy} takes always the likeliest",
        )
        require(0.0 < self.top_p <= 1.0, "top_p", self.top_p, "more than 0, up to 1 (off)")
        require(0.0 <= self.min_p < 1.0, "min_p", self.min_p, "0 (off) up to but not 1")
