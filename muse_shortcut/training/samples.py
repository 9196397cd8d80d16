"""What the model makes of a held-out beginning, written while it trains."""

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
"""Of what is new in a sample, by the domain's unit."""


def write_samples(checkpoint: Checkpoint, prompt: Ids, run: Path, step: int, seed: int) -> list[Path]:
    """Continue a prompt and nothing, into `run/samples/step-000500/`.

    Args:
        checkpoint: the model as it is now.
        prompt: (T, K) ids of the beginning of a held-out piece, begin first.
        run: the run's folder.
        step: of training.
        seed: of the samples.

    Raises:
        OutputError: a file could not be written.
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
        written.append(made.save(folder / f"{name}{domain.suffix}"))
        if domain.sound_rate is not None and domain.suffix != ".wav":
            written.append(made.save(folder / f"{name}.wav"))
    return written
