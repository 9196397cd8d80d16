"""Promises of the cache: candidates who share what they have read step as if each had read it alone."""

from __future__ import annotations

import pytest
import torch

from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.model.core import Core

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
