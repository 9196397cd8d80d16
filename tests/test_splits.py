"""Splits: groups stay together, official splits are kept, and held-out pieces are not trained on."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muse_shortcut.data.splits import assign_splits, keep_one_of_each
from muse_shortcut.data.store import SPLITS

FREE: dict[str, str | None] = {f"group-{number}": None for number in range(100)}


def test_the_fraction_held_out_is_validation_and_again_test() -> None:
    for held_out, expected in ((0.05, 5), (0.004, 1), (0.4, 40)):
        counts = Counter(assign_splits(FREE, 0, held_out).values())
        assert counts == {"validation": expected, "test": expected, "train": 100 - 2 * expected}
    assert set(assign_splits(FREE, 0, 0.0).values()) == {"train"}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(0, []), (1, ["train"]), (2, ["train", "validation"]), (3, ["test", "train", "validation"])],
)
def test_few_groups_are_shared_out_so_that_there_is_always_something_to_learn(groups: int, expected: list[str]) -> None:
    assert sorted(assign_splits(dict(list(FREE.items())[:groups]), 0, 0.05).values()) == expected


def test_the_same_seed_gives_the_same_splits_and_another_one_others() -> None:
    shuffled = dict(reversed(FREE.items()))
    assert assign_splits(FREE, 3, 0.1) == assign_splits(shuffled, 3, 0.1)
    assert assign_splits(FREE, 3, 0.1) != assign_splits(FREE, 4, 0.1)


def test_a_group_that_is_added_later_moves_few_others() -> None:
    before = assign_splits(FREE, 0, 0.1)
    after = assign_splits(FREE | {"new": None}, 0, 0.1)
    assert sum(after[group] != split for group, split in before.items()) <= 2


def test_an_official_split_is_kept_and_unlisted_files_are_for_training() -> None:
    official: dict[str, str | None] = {"a": "test", "b": "validation", "c": "train", "d": "test"}
    assert assign_splits(FREE | official, 0, 0.3) == dict.fromkeys(FREE, "train") | official


def test_of_duplicates_the_one_in_the_strictest_split_stays() -> None:
    pieces = [
        ("a", "train", "1"), ("b", "validation", "1"), ("c", "test", "1"),
        ("d", "train", "2"), ("e", "validation", "2"),
        ("g", "train", "3"), ("f", "train", "3"),
        ("h", "train", "4"),
    ]  # fmt: skip
    assert keep_one_of_each(pieces) == {"a": "c", "b": "c", "d": "e", "g": "f"}


@given(st.lists(st.tuples(st.sampled_from(SPLITS), st.sampled_from("xyz")), max_size=12))
def test_no_content_is_in_two_splits_and_none_is_lost(drawn: list[tuple[str, str]]) -> None:
    pieces = [(f"piece-{number}", split, digest) for number, (split, digest) in enumerate(drawn)]
    gone = keep_one_of_each(pieces)
    left = [piece for piece in pieces if piece[0] not in gone]
    assert Counter(digest for _, _, digest in left) == dict.fromkeys({digest for _, _, digest in pieces}, 1)
    by_name = {name: (split, digest) for name, split, digest in pieces}
    for name, kept in gone.items():
        assert by_name[name][1] == by_name[kept][1]
        assert SPLITS.index(by_name[kept][0]) >= SPLITS.index(by_name[name][0])
        assert kept not in gone
