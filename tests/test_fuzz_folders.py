"""A few mutated sidecars, checkpoints, stores and traces: refused in one line, or usable. Many more are tried by
`benchmarks/fuzz_folders.py` itself."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from fuzz_folders import KINDS
from fuzzing import Progress, run_range


@pytest.mark.parametrize("kind", list(KINDS))
def test_whatever_is_changed_it_is_refused_in_one_line_or_can_be_used(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    progress = Progress(first=0, count=100)
    run_range(KINDS[kind], progress, tmp_path)
    assert progress.kinds == {}, progress.findings[0].text
    assert progress.done == 100
    assert progress.outcomes["refused"] > 30


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_number_is_the_same_input(kind: str) -> None:
    first = [KINDS[kind].make(Random(number)) for number in range(20)]
    assert [KINDS[kind].make(Random(number)) for number in range(20)] == first
