"""The core: its equations, causality, and that a cache changes nothing but the time."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from small_models import CORES, DEVICES, SHORTCUTS, core_config, make_core, random_ids, small_config
from torch import Tensor
from torch.nn import functional as F

from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.model.attention import joint_attend_spelled_out
from muse_shortcut.model.core import Core
from muse_shortcut.model.last_layer import LastBlock
from muse_shortcut.model.memory_mixing import DepthAttention, KeyValueMixing, ValueResidual
from muse_shortcut.model.stream_mixing import DepthQuery, DepthWeights
from muse_shortcut.presets import PRESETS

EVERY_KIND = pytest.mark.parametrize("kind", CORES)
EVERY_DEVICE = pytest.mark.parametrize("device", DEVICES)


# The equations, written out position by position


def norm(h: Tensor, weight: Tensor) -> Tensor:
    return (h - h.mean()) / (h.var(unbiased=False) + 1e-5).sqrt() * weight


def turned(vector: Tensor, position: int) -> Tensor:
    """Rotary positions: component c and component c + C/2 are a plane, which turns by position / 10000^(2c / C)."""
    C = len(vector)
    out = vector.clone()
    for c in range(C // 2):
        angle = torch.tensor(position * 10_000.0 ** (-2 * c / C), dtype=torch.float64).float().item()
        a, b = vector[c], vector[c + C // 2]
        out[c], out[c + C // 2] = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    return out


def unit(vector: Tensor, wanted: bool) -> Tensor:
    return vector / (vector.pow(2).mean() + 1e-6).sqrt() if wanted else vector


Rows = list[Tensor]
"""T of (D,) or (H, C)."""


def heads_of(rows: Rows, matrix: Tensor, heads: int, *, normed: bool = False, turn: bool = False) -> Rows:
    """T of (D,) -> T of (H, C)."""
    out = [[unit(part, normed) for part in (matrix @ row).chunk(heads)] for row in rows]
    return [torch.stack([turned(part, i) if turn else part for part in parts]) for i, parts in enumerate(out)]


def attended(
    h: Rows, sources: list[Rows], attention: Any, heads: int, *, scope: str = "context", normed: bool, mix: Any = None
) -> tuple[Rows, tuple[Rows, Rows]]:
    """One attention layer: queries of `h` (T of (D,), normed), keys and values of `sources` (n times T of (D,)).

    Also the keys and values of the last source, before `mix` has changed them.
    """
    key_matrix, value_matrix = attention.key_value.weight.chunk(2)
    queries = heads_of(h, attention.query.weight, heads, normed=normed, turn=True)
    keys = [heads_of(source, key_matrix, heads, normed=normed, turn=True) for source in sources]
    values = [heads_of(source, value_matrix, heads) for source in sources]
    own = keys[-1], values[-1]
    if mix is not None:
        keys[-1], values[-1] = mix(queries, *own)
    out, n = [], len(sources)
    for i, query in enumerate(queries):
        parts = []
        for head in range(heads):
            reach = {"context": range(i + 1), "column": [i], "cross": [i]}
            seen = [
                (s, j) for s in range(n) for j in (range(i + 1) if scope == "cross" and s == n - 1 else reach[scope])
            ]
            scores = [query[head] @ keys[s][j][head] / math.sqrt(query.shape[-1]) for s, j in seen]
            weights = torch.stack(scores).softmax(0)
            parts.append(weights @ torch.stack([values[s][j][head] for s, j in seen]))
        out.append(attention.output.weight @ torch.cat(parts))
    return out, own


def memory_mix(mixing: Any, layer: int, below: list[tuple[Rows, Rows]]) -> Any:
    """What a layer's keys and values become, from the equations in memory_mixing.py."""

    def mix(queries: Rows, keys: Rows, values: Rows) -> tuple[Rows, Rows]:
        heads, T = len(keys[0]), len(keys)
        column = [*below, (keys, values)]
        if isinstance(mixing, KeyValueMixing):
            route = mixing.routes.view(layer + 1, heads, heads)
            return tuple(  # type: ignore[return-value]
                [
                    torch.stack(
                        [
                            sum(route[s, h, g] * column[s][which][j][h] for s in range(layer + 1) for h in range(heads))
                            for g in range(heads)
                        ]
                    )
                    for j in range(T)
                ]
                for which in (0, 1)
            )
        if isinstance(mixing, ValueResidual):
            a, b = mixing.shares
            return keys, [a * own + b * lowest for own, lowest in zip(values, below[0][1], strict=True)]
        assert isinstance(mixing, DepthAttention)
        found = []
        for j in range(T):
            scores = torch.stack([(queries[j] * k[j]).sum(-1) / math.sqrt(keys[0].shape[-1]) for k, _ in column])
            found.append((scores.softmax(0)[..., None] * torch.stack([v[j] for _, v in column])).sum(0))
        return keys, found

    return None if mixing is None else mix


