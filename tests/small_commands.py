"""Runs commands in their own process, with the smallest core."""

from __future__ import annotations

import subprocess
import sys

SMALL_CORE = (
    "--model.context", 64, "--model.layers", 3, "--model.width", 24, "--model.heads", 2, "--model.feed_forward", 48,
    "--model.shortcut.taps", "[1,2]", "--model.shortcut.feature_width", 16,
)  # fmt: skip
FAST = (
    "--train.max_steps", 3, "--train.batch_size", 2, "--train.eval_every", 3, "--train.eval_windows", 2,
    "--train.save_every", 3, "--train.tensorboard", "false", "--device", "cpu",
)  # fmt: skip


def run_apart(command: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run muse-COMMAND with these arguments, and require success."""
    code = f"from muse_shortcut.commands.{command} import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
