"""Tests of the codec losses: no dead codebooks, loudness-independent losses, exact initialisation from a parent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_codecs import RATE, SHAPE, tone

from muse_shortcut.codec.initialization import start_at_unit_variance
from muse_shortcut.codec.losses import mel_distance, mel_loss, si_sdr, time_loss
from muse_shortcut.codec.quantising import fit_codebooks, quantise
from muse_shortcut.codec.trainer import balanced_gradient
from muse_tokenizers.audio.codec import build_model

# The quantiser


MOVING = {"decay": 0.5, "restart_below": 0.1}


def _encoded(frames: int = 400) -> torch.Tensor:
    return torch.randn(2, SHAPE.dimension, frames, generator=torch.Generator().manual_seed(1), requires_grad=True)


def _fitted(x: torch.Tensor) -> Any:
    vq = build_model(SHAPE).quantizer.vq
    fit_codebooks(vq, x.detach().transpose(1, 2).flatten(0, 1), x.shape[0] * x.shape[2])
    return vq


def test_codebooks_are_fitted_to_the_residuals_of_earlier_ones() -> None:
    x = _encoded(2000).detach()
    vq, left = _fitted(x), x
    for layer in vq.layers:
        book, vectors = layer._codebook, left.transpose(1, 2).flatten(0, 1)
        nearest = book.quantize(vectors)
        assert len(nearest.unique()) == SHAPE.bins
        # A code is where the mean of its own was a round ago.
        means = torch.stack([vectors[nearest == code].mean(0) for code in range(SHAPE.bins)])
        assert (means - book.embed).norm(dim=1).mean() < 0.1 * vectors.std() * SHAPE.dimension**0.5
        torch.testing.assert_close(book.embed_avg / book.cluster_size[:, None], book.embed)
        assert book.cluster_size.sum() == pytest.approx(len(vectors))
        after = left - layer.decode(layer.encode(left))
        assert after.var() < 0.9 * left.var()
        left = after


@pytest.mark.parametrize("codebooks", [1, 2, 4, 8])
def test_the_commitment_loss_of_every_layer_reaches_the_encoder(codebooks: int) -> None:
    x = _encoded()
    _, commitments = quantise(_fitted(x), x, codebooks, **MOVING)
    assert commitments.shape == (codebooks,)
    for layer in range(codebooks):
        (gradient,) = torch.autograd.grad(commitments[layer], x, retain_graph=True)
        assert gradient.abs().sum() > 0, f"layer {layer} teaches the encoder nothing"


def test_the_gradient_passes_straight_through_the_sum_once() -> None:
    x = _encoded()
    total, _ = quantise(_fitted(x), x, 8, **MOVING)
    (gradient,) = torch.autograd.grad(total.sum(), x)
    assert (gradient == 1).all()


def test_decoding_gives_the_sum_of_the_code_vectors() -> None:
    x = _encoded().detach()
    vq = _fitted(x)
    expected = vq.decode(vq.encode(x, n_q=4))
    torch.testing.assert_close(quantise(vq, x, 4, **MOVING)[0], expected)


def test_unused_codes_are_moved_to_where_sound_is() -> None:
    x = _encoded().detach()
    vq = _fitted(x)
    codebook = vq.layers[0]._codebook
    codebook.embed[5], codebook.embed_avg[5], codebook.cluster_size[5] = 1e3, 0.0, 0.0
    quantise(vq, x, 1, **MOVING)
    vectors = x.transpose(1, 2).flatten(0, 1)
    assert (vectors - codebook.embed[5]).norm(dim=1).min() < 1e-4
    quantise(vq, x, 1, **MOVING)
    assert (codebook.quantize(vectors) == 5).any()


def test_codes_move_to_the_mean_of_their_nearest_vectors() -> None:
    """As k-means does, where nothing is forgotten and nothing dies."""
    x = _encoded().detach()
    vq = _fitted(torch.randn(1, SHAPE.dimension, 200))
    for _ in range(60):
        _, commitments = quantise(vq, x, 1, decay=0.0, restart_below=0.0)
    vectors, codebook = x.transpose(1, 2).flatten(0, 1), vq.layers[0]._codebook
    nearest = codebook.quantize(vectors)
    for code in nearest.unique().tolist():
        torch.testing.assert_close(codebook.embed[code], vectors[nearest == code].mean(0), atol=1e-4, rtol=1e-4)
    assert commitments[0] < 0.9 * x.var()


# Losses


def test_equal_sounds_are_at_no_distance_and_silence_has_a_gradient() -> None:
    sound = torch.from_numpy(tone(0.5))[None]
    assert mel_loss(sound, sound, RATE) == 0
    assert mel_distance(sound, sound, RATE) == 0
    silent = torch.zeros(1, RATE // 2, requires_grad=True)
    mel_loss(silent, sound, RATE).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert silent.grad.isfinite().all()
    mel_loss(silent, torch.zeros(1, RATE // 2), RATE).backward()  # type: ignore[no-untyped-call]
    assert silent.grad.isfinite().all()


def test_soft_sound_counts_as_much_as_loud() -> None:
    sound = torch.from_numpy(tone(0.5))[None]
    other = torch.from_numpy(tone(0.5, hertz=300.0))[None]
    loud, soft = mel_loss(sound, other, RATE).item(), mel_loss(sound / 10, other / 10, RATE).item()
    assert soft == pytest.approx(loud, rel=0.2)


def test_a_silent_clip_is_not_all_that_is_learned_of() -> None:
    sound = torch.from_numpy(tone(0.5))
    made = (0.05 * torch.randn(2, len(sound), generator=torch.Generator().manual_seed(0))).requires_grad_()
    mel_loss(made, torch.stack([sound, torch.zeros_like(sound)]), RATE).backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    heard, silent = made.grad.norm(dim=1).tolist()
    assert silent < 30 * heard


def test_a_tenth_of_the_amplitude_is_twenty_decibels_away() -> None:
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    assert mel_distance(noise / 10, noise, RATE).item() == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("decibels", [0.0, 10.0, 30.0])
def test_the_scale_invariant_ratio_is_that_of_signal_and_noise(decibels: float) -> None:
    generator = torch.Generator().manual_seed(0)
    signal, noise = (torch.randn(1, 200_000, generator=generator) for _ in range(2))
    mixed = signal + noise * 10 ** (-decibels / 20)
    for scale in (1.0, 0.01, 7.0):
        assert si_sdr(scale * mixed, signal).item() == pytest.approx(decibels, abs=0.1)


def test_the_time_loss_counts_soft_sound_as_much_as_loud() -> None:
    sound = torch.from_numpy(tone(0.5))[None]
    assert time_loss(0.5 * sound, sound).item() == pytest.approx(0.5, abs=1e-4)
    assert time_loss(0.05 * sound, 0.1 * sound).item() == pytest.approx(0.5, abs=1e-4)


def test_a_training_starts_with_weights_that_carry_sound() -> None:
    torch.manual_seed(0)
    model = build_model(SHAPE)
    clips = torch.from_numpy(np.stack([tone(0.5, hertz=hertz) for hertz in (200.0, 300.0, 500.0)]))
    start_at_unit_variance(model, clips)
    with torch.inference_mode():
        encoded = model.encoder(clips[:, None])
        sound = model.decoder(encoded)[:, 0]
    assert encoded.std().item() == pytest.approx(1, rel=1e-3)
    assert sound.std().item() == pytest.approx(clips.std().item(), rel=1e-3)


def test_balanced_losses_contribute_their_share_whatever_their_size() -> None:
    sound = torch.randn(2, 50, requires_grad=True)
    one, other = torch.zeros(2, 50), torch.zeros(2, 50)
    one[:, 0], other[:, 1] = 1.0, 1.0
    losses = {"a": (1.0, 1e6 * (sound * one).sum()), "b": (3.0, 1e-6 * (sound * other).sum())}
    gradient = balanced_gradient(losses, sound)
    torch.testing.assert_close(gradient, 0.25 * one + 0.75 * other)