def stream_mix(mixing: Any, depths: list[Rows], heads: int) -> Rows:
    """What a layer reads instead of the last of the depths, from the equations in stream_mixing.py."""
    T = len(depths[0])
    if isinstance(mixing, DepthWeights):
        return [sum(w * depth[j] for w, depth in zip(mixing.weights, depths, strict=True)) for j in range(T)]  # type: ignore[misc]
    assert isinstance(mixing, DepthQuery)
    out = []
    for j in range(T):
        normed = torch.stack([norm(depth[j], n.weight) for n, depth in zip(mixing.norms, depths, strict=True)])  # type: ignore[arg-type]
        parts = []
        for query, matrix in zip(mixing.query.chunk(heads), mixing.value.weight.chunk(heads), strict=True):
            parts.append(matrix @ ((normed @ query / math.sqrt(len(query))).softmax(0) @ normed))
        out.append(depths[-1][j] + mixing.output.weight @ torch.cat(parts))
    return out


def feed_forward(layer: Any, x: Tensor) -> Tensor:
    return layer.down.weight @ F.gelu(layer.up.weight @ x)  # type: ignore[no-any-return]


def spelled_out(core: Core, ids: Tensor) -> Tensor:
    """Logits (T, K, V) of ids (T, K), from the equations at the head of core.py."""
    config, last = core.config, core.last
    h = [sum(e.weight[k_id] for e, k_id in zip(core.embeddings, row, strict=True)) for row in ids]
    outputs, below = [h], list[tuple[Rows, Rows]]()
    for layer, block in enumerate(core.blocks):
        normed = [norm(x, block.attention_norm.weight) for x in h]
        mix = memory_mix(block.mixing, layer, below)
        seen, own = attended(normed, [normed], block.attention, config.heads, normed=config.query_key_norm, mix=mix)
        below.append(own)
        h = [x + y for x, y in zip(h, seen, strict=True)]
        h = [x + feed_forward(block.feed_forward, norm(x, block.feed_forward_norm.weight)) for x in h]
        outputs.append(h)
        if str(layer + 1) in core.mixings:
            h = stream_mix(core.mixings[str(layer + 1)], outputs, config.heads)
    depths = [*outputs[:-1], h]
    features = []
    for feature, depth in zip(last.features, config.depths, strict=True):
        normed = [norm(x, feature.norm.weight) for x in depths[depth]]
        kind = config.shortcut.feature_map if config.shortcut is not None else "norm"
        if kind == "mlp":
            normed = [feed_forward(feature.map, x) for x in normed]
        elif kind == "residual":
            normed = [x + feed_forward(feature.map, x) for x in normed]
        elif kind == "linear":
            normed = [feature.map.weight @ x for x in normed]
        features.append(normed)
    scope = "context" if config.shortcut is None else config.shortcut.scope
    queries = [norm(x, last.query_norm.weight) for x in h]
    unit_norm = config.query_key_norm if config.shortcut is None else config.shortcut.norm
    mix = memory_mix(last.mixing, config.layers - 1, below)
    seen, _ = attended(queries, features, last.attention, config.heads, scope=scope, normed=unit_norm, mix=mix)
    h = [x + y for x, y in zip(h, seen, strict=True)]
    h = [x + feed_forward(last.feed_forward, norm(x, last.feed_forward_norm.weight)) for x in h]
    if str(config.layers) in core.mixings:
        h = stream_mix(core.mixings[str(config.layers)], [*outputs, h], config.heads)
    return torch.stack([torch.stack([head.weight @ norm(x, core.norm.weight) for head in core.heads]) for x in h])


