"""Stores: they return what was written, and missing or damaged files are reported in one line."""

from __future__ import annotations

import json
import math
import pickle
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_stores import prepare_numbers

from muse_shortcut.data.store import SPLITS, open_store
from muse_shortcut.errors import StoreError

PARTS = ["manifest.json", "tokens.npy", "offsets.npy", "pieces.jsonl"]
CONTENT = {f"{number}.txt": [number, *range(2 * number + 1)] for number in range(9)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for name, numbers in CONTENT.items():
        (folder / name).write_text(" ".join(map(str, numbers)))
    done = prepare_numbers(folder, [[{"name": name} for name in CONTENT]])
    assert done.code == 0, done.err
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A good store that may be damaged."""
    return shutil.copytree(made, tmp_path / "store")


def refusal(folder: Path) -> str:
    with pytest.raises(StoreError) as refused:
        open_store(folder)
    message = str(refused.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_store_returns_the_ids_that_were_written(made: Path) -> None:
    store = open_store(made)
    assert store.domain == "numbers"
    assert store.tokenizer_folder == made / "tokenizer"
    assert store.tokens.dtype == np.uint16
    assert isinstance(store.tokens, np.memmap)
    assert sorted(piece.name for piece in store.pieces) == sorted(CONTENT)
    for number, piece in enumerate(store.pieces):
        ids = store.tokens[store.offsets[number] : store.offsets[number + 1]]
        expected = np.array(CONTENT[piece.name]).reshape(-1, 2)
        np.testing.assert_array_equal(ids, np.concatenate([[[98, 98]], expected, [[99, 99]]]))
        assert piece.tokens == len(ids)
        assert piece.seconds == pytest.approx(len(expected) / 7)


def test_a_split_is_one_slice_and_the_splits_are_all(made: Path) -> None:
    store = open_store(made)
    np.testing.assert_array_equal(np.concatenate([store.split(name) for name in SPLITS]), store.tokens)
    for name in SPLITS:
        counts = store.manifest["splits"][name]
        assert len(store.split(name)) == counts["tokens"] > 0
        assert [piece.split for piece in store.pieces].count(name) == counts["pieces"]
    assert store.split("no such split").shape == (0, 2)


def test_a_store_of_another_tokenizer_is_refused_with_both_fingerprints(made: Path) -> None:
    store = open_store(made)

    def check(kind: str, fingerprint: str, owner: str) -> None:
        tokenizer: Any = SimpleNamespace(kind=kind, fingerprint=lambda: fingerprint)
        store.check_tokenizer(tokenizer, owner)

    check(store.domain, store.fingerprint, "mine")
    with pytest.raises(
        StoreError, match=f"is of {store.domain}, and mine of midi; allowed: a checkpoint of {store.domain}"
    ):
        check("midi", store.fingerprint, "mine")
    with pytest.raises(StoreError) as refused:
        check(store.domain, "0123456789abcdef", "the checkpoint c")
    assert str(refused.value) == (
        f"the store {made} was made by another tokenizer ({store.fingerprint[:12]}) than the checkpoint c "
        "(0123456789ab); prepare it again with the tokenizer of that checkpoint"
    )


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert (
            refusal(folder) == f"{folder} is not a token store: it has no manifest.json; create one with muse-prepare"
        )
    (tmp_path / "file").write_text("")
    assert "is not a token store" in refusal(tmp_path / "file")


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    assert refusal(tmp_path) == f"{tmp_path} is unfinished; run the same muse-prepare command again to resume"


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_missing_file_is_named(store: Path, part: str) -> None:
    (store / part).unlink()
    assert part in refusal(store)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "zip", "a folder", "nested", "other json", "pickle"])
def test_a_damaged_file_is_refused(store: Path, part: str, damage: str) -> None:
    path = store / part
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "zip":
        np.savez(path.open("wb"), a=np.zeros(3))
    else:
        path.write_bytes(
            {
                "empty": b"",
                "half": content[: len(content) // 2],
                "noise": random.Random(1).randbytes(200),
                "nested": b"[" * 100_000,
                "other json": b"[1, 2]\n",
                "pickle": pickle.dumps([1, 2]),
            }[damage]
        )
    assert "is damaged: " in refusal(store) or (part, damage) == ("manifest.json", "a folder")


def test_an_array_of_objects_is_never_unpickled(store: Path) -> None:
    for part in ("tokens.npy", "offsets.npy"):
        shutil.copy(store / part, store / "kept")
        np.save(store / part, np.array([{}], dtype=object), allow_pickle=True)
        assert part in refusal(store)
        shutil.move(store / "kept", store / part)
    open_store(store)


def test_a_missing_entry_of_the_manifest_is_named(store: Path) -> None:
    path = store / "manifest.json"
    good = json.loads(path.read_text())
    for name in ("version", "domain", "fingerprint", "source", "sha256", "tokens", "streams", "pieces"):
        path.write_text(json.dumps({key: value for key, value in good.items() if key != name}))
        assert refusal(store) == f"the store {store} is damaged: its manifest has no '{name}'"


def test_another_version_is_refused(store: Path) -> None:
    for version, reason in (
        (2, "it has version 2, of a newer muse-shortcut; this one reads up to version 1"),
        ("1", "its version is '1'; allowed: the number 1"),
        (1.0, "its version is 1.0; allowed: the number 1"),
        (True, "its version is True; allowed: the number 1"),
        (10**40, f"its version is {'1' + 39 * '0'}; allowed: the number 1"),
    ):
        change(store / "manifest.json", version=version)
        assert refusal(store) == f"the store {store} cannot be read: {reason}"


@pytest.mark.parametrize(("name", "value"), [("tokens", 3), ("streams", 1), ("pieces", 8), ("tokens", -1)])
def test_a_manifest_that_counts_otherwise_is_refused(store: Path, name: str, value: Any) -> None:
    change(store / "manifest.json", **{name: value})
    assert "its manifest counts (tokens, streams, pieces)" in refusal(store)


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.bool_])
def test_ids_of_another_type_are_refused(store: Path, kind: Any) -> None:
    np.save(store / "tokens.npy", np.load(store / "tokens.npy").astype(kind))
    assert f"of {np.dtype(kind)}" in refusal(store)


def test_offsets_that_do_not_fit_the_pieces_are_refused(store: Path) -> None:
    offsets = np.load(store / "offsets.npy")
    swapped = offsets.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    for wrong in (swapped, offsets[:-1], offsets + 1, offsets[:, None], np.int64(3), offsets[:0]):
        np.save(store / "offsets.npy", wrong)
        assert refusal(store) == f"the store {store} is damaged: offsets.npy and pieces.jsonl disagree about lengths"


def test_a_damaged_header_of_an_array_is_reported_in_our_words(store: Path) -> None:
    path = store / "offsets.npy"
    path.write_bytes(path.read_bytes().replace(b"descr", b"desc!"))
    reason = "offsets.npy is not a NumPy array: its header is damaged, or of another version"
    assert refusal(store) == f"the store {store} is damaged: {reason}"


def test_pieces_in_another_order_are_refused(store: Path) -> None:
    path = store / "pieces.jsonl"
    pieces = [json.loads(line) for line in path.read_text().splitlines()]
    for piece, split in ((pieces[0], "test"), (pieces[0], "spring")):
        before, piece["split"] = piece["split"], split
        path.write_text("".join(json.dumps(p) + "\n" for p in pieces))
        assert "its pieces are not in the order train, validation, test" in refusal(store)
        piece["split"] = before


@pytest.mark.parametrize(
    "broken",
    [{"tokens": "3"}, {"tokens": None}, {"tokens": 5.0}, {"tokens": -5}, {"tokens": 10**30}, {"colour": 1}, {"name": 1},
     {"group": None}, {"seconds": math.nan}, {"seconds": "1"}, {"bytes": 0.5}, {"split": ["train"]}],
)  # fmt: skip
def test_a_piece_that_cannot_be_is_refused_with_its_line(store: Path, broken: dict[str, Any]) -> None:
    path = store / "pieces.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], json.dumps(json.loads(lines[4]) | broken), *lines[5:]]))
    assert f"the store {store} is damaged: pieces.jsonl, line 5, " in refusal(store)


@pytest.mark.parametrize(
    ("name", "value"), [("sha256", 7), ("domain", None), ("fingerprint", []), ("tokens", "many"), ("streams", True)]
)
def test_a_manifest_of_other_types_is_refused(store: Path, name: str, value: Any) -> None:
    change(store / "manifest.json", **{name: value})
    assert f"its manifest's {name} is {value!r}; allowed: " in refusal(store)


def test_every_changed_id_is_seen(store: Path) -> None:
    opened = open_store(store)
    read: list[int] = []
    opened.check_ids(100, read.append)
    assert read == [opened.tokens.nbytes]
    content = (store / "tokens.npy").read_bytes()
    for place in (len(content) - opened.tokens.nbytes, len(content) - 1):
        (store / "tokens.npy").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(StoreError, match=r"the ids in tokens.npy are not those that were prepared"):
            open_store(store).check_ids(100)


def test_an_id_beyond_the_vocabulary_is_seen_where_the_checksum_agrees(store: Path) -> None:
    with pytest.raises(StoreError, match=r"it has the id 99, its vocabulary 99 ids"):
        open_store(store).check_ids(99)


def test_a_heading_asks_for_no_more_memory_than_there_are_bytes(store: Path) -> None:
    for part, kind in (("tokens.npy", "<u2"), ("offsets.npy", "<i8")):
        good = (store / part).read_bytes()
        for shape in ((10**12,), (2**63, 2), (-1,), (2**31, 2**31), (1.5,), ("3",)):
            with (store / part).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
            assert part in refusal(store)
        (store / part).write_bytes(good)
