"""Tests of the scan: every relevant file, once, with its official split and its group."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from small_recipes import MIDI, TABLE, by_name, fill, make_recipe

from muse_shortcut.data.recipe import (
    FolderSplit,
    RandomSplit,
    load_recipe,
)
from muse_shortcut.data.scan import SourceFile, scan_files
from muse_shortcut.errors import RecipeError

# The scan of a folder


def test_a_plain_folder_gives_every_file_with_a_suffix_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "b/x.MID", "a.midi", "b/c/y.mid", "notes.txt", "z.mid.bak")
    files = scan_files(tmp_path, None, MIDI)
    assert [file.name for file in files] == ["a.midi", "b/c/y.mid", "b/x.MID"]
    assert [file.path for file in files] == [tmp_path / file.name for file in files]
    assert all(file.split is None and file.group == file.name for file in files)


def test_a_single_file_is_a_source_too(tmp_path: Path) -> None:
    fill(tmp_path, "a.mid", "b.mid")
    assert scan_files(tmp_path / "a.mid", None, MIDI) == [
        SourceFile(path=tmp_path / "a.mid", name="a.mid", split=None, group="a.mid")
    ]


def test_paths_are_absolute_also_for_a_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "tunes/a.mid")
    monkeypatch.chdir(tmp_path)
    assert [file.path for file in scan_files(Path("tunes"), None, MIDI)] == [tmp_path / "tunes/a.mid"]


def test_files_of_one_folder_share_a_group_when_asked(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.mid", "a/2.mid", "b/1.mid", "top.mid")
    groups = by_name(scan_files(tmp_path, None, MIDI, "folder"), "group")
    assert groups == {"a/1.mid": "a", "a/2.mid": "a", "b/1.mid": "b", "top.mid": "."}


def test_no_link_is_followed_out_of_the_folder_or_twice_inside_it(tmp_path: Path) -> None:
    fill(tmp_path, "elsewhere/secret.mid", "root/a.mid", "root/sub/b.mid")
    root = tmp_path / "root"
    (root / "link.mid").symlink_to(tmp_path / "elsewhere/secret.mid")
    (root / "again.mid").symlink_to(root / "a.mid")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert [file.name for file in scan_files(root, None, MIDI)] == ["a.mid", "sub/b.mid"]


def test_a_pipe_with_the_right_ending_is_no_file_to_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.mid")
    os.mkfifo(tmp_path / "pipe.mid")
    assert [file.name for file in scan_files(tmp_path, None, MIDI)] == ["a.mid"]


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name may be any bytes")
def test_a_name_that_is_not_utf8_can_be_written_down_and_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mid")).write_text("MThd")
    (file,) = scan_files(tmp_path, None, MIDI)
    assert file.name.encode("utf-8") == b"caf\\xe9.mid"
    assert file.path.read_text() == "MThd"


def test_an_empty_folder_error_names_the_expected_files(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt")
    message = f"{tmp_path}: there is no file with the ending .mid or .midi, among 1 file (links are not followed)"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        scan_files(tmp_path, None, MIDI)


def test_a_folder_without_files_of_the_recipe_is_refused(tmp_path: Path) -> None:
    recipe = make_recipe(RandomSplit(group_by="file"), ("x/*.mid",), ("x/no*",))
    message = "that the recipe tunes includes: x/*.mid without x/no*, among 1 file (links are not followed)"
    with pytest.raises(RecipeError, match=f"{re.escape(message)}$"):
        scan_files(fill(tmp_path, "x/no.mid"), recipe, MIDI)


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^there is no file or folder .*/none$"):
        scan_files(tmp_path / "none", None, MIDI)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by taking permissions away: a superuser has them all the same.
    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    fill(tmp_path, "a.mid")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RecipeError, match=f"^{re.escape(f'cannot read the folder {tmp_path}: Permission denied')}$"):
        scan_files(tmp_path, None, MIDI)


def test_globs_cross_folders_only_with_two_stars(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.mid", "a/b/2.mid", "3.mid", "a/[x].mid", "a/12.mid")
    for glob, names in {
        "*.mid": ["3.mid"],
        "a/*.mid": ["a/1.mid", "a/12.mid", "a/[x].mid"],
        "a/?.mid": ["a/1.mid"],
        "a/**": ["a/1.mid", "a/12.mid", "a/[x].mid", "a/b/2.mid"],
        "**/2.mid": ["a/b/2.mid"],
        "**/3.mid": ["3.mid"],
        "a/[x].mid": ["a/[x].mid"],
    }.items():
        recipe = make_recipe(RandomSplit(group_by="file"), (glob,))
        assert [file.name for file in scan_files(tmp_path, recipe, MIDI)] == names, glob


def test_groups_of_a_recipe_are_the_folders_it_says(tmp_path: Path) -> None:
    fill(tmp_path, "up/c/o1/p/1.mid", "up/c/o1/q/2.mid", "up/c/o2/3.mid", "up/d/4.mid")
    own = scan_files(tmp_path, make_recipe(RandomSplit(group_by="folder")), MIDI)
    assert [file.group for file in own] == ["up/c/o1/p", "up/c/o1/q", "up/c/o2", "up/d"]
    wide = scan_files(tmp_path, make_recipe(RandomSplit(group_by="folder", group_depth=2)), MIDI)
    assert [file.group for file in wide] == ["up/c/o1", "up/c/o1", "up/c/o2", "up/d"]
    single = scan_files(tmp_path, make_recipe(RandomSplit(group_by="folder", group_depth=2)), MIDI, "file")
    assert [file.group for file in single] == [file.name for file in single]


def test_movements_and_recordings_of_a_work_are_one_group(tmp_path: Path) -> None:
    recipe = load_recipe("giantmidi")
    names = (
        "midis_for_evaluation/giantmidi-piano/Debussy_Pour_le_piano_KLicw5ryMpQ_cut_no_2.mid",
        "midis_for_evaluation/giantmidi-piano/Debussy_Pour_le_piano_KLicw5ryMpQ_cut_no_3.mid",
        "midis_for_evaluation/giantmidi-piano/Debussy_Estampes_abcdefghi-j_cut_no_1.mid",
        "midis_for_evaluation/giantmidi-piano/Bach_Prelude_and_Fugue_BWV862_gCL5Zvnt0TU_a.mid",
        "midis_preview/Ravel, Maurice, Jeux d'eau, v-QmwrhO3ec.mid",
        "midis_preview/Ravel, Maurice, Jeux d'eau, 0123456789_.mid",
        "midis_preview/odd.mid",
    )
    fill(tmp_path, *names)
    groups = by_name(scan_files(tmp_path, recipe, MIDI), "group")
    assert [groups[name] for name in names] == [
        "Debussy_Pour_le_piano",
        "Debussy_Pour_le_piano",
        "Debussy_Estampes",
        "Bach_Prelude_and_Fugue_BWV862",
        "Ravel, Maurice, Jeux d'eau",
        "Ravel, Maurice, Jeux d'eau",
        "midis_preview/odd.mid",
    ]


# Official splits


def test_the_innermost_official_folder_decides(tmp_path: Path) -> None:
    fill(tmp_path, "JSB/train/1.mid", "JSB/valid/2.mid", "JSB/train/valid/3.mid", "JSB/other/4.mid")
    recipe = make_recipe(FolderSplit(names={"train": "train", "valid": "validation"}))
    assert by_name(scan_files(tmp_path, recipe, MIDI), "split") == {
        "JSB/other/4.mid": None,
        "JSB/train/1.mid": "train",
        "JSB/train/valid/3.mid": "validation",
        "JSB/valid/2.mid": "validation",
    }


@pytest.mark.parametrize("nesting", ["", "set/", "down/loads/set/"])
def test_the_official_table_is_read_wherever_it_lies(tmp_path: Path, nesting: str) -> None:
    table = 'title,where,part\n"A, in b",y/1.mid,learn\nB,y/2.mid,tune\nGone,y/9.mid,learn\n'
    fill(tmp_path, f"{nesting}table.csv", content="\ufeff" + table.replace("\n", "\r\n"))
    fill(tmp_path, f"{nesting}y/1.mid", f"{nesting}y/2.mid", f"{nesting}y/unnamed.mid")
    assert by_name(scan_files(tmp_path, make_recipe(TABLE), MIDI), "split") == {
        f"{nesting}y/1.mid": "train",
        f"{nesting}y/2.mid": "validation",
        f"{nesting}y/unnamed.mid": None,
    }


def test_of_two_tables_the_outer_one_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "b/table.csv", content="where,part\n1.mid,tune\n")
    fill(tmp_path, "a/old/table.csv", content="where,part\n1.mid,learn\n")
    fill(tmp_path, "a/old/1.mid", "b/1.mid")
    splits = by_name(scan_files(tmp_path, make_recipe(TABLE), MIDI), "split")
    assert splits == {"a/old/1.mid": None, "b/1.mid": "validation"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "recipe tunes: found no table.csv in {root}, which gives the official split"),
        ("", "{root}/table.csv has no column 'where'; its columns: none"),
        ("path,part\n1.mid,learn\n", "{root}/table.csv has no column 'where'; its columns: path, part"),
        ("where,part\n1.mid,test\n", "{root}/table.csv: line 2: part is 'test'; allowed: learn, tune"),
        ("where,part\n1.mid\n", "{root}/table.csv: line 2: part is None; allowed: learn, tune"),
        (
            "where,part\n1.mid,learn\n1.mid,tune\n",
            "{root}/table.csv: line 3: 1.mid is in validation, and above in train",
        ),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path: Path, table: str | None, message: str) -> None:
    fill(tmp_path, "1.mid")
    if table is not None:
        fill(tmp_path, "table.csv", content=table)
    with pytest.raises(RecipeError, match=f"^{re.escape(message.format(root=tmp_path))}$"):
        scan_files(tmp_path, make_recipe(TABLE), MIDI)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "1.mid")
    (tmp_path / "table.csv").write_bytes(b"where,part\n\xff\xfe,learn\n")
    with pytest.raises(RecipeError, match=r"table\.csv cannot be read as a table: .*can't decode"):
        scan_files(tmp_path, make_recipe(TABLE), MIDI)


def test_maestro_and_groove_tables_are_read_as_their_publishers_write_them(tmp_path: Path) -> None:
    maestro = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
    fill(
        tmp_path, "up/maestro-v3.0.0/maestro-v3.0.0.csv", content=f"{maestro}Berg,Op. 1,test,2018,2018/a.midi,a.wav,1\n"
    )
    fill(tmp_path, "up/maestro-v3.0.0/2018/a.midi")
    (file,) = scan_files(tmp_path / "up", load_recipe("maestro"), MIDI)
    assert (file.name, file.split) == ("maestro-v3.0.0/2018/a.midi", "test")

    groove = "drummer,session,id,style,bpm,beat_type,time_signature,midi_filename,audio_filename,duration,split\n"
    fill(
        tmp_path, "groove/info.csv", content=f"{groove}d1,s,i,funk,138,beat,4-4,d1/s/1.mid,d1/s/1.wav,27.8,validation\n"
    )
    fill(tmp_path, "groove/d1/s/1.mid")
    (file,) = scan_files(tmp_path / "groove", load_recipe("groove"), MIDI)
    assert (file.name, file.split) == ("d1/s/1.mid", "validation")