@EVERY_KIND
@torch.no_grad()
def test_the_core_is_its_equations(kind: str) -> None:
    core = make_core(core_config(kind))
    ids = random_ids(2, 5, 1)
    logits = core(ids)
    assert logits.shape == (2, 5, 1, 11)
    for batch in range(2):
        torch.testing.assert_close(logits[batch], spelled_out(core, ids[batch]), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_streams_are_summed_at_the_bottom_and_have_a_head_each() -> None:
    core = make_core(small_config(SHORTCUTS["two taps"], streams=3))
    ids = random_ids(2, 5, 3)
    logits = core(ids)
    assert logits.shape == (2, 5, 3, 11)
    torch.testing.assert_close(logits[1], spelled_out(core, ids[1]), atol=1e-6, rtol=1e-6)


# Nothing looks ahead


@EVERY_DEVICE
@EVERY_KIND
@pytest.mark.parametrize("streams", [1, 3])
def test_no_logit_has_a_gradient_to_a_later_token(kind: str, streams: int, device: str) -> None:
    core = make_core(core_config(kind, streams=streams), device)
    found: list[Tensor] = []
    core.dropout.register_forward_hook(lambda _m, _i, h: found.append(h) or h.retain_grad())  # type: ignore[func-returns-value]
    logits = core(random_ids(2, 7, streams, device=device))
    for t in range(7):
        (gradient,) = torch.autograd.grad(logits[:, t].sin().sum(), found[0], retain_graph=True)
        per_position = gradient.abs().amax((0, 2))
        assert (per_position[t + 1 :] == 0).all(), f"logits of {t} depend on what comes after"
        assert (per_position[: t + 1] > 0).all(), f"logits of {t} do not depend on all that came before"


@EVERY_DEVICE
@pytest.mark.parametrize("feature_map", ["mlp", "residual", "linear", "norm"])
@pytest.mark.parametrize("scope", ["context", "column"])
def test_the_last_layer_never_looks_ahead_through_any_depth(scope: Any, feature_map: Any, device: str) -> None:
    shortcut = ShortcutConfig(
        taps=(1, 2), include_last=True, include_embedding=True, feature_map=feature_map, feature_width=17, scope=scope
    )
    core = make_core(small_config(shortcut), device)
    generator = torch.Generator().manual_seed(3)
    h, *depths = (
        torch.randn(2, 7, 30, generator=generator, dtype=torch.float64).to(device).requires_grad_() for _ in range(5)
    )
    out, _ = core.last(h, depths, core.cos_sin[:, :7], None, [])  # type: ignore[index]
    for t in range(7):
        gradients = torch.autograd.grad(out[:, t].sin().sum(), [h, *depths], retain_graph=True)
        own = gradients[0].abs().amax((0, 2)) > 0
        assert own.tolist() == [j == t for j in range(7)]  # the residual stream and the query are a token's own
        for depth, gradient in zip(core.config.depths, gradients[1:], strict=True):
            reached = gradient.abs().amax((0, 2)) > 0
            wanted = [j == t if scope == "column" else j <= t for j in range(7)]
            assert reached.tolist() == wanted, f"token {t} through depth {depth}"


@EVERY_DEVICE
@pytest.mark.parametrize("scope", ["context", "column"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_core_never_looks_ahead_through_one_depth_alone(depth: int, scope: Any, device: str) -> None:
    core = make_core(small_config(ShortcutConfig(taps=(depth,), scope=scope, feature_width=17)), device)
    ids = random_ids(2, 7, 1, device=device)
    before = core(ids)
    for t in range(1, 7):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = core(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], atol=1e-13, rtol=0.0)
        assert ((after[:, t:] - before[:, t:]).abs().amax((0, 2, 3)) > 1e-6).all()


# A cache changes nothing


def cached(core: Core, ids: Tensor, read_at_once: int) -> Tensor:
    """Logits (B, T - read_at_once, K, V): the first steps in one go, the rest one by one."""
    cache = core.make_cache(len(ids))
    if read_at_once:
        core.prefill(ids[:, :read_at_once], cache)
    logits = [core.step(ids[:, t], cache).logits for t in range(read_at_once, ids.shape[1])]
    assert cache.length == ids.shape[1]
    return torch.stack(logits, dim=1)


@EVERY_DEVICE
@EVERY_KIND
@pytest.mark.parametrize("streams", [1, 3])
@torch.no_grad()
def test_cached_steps_equal_one_pass(kind: str, streams: int, device: str) -> None:
    core = make_core(core_config(kind, streams=streams), device)
    ids = random_ids(2, 13, streams, device=device)  # up to the last step that the context holds
    whole = core(ids)
    for read_at_once in (0, 1, 5, 12):
        torch.testing.assert_close(cached(core, ids, read_at_once), whole[:, read_at_once:], atol=1e-10, rtol=1e-10)


@EVERY_DEVICE
@torch.no_grad()
def test_cached_steps_equal_one_pass_in_float32(device: str) -> None:
    core = make_core(small_config(SHORTCUTS["all depths"]), device, torch.float32)
    ids = random_ids(2, 13, 1, device=device)
    torch.testing.assert_close(cached(core, ids, 5), core(ids)[:, 5:], atol=5e-5, rtol=5e-5)


@EVERY_DEVICE
@EVERY_KIND
@pytest.mark.parametrize("read", [4, 131])  # a long prompt is shared, a short one copied
@torch.no_grad()
def test_a_cache_of_one_can_be_handed_to_many_candidates(read: int, kind: str, device: str) -> None:
    core = make_core(core_config(kind, context=read + 3, streams=2), device)
    ids = random_ids(5, read + 3, 2, device=device)
    ids[:, :read] = ids[:1, :read]
    handed, own = core.make_cache(1), core.make_cache(5)
    core.prefill(ids[:1, :read], handed)
    core.prefill(ids[:, :read], own)
    handed.repeat(5)
    whole = core(ids)
    for t in range(read, read + 3):
        step, expected = core.step(ids[:, t], handed), core.step(ids[:, t], own)
        torch.testing.assert_close(step.logits, whole[:, t], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(step.weights, expected.weights, atol=1e-6, rtol=1e-5)
        assert handed.length == own.length == t + 1
    with pytest.raises(AssertionError):
        core.step(ids[:, 0], handed)


def test_a_full_cache_and_a_prefill_onto_steps_are_impossible() -> None:
    core = make_core(small_config(None, context=3))
    cache = core.make_cache(2)
    core.prefill(random_ids(2, 3, 1), cache)
    with pytest.raises(AssertionError):
        core.step(random_ids(2, 1), cache)
    with pytest.raises(AssertionError):
        core.prefill(random_ids(2, 1, 1), cache)
    with pytest.raises(AssertionError):
        core.prefill(random_ids(2, 4, 1), core.make_cache(2))


# The weights of a step


def inside_the_last_layer(core: Core, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (B, H, T, C) and keys (n, B, H, T, C) of one uncached pass."""
    found: list[Tensor] = []

    def keep(last: LastBlock, inputs: tuple[Any, ...]) -> None:
        h, depths, cos_sin, _, below = inputs
        found.extend(last.project(h, depths, cos_sin, below)[:2])

    hook = core.last.register_forward_pre_hook(keep)
    core(ids)
    hook.remove()
    return found[0], found[1]


@EVERY_DEVICE
@pytest.mark.parametrize(
    "kind", [kind for kind, shortcut in SHORTCUTS.items() if shortcut and shortcut.scope == "context"]
)
@torch.no_grad()
def test_the_weights_of_a_step_are_the_last_row_of_the_definition(kind: str, device: str) -> None:
    core = make_core(core_config(kind), device)
    n = len(core.config.depths)
    ids = random_ids(2, 7, 1, device=device)
    queries, keys = inside_the_last_layer(core, ids)
    _, weights = joint_attend_spelled_out(queries, keys, keys)
    cache = core.make_cache(2)
    core.prefill(ids[:, :6], cache)
    step = core.step(ids[:, 6], cache)
    assert step.weights.shape == (2, 3, n, 7)
    torch.testing.assert_close(step.weights, weights[:, :, -1].float(), atol=1e-6, rtol=1e-6)
    depth_shares, context_shares = step.weights.sum(-1), step.weights.sum(-2)
    torch.testing.assert_close(depth_shares.sum(-1), torch.ones(2, 3, device=device))
    torch.testing.assert_close(context_shares.sum(-1), torch.ones(2, 3, device=device))


@EVERY_KIND
@torch.no_grad()
def test_the_weights_of_every_step_sum_to_one(kind: str) -> None:
    core = make_core(core_config(kind))
    shortcut = core.config.shortcut
    cache = core.make_cache(2)
    for t in range(5):
        weights = core.step(random_ids(2, 1, seed=t), cache).weights
        assert weights.dtype == torch.float32
        positions = 1 if shortcut is not None and shortcut.scope == "column" else t + 1
        assert weights.shape == (2, 3, len(core.config.depths), positions)
        torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(2, 3))


@pytest.mark.parametrize("kind", ["column", "column, one depth"])
@torch.no_grad()
def test_the_weights_of_a_column_step_are_the_shares_of_its_own_depths(kind: str) -> None:
    core = make_core(core_config(kind))
    ids = random_ids(2, 4, 1)
    queries, keys = inside_the_last_layer(core, ids)
    shares = torch.einsum("bhtc,sbhtc->bhts", queries, keys).div(math.sqrt(10)).softmax(-1)
    cache = core.make_cache(2)
    core.prefill(ids[:, :3], cache)
    weights = core.step(ids[:, 3], cache).weights
    torch.testing.assert_close(weights[..., 0], shares[:, :, 3].float(), atol=1e-6, rtol=1e-6)


# The plain GPT


@EVERY_DEVICE
@torch.no_grad()
def test_the_plain_core_is_the_shortcut_core_with_the_shortcut_taken_out(device: str) -> None:
    plain = make_core(small_config(None), device)
    bare = Core(small_config(ShortcutConfig(taps=(), include_last=True, feature_map="norm", norm=False))).to(
        device, torch.float64
    )
    bare.load_state_dict(plain.state_dict())
    ids = random_ids(2, 7, 1, device=device)
    assert torch.equal(plain(ids), bare(ids))


@torch.no_grad()
def test_the_last_block_of_the_plain_core_is_a_block_like_the_others() -> None:
    shallow = make_core(small_config(None, layers=3))
    deep = make_core(small_config(None, layers=3), seed=7)
    deep.load_state_dict(shallow.state_dict())
    block, last = deep.blocks[0], shallow.last
    block.load_state_dict(
        {
            name.replace("features.0.norm", "attention_norm"): weight
            for name, weight in last.state_dict().items()
            if not name.startswith("query_norm")
        }
    )
    last.query_norm.load_state_dict(last.features[0].norm.state_dict())
    h = torch.randn(2, 7, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cos_sin = shallow.cos_sin[:, :7]  # type: ignore[index]
    expected = block(h, cos_sin, None, [])
    torch.testing.assert_close(last(h, [h], cos_sin, None, [])[0], expected, atol=1e-12, rtol=1e-12)


def test_a_plain_and_a_shortcut_core_differ_in_one_field() -> None:
    config = small_config(SHORTCUTS["two taps"])
    plain = Core(replace(config, shortcut=None)).state_dict()
    shortcut = Core(config).state_dict()
    assert {name for name in plain if name not in shortcut} == set()
    assert {name.split(".")[:2][1] for name in shortcut if name not in plain} == {"features"}


# Parameters


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [("tiny", 0.3e6, 0.5e6), ("small", 3.8e6, 4.1e6), ("base", 23e6, 26e6), ("medium", 85e6, 125e6)],
)
def test_a_preset_has_the_parameters_that_it_is_named_for(preset: str, least: float, most: float) -> None:
    with torch.device("meta"):
        core = Core(PRESETS[preset].for_vocabulary(1116, 1))
    assert least <= core.parameter_count() <= most


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_taps_several_depths_between_its_embedding_and_its_last_layer(preset: str) -> None:
    config = PRESETS[preset]
    assert config.shortcut is not None
    assert len(config.depths) >= 2
    assert min(config.depths) > 0
    assert max(config.depths) < config.layers


@torch.no_grad()
def test_a_tied_head_is_the_embedding() -> None:
    config = small_config(SHORTCUTS["two taps"], tied_embeddings=True, streams=3)
    core = make_core(config)
    assert all(head.weight is e.weight for head, e in zip(core.heads, core.embeddings, strict=True))
    loose = Core(replace(config, tied_embeddings=False))
    assert loose.parameter_count() - core.parameter_count() == 3 * 11 * 30
    loose.double().load_state_dict(core.state_dict())
    ids = random_ids(2, 5, 3)
    assert torch.equal(core(ids), loose.eval()(ids))


@torch.no_grad()
def test_a_zero_start_lets_the_last_attention_add_nothing() -> None:
    ids = random_ids(2, 7, 1)
    for start in ("zero", "normal"):
        torch.manual_seed(0)
        core = Core(small_config(ShortcutConfig(taps=(1, 2), feature_width=17, start=start))).eval()  # type: ignore[arg-type]
        before = core(ids)
        for feature in core.last.features:
            feature.norm.weight.mul_(-3.0)
        core.last.attention.key_value.weight.mul_(2.0)
        assert torch.equal(core(ids), before) == (start == "zero")


def test_a_zero_start_still_learns() -> None:
    core = Core(small_config(ShortcutConfig(taps=(1, 2), feature_width=17, start="zero")))
    core(random_ids(2, 7, 1)).sin().sum().backward()
    gradient = core.last.attention.output.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_fresh_core_is_as_unsure_as_its_vocabulary_is_large() -> None:
    torch.manual_seed(0)
    core = Core(PRESETS["tiny"].for_vocabulary(391, 1))
    ids = random_ids(2, 33, 1, vocabulary=391)
    loss = F.cross_entropy(core(ids[:, :-1]).flatten(0, -2), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(391)) < 0.15


def test_every_parameter_learns() -> None:
    for kind in CORES:
        core = make_core(core_config(kind, streams=3))
        core(random_ids(2, 7, 3)).sin().sum().backward()
        one_depth_column = kind == "column, one depth"  # a softmax over one thing asks for no query
        for name, parameter in core.named_parameters():
            needless = one_depth_column and name in ("last.query_norm.weight", "last.attention.query.weight")
            assert parameter.grad is not None, name
            assert bool(parameter.grad.abs().sum() > 0) != needless, f"{kind}: {name}"


def test_the_same_seed_makes_the_same_core() -> None:
    def make(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return Core(small_config(SHORTCUTS["two taps"])).state_dict()

    first, again, other = make(3), make(3), make(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embeddings.0.weight"], other["embeddings.0.weight"])


def test_dropout_acts_in_training_alone_and_never_inside_attention() -> None:
    core = make_core(small_config(SHORTCUTS["two taps"], dropout=0.5))
    ids = random_ids(2, 7, 1)
    assert torch.equal(core(ids), core(ids))
    core.train()
    assert not torch.equal(core(ids), core(ids))
    torch.manual_seed(1)
    first = core(ids)
    torch.manual_seed(1)
    assert torch.equal(core(ids), first)


# Other types


@EVERY_DEVICE
@EVERY_KIND
def test_autocast_to_bfloat16_stays_near_float32(kind: str, device: str) -> None:
    torch.manual_seed(0)
    core = Core(core_config(kind, width=48, heads=3)).to(device)  # C = 16, which CUDA's fused kernel wants
    ids, targets = random_ids(2, 7, 1, device=device), random_ids(2, 7, 1, device=device, seed=1)
    exact = F.cross_entropy(core(ids).flatten(0, -2), targets.flatten())
    exact.backward()
    gradients = {name: p.grad for name, p in core.named_parameters()}
    core.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16):
        logits = core(ids)
    assert logits.dtype == torch.bfloat16
    loss = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten())
    loss.backward()
    assert abs(loss.item() - exact.item()) < 0.02
    for name, parameter in core.named_parameters():
        gradient, close = parameter.grad, gradients[name]
        assert gradient is not None
        assert close is not None
        assert torch.isfinite(gradient).all()
        if close.norm() > 1e-4:
            assert F.cosine_similarity(gradient.flatten(), close.flatten(), dim=0) > 0.98, name


@EVERY_KIND
@torch.no_grad()
def test_a_core_in_bfloat16_generates_from_its_cache(kind: str) -> None:
    core = make_core(core_config(kind)).to(torch.bfloat16)
    ids = random_ids(2, 9, 1)
    logits = cached(core, ids, 4)
    assert torch.isfinite(logits).all()
    exact = make_core(core_config(kind))(ids)[:, 4:]
    assert (logits.double() - exact).norm() < 0.1 * exact.norm()


@EVERY_KIND
@torch.no_grad()
def test_cached_steps_bear_autocast(kind: str) -> None:
    core = make_core(core_config(kind), dtype=torch.float32)
    ids = random_ids(2, 9, 1)
    exact = core(ids)[:, 4:]
    with torch.autocast("cpu", torch.bfloat16):
        logits = cached(core, ids, 4)
    assert (logits.float() - exact).norm() < 0.1 * exact.norm()


def test_a_context_of_one_step_is_a_context() -> None:
    for kind in CORES:
        core = make_core(core_config(kind, context=1))
        ids = random_ids(2, 1, 1)
        assert core(ids).shape == (2, 1, 1, 11)
        torch.testing.assert_close(core.step(ids[:, 0], core.make_cache(2)).logits, core(ids)[:, 0])


def test_a_single_layer_can_be_plain() -> None:
    core = make_core(
        ModelConfig(vocabulary_size=11, context=5, layers=1, width=10, heads=5, feed_forward=7, shortcut=None)
    )
    ids = random_ids(2, 5, 1)
    torch.testing.assert_close(cached(core, ids, 2), core(ids)[:, 2:])


@EVERY_KIND
@torch.no_grad()
def test_depths_that_are_hidden_are_as_if_they_were_not_there(kind: str) -> None:
    core = make_core(core_config(kind))
    ids, depths = random_ids(2, 7, 1), core.config.depths
    torch.testing.assert_close(core.forward_without(ids, ()), core(ids))
    for left in range(len(depths)):
        for kept in combinations(range(len(depths)), left):
            hidden = torch.ones(1, len(depths), 7, dtype=torch.bool)
            hidden[:, list(kept)] = False
            found = core.forward_without(ids, [depth for s, depth in enumerate(depths) if s not in kept])
            for length in (1, 7):
                expected = core.ablate(ids[:1, :length], hidden[..., :length]).logits[0]
                torch.testing.assert_close(found[0, length - 1], expected)


@EVERY_DEVICE
def test_under_autocast_queries_keys_and_values_have_one_type(device: str) -> None:
    core = make_core(small_config(SHORTCUTS["two taps"]), device, torch.float32)
    h = torch.randn(1, 5, 30, device=device)
    with torch.autocast(device, torch.bfloat16):
        query, keys, values = core.last.project(h, [h, h], core.cos_sin[:, :5], [])
    assert query.dtype == keys.dtype == values.dtype == torch.bfloat16
