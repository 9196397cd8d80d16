"""Tests of the search for copied runs: it equals a slow search, also with hash collisions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from muse_shortcut.evaluation import suffix_array
from muse_shortcut.evaluation.copy_check import CopyFound, summarise_copies
from muse_shortcut.evaluation.suffix_array import CommonRun, CopyIndex
from muse_tokenizers.measures import CopyThreshold


def slow_longest(sequences: list[list[int]], query: list[int]) -> int:
    """The longest common run, number by number."""
    longest = 0
    for sequence in sequences:
        before = [0] * (len(sequence) + 1)
        for number in query:
            row = [0] * (len(sequence) + 1)
            for place, other in enumerate(sequence):
                if other == number:
                    row[place + 1] = before[place] + 1
            longest, before = max(longest, *row), row
    return longest


def check_runs(sequences: list[list[int]], queries: list[list[int]]) -> None:
    index = CopyIndex([np.array(sequence, dtype=np.int64) for sequence in sequences])
    runs = index.longest([np.array(query, dtype=np.int64) for query in queries])
    for query, run in zip(queries, runs, strict=True):
        assert run.length == slow_longest(sequences, query)
        if run.length:
            found = sequences[run.sequence][run.place : run.place + run.length]
            assert found == query[run.start : run.start + run.length]
        else:
            assert run == CommonRun(0)


def random_sequences(seed: int) -> tuple[list[list[int]], list[list[int]]]:
    random = np.random.default_rng(seed)
    letters = int(random.integers(1, 5))
    lists = [random.integers(0, letters, random.integers(0, 40)).tolist() for _ in range(9)]
    return lists[:5], lists[5:]


@pytest.mark.parametrize("seed", range(40))
def test_the_longest_run_is_that_of_a_slow_search(seed: int) -> None:
    check_runs(*random_sequences(seed))


def test_hash_collisions_give_no_false_match(monkeypatch: pytest.MonkeyPatch) -> None:
    # Numbers of one parity all look the same.
    monkeypatch.setattr(suffix_array, "_mix", lambda numbers: (numbers % 2).astype(np.uint64))
    for seed in range(20):
        check_runs(*random_sequences(seed))


def test_runs_do_not_cross_from_one_piece_into_the_next() -> None:
    index = CopyIndex([np.array([1, 2, 3]), np.array([4, 5, 6])])
    assert index.longest([np.array([2, 3, 4, 5])]) == [CommonRun(2, 0, 0, 1)]


def test_nothing_is_shared_with_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert CopyIndex([]).longest([np.array([1, 2]), empty]) == [CommonRun(0), CommonRun(0)]
    assert CopyIndex([empty, np.array([3])]).longest([np.array([1, 2]), empty]) == [CommonRun(0), CommonRun(0)]
    assert CopyIndex([np.array([3])]).longest([]) == []


def test_long_runs_are_found_whole() -> None:
    random = np.random.default_rng(0)
    training = [random.integers(0, 1000, 5000) for _ in range(4)]
    query = np.concatenate([random.integers(0, 1000, 50), training[2][1234:1807], random.integers(1000, 2000, 50)])
    (run,) = CopyIndex(training).longest([query])
    assert run == CommonRun(573, 50, 2, 1234)


def test_windows_of_different_lengths_do_not_share_a_loop_bound() -> None:
    # Queries of 1, 2, 3, ... numbers that are all in one sequence: every length is found.
    sequence = np.arange(50)
    runs = CopyIndex([sequence]).longest([sequence[:n] for n in range(50)])
    assert [run.length for run in runs] == list(range(50))
    assert all(earlier.length < later.length for earlier, later in pairwise(runs))


BARS: CopyThreshold = ("bars", 2.0)


def test_continuations_without_copy_units_are_left_out() -> None:
    run = CopyFound(count=4, length=1.0, bars=0.5, piece="a")
    summary = summarise_copies([None, run, None], BARS)
    assert summary is not None
    assert (summary.windows, summary.count, summary.bars) == (1, (4.0, 4.0, 4.0), (0.5, 0.5, 0.5))
    assert summary.passing == 0.0
    assert summarise_copies([None, None], BARS) is None


def test_copies_are_summed_up_by_middle_ninth_decile_and_longest() -> None:
    copies = [CopyFound(count=n, length=n / 2, bars=None, piece="some") for n in range(11)]
    summary = summarise_copies(copies, BARS)
    assert summary is not None
    assert (summary.count, summary.length, summary.bars) == ((5, 9, 10), (2.5, 4.5, 5), None)
    assert summary.passing is None
    assert summarise_copies(copies, ("length", 2.0)).passing == pytest.approx(6 / 11)
    assert summarise_copies(copies, ("count", 8)).passing == pytest.approx(2 / 11)
