"""Batches: a pure function of seed and number, every window once an epoch, targets one step after inputs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_stores import two_sources

from muse_shortcut.data.batches import SourceWeights, TrainingBatches, evaluation_windows, source_weights_of
from muse_shortcut.data.store import open_store
from muse_shortcut.errors import ArgumentsError, StoreError
from muse_tokenizers.base import Variations


def counted(steps: int, streams: int = 3) -> np.ndarray:
    """(N, K) ids by which every place can be known: row n is n K, n K + 1, ..."""
    return np.arange(steps * streams, dtype=np.uint16).reshape(steps, streams)


def shifted(size: int, shifts: tuple[int, ...], valid: np.ndarray | None = None) -> Variations:
    maps = np.stack([(np.arange(size) + shift) % size for shift in shifts])
    return Variations(maps=maps, valid=np.ones(maps.shape, dtype=bool) if valid is None else valid)


def test_two_objects_give_the_same_batches_in_any_order() -> None:
    tokens, variations = counted(101), shifted(303, (0, 5, 7))
    first, second = (TrainingBatches(tokens, context=7, batch=4, seed=11, variations=variations) for _ in range(2))
    forwards = [first(index) for index in range(20)]
    for index in (19, 3, 0, 7, 3):
        for once, again in zip(forwards[index], second(index), strict=True):
            np.testing.assert_array_equal(once, again)


def test_another_seed_gives_other_batches() -> None:
    inputs = [TrainingBatches(counted(101), context=7, batch=4, seed=seed)(0)[0] for seed in (1, 2)]
    assert (inputs[0] != inputs[1]).any()


def test_a_batch_does_not_depend_on_how_many_windows_came_before_it_in_one() -> None:
    small, large = (TrainingBatches(counted(101), context=7, batch=batch, seed=0) for batch in (2, 6))
    np.testing.assert_array_equal(np.concatenate([small(i)[0] for i in range(3)]), large(0)[0])


def test_targets_are_the_inputs_shifted_by_one() -> None:
    batches = TrainingBatches(counted(101), context=7, batch=4, seed=0)
    inputs, targets = batches(3)
    assert inputs.shape == targets.shape == (4, 7, 3)
    assert inputs.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(targets[:, :-1], inputs[:, 1:])
    np.testing.assert_array_equal(targets, (inputs + 3) % 303)


@pytest.mark.parametrize("steps", [71, 72, 77, 78, 500])
def test_every_window_is_seen_once_an_epoch_and_no_step_twice(steps: int) -> None:
    batches = TrainingBatches(counted(steps, 1), context=7, batch=1, seed=5)
    windows = batches.windows_per_epoch
    assert windows == (steps - 1) // 7
    orders = []
    for epoch in range(3):
        seen = [batches(epoch * windows + place)[0][0, :, 0] for place in range(windows)]
        assert max(Counter(np.concatenate(seen).tolist()).values()) == 1
        orders.append([int(window[0]) for window in seen])
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) > 1  # cut at other places, too


def test_batches_go_on_from_one_epoch_into_the_next() -> None:
    whole = TrainingBatches(counted(36, 1), context=7, batch=1, seed=5)
    assert whole.windows_per_epoch == 5
    batch = TrainingBatches(counted(36, 1), context=7, batch=3, seed=5)(1)[0]
    np.testing.assert_array_equal(batch, np.concatenate([whole(number)[0] for number in (3, 4, 5)]))


@pytest.mark.parametrize("steps", [2, 3, 7, 8])
def test_a_split_shorter_than_the_context_repeats_itself(steps: int) -> None:
    batches = TrainingBatches(counted(steps), context=11, batch=2, seed=0)
    assert batches.windows_per_epoch == 1
    inputs, targets = batches(4)
    assert inputs.shape == (2, 11, 3)
    np.testing.assert_array_equal(targets, (inputs + 3) % (3 * steps))


@pytest.mark.parametrize("steps", [0, 1])
def test_a_split_without_pieces_is_refused(steps: int) -> None:
    with pytest.raises(StoreError, match="the train split has no pieces"):
        TrainingBatches(counted(steps), context=7, batch=2, seed=0)


def test_a_variation_moves_inputs_and_targets_alike() -> None:
    shifts = (0, 5, -2)
    plain = TrainingBatches(counted(101), context=7, batch=5, seed=3)
    varied = TrainingBatches(counted(101), context=7, batch=5, seed=3, variations=shifted(303, shifts))
    drawn = []
    for index in range(12):
        (inputs, targets), (before, after) = varied(index), plain(index)
        moved = (inputs - before) % 303
        np.testing.assert_array_equal((targets - after) % 303, moved)
        assert (moved == moved[:, :1, :1]).all()  # one variation for all of a window
        drawn += moved[:, 0, 0].tolist()
    assert set(drawn) == {0, 5, 301}


def test_a_variation_that_leads_out_of_the_domain_falls_back_to_none() -> None:
    valid = np.ones((2, 303), dtype=bool)
    valid[1, 60:90] = False  # steps 20 to 29 cannot be moved
    plain = TrainingBatches(counted(101), context=7, batch=5, seed=3)
    varied = TrainingBatches(counted(101), context=7, batch=5, seed=3, variations=shifted(303, (0, 9), valid))
    moved_at_all = False
    for index in range(12):
        for (x, y), (before, after) in zip(
            zip(*varied(index), strict=True), zip(*plain(index), strict=True), strict=True
        ):
            steps = np.concatenate([before[:1], after])[:, 0] // 3
            if ((steps >= 20) & (steps < 30)).any():
                np.testing.assert_array_equal(x, before)
                np.testing.assert_array_equal(y, after)
            moved_at_all |= bool((x != before).any())
    assert moved_at_all


def test_evaluation_windows_are_always_the_same_spread_out_and_apart() -> None:
    tokens = counted(500)
    windows = evaluation_windows(tokens, context=7, count=5)
    assert windows.shape == (5, 8, 3)
    assert windows.dtype == np.int64
    np.testing.assert_array_equal(windows, evaluation_windows(tokens, context=7, count=5))
    starts = windows[:, 0, 0] // 3
    assert starts[0] == 0
    assert starts[-1] > 480
    assert (np.diff(starts) >= 7).all()
    np.testing.assert_array_equal(windows[:, 1:], windows[:, :-1] + 3)


def test_there_are_no_more_evaluation_windows_than_there_is_music() -> None:
    assert evaluation_windows(counted(36), context=7, count=64).shape == (5, 8, 3)
    short = evaluation_windows(counted(5), context=7, count=64)
    np.testing.assert_array_equal(short[0, :, 0] // 3, [0, 1, 2, 3, 4, 0, 1, 2])


@pytest.mark.parametrize("steps", [0, 1])
def test_a_split_with_nothing_to_evaluate_is_refused(steps: int) -> None:
    with pytest.raises(StoreError, match="there is nothing to evaluate: the split has no pieces"):
        evaluation_windows(counted(steps), context=7, count=3)


def source_weights(*parts: tuple[int, float]) -> SourceWeights:
    starts, weights = zip(*parts, strict=True)
    return SourceWeights(starts=np.array(starts), weights=np.array(weights))


def test_a_part_of_weight_w_is_seen_w_times_an_epoch() -> None:
    # 70 windows of 7: 20 of weight 0.5, 30 of weight 3, 20 of weight 0.
    weighted = source_weights((0, 0.5), (140, 3.0), (350, 0.0))
    batches = TrainingBatches(counted(491, 1), context=7, batch=1, seed=5, source_weights=weighted)
    assert batches.windows_per_epoch == 100
    for epoch in range(3):
        begins = [int(batches(epoch * 100 + n)[0][0, 0, 0]) for n in range(100)]
        times = Counter(begins)
        assert all(times[begin] == 3 for begin in times if 140 <= begin < 350)
        assert all(times[begin] == 1 for begin in times if begin < 140)
        assert all(begin < 350 for begin in times)
        # The offset of an epoch may move one window over each border.
        assert abs(sum(begin < 140 for begin in begins) - 10) <= 2
        assert begins != sorted(begins)


def test_a_mix_of_ones_sees_every_window_once() -> None:
    batches = TrainingBatches(
        counted(491, 1), context=7, batch=1, seed=5, source_weights=source_weights((0, 1.0), (200, 1.0))
    )
    assert batches.windows_per_epoch == 70
    for epoch in range(3):
        begins = {int(batches(epoch * 70 + n)[0][0, 0, 0]) for n in range(70)}
        assert len(begins) == 70


def test_weights_are_those_of_the_stores_sources(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = open_store(two_sources(tmp_path_factory))
    names = [store.source(p) for p, piece in enumerate(store.pieces) if piece.split == "train"]
    assert len(set(names)) == 2
    first, second = dict.fromkeys(names)
    assert source_weights_of(store, "train", {}) is None
    found = source_weights_of(store, "train", {second: 2.5})
    assert found is not None
    assert found.weights.tolist() == [{first: 1.0, second: 2.5}[name] for name in names]
    assert found.starts.tolist() == [0, *np.cumsum([p.tokens for p in store.pieces if p.split == "train"])[:-1]]
    with pytest.raises(ArgumentsError, match=f"train.source_weights has 'polka'; the sources are {first}, {second}"):
        source_weights_of(store, "train", {"polka": 2})
    with pytest.raises(ArgumentsError, match="leaves nothing to learn from"):
        source_weights_of(store, "train", {first: 0, second: 0})
