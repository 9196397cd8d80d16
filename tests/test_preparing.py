"""Preparation: the same files give the same bytes, a kill loses nothing, and no bad file stops it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_stores import NumberDomain, Numbers, midi_store, prepare_numbers, source_files, write_midi, write_music

from muse_shortcut.data.journal import Entry, Journal
from muse_shortcut.data.preparation import Preparation, prepare
from muse_shortcut.data.scan import scan_files
from muse_shortcut.data.store import SPLITS, open_store
from muse_shortcut.errors import OutputError, StoreError
from muse_tokenizers.loading import domain_of, load_tokenizer
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.remi import RemiTokenizer
from muse_tokenizers.midi.tokenizer import MidiTokenizer


def write_numbers(folder: Path, **files: str | int) -> list[dict[str, Any]]:
    """Files NAME.txt; a number n stands for n steps of its own."""
    for name, content in files.items():
        text = content if isinstance(content, str) else " ".join(str(i % 97) for i in range(content, 3 * content))
        (folder / f"{name}.txt").write_text(text)
    return [{"name": f"{name}.txt"} for name in files]


def many(folder: Path, count: int) -> list[dict[str, Any]]:
    return write_numbers(folder, **{f"n{number:02}": number + 1 for number in range(count)})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reads(folder: Path) -> list[tuple[int, str]]:
    """(process, file) of every reading so far."""
    lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return [(int(line.split()[0]), line.split()[1]) for line in lines]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# The same files, the same bytes


def test_the_same_files_give_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    files = many(tmp_path, 17) + write_numbers(tmp_path, empty="", words="one two", bug="bug", again=3)
    # The first ones take time, so that no worker can do all of it before another has begun.
    files = write_numbers(tmp_path, **{f"slow{number}": f"wait {number}" for number in range(6)}) + files
    stores = []
    for workers in (1, 3):
        done = prepare_numbers(tmp_path, [files], workers=workers, out=f"store-{workers}")
        assert done.code == 0, done.err
        assert done.err == ""
        stores.append(contents(tmp_path / f"store-{workers}"))
        assert len({process for process, _ in reads(tmp_path)}) >= workers
        (tmp_path / "log").unlink()
    assert stores[0] == stores[1]
    assert set(stores[0]) == {"tokens.npy", "offsets.npy", "pieces.jsonl", "manifest.json", "tokenizer/tokenizer.json"}


def test_prepared_again_with_another_seed_the_store_is_another_as_a_whole(tmp_path: Path) -> None:
    files = many(tmp_path, 17)
    first = prepare_numbers(tmp_path, [files])
    again = prepare_numbers(tmp_path, [files], overwrite=True)
    other = prepare_numbers(tmp_path, [files], seed=5, overwrite=True)
    assert first.manifest == again.manifest
    assert first.manifest["sha256"] != other.manifest["sha256"]
    assert open_store(tmp_path / "store").manifest == other.manifest


def test_the_counts_of_the_manifest_match_the_files(tmp_path: Path) -> None:
    files = many(tmp_path, 17) + write_numbers(tmp_path, empty="")
    manifest = prepare_numbers(tmp_path, [files], seed=3).manifest
    store = open_store(tmp_path / "store")
    assert store.manifest == manifest
    assert manifest["version"] == 1
    assert manifest["domain"] == "numbers"
    assert manifest["fingerprint"] == Numbers().fingerprint()
    assert (manifest["seed"], manifest["held_out"], manifest["source"]) == (3, 0.2, {"from": "numbers"})
    assert (manifest["tokens"], manifest["pieces"]) == (len(store.tokens), 17) == (sum(range(3, 20)), 17)
    assert manifest["seconds"] == pytest.approx(sum(range(1, 18)) / 7)
    for split in SPLITS:
        pieces = [piece for piece in store.pieces if piece.split == split]
        assert manifest["splits"][split] == {
            "pieces": len(pieces),
            "tokens": sum(piece.tokens for piece in pieces),
            "seconds": pytest.approx(sum(piece.seconds or 0 for piece in pieces)),
        }
    assert [len(store.split(name)) for name in SPLITS] == [manifest["splits"][name]["tokens"] for name in SPLITS]


# A kill costs nothing


def test_killed_at_any_moment_it_goes_on_and_reads_no_file_twice(tmp_path: Path) -> None:
    files = many(tmp_path, 23) + write_numbers(tmp_path, empty="", again=3)
    undisturbed = prepare_numbers(tmp_path, [files], out="undisturbed")
    assert undisturbed.code == 0
    known: set[str] = set()
    for round_, kill_at in enumerate((0, 5, 12, 20)):
        before = len(reads(tmp_path))
        done = prepare_numbers(tmp_path, [files], workers=1 + round_ % 2, kill_at=kill_at)
        assert done.code == -9
        new = reads(tmp_path)[before:]
        assert not known & {name for _, name in new}, "a file was read that the journal already had"
        deadline = time.monotonic() + 20
        while any(is_alive(process) for process, _ in new) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not [process for process, _ in new if is_alive(process)], "workers outlive the process that was killed"
        with pytest.raises(StoreError, match="is unfinished; run the same muse-prepare command again to resume"):
            open_store(tmp_path / "store")
        lines = (tmp_path / "store" / "partial" / "journal.jsonl").read_text().splitlines()[1:]
        known = {json.loads(line)["name"] for line in lines}
        assert len(known) >= kill_at
    done = prepare_numbers(tmp_path, [files], workers=2)
    assert done.code == 0, done.err
    assert contents(tmp_path / "store") == contents(tmp_path / "undisturbed")


def test_a_truncated_journal_gives_its_complete_valid_entries(tmp_path: Path) -> None:
    heading, dtype = {"fingerprint": "a"}, np.dtype(np.uint16)
    pieces = {f"n{number}": np.full((number, 2), number) for number in range(1, 5)}
    journal = Journal(tmp_path, heading, 2, dtype)
    for number, (name, ids) in enumerate(pieces.items()):
        journal.add(Entry(name=name, size=number, modified=number), ids)
        journal.add(Entry(name=f"bad {number}", size=0, modified=0, reason="bad"), None)
    journal.close()
    kept = contents(tmp_path)
    for part in ("journal.jsonl", "ids.bin"):
        for length in range(0, len(kept[part]), 7):
            for name, content in kept.items():
                (tmp_path / name).write_bytes(content[:length] if name == part else content)
            again = Journal(tmp_path, heading, 2, dtype)
            for name, entry in again.entries.items():
                if entry.reason is None:
                    ids = again.ids()[entry.start : entry.start + entry.tokens]
                    np.testing.assert_array_equal(ids, pieces[name])
            again.add(Entry(name="new", size=9, modified=9), np.full((7, 2), 9))
            entry = again.entries["new"]
            np.testing.assert_array_equal(again.ids()[entry.start : entry.start + entry.tokens], np.full((7, 2), 9))
            again.close()
    (tmp_path / "journal.jsonl").write_bytes(random.Random(1).randbytes(300))
    noise = Journal(tmp_path, heading, 2, dtype)
    assert noise.entries == {}
    noise.close()


def test_a_journal_of_another_tokenizer_is_thrown_away(tmp_path: Path) -> None:
    dtype = np.dtype(np.uint16)
    journal = Journal(tmp_path / "partial", {"fingerprint": "a"}, 2, dtype)
    journal.add(Entry(name="x", size=1, modified=1), np.ones((3, 2)))
    journal.close()
    again = Journal(tmp_path / "partial", {"fingerprint": "a"}, 2, dtype)
    assert set(again.entries) == {"x"}
    again.close()
    other = Journal(tmp_path / "partial", {"fingerprint": "b"}, 2, dtype)
    assert other.entries == {}
    assert other.ids().shape == (0, 2)
    other.close()


def test_a_file_that_changed_since_is_read_again(tmp_path: Path) -> None:
    files = many(tmp_path, 9)
    assert prepare_numbers(tmp_path, [files], kill_at=6).code == -9
    before = len(reads(tmp_path))
    write_numbers(tmp_path, n02=40)
    manifest = prepare_numbers(tmp_path, [files]).manifest
    assert "n02.txt" in {name for _, name in reads(tmp_path)[before:]}
    piece = next(piece for piece in open_store(tmp_path / "store").pieces if piece.name == "n02.txt")
    assert piece.tokens == 42
    assert manifest == prepare_numbers(tmp_path, [files], out="undisturbed").manifest


def test_a_store_that_is_being_replaced_is_never_half_of_each(tmp_path: Path) -> None:
    files = many(tmp_path, 9)
    assert prepare_numbers(tmp_path, [files]).code == 0
    old = contents(tmp_path / "store")
    # Another seed gives another order, but the same counts. Nothing but the manifest would tell.
    done = prepare_numbers(tmp_path, [files], seed=5, kill_before="pieces.jsonl", overwrite=True)
    assert done.code == -9
    assert contents(tmp_path / "store")["tokens.npy"] != old["tokens.npy"]
    with pytest.raises(StoreError, match="is unfinished; run the same muse-prepare command again to resume"):
        open_store(tmp_path / "store")
    assert prepare_numbers(tmp_path, [files]).code == 0
    assert contents(tmp_path / "store") == old


def test_ctrl_c_is_quiet_and_finished_work_is_kept(tmp_path: Path) -> None:
    files = many(tmp_path, 23)
    done = prepare_numbers(tmp_path, [files], interrupt_at=9)
    assert (done.code, done.err) == (130, "interrupted\n")
    before = len(reads(tmp_path))
    assert prepare_numbers(tmp_path, [files]).manifest["pieces"] == 23
    assert not {f"n{number:02}.txt" for number in range(9)} & {name for _, name in reads(tmp_path)[before:]}


# Bad files


def test_every_bad_file_is_listed_with_its_reason(tmp_path: Path) -> None:
    files = many(tmp_path, 5) + write_numbers(tmp_path, empty="", words="one two", bug="bug", odd="1 2 3", again=3)
    files += [{"name": "gone.txt"}]
    manifest = prepare_numbers(tmp_path, [files], workers=2).manifest
    assert manifest["pieces"] == 5
    assert manifest["rejects"] == [
        {"name": "bug.txt", "reason": "ZeroDivisionError: in bug.txt"},
        {"name": "empty.txt", "reason": "has no numbers"},
        {"name": "gone.txt", "reason": "FileNotFoundError: [Errno 2] No such file or directory: 'gone.txt'"},
        {"name": "n02.txt", "reason": "has the same content as again.txt"},
        {"name": "odd.txt", "reason": "ValueError: cannot reshape array of size 3 into shape (2)"},
        {"name": "words.txt", "reason": "it holds more than numbers"},
    ]
    assert str(tmp_path) not in json.dumps(manifest)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_its_reader_is_a_reject_like_any_other(tmp_path: Path, workers: int) -> None:
    files = write_numbers(tmp_path, a=3, b="crash", c=4, d=5, e="crash", f="crash", g=6, h=7, i="", j=8)
    done = prepare_numbers(tmp_path, [files], workers=workers)
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.manifest["pieces"] == 6
    assert done.manifest["rejects"] == [
        {"name": "b.txt", "reason": "crashed its reader"},
        {"name": "e.txt", "reason": "crashed its reader"},
        {"name": "f.txt", "reason": "crashed its reader"},
        {"name": "i.txt", "reason": "has no numbers"},
    ]


def test_nothing_but_bad_files_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    done = prepare_numbers(tmp_path, [write_numbers(tmp_path, empty="", words="one two")])
    assert done.code == 2
    assert (
        done.err == "StoreError: none of the files can be used (2 files found); the first: empty.txt has no numbers\n"
    )
    assert (
        prepare_numbers(tmp_path, [[]], out="none").err == "StoreError: none of the files can be used (0 files found)\n"
    )


# Splits


def test_official_splits_are_kept_and_groups_never_straddle(tmp_path: Path) -> None:
    free = many(tmp_path, 24)
    for number, file in enumerate(free):
        file["group"] = f"folder-{number % 8}"
    official = write_numbers(tmp_path, **{f"o{number}": 30 + number for number in range(6)})
    for number, file in enumerate(official):
        file |= {"split": SPLITS[number % 3], "group": "folder-0"}
    prepare_numbers(tmp_path, [free, official], held_out=0.25)
    pieces = open_store(tmp_path / "store").pieces
    split_of = {piece.name: piece.split for piece in pieces}
    assert {file["name"]: file["split"] for file in official}.items() <= split_of.items()
    groups = {(file["group"], split_of[file["name"]]) for file in free}
    assert Counter(split for _, split in groups) == {"train": 4, "validation": 2, "test": 2}


def test_a_free_group_named_like_an_official_piece_moves_no_official_piece(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    files = many(tmp_path, 3)
    files[0]["split"] = "test"
    write_numbers(tmp_path / "test", n00=50)
    files.append({"name": "test/n00.txt"})
    prepare_numbers(tmp_path, [files])
    split_of = {piece.name: piece.split for piece in open_store(tmp_path / "store").pieces}
    assert split_of == {"n00.txt": "test", "n01.txt": "train", "n02.txt": "train", "test/n00.txt": "train"}


def test_duplicates_never_straddle_splits_and_the_strictest_stays(tmp_path: Path) -> None:
    files = write_numbers(tmp_path, a=5, b=5, c=5, d=6, e=6, f=7, g=8)
    for file, split in zip(
        files, ("train", "test", "validation", "train", "validation", "train", "train"), strict=True
    ):
        file["split"] = split
    manifest = prepare_numbers(tmp_path, [files], workers=2).manifest
    split_of = {piece.name: piece.split for piece in open_store(tmp_path / "store").pieces}
    assert split_of == {"b.txt": "test", "e.txt": "validation", "f.txt": "train", "g.txt": "train"}
    assert manifest["rejects"] == [
        {"name": "a.txt", "reason": "has the same content as b.txt"},
        {"name": "c.txt", "reason": "has the same content as b.txt"},
        {"name": "d.txt", "reason": "has the same content as e.txt"},
    ]


# Where it may write


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    files = many(tmp_path, 3)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "letter").write_text("dear")
    how = Preparation(workers=1, seed=0, held_out=0.2, source={})
    with pytest.raises(StoreError, match=r"store has other files in it; a store needs a folder of its own"):
        prepare([source_files(tmp_path, files)], NumberDomain(Numbers()), tmp_path / "store", how)
    assert contents(tmp_path / "store") == {"letter": b"dear"}
    for out in ("n00.txt", "n00.txt/below"):
        with pytest.raises(OutputError, match=rf"cannot make the folder .*{out}: (File exists|Not a directory)"):
            prepare([source_files(tmp_path, files)], NumberDomain(Numbers()), tmp_path / out, how)


def test_a_full_disk_is_one_line_and_finished_work_is_kept(tmp_path: Path) -> None:
    files = many(tmp_path, 20)
    undisturbed = prepare_numbers(tmp_path, [files], out="undisturbed")
    done: set[str] = set()
    for limit in (900, 2500, 300, 2500):
        before = len(reads(tmp_path))
        full = prepare_numbers(tmp_path, [files], workers=2, largest_file=limit)
        assert full.code == 2
        assert full.err.startswith("OutputError: cannot write ")
        assert full.err.endswith(": File too large\n")
        assert full.err.count("\n") == 1
        assert not done & {name for _, name in reads(tmp_path)[before:]}
        journal = tmp_path / "store" / "partial" / "journal.jsonl"
        lines = journal.read_text().split("\n")[1:-1] if journal.exists() else []
        assert done <= {json.loads(line)["name"] for line in lines}
        done = {json.loads(line)["name"] for line in lines}
    assert len(done) >= 5
    assert prepare_numbers(tmp_path, [files], workers=2).manifest == undisturbed.manifest
    assert contents(tmp_path / "store") == contents(tmp_path / "undisturbed")


# With the music's own tokenizer


def test_a_folder_of_music_becomes_a_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = midi_store(tmp_path_factory)
    store = open_store(folder)
    tokenizer = load_tokenizer(store.tokenizer_folder)
    store.check_tokenizer(tokenizer, "the tokenizer it carries")
    assert len(store.pieces) == 14
    for number, piece in enumerate(store.pieces):
        ids = store.tokens[store.offsets[number] : store.offsets[number + 1]].astype(np.int64)
        path = folder.parent / "music" / piece.name
        np.testing.assert_array_equal(ids[1:-1], tokenizer.encode(domain_of(tokenizer).read(path)))
        assert (ids[0, 0], ids[-1, 0]) == (tokenizer.begin, tokenizer.end)
    assert {piece.split for piece in store.pieces} == set(SPLITS)
    other = RemiTokenizer()
    with pytest.raises(StoreError, match=f"{store.fingerprint[:12]}.*{other.fingerprint()[:12]}"):
        store.check_tokenizer(other, "another")


def test_files_that_are_not_music_are_rejected_with_a_reason(tmp_path: Path) -> None:
    music = write_music(tmp_path / "music", pieces=2)
    good = (music / "piece-00.mid").read_bytes()
    (music / "text.mid").write_text("Dear diary")
    (music / "truncated.mid").write_bytes(good[:12])
    (music / "empty.mid").write_bytes(b"")
    (music / "noise.mid").write_bytes(b"MThd" + random.Random(3).randbytes(300))
    write_midi(music / "no-notes.mid", 60, notes=0)
    (music / "copy.mid").write_bytes(good)
    domain = MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS["performance"]))
    files = scan_files(music, None, domain.info.suffixes, "file")
    how = Preparation(workers=2, seed=0, held_out=0.2, source={})
    seen: list[tuple[int, int, int]] = []
    manifest = prepare([files], domain, tmp_path / "store", how, lambda *counts: seen.append(counts))
    reasons = {reject["name"]: reject["reason"] for reject in manifest["rejects"]}
    assert manifest["pieces"] == 2
    assert reasons.pop("truncated.mid").startswith("is a damaged MIDI file: ")
    assert reasons.pop("noise.mid").startswith("is a damaged MIDI file: ")
    assert reasons.pop("piece-00.mid", None) or reasons.pop("copy.mid", None)
    assert reasons == {
        "text.mid": "is not a MIDI file: it is text; choose text for it",
        "empty.mid": "is empty",
        "no-notes.mid": "has no notes",
    }
    assert [files_done for files_done, _, _ in seen] == list(range(9))
    assert seen[-1][2] == 5
    assert not (tmp_path / "store" / "partial").exists()
    assert set(contents(tmp_path / "store" / "tokenizer")) == {"tokenizer.json"}
