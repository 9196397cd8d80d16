"""Tests of the shipped models: they are small, have a card, can be read, and generate music."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt
from muse_shortcut.shipped.writing_prompts import write_prompts
from muse_tokenizers.audio.codecs import SHIPPED, codec_folder, find_codec
from muse_tokenizers.audio.constraints import AudioConstraints
from muse_tokenizers.base import Constraints
from muse_tokenizers.text.constraints import TextConstraints

ROOT = Path(__file__).parent.parent
DOMAINS = ("midi", "audio", "text")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_checkpoint_is_at_most_8_mib_loads_and_has_a_card(domain: str) -> None:
    assert size_of(default_checkpoint(domain)) <= 8 * 2**20
    checkpoint = load_checkpoint(default_checkpoint(domain))
    assert checkpoint.domain.kind == domain
    assert checkpoint.core.config.context >= 1024
    for word in ("licence", "validation", "nats"):
        assert word in checkpoint.card.lower()


def test_the_codec_is_at_most_4_mib_and_has_a_card() -> None:
    codec = find_codec(SHIPPED)
    assert size_of(codec_folder(SHIPPED)) <= 4 * 2**20
    assert (codec.shape.sample_rate, codec.shape.frame_rate, codec.shape.codebooks) == (24_000, 75.0, 8)
    card = (codec_folder(SHIPPED) / "README.md").read_text(encoding="utf-8").lower()
    for word in ("licence", "mel distance", "si-sdr"):
        assert word in card


@pytest.fixture(scope="module")
def audio() -> Checkpoint:
    return load_checkpoint(default_checkpoint("audio"))


def continued(
    checkpoint: Checkpoint, name: str, constraints: Constraints, seconds: float | None = None
) -> tuple[Any, Any]:
    domain, path = checkpoint.domain, shipped_prompt(checkpoint.domain.kind, name)
    assert path is not None
    prompt = domain.prompt(domain.read(path), seconds)
    request = Request(prompt=prompt, constraints=constraints, sampling=checkpoint.sampling, seed=1)
    generation = Generation(checkpoint.core, domain, request, trace=False)
    for _ in generation:
        pass
    return prompt, domain.join(prompt, generation.continuations()[0])


@pytest.mark.parametrize("name", ["speech", "bach-fugue"])
def test_a_continued_sound_is_neither_silent_nor_clipped_nor_noise_and_has_no_seam(
    audio: Checkpoint, name: str
) -> None:
    prompt, piece = continued(audio, name, AudioConstraints(seconds=3.0), 5.0)
    split_point, samples = round(prompt.split_point * piece.sample_rate), piece.samples[0]
    assert len(samples) - split_point > 2.9 * piece.sample_rate
    before = audio.domain.measure(piece, 0.0, prompt.split_point)
    after = audio.domain.measure(piece, prompt.split_point, prompt.split_point + 2.9)
    assert abs(after["level"].value - before["level"].value) < 12
    assert after["longest_silence"].value < 1.5
    assert after["flatness"].value < 0.3
    assert (np.abs(samples) >= 1.0).mean() < 1e-4
    # A click at the seam would be a flux beyond that of everywhere else.
    flux, hop = spectral_flux(samples), 256
    seam = np.abs(np.arange(len(flux)) * hop - split_point) < 1024
    assert flux[seam].max() <= flux[~seam].max()


def spectral_flux(samples: NDArray[np.float32], window: int = 1024, hop: int = 256) -> NDArray[np.float64]:
    """How much each spectrum gains on the one before it, by the mean of all."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(window)))
    gains: NDArray[np.float64] = np.maximum(0.0, np.diff(magnitudes, axis=0, prepend=magnitudes[:1])).sum(1)
    return gains / magnitudes.sum(1).mean()


def test_a_continued_text_is_made_of_words() -> None:
    checkpoint = load_checkpoint(default_checkpoint("text"))
    prompt, piece = continued(checkpoint, "garden", TextConstraints(bytes=400))
    written = piece[prompt.split_index :].decode("utf-8", "strict")
    assert len(written.split()) > 40
    common = {"the", "and", "of", "to", "a", "in", "was", "her", "she", "he", "that", "it", "had", "with", "as", "for"}
    assert sum(word.strip(".,;") in common for word in written.lower().split()) > 0.2 * len(written.split())


def test_the_prompts_are_the_bytes_that_their_notes_give(tmp_path: Path) -> None:
    write_prompts(tmp_path)
    assert prompt_names("midi") == ["bach-prelude", "greensleeves", "saints"]
    for name in prompt_names("midi"):
        path = shipped_prompt("midi", name)
        assert path is not None
        assert path.read_bytes() == (tmp_path / f"{name}.mid").read_bytes()


@pytest.mark.parametrize("name", ["bach-prelude", "greensleeves", "saints"])
def test_every_prompt_has_eight_whole_bars(name: str) -> None:
    domain = load_checkpoint(default_checkpoint("midi")).domain
    path = shipped_prompt("midi", name)
    assert path is not None
    prompt = domain.prompt(domain.read(path))
    bars = [token.label for [token] in domain.tokenizer.describe(prompt.ids) if token.kind == "bar"]
    assert bars[-1] == "bar 9"


def test_an_unknown_prompt_has_no_file() -> None:
    assert shipped_prompt("midi", "../../secrets") is None


def test_the_repository_stays_small() -> None:
    made_here = {"output", "runs", "stores", "dist", "build"}
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".") and top.name not in made_here]
    files = [path for top in tops for path in [top, *top.rglob("*")]]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 48 * 2**20
