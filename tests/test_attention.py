"""The joint attention: the merged form equals the masked concatenation that defines it, outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from small_models import DEVICES
from torch import Tensor

from muse_shortcut.model import attention
from muse_shortcut.model.attention import (
    attend,
    column_attend,
    cross_attend,
    cross_attend_spelled_out,
    joint_attend,
    joint_attend_spelled_out,
    row_attend,
)

SIZES = [(2, 3, 7, 10, 1), (1, 1, 1, 2, 1), (2, 3, 1, 10, 2), (2, 3, 7, 10, 2), (1, 5, 11, 6, 4), (3, 2, 67, 14, 4)]
"""B, H, T, C, n. T = 67 is more than one block of the fused kernel."""


def draw(B: int, H: int, T: int, C: int, n: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = ((B, H, T, C), (n, B, H, T, C), (n, B, H, T, C))
    drawn = [2.0 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    query, keys, values = (x.to(device, dtype).requires_grad_() for x in drawn)
    return query, keys, values


def out_and_gradients(function: object, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    assert callable(function)
    out = function(*inputs)
    weights = torch.linspace(-1.0, 1.0, out.numel(), dtype=out.dtype, device=out.device).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sizes", SIZES)
def test_merged_attention_is_the_masked_concatenation(
    sizes: tuple[int, int, int, int, int], dtype: torch.dtype, tolerance: float, device: str
) -> None:
    inputs = draw(*sizes, dtype, device)
    merged = out_and_gradients(joint_attend, inputs)
    spelled_out = out_and_gradients(lambda q, k, v: joint_attend_spelled_out(q, k, v)[0], inputs)
    for name, fast, slow in zip(("out", "query", "keys", "values"), merged, spelled_out, strict=True):
        torch.testing.assert_close(fast, slow, atol=tolerance, rtol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("B", "H", "T", "C", "n"), [(2, 3, 7, 16, 2), (1, 5, 67, 8, 4)])
def test_merged_attention_in_bfloat16_stays_near_the_definition(
    B: int, H: int, T: int, C: int, n: int, device: str
) -> None:
    query, keys, values = draw(B, H, T, C, n, torch.bfloat16, device)
    exact = tuple(x.detach().double().requires_grad_() for x in (query, keys, values))
    merged = out_and_gradients(joint_attend, (query, keys, values))
    spelled_out = out_and_gradients(lambda q, k, v: joint_attend_spelled_out(q, k, v)[0], exact)  # type: ignore[arg-type]
    for fast, slow in zip(merged, spelled_out, strict=True):
        assert fast.dtype == torch.bfloat16
        assert (fast.double() - slow).norm() < 0.02 * slow.norm()


def test_the_cpu_takes_the_fused_form_for_every_float_type(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fused = attention._forward
    monkeypatch.setattr(attention, "_forward", lambda q, k, v: calls.append(q.dtype) or fused(q, k, v))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        joint_attend(*draw(2, 3, 5, 8, 2, dtype, "cpu"))
    assert calls == [dtype for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16) for _ in range(2)]


def test_without_a_fused_kernel_the_definition_itself_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = draw(2, 3, 7, 10, 4, torch.float64, "cpu")
    merged = joint_attend(*inputs)
    monkeypatch.setattr(attention, "_has_fused_kernel", lambda _: False)
    spelled_out = joint_attend(*inputs)
    assert not torch.equal(spelled_out, merged)  # else it was the fused kernel again
    torch.testing.assert_close(spelled_out, merged, atol=1e-12, rtol=1e-12)


def test_one_depth_is_ordinary_attention() -> None:
    query, keys, values = draw(2, 3, 7, 10, 1, torch.float64, "cpu")
    assert torch.equal(joint_attend(query, keys, values), attend(query, keys[0], values[0]))


def test_merged_attention_has_the_gradient_that_differences_give() -> None:
    inputs = draw(1, 2, 3, 4, 2, torch.float64, "cpu")
    assert torch.autograd.gradcheck(joint_attend, inputs)


def test_merged_attention_bears_strided_inputs_and_gradients() -> None:
    query, keys, values = draw(2, 3, 7, 10, 2, torch.float64, "cpu")
    twisted = tuple(x.detach().transpose(-2, -3).contiguous().transpose(-2, -3) for x in (query, keys, values))
    assert not any(x.is_contiguous() for x in twisted)
    inputs = tuple(x.requires_grad_() for x in twisted)
    for fast, slow in zip(
        torch.autograd.grad(joint_attend(*inputs).transpose(1, 2).pow(2).sum(), inputs),
        torch.autograd.grad(joint_attend_spelled_out(*inputs)[0].pow(2).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(fast, slow, atol=1e-12, rtol=1e-12)


def test_merged_attention_bears_scores_that_overflow_an_exponential() -> None:
    query, keys, values = draw(2, 3, 7, 10, 2, torch.float32, "cpu")
    huge = joint_attend(100.0 * query, keys, values)
    assert torch.isfinite(huge).all()
    torch.testing.assert_close(huge, joint_attend_spelled_out(100.0 * query, keys, values)[0], atol=2e-5, rtol=2e-5)


def test_the_weights_are_one_softmax_over_depths_and_positions() -> None:
    query, keys, values = draw(2, 3, 7, 10, 4, torch.float64, "cpu")
    out, weights = joint_attend_spelled_out(query, keys, values)
    assert weights.shape == (2, 3, 7, 4, 7)
    torch.testing.assert_close(weights.sum((-2, -1)), torch.ones(2, 3, 7, dtype=torch.float64))
    for i in range(7):
        assert (weights[:, :, i, :, : i + 1] > 0).all()
        assert (weights[:, :, i, :, i + 1 :] == 0).all()
    # The same, one query at a time, from the equation.
    for b, h, i in ((0, 0, 0), (1, 2, 6), (0, 1, 4)):
        pairs = [(s, j) for s in range(4) for j in range(i + 1)]
        odds = [torch.exp(query[b, h, i] @ keys[s, b, h, j] / 10**0.5) for s, j in pairs]
        expected = sum(odd * values[s, b, h, j] for odd, (s, j) in zip(odds, pairs, strict=True)) / sum(odds)
        torch.testing.assert_close(out[b, h, i], expected)


@pytest.mark.parametrize("device", DEVICES)
def test_one_row_is_the_last_row_of_the_definition(device: str) -> None:
    query, keys, values = draw(2, 3, 7, 10, 4, torch.float64, device)
    out, weights = joint_attend_spelled_out(query, keys, values)
    row, row_weights = row_attend(query[:, :, -1:], keys, values)
    torch.testing.assert_close(row, out[:, :, -1:], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(row_weights, weights[:, :, -1].float(), atol=1e-6, rtol=1e-6)
    assert row_weights.dtype == torch.float32


def test_a_column_is_a_softmax_over_the_depths_of_one_position() -> None:
    query, keys, values = draw(2, 3, 7, 10, 4, torch.float64, "cpu")
    out, weights = column_attend(query, keys, values)
    assert weights.shape == (2, 3, 7, 4)
    for b, h, t in ((0, 0, 0), (1, 2, 6), (0, 1, 3)):
        share = torch.softmax(keys[:, b, h, t] @ query[b, h, t] / 10**0.5, 0)
        torch.testing.assert_close(weights[b, h, t], share)
        torch.testing.assert_close(out[b, h, t], share @ values[:, b, h, t])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sizes", SIZES)
def test_cross_attention_is_the_masked_concatenation(
    sizes: tuple[int, int, int, int, int], dtype: torch.dtype, tolerance: float, device: str
) -> None:
    inputs = draw(*sizes, dtype, device)
    merged = out_and_gradients(cross_attend, inputs)
    spelled_out = out_and_gradients(lambda q, k, v: cross_attend_spelled_out(q, k, v)[0], inputs)
    for name, fast, slow in zip(("out", "query", "keys", "values"), merged, spelled_out, strict=True):
        torch.testing.assert_close(fast, slow, atol=tolerance, rtol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("B", "H", "T", "C", "n"), [(2, 3, 7, 16, 2), (1, 5, 67, 8, 4)])
def test_cross_attention_in_bfloat16_stays_near_the_definition(B: int, H: int, T: int, C: int, n: int) -> None:
    query, keys, values = draw(B, H, T, C, n, torch.bfloat16, "cpu")
    exact = tuple(x.detach().double().requires_grad_() for x in (query, keys, values))
    merged = out_and_gradients(cross_attend, (query, keys, values))
    spelled_out = out_and_gradients(lambda q, k, v: cross_attend_spelled_out(q, k, v)[0], exact)  # type: ignore[arg-type]
    for fast, slow in zip(merged, spelled_out, strict=True):
        assert fast.dtype == torch.bfloat16
        assert (fast.double() - slow).norm() < 0.02 * slow.norm()
