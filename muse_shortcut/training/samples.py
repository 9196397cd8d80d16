"""Generates samples during training, from a held-out prompt and from nothing."""

from __future__ import annotations

from pathlib import Path

from muse_shortcut.api.model import Model
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.files import make_folder
from muse_shortcut.generation.request import Request
from muse_tokenizers.base import Ids, Prompt

__all__ = ["write_samples"]

_LENGTHS = {"seconds": 12.0, "bytes": 600}
"""Length of a sample, by the unit of the domain."""


def write_samples(checkpoint: Checkpoint, prompt: Ids, run: Path, step: int, seed: int) -> list[Path]:
    """Generate one sample with and one without a prompt, into `run/samples/step-000500/`.

    Args:
        checkpoint: The model in its current state.
        prompt: (T, K) ids of the beginning of a held-out piece, with the begin id first.
        run: The run folder.
        step: Training step.
        seed: Seed of the samples.

    Raises:
        OutputError: A file could not be written.
    """
    folder = make_folder(run / "samples" / f"step-{step:06d}")
    domain, core = checkpoint.domain, checkpoint.core
    written: list[Path] = []
    core.eval()
    for name, ids in (("continued", prompt), ("from-nothing", domain.prompt(None).ids)):
        request = Request(
            prompt=Prompt(ids=ids, piece=None),
            sampling=SamplingConfig(temperature=0.95, top_p=0.97),
            constraints=domain.default_constraints().with_length(_LENGTHS[domain.unit]),
            max_steps=core.config.context,
            seed=seed,
        )
        [made] = Model(checkpoint).start(request, trace=False).run()
        written += [made.save(folder / f"{name}{suffix}") for suffix in domain.info.written]
    return written
