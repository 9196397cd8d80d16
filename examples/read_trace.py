"""What each new token attended to, as arrays: python examples/read_trace.py FOLDER"""

import sys
from pathlib import Path

import numpy as np

import muse_shortcut as muse


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    [made] = muse.load("text").continue_("The sea was", bytes=60, seed=1)
    made.save(folder / "sea.npz")

    # A trace can be loaded without a model; the large arrays are memory-mapped.
    trace = muse.load_trace(folder / "sea.npz")
    tokens = made.tokenizer.describe(trace.ids)
    print("depths", trace.depths.tolist(), "steps", trace.steps)
    for step in range(trace.steps):
        [token] = tokens[trace.prompt_steps + step]
        first, weights = trace.attended(step)  # (n, T): a row for each depth, over positions from `first` on
        depth, position = np.unravel_index(int(weights.argmax()), weights.shape)
        [seen] = tokens[first + int(position)]
        shares = trace.depth_share[step].mean(axis=-1)  # (n,) the mean over heads
        said = " ".join(f"{depth}:{share:.2f}" for depth, share in zip(trace.depths, shares, strict=True))
        nats = -float(trace.log_probability[step, 0])
        print(f"{token.label!r:>12} {nats:5.2f} nats  {said}  most from depth {trace.depths[depth]}, {seen.label!r}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/read_trace.py FOLDER")
    main(Path(sys.argv[1]))
