"""Recipes: strict reading, official splits of the source, and groups that stay together."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from small_recipes import MIDI, TABLE, fields_of_a_recipe, fill, make_recipe, write_recipe
from small_stores import write_music

from muse_shortcut.data.preparation import Preparation, prepare
from muse_shortcut.data.recipe import (
    ByteSplit,
    FileSplit,
    FolderSplit,
    RandomSplit,
    load_recipe,
    recipe_names,
)
from muse_shortcut.data.scan import scan_files
from muse_shortcut.data.store import open_store
from muse_shortcut.errors import RecipeError
from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tokenizer import MidiTokenizer

SHIPPED = (
    "freedoom", "giantmidi", "groove", "gutenberg", "hauptstimme", "jsb_chorales", "librispeech", "lieder", "ljspeech",
    "maestro", "mutopia", "mutopia_by", "nottingham", "novels", "polish_scores", "pop909", "quartets", "text8",
    "trompa", "wikitext103", "wikitext2",
)  # fmt: skip
SOUND = ("librispeech", "ljspeech")
TEXT = {"gutenberg": "bpe", "novels": "bpe", "text8": "letters", "wikitext103": "bpe", "wikitext2": "bpe"}


# The recipes that come with the project


def test_the_shipped_recipes_are_the_ones_that_are_promised() -> None:
    assert recipe_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads_and_is_called_like_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    expected = ("audio", "muse_24khz") if name in SOUND else ("midi", "parts")
    assert (recipe.domain, recipe.tokenizer) == (("text", TEXT[name]) if name in TEXT else expected)


def test_a_recipe_of_one_kind_of_music_names_its_style(tmp_path: Path) -> None:
    styles = {name: load_recipe(name).style for name in SHIPPED}
    assert (styles["quartets"], styles["maestro"], styles["mutopia"], styles["text8"]) == (
        *("quartet", "piano", "any", "any"),
    )
    assert set(styles.values()) <= set(STYLES)
    files = scan_files(fill(tmp_path, "POP909/001/001.mid"), load_recipe("pop909"), MIDI)
    assert [file.style for file in files] == ["pop"]
    assert [file.style for file in scan_files(tmp_path, None, MIDI)] == ["any"]


def test_pieces_in_parts_begin_with_the_style_of_their_recipe(tmp_path: Path) -> None:
    music, domain = write_music(tmp_path / "music", pieces=3), MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS["parts"]))
    how = Preparation(workers=0, seed=0, held_out=0.2, source={})

    def styles(style: str, stop: bool = False) -> set[str]:
        recipe = replace(make_recipe(RandomSplit(group_by="file")), style=style)

        def progress(files: int, _tokens: int, _rejects: int) -> None:
            if stop and files == 2:
                raise KeyboardInterrupt

        prepare([scan_files(music, recipe, domain.info.suffixes)], domain, tmp_path / "store", how, progress)
        store, names = open_store(tmp_path / "store"), domain.tokenizer.vocabulary()
        return {names[store.tokens[start + 2, 0]] for start in store.offsets[:-1].tolist()}

    with pytest.raises(KeyboardInterrupt):
        styles("folk", stop=True)
    # The files that were done have another style.
    assert styles("pop") == {"Style_pop"}


def test_no_recipe_whose_licence_forbids_it_lets_weights_ship() -> None:
    free = {name for name in SHIPPED if load_recipe(name).licence.weights_may_ship}
    scores = {"freedoom", "hauptstimme", "jsb_chorales", "lieder", "mutopia", "mutopia_by", "polish_scores", "quartets"}
    assert free == {*scores, "giantmidi", "groove", "trompa", "gutenberg", "novels", *SOUND}


@pytest.mark.parametrize(
    ("name", "names", "taken"),
    [
        ("pop909", ["POP909/001/001.mid", "POP909/001/versions/001-v1.mid"], ["POP909/001/001.mid"]),
        ("nottingham", ["MIDI/a.mid", "MIDI/melody/a.mid", "MIDI/chords/a.mid"], ["MIDI/a.mid"]),
        (
            "giantmidi",
            ["e/giantmidi-piano/a.mid", "e/ground_truth/a.mid", "e/maestro/a.mid"],
            ["e/giantmidi-piano/a.mid"],
        ),
    ],
)
def test_shipped_recipes_leave_out_second_versions_of_the_same_music(
    tmp_path: Path, name: str, names: list[str], taken: list[str]
) -> None:
    assert [file.name for file in scan_files(fill(tmp_path, *names), load_recipe(name), MIDI)] == taken


def test_mutopia_keeps_an_opus_together_wherever_the_root_is(tmp_path: Path) -> None:
    fill(
        tmp_path, "midi/MozartWA/KV331/tema/tema.mid", "midi/MozartWA/KV331/var1/var1.mid", "midi/AbtF/Vocalise1/a.mid"
    )
    for root in (tmp_path, tmp_path / "midi"):
        groups = Counter(file.group.removeprefix("midi/") for file in scan_files(root, load_recipe("mutopia"), MIDI))
        assert groups == {"MozartWA/KV331": 2, "AbtF/Vocalise1": 1}


def test_speakers_of_librispeech_are_in_the_split_of_their_archive(tmp_path: Path) -> None:
    names = ("train-clean-100/19/198/19-198-0000.flac", "dev-other/116/288045/a.flac", "test-clean/61/70968/b.flac")
    fill(tmp_path, *(f"LibriSpeech/{name}" for name in names), "LibriSpeech/train-clean-100/19/198/19-198.trans.txt")
    found = scan_files(tmp_path, load_recipe("librispeech"), frozenset({".flac"}))
    assert {file.name.split("/")[-1]: file.split for file in found} == {
        "19-198-0000.flac": "train", "a.flac": "validation", "b.flac": "test",
    }  # fmt: skip


def test_novels_of_one_author_stay_together(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "corpus/Doyle_Hound_1902.txt",
        "corpus/Doyle_Study_1887.txt",
        "corpus/Woolf_Night_1919.txt",
        "NOTE.txt",
    )
    found = scan_files(tmp_path, load_recipe("novels"), frozenset({".txt"}))
    assert [file.group for file in found] == ["Doyle", "Doyle", "Woolf"]


def test_clips_of_one_reading_stay_together(tmp_path: Path) -> None:
    fill(tmp_path, "wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav", "wavs/LJ050-0278.wav")
    found = scan_files(tmp_path, load_recipe("ljspeech"), frozenset({".wav"}))
    assert len({file.group for file in found}) == 2


# Reading a recipe


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, fields_of_a_recipe())
    recipe = load_recipe(path)
    assert recipe == load_recipe(str(path))
    assert recipe.include == ("**/*.mid",)
    assert recipe.exclude == ()
    assert recipe.split == RandomSplit(group_by="file")
    assert recipe.licence.weights_may_ship


def test_every_kind_of_split_is_read(tmp_path: Path) -> None:
    names = {"learn": "train", "tune": "validation"}
    for given, expected in (
        ({"kind": "official folders", "names": names}, FolderSplit(names={"learn": "train", "tune": "validation"})),
        ({"kind": "official files", "names": names}, FileSplit(names={"learn": "train", "tune": "validation"})),
        ({"kind": "official bytes", "train": 9, "validation": 1}, ByteSplit(train=9, validation=1)),
        ({"kind": "random", "group_by": "folder", "group_depth": 2}, RandomSplit(group_by="folder", group_depth=2)),
        (
            {
                "kind": "official table",
                "file": "table.csv",
                "path_column": "where",
                "split_column": "part",
                "names": names,
            },
            TABLE,
        ),
    ):
        fields = fields_of_a_recipe() | {"split": given, "domain": "text"}
        assert load_recipe(write_recipe(tmp_path, fields)).split == expected


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    message = f"there is no recipe 'mastro'; allowed: {', '.join(SHIPPED)}, or the path of a .yaml file"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_recipe("mastro")


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^cannot read the recipe .*none\.yaml: No such file or directory$"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text", ["name: [1,\ntitle: x: y\n", "when: 2020-13-45\n", "[" * 1200, "!!python/object:os.x {}"]
)
def test_files_that_are_not_yaml_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=r"^.*broken\.yaml is not YAML( at line \d+)?: [^\n]+$"):
        load_recipe(path)


def test_yaml_that_would_run_code_runs_none(tmp_path: Path) -> None:
    path = tmp_path / "trap.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n", "utf-8")
    with pytest.raises(RecipeError, match=r"is not YAML at line 1: .*"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()


def test_a_list_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"tunes\.yaml: it is \['a'\]; allowed: a mapping of fields$"):
        load_recipe(write_recipe(tmp_path, ["a"]))


HTTP = "an http or https address"
LIST = "relative globs with / and without .."
PATTERN = "a regular expression with a bracket (), with group_by: file"
WRONG_FIELDS = [
    ("name", "../tunes", "is '../tunes'; allowed: a name of small letters, digits, _ and -"),
    ("title", 3, "is 3; allowed: some text"),
    ("domain", "video", "is 'video'; allowed: midi, audio, text"),
    ("url", "ftp://example.org/a.zip", f"is 'ftp://example.org/a.zip'; allowed: {HTTP}, or null"),
    ("url", "https://[", f"is 'https://['; allowed: {HTTP}, or null"),
    ("url", "https://example.org/a b", f"is 'https://example.org/a b'; allowed: {HTTP}, or null"),
    ("sha256", "12ab", "is '12ab'; allowed: 64 hexadecimal digits (0-9, a-f), or null"),
    ("sha256", "A" * 64, f"is '{'A' * 64}'; allowed: 64 hexadecimal digits (0-9, a-f), or null"),
    ("archive", "rar", "is 'rar'; allowed: zip, tar.gz, tar.xz, tar.bz2, or null"),
    ("include", "**/*.mid", "is '**/*.mid'; allowed: a list of globs"),
    ("include", [], "is []; allowed: at least one glob"),
    ("include", ["/etc/*"], f"is '/etc/*'; allowed: {LIST}"),
    ("include", ["C:/*"], f"is 'C:/*'; allowed: {LIST}"),
    ("include", ["a\\*"], f"is 'a\\\\*'; allowed: {LIST}"),
    ("exclude", ["a/../../b"], f"is 'a/../../b'; allowed: {LIST}"),
    ("exclude", [7], f"is 7; allowed: {LIST}"),
    ("style", "polka", f"is 'polka'; allowed: {', '.join(STYLES)}"),
    ("tokenizer", None, "is None; allowed: a name of small letters, digits, _ and -"),
    ("licence", "MIT", "is 'MIT'; allowed: a mapping of fields"),
    ("licence.name", "", "is ''; allowed: some text"),
    ("licence.url", None, f"is None; allowed: {HTTP}"),
    ("licence.weights_may_ship", "yes", "is 'yes'; allowed: true or false"),
    ("licence.note", 1, "is 1; allowed: text"),
    ("split", "random", "is 'random'; allowed: a mapping of fields"),
    (
        "split.kind",
        "alphabetic",
        "is 'alphabetic'; allowed: official table, official folders, official files, official bytes, random",
    ),
    ("split.group_by", "composer", "is 'composer'; allowed: file, folder"),
    ("split.group_depth", 2, "is 2; allowed: a whole number above 0, with group_by: folder"),
    ("split.group_pattern", "a+", f"is 'a+'; allowed: {PATTERN}"),
    ("split.group_pattern", "(", f"is '('; allowed: {PATTERN}"),
    ("split.group_pattern", 3, f"is 3; allowed: {PATTERN}"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG_FIELDS)
def test_an_impossible_field_is_named_with_the_allowed_values(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    fields = fields_of_a_recipe()
    part, _, name = field.rpartition(".")
    (fields[part] if part else fields)[name] = value
    with pytest.raises(RecipeError, match=f"tunes\\.yaml: field {re.escape(f'{field} {message}')}$"):
        load_recipe(write_recipe(tmp_path, fields))


WORDS = "a mapping of the source's words to train, validation and test"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": {}}, f"split.names is {{}}; allowed: {WORDS}"),
        ({"names": ["train"]}, f"split.names is ('train',); allowed: {WORDS}"),
        ({"names": {"a": "dev"}}, "split.names.a is 'dev'; allowed: train, validation, test"),
        ({"file": "../table.csv"}, "split.file is '../table.csv'; allowed: a path inside the source, with /"),
        ({"path_column": None}, "split.path_column is None; allowed: some text"),
        ({"split_column": 4}, "split.split_column is 4; allowed: some text"),
    ],
)
def test_an_impossible_table_is_named_with_the_allowed_values(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    split = {
        "kind": "official table",
        "file": "t.csv",
        "path_column": "p",
        "split_column": "s",
        "names": {"a": "train"},
    }
    path = write_recipe(tmp_path, fields_of_a_recipe() | {"split": split | changes})
    shown = message.replace("('train',)", "['train']")
    with pytest.raises(RecipeError, match=f"tunes\\.yaml: field {re.escape(shown)}$"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"url": None, "archive": None, "sha256": "0" * 64},
            f"sha256 is '{'0' * 64}'; allowed: null where url is null",
        ),
        ({"url": None}, "archive is 'zip'; allowed: null where url is null"),
        (
            {"url": "https://example.org/", "archive": None},
            "url is 'https://example.org/'; allowed: an address that ends in the name of a file, where archive is null",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=f"field {re.escape(message)}$"):
        load_recipe(write_recipe(tmp_path, fields_of_a_recipe() | changes))


@pytest.mark.parametrize("field", ["name", "url", "licence", "split", "licence.url", "split.group_by"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    fields = fields_of_a_recipe()
    part, _, name = field.rpartition(".")
    del (fields[part] if part else fields)[name]
    with pytest.raises(RecipeError, match=rf"field {re.escape(field)} is missing; required: [a-z0-9_, ]*\b{name}\b"):
        load_recipe(write_recipe(tmp_path, fields))


@pytest.mark.parametrize("field", ["colour", "licence.colour", "split.colour"])
def test_an_unknown_field_is_named_with_the_known_ones(tmp_path: Path, field: str) -> None:
    fields = fields_of_a_recipe()
    part, _, name = field.rpartition(".")
    (fields[part] if part else fields)[name] = "red"
    with pytest.raises(RecipeError, match=rf"field {re.escape(field)} is unknown; allowed: [a-z0-9_]+(, [a-z0-9_]+)+$"):
        load_recipe(write_recipe(tmp_path, fields))


def test_reading_recipes_loads_neither_torch_nor_a_tokenizer() -> None:
    code = "import sys; from muse_shortcut.data import download; download.cache_folder(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'([^']+)'", done.stdout))
    assert not loaded & {"torch", "tokenizers", "miditok", "muse_tokenizers.base", "symusic"}
