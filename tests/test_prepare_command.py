"""Promises of muse-prepare: what it saw and did not use is told, small folders can be trained on, and nothing that is
finished is replaced unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCommand
from small_stores import write_midi

from muse_shortcut.commands.sources import count_reasons
from muse_shortcut.data.splits import assign_splits
from muse_shortcut.data.store import SPLITS, open_store
from muse_tokenizers.midi.domain import RemiDomain
from muse_tokenizers.text.cutting import held_out_marks

PARAGRAPH = "The quick brown fox jumps over the lazy dog.\nIt jumps again, and then it sleeps.\n\n"


def manifest_of(store: Path) -> dict[str, Any]:
    return dict(json.loads((store / "manifest.json").read_text()))


def rejects_of(store: Path) -> dict[str, str]:
    return {reject["name"]: reject["reason"] for reject in manifest_of(store)["rejects"]}


def test_every_unused_file_is_reported_with_its_reason(run: RunCommand, tmp_path: Path) -> None:
    music = tmp_path / "music"
    for number in range(3):
        write_midi(music / f"{number}.mid", 50 + number)
    shutil.copy(music / "0.mid", music / "copy.mid")
    (music / "bad.mid").write_text("no music")
    for name in ("a.doc", "b.doc", "deep/c.doc", "COPYING"):
        (music / name).parent.mkdir(exist_ok=True)
        (music / name).write_text("words")
    (music / "link.mid").symlink_to("0.mid")
    (music / "folder").symlink_to("deep")
    words = ("midi", music, "--exclude", "2.mid", "--workers", 1, "--out", tmp_path / "store")
    done = run("prepare", *words)
    assert done.code == 0, done.err
    found = rejects_of(tmp_path / "store")
    assert found.keys() == {
        "copy.mid",
        "bad.mid",
        "a.doc",
        "b.doc",
        "deep/c.doc",
        "COPYING",
        "link.mid",
        "folder",
        "2.mid",
    }
    assert found["copy.mid"] == "has the same content as 0.mid"
    assert found["deep/c.doc"].startswith("ends in .doc; allowed: ")
    assert found["COPYING"].startswith("has no ending; allowed: ")
    assert found["link.mid"] == found["folder"] == "is a link, and links are not followed"
    assert found["2.mid"] == "is left out by --exclude"
    assert "not used        9 files" in done.out
    assert "     3  a.doc ends in .doc; allowed: " in done.out
    assert "; likewise 2 other files" in done.out


def test_files_that_a_recipe_excludes_are_reported_too(run: RunCommand, tmp_path: Path) -> None:
    for name in ("midi/one.mid", "midi/two.mid", "other/three.mid"):
        write_midi(tmp_path / "tunes" / name, 40 + sum(map(ord, name)) % 40)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\ntitle: Mine\ndomain: midi\nurl: null\nsha256: null\narchive: null\ninclude: ['midi/*.mid']\n"
        "licence: {name: CC0-1.0, url: 'https://example.org', weights_may_ship: true}\n"
        "split: {kind: random, group_by: file}\ntokenizer: remi\n"
    )
    done = run("prepare", "midi", f"{recipe}={tmp_path / 'tunes'}", "--workers", 1, "--out", tmp_path / "store")
    assert done.code == 0, done.err
    assert rejects_of(tmp_path / "store") == {"other/three.mid": "is not included by the recipe mine"}
    assert manifest_of(tmp_path / "store")["source"]["sources"][0]["licence"] == "CC0-1.0"


def test_warnings_of_readers_are_told_and_kept(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muse_shortcut.data import preparation
    from muse_shortcut.data.scan import SourceFile
    from muse_tokenizers.midi.remi import RemiTokenizer

    path = write_midi(tmp_path / "a.mid", 50)

    class Careful(RemiDomain):
        def read_part(self, path: Path, part: Any, *, warn: Any) -> Any:
            warn(f"{path} has 3 notes without an end")
            warn(f"{path} has 3 notes without an end")
            return super().read_part(path, part, warn=warn)

    monkeypatch.setattr(preparation, "_domain", Careful(RemiTokenizer()), raising=False)
    read = preparation._Read.of(SourceFile(path=path, name="sub/a.mid", split=None, group="a"))
    assert read.entry.warnings == ("has 3 notes without an end",)
    lines = count_reasons([("a.mid", "has 3 notes without an end"), ("b.mid", "has 12 notes without an end")])
    assert lines == ["     2  a.mid has 3 notes without an end; likewise 1 other file"]


def test_reasons_are_counted_by_kind_and_bounded() -> None:
    found = [(f"{n}", f"reason {chr(97 + n)}") for n in range(12)] + [
        ("x", "reason c"),
        ("y", "has the same content as z"),
    ]
    lines = count_reasons(found, most=3)
    assert lines[0] == "     2  2: reason c; likewise 1 other file"
    assert lines[-1] == "    10  for 10 other reasons"


def test_splits_are_drawn_from_usable_distinct_files(run: RunCommand, tmp_path: Path) -> None:
    music = tmp_path / "music"
    for number in range(2):
        write_midi(music / f"good-{number}.mid", 50 + number)
        for copy in range(3):
            shutil.copy(music / f"good-{number}.mid", music / f"z-copy-{number}-{copy}.mid")
    for number in range(9):
        (music / f"bad-{number}.mid").write_text("no music")
    assert run("prepare", "midi", music, "--workers", 1, "--out", tmp_path / "store").code == 0
    splits = [piece.split for piece in open_store(tmp_path / "store").pieces]
    assert splits == ["train", "validation"]


@pytest.mark.parametrize("groups", range(1, 9))
def test_there_is_always_a_train_split(groups: int) -> None:
    for held_out in (0.01, 0.05, 0.2, 0.4):
        found = set(assign_splits({f"g{number}": None for number in range(groups)}, 0, held_out).values())
        assert "train" in found
        assert ("validation" in found, "test" in found) == (groups > 1, groups > 2)


def test_missing_splits_of_a_small_folder_are_reported(run: RunCommand, tmp_path: Path) -> None:
    write_midi(tmp_path / "music" / "one.mid", 50)
    done = run("prepare", "midi", tmp_path / "music", "--workers", 1, "--out", tmp_path / "store")
    assert "there is no validation and no test split: 1 piece cannot be divided further" in done.out
    assert done.out.endswith(f"\nto train on it: muse-train midi --data {tmp_path / 'store'} --out RUN\n")


# One text


def text_store(run: RunCommand, tmp_path: Path, *words: object) -> Path:
    out = tmp_path / "store"
    done = run("prepare", "text", *words, "--tokenizer", "characters", "--workers", 1, "--overwrite", "--out", out)
    assert done.code == 0, done.err
    return out


@pytest.mark.parametrize("name", ["novel.txt", "novel.md"])
def test_one_text_is_divided_between_the_splits(run: RunCommand, tmp_path: Path, name: str) -> None:
    text = "".join(f"{number} {PARAGRAPH}" for number in range(100))
    (tmp_path / name).write_text(text)
    store = text_store(run, tmp_path, tmp_path / name)
    sizes = {split: counts["bytes"] for split, counts in manifest_of(store)["splits"].items()}
    assert sum(sizes.values()) == len(text)
    assert sizes["train"] == pytest.approx(0.9 * len(text), abs=len(PARAGRAPH))
    assert sizes["validation"] == pytest.approx(0.05 * len(text), abs=2 * len(PARAGRAPH))
    first = manifest_of(store)["sha256"]
    assert manifest_of(text_store(run, tmp_path, tmp_path / name))["sha256"] == first
    sizes = {
        split: counts["bytes"]
        for split, counts in manifest_of(text_store(run, tmp_path, tmp_path / name, "--held-out", 0.2))[
            "splits"
        ].items()
    }
    assert sizes["test"] == pytest.approx(0.2 * len(text), abs=2 * len(PARAGRAPH))
    whole = manifest_of(text_store(run, tmp_path, tmp_path / name, "--held-out", 0))["splits"]
    assert (whole["train"]["pieces"], whole["validation"]["pieces"]) == (1, 0)


def test_a_text_that_is_alone_among_other_things_is_divided_too(run: RunCommand, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("novel.txt", "the-same.txt"):
        (folder / name).write_text("".join(f"{number} {PARAGRAPH}" for number in range(100)))
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(b"a\0b")
    store = text_store(run, tmp_path, folder)
    assert [manifest_of(store)["splits"][split]["pieces"] for split in SPLITS] == [1, 1, 1]
    assert rejects_of(store)["the-same.txt"] == "has the same content as novel.txt"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["äöü " * 300, "ä" * 900, PARAGRAPH.replace("o", "ö") * 30])
def test_a_text_is_divided_between_characters_and_at_its_seams(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    data = path.read_bytes()
    marks = held_out_marks(path, 0, len(data), 0.1)
    assert marks is not None
    parts = [data[: marks[0]], data[marks[0] : marks[1]], data[marks[1] :]]
    order = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    read = [part.decode(order).removeprefix("\ufeff") for part in parts]
    assert "".join(read) == text
    if "\n" in text:
        assert all(part.endswith("\n\n") for part in read)
    assert held_out_marks(path, 0, 9, 0.1) is None


# What is finished


def test_a_finished_store_is_not_replaced_without_overwrite(run: RunCommand, tmp_path: Path) -> None:
    write_midi(tmp_path / "music" / "one.mid", 50)
    words = ("prepare", "midi", tmp_path / "music", "--workers", 1, "--out", tmp_path / "store")
    assert run(*words).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    done = run(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "store is a finished store; replace it with --overwrite, or choose another --out" in done.err
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before
    assert run(*words, "--overwrite").code == 0
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()} == before


def test_an_export_is_not_replaced_without_overwrite(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    words = ("export", random_checkpoint, "--out", tmp_path / "given")
    assert run(*words).code == 0
    done = run(*words)
    assert done.code == 2
    assert "given is a checkpoint already; replace it with --overwrite, or choose another --out" in done.err
    assert run(*words, "--overwrite").code == 0


def test_a_misspelt_recipe_is_answered_with_a_suggestion(run: RunCommand, tmp_path: Path) -> None:
    for word in ("maestr", "maestr=folder"):
        assert "did you mean maestro?" in run("prepare", "midi", word, "--out", tmp_path / "store").err
