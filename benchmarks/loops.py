"""Measures how often continuations loop or stall, by version of the rules: python benchmarks/loops.py FILE ..."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from muse_shortcut.checkpoints import load_checkpoint
from muse_shortcut.devices import use_decoding_threads
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.shipped import default_checkpoint
from muse_tokenizers.midi.constraints import RULES, MidiConstraints
from muse_tokenizers.midi.loops import is_repeat
from muse_tokenizers.midi.segments import DRUMS, take_segment

_WINDOW = 10.0
"""Window in seconds in which distinct pitches are counted."""


def main() -> None:
    """Continue each file by each version, and print one line of JSON per continuation, then the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--prompt_seconds", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(default_checkpoint("midi"), "cpu")
    use_decoding_threads(checkpoint.core.parameter_count())
    found: dict[int, list[dict[str, Any]]] = {rules: [] for rules in range(1, RULES + 1)}
    for file in arguments.files:
        piece = checkpoint.domain.read(file, warn=lambda _: None)
        prompt = checkpoint.domain.prompt(piece, arguments.prompt_seconds)
        for rules, ones in found.items():
            constraints = MidiConstraints(
                seconds=arguments.seconds, silence=2.0, repeats=arguments.repeats, rules=rules
            )
            sampling = replace(checkpoint.sampling, temperature=arguments.temperature)
            request = Request(prompt=prompt, sampling=sampling, constraints=constraints, seed=arguments.seed)
            generation = Generation(checkpoint.core, checkpoint.domain, request)
            for _ in generation:
                pass
            joined = checkpoint.domain.join(prompt, generation.continuations()[0])
            one = _measured(joined, prompt.split_point, prompt.split_point + arguments.seconds)
            ones.append(one)
            print(json.dumps({"file": file.name, "rules": rules, **one}), flush=True)
    for rules, ones in found.items():
        loops = np.mean([one["longest_run"] > arguments.repeats for one in ones])
        distinct = [one["fewest_pitches"] for one in ones]
        print(
            f"rules {rules}: {len(ones)} continuations of {arguments.seconds:g} s, {100 * loops:.0f} % loop, "
            f"fewest distinct pitches in {_WINDOW:g} s: median {np.median(distinct):g}, least {min(distinct)}"
        )


def _measured(piece: Any, start: float, end: float) -> dict[str, Any]:
    segment = take_segment(piece, start, end)
    bars, run, longest = [bar.notes for bar in segment.bars], 0, 0
    for number, bar in enumerate(bars):
        run = run + 1 if bar and is_repeat(bar, bars[:number]) else 0
        longest = max(longest, run)
    tuned = segment.program != DRUMS
    pitch, onset = segment.pitch[tuned], segment.onset_seconds[tuned]
    windows = np.arange(start, max(start, end - _WINDOW) + 1e-6, 1.0)
    fewest = min(len(set(pitch[(onset >= at) & (onset < at + _WINDOW)].tolist())) for at in windows)
    return {"bars": len(bars), "longest_run": longest, "fewest_pitches": fewest}


if __name__ == "__main__":
    main()
