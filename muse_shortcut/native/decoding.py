"""A core that computes its cached steps with the native step, and everything else with torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from muse_shortcut.config import ModelConfig
from muse_shortcut.model.blocks import Attention, Block, FeedForward
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core, StepOutput
from muse_shortcut.model.last_layer import FeatureMap, LastBlock
from muse_shortcut.native.library import (
    AttentionFields,
    BlockFields,
    CacheFields,
    CoreFields,
    FeatureFields,
    FeedForwardFields,
    RowsFields,
    load_step,
)

__all__ = ["NativeCore", "unsupported"]


def unsupported(core: Core) -> str | None:
    """Return what of a core the native step does not compute; None if it computes all of it."""
    config = core.config
    if config.last_layer is not None:
        return "custom last layers"
    if config.mixing is not None:
        return "mixing between depths"
    if config.shortcut is not None and config.shortcut.scope != "context":
        return f"scope {config.shortcut.scope}"
    if core.training and config.dropout:
        return "dropout in training mode"
    if any(module._forward_hooks or module._forward_pre_hooks for module in core.modules()):
        return "forward hooks"
    for parameter in core.parameters():
        if parameter.device.type != "cpu":
            return f"parameters on {parameter.device.type}"
        if parameter.dtype != torch.float32:
            return f"parameters in {str(parameter.dtype).removeprefix('torch.')}"
        if not parameter.is_contiguous():
            return "parameters that are not contiguous"
    return None


class NativeCore:
    """The cached interface of a core: `config`, `make_cache`, `prefill` and `step`.

    It works on the parameters and the cache of the core, without a copy. Not for two threads at once: each makes one of
    its own.
    """

    def __init__(self, core: Core) -> None:
        """
        Args:
            core: A core that is not `unsupported`.

        Raises:
            NativeStepError: There is no compiled step.
        """
        self._step, self.instructions = load_step()
        self._core, self.config = core, core.config
        # The structures point to the parameters' memory, which these tensors keep alive.
        self._tensors = [*core.parameters(), *core.buffers()]
        self._fields = _core_fields(core)
        self._room = torch.empty(0)

    def make_cache(self, batch: int) -> Cache:
        """Create an empty cache, as `Core.make_cache` does. Its candidates share shorter prompts."""
        cache = self._core.make_cache(batch)
        cache.worth_sharing = _WORTH_SHARING
        return cache

    def prefill(self, ids: Tensor, cache: Cache) -> None:
        """Read ids (B, T, K) into an empty cache, as `Core.prefill` does."""
        self._core.prefill(ids, cache)

    def step(self, ids: Tensor, cache: Cache) -> StepOutput:
        """Read one step (B, K) after those in the cache, and append it to the cache, as `Core.step` does."""
        assert cache.length < cache.capacity
        config, ids = self.config, ids.to("cpu", torch.int64).contiguous()
        batch, length = len(ids), cache.length + 1
        floats = _scratch_floats(config, batch)
        if len(self._room) < floats:
            # Zeros, since rounding up to whole vectors reads what nothing has written.
            self._room = torch.zeros(floats, **_FLOATS)
        logits = torch.empty(batch, config.streams, config.vocabulary_size, **_FLOATS)
        weights = torch.empty(batch, config.heads, len(config.depths), length, **_FLOATS)
        outside = self._step(
            byref(self._fields),
            byref(_cache_fields(cache)),
            *(_pointer(tensor, kind) for tensor, kind in zip((ids, logits, weights, self._room), _KINDS, strict=True)),
        )
        if outside:
            raise IndexError(f"ids from {ids.min()} to {ids.max()}; allowed: 0 to {config.vocabulary_size - 1}")
        cache.length = length
        return StepOutput(logits, weights)


_WORTH_SHARING = 16
"""Number of shared steps from which reading them once outweighs attending to two parts."""
_FLOATS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
_KINDS = (ctypes.POINTER(ctypes.c_longlong), *(ctypes.POINTER(ctypes.c_float),) * 3)


def _pointer(tensor: Tensor, kind: type) -> object:
    return ctypes.cast(tensor.data_ptr(), kind)


def _scratch_floats(config: ModelConfig, batch: int) -> int:
    """Number of floats that step.c takes from its scratch memory, as it takes them."""
    width, depths = config.width, len(config.depths)
    sizes = [width] * 4 + [2 * depths * width, depths * width, depths * width, _widest(config), config.context]
    return sum((batch * size + 15) // 16 * 16 for size in sizes)


def _widest(config: ModelConfig) -> int:
    return max(config.feed_forward, config.shortcut.mlp_width if config.shortcut is not None else 0)


def _core_fields(core: Core) -> CoreFields:
    config, last = core.config, core.last
    assert isinstance(last, LastBlock)
    return CoreFields(
        vocabulary=config.vocabulary_size,
        streams=config.streams,
        context=config.context,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        features=len(config.depths),
        widest=_widest(config),
        embeddings=_weights(core.embeddings),
        head_weights=_weights(core.heads),
        blocks=(BlockFields * len(core.blocks))(*(_block(block) for block in core.blocks)),
        feature=(FeatureFields * len(config.depths))(
            *(_feature(depth, feature) for depth, feature in zip(config.depths, last.features, strict=True))
        ),
        last=_block(last),
        norm=core.norm.weight.data_ptr(),
        cos_sin=core.get_buffer("cos_sin").data_ptr(),
    )


def _weights(modules: nn.ModuleList) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(modules))(*(module.get_parameter("weight").data_ptr() for module in modules))


def _block(block: nn.Module) -> BlockFields:
    assert isinstance(block, Block | LastBlock)
    attention_norm = block.query_norm if isinstance(block, LastBlock) else block.attention_norm
    return BlockFields(
        attention_norm=attention_norm.weight.data_ptr(),
        attention=_attention(block.attention),
        feed_forward_norm=block.feed_forward_norm.weight.data_ptr(),
        feed_forward=_feed_forward(block.feed_forward),
    )


def _attention(attention: Attention) -> AttentionFields:
    weights = (layer.weight.data_ptr() for layer in (attention.query, attention.key_value, attention.output))
    return AttentionFields(*weights, attention.norm)


def _feed_forward(layer: FeedForward) -> FeedForwardFields:
    return FeedForwardFields(layer.up.weight.data_ptr(), layer.down.weight.data_ptr(), layer.up.out_features)


def _feature(depth: int, feature: nn.Module) -> FeatureFields:
    assert isinstance(feature, FeatureMap)
    fields = FeatureFields(depth=depth, norm=feature.norm.weight.data_ptr(), keep=feature.residual)
    if isinstance(feature.map, FeedForward):
        fields.mlp = _feed_forward(feature.map)
    elif isinstance(feature.map, nn.Linear):
        fields.linear = feature.map.weight.data_ptr()
    return fields


def _cache_fields(cache: Cache) -> CacheFields:
    later = cache.length - cache.shared_length
    shared: Sequence[Tensor] = cache.shared or ()
    return CacheFields(
        shared=_rows(shared[:2], cache.shared_length),
        own=_rows((cache.keys, cache.values), later),
        shared_taps=_rows(shared[2:], cache.shared_length),
        own_taps=_rows((cache.tap_keys, cache.tap_values), later),
    )


def _rows(keys_and_values: Sequence[Tensor], length: int) -> RowsFields:
    if not keys_and_values:
        return RowsFields()
    keys, values = keys_and_values
    # The shared part is a slice of a longer tensor: the stride of a head tells its capacity.
    batch, capacity = keys.shape[1], keys.stride(2) // keys.stride(3)
    return RowsFields(keys.data_ptr(), values.data_ptr(), batch, capacity, length)
