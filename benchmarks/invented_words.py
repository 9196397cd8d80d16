"""Measures the share of invented words of the shipped text model at several temperatures.

    python benchmarks/invented_words.py FOLDER        # of .txt files, such as those that it was trained on

A word is invented if it occurs in the folder fewer than three times.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from muse_shortcut.checkpoints import load_checkpoint
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.shipped import default_checkpoint, prompt_names, shipped_prompt
from muse_tokenizers.text.constraints import TextConstraints

CANDIDATES = 16
BYTES = 800


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, with straight apostrophes."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower().replace("\u2019", "'"))


def main(folder: Path) -> None:
    """Print a line per temperature: number of words, share of invented words, share of distinct words."""
    torch.set_num_threads(1)
    known: Counter[str] = Counter()
    for path in folder.rglob("*.txt"):
        known.update(words_of(path.read_text("utf-8", "replace")))
    checkpoint = load_checkpoint(default_checkpoint("text"), torch.device("cpu"))
    domain = checkpoint.domain
    for temperature in (1.0, 0.9, 0.8, 0.7):
        written = invented = different = 0
        for name in prompt_names("text"):
            path = shipped_prompt("text", name)
            assert path is not None
            request = Request(
                prompt=domain.prompt(domain.read(path)),
                sampling=replace(checkpoint.sampling, temperature=temperature),
                constraints=TextConstraints(bytes=BYTES),
                candidates=CANDIDATES,
                max_steps=None,
                seed=1,
            )
            ids: list[list[int]] = [[] for _ in range(CANDIDATES)]
            for event in Generation(checkpoint.core, domain, request, trace=False):
                for one in np.flatnonzero(~event.finished):
                    ids[one].append(int(event.ids[one, 0]))
            for made in ids:
                # The first and the last may be incomplete.
                words = words_of(domain.tokenizer.decode(np.array(made)[:, None]).decode("utf-8", "replace"))[1:-1]
                written += len(words)
                invented += sum(known[word] < 3 for word in words)
                different += len(set(words))
        print(
            f"temperature {temperature}: {written:,} words, {100 * invented / written:.1f} % invented, "
            f"{100 * different / written:.0f} % different in their text",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
