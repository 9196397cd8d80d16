"""Tests of the cache: candidates that share a prompt compute the same as each one alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.model.attention import row_attend
from muse_shortcut.model.blocks import Memory
from muse_shortcut.model.cache import Cache
from muse_shortcut.model.core import Core
from muse_shortcut.model.last_layer import LastBlock

CONTEXT = 150


@pytest.fixture(scope="module", params=["shortcut", "plain"])
def core(request: pytest.FixtureRequest) -> Core:
    torch.manual_seed(1)
    shortcut = ShortcutConfig(taps=(1, 2), include_embedding=True, feature_width=11)
    shape = ModelConfig(
        vocabulary_size=13,
        streams=2,
        context=CONTEXT,
        layers=4,
        width=30,
        heads=3,
        feed_forward=17,
        shortcut=shortcut if request.param == "shortcut" else None,
    )
    return Core(shape).eval()


@pytest.mark.parametrize("read", [1, 127, 128, 139])
@torch.inference_mode()
def test_shared_and_own_parts_together_equal_reading_it_all(core: Core, read: int) -> None:
    ids = torch.randint(0, 13, (5, CONTEXT, 2), generator=torch.Generator().manual_seed(2))
    ids[:, :read] = ids[:1, :read]
    expected = core(ids)
    cache = core.make_cache(1)
    core.prefill(ids[:1, :read], cache)
    cache.repeat(5)
    for t in range(read, CONTEXT):
        output = core.step(ids[:, t], cache)
        torch.testing.assert_close(output.logits, expected[:, t], atol=2e-5, rtol=2e-5)
        assert output.weights.shape == (5, 3, len(core.config.depths), t + 1)
        torch.testing.assert_close(output.weights.sum((2, 3)), torch.ones(5, 3))


@torch.inference_mode()
def test_a_long_past_is_kept_once_for_all_candidates(core: Core) -> None:
    cache = core.make_cache(1)
    core.prefill(torch.zeros(1, 140, 2, dtype=torch.long), cache)
    cache.repeat(64)
    assert cache.shared_length == 140
    assert cache.keys.shape == (3, 64, 3, CONTEXT - 140, 10)


class _OwnAttention(LastBlock):
    """What somebody writes who has not read cache.py: attention over what `put_taps` gives."""

    def forward(
        self, h: Tensor, depths: list[Tensor], cos_sin: Tensor, cache: Cache | None, below: Memory
    ) -> tuple[Tensor, Tensor]:
        if cache is None or h.shape[1] > 1:
            return super().forward(h, depths, cos_sin, cache, below)
        query, own_keys, own_values = self.project(h, depths, cos_sin, below)
        keys, values = cache.put_taps(own_keys, own_values)
        seen, weights = row_attend(query, keys, values)
        return self._finish(h, seen), weights


@pytest.mark.parametrize("read", [127, 128, 139])
@torch.inference_mode()
def test_an_attention_of_ones_own_sees_the_shared_past_too(core: Core, read: int, monkeypatch: Any) -> None:
    ids = torch.randint(0, 13, (2, CONTEXT, 2), generator=torch.Generator().manual_seed(2))
    ids[:, :read] = ids[:1, :read]
    found = []
    for kind in (LastBlock, _OwnAttention):
        monkeypatch.setattr(core.last, "__class__", kind)
        cache = core.make_cache(1)
        core.prefill(ids[:1, :read], cache)
        cache.repeat(2)
        found.append([core.step(ids[:, t], cache) for t in range(read, CONTEXT)])
    for t, (usual, own) in enumerate(zip(*found, strict=True)):
        assert own.weights.shape == (2, 3, len(core.config.depths), read + t + 1)
        torch.testing.assert_close(own.weights, usual.weights, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(own.logits, usual.logits, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_cached_layer_is_complete_unless_parts_are_requested(core: Core) -> None:
    cache = core.make_cache(1)
    core.prefill(torch.zeros(1, 140, 2, dtype=torch.long), cache)
    cache.repeat(3)
    new = torch.randn(3, 3, 1, 10)
    held = cache.put(1, new, -new)
    keys, values = held
    assert keys.shape == values.shape == (3, 3, 141, 10)
    assert (keys[:, :, -1:] == new).all()
    assert (values[:, :, -1:] == -new).all()
    assert held.shared is not None
    assert (keys[:, :, :140] == held.shared[0]).all()
    assert held.own_keys.shape == (3, 3, 1, 10)
