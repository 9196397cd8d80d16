"""Computed costs of a core equal those of its matrix products and its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_models import CORES, core_config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from muse_shortcut.model import attention
from muse_shortcut.model.core import Core
from muse_shortcut.model.flops import cache_bytes_per_token, flops_per_token
from muse_shortcut.presets import PRESETS


@pytest.mark.parametrize("kind", [kind for kind in CORES if kind != "column, one depth"])  # of one it makes no matrix
@pytest.mark.parametrize("streams", [1, 3])
def test_the_operations_of_a_token_are_those_that_torch_counts(
    kind: str, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Torch does not count inside the CPU's fused kernel.
    monkeypatch.setattr(attention, "_has_fused_kernel", lambda _: False)
    # At a context of one position a causal attention is over one, and torch's count of a whole square is the same.
    config = core_config(kind, streams=streams, context=1)
    core = Core(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        core(torch.zeros(1, 1, streams, dtype=torch.long))
    counted = counter.get_total_flops()
    # What is multiplied element by element torch does not count.
    loose = {"weights": 0, "value_residual": 0}
    mixing = config.mixing
    said = (
        flops_per_token(config)
        if mixing is None or mixing.kind not in loose
        else flops_per_token(replace(config, mixing=None))
    )
    assert said == counted


def test_a_longer_context_adds_half_of_it_to_every_attention() -> None:
    plain = replace(PRESETS["paper"], shortcut=None, context=1)
    longer = replace(plain, context=513)
    assert flops_per_token(longer) - flops_per_token(plain) == 10 * 4 * 256 * 256
    shortcut = replace(PRESETS["paper"], context=1)
    assert flops_per_token(replace(shortcut, context=513)) - flops_per_token(shortcut) == 13 * 4 * 256 * 256


def test_a_token_in_the_cache_is_two_streams_for_every_layer_and_every_depth_whose_past_is_seen() -> None:
    paper = PRESETS["paper"]
    assert paper.shortcut is not None
    assert cache_bytes_per_token(replace(paper, shortcut=None)) == 2 * 10 * 256 * 4
    assert cache_bytes_per_token(paper) == 2 * (9 + 4) * 256 * 4
    column = replace(paper.shortcut, scope="column")
    assert cache_bytes_per_token(replace(paper, shortcut=column)) == 2 * 9 * 256 * 4
    cross = replace(paper.shortcut, scope="cross", include_last=True)
    assert cache_bytes_per_token(replace(paper, shortcut=cross)) == 2 * 10 * 256 * 4
