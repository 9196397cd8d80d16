"""Sidecars: every invalid field is refused in one line that names it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sidecar import Sidecar, read_sidecar, sidecar_text
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_tokenizers.text.constraints import TextConstraints
from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.subwords import LETTERS, CharacterModel
from muse_tokenizers.text.tokenizer import TextTokenizer

DOMAIN = TextDomain(TextTokenizer(CharacterModel(LETTERS, closed=False)))


def content(**request: Any) -> dict[str, Any]:
    prompt = DOMAIN.prompt(b"all that is gold")
    text = sidecar_text(
        DOMAIN, Request(prompt=prompt, **request), checkpoint="0" * 64, candidate=0,
        ids=DOMAIN.tokenizer.encode(b" does not glitter"), log_probability=-3.0, name="gold", source="gold.txt",
        sound=None,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(text)
    return found


def changed(place: str, value: Any) -> dict[str, Any]:
    """A good one with another value at a place such as "prompt.split_point"."""
    whole = content()
    *outer, last = place.split(".")
    inner = whole
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return whole


def read(tmp_path: Path, found: object) -> Sidecar:
    (tmp_path / "a.json").write_text(json.dumps(found))
    return read_sidecar(tmp_path / "a.json", DOMAIN)


def refusal(tmp_path: Path, found: object) -> str:
    with pytest.raises(ArgumentsError) as refused:
        read(tmp_path, found)
    assert str(refused.value).isprintable()
    return str(refused.value).removeprefix(str(tmp_path / "a.json"))


def test_a_good_one_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, content(seed=7, candidates=3))
    assert (found.name, found.source, found.request.seed, found.request.candidates) == ("gold", "gold.txt", 7, 3)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1", "its version is '1'; allowed: the numbers 1 to 2"),
        (1.0, "its version is 1.0; allowed: the numbers 1 to 2"),
        (True, "its version is True; allowed: the numbers 1 to 2"),
        (99, "it has version 99, of a newer muse-shortcut; this one reads up to version 2"),
    ],
)
def test_another_version_is_refused_and_named(tmp_path: Path, version: Any, reason: str) -> None:
    assert refusal(tmp_path, changed("version", version)) == f" cannot be read: {reason}"


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (
            "prompt.cut_step",
            10**30,
            "prompt.split_index is 1000000000000000000000000000000; allowed: a whole number from 0",
        ),
        ("prompt.cut_step", -1, "prompt.split_index is -1"),
        ("prompt.cut_step", 1.0, "prompt.split_index is 1.0"),
        ("prompt.split_point", 1e30, "prompt.split_point is 1e+30; allowed: a number from 0 to 16,777,216"),
        ("prompt.split_point", float("nan"), "prompt.split_point is nan"),
        ("prompt.piece", "AA", "Incorrect padding"),
        ("prompt.piece", 3, "prompt.piece is 3; allowed: a string"),
        ("prompt.piece", "YQBi", "the embedded prompt"),
        ("prompt.ids", [[1.5]], "ids are [[1.5]]; allowed: rows of 1 whole numbers"),
        ("prompt.ids", [["1"]], "ids are [['1']]"),
        ("prompt.ids", [[10**30]], "ids are [[1000"),
        ("prompt.ids", [[0]], "prompt.ids do not start with the begin token"),
        ("prompt.partial_frames", [[1]], "prompt.partial_frames has 1 step; allowed: up to 0"),
        ("prompt", [], "prompt is []; allowed: an object"),
        ("ids", [[-1]], "ids go from -1 to -1; allowed: 0 to "),
        ("constraints", {"bytes": 10**30}, "bytes is 1000"),
        ("constraints", {"bytes": 1.5}, "constraints.bytes is 1.5; allowed: a number or null"),
        ("constraints", {"key": "C"}, "constraints.key is 'C'; allowed: null"),
        ("constraints", {"instruments": ["piano"]}, "constraints.instruments is ['piano']; allowed: null"),
        ("constraints", {"keep_tempo": True}, "constraints.keep_tempo is True; allowed: null"),
        ("sampling.top_k", 10**30, "top_k is 1000"),
        ("sampling.temperature", float("nan"), "temperature is nan"),
        ("max_steps", 10**30, "max_steps is 1000"),
        ("seed", -1, "seed is -1; allowed: a whole number from 0 to 9,223,372,036,854,775,807"),
        ("candidates", 65, "candidates is 65; allowed: a whole number from 1 to 64"),
        ("candidate", 1, "candidate is 1; allowed: a whole number from 0 to 0"),
        ("domain", "midi", "domain is 'midi'; allowed: text"),
        ("name", 7, "name is 7; allowed: a string"),
    ],
)
def test_a_field_that_cannot_be_is_named(tmp_path: Path, place: str, value: Any, reason: str) -> None:
    assert reason in refusal(tmp_path, changed(place, value))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("seconds", 1e30, "seconds is 1e+30; allowed: more than 0, up to 86,400"),
        ("bars", 1.5, "constraints.bars is 1.5; allowed: a number or null"),
        ("tempo", True, "constraints.tempo is True"),
        ("instruments", "piano", "constraints.instruments is 'piano'; allowed: a list of strings"),
        ("key", 3, "constraints.key is 3"),
        ("rules", 10**30, "constraints.rules is 1000"),
        ("bytes", 8, "constraints.bytes is 8; allowed: null"),
    ],
)
def test_a_constraint_of_music_that_cannot_be_is_named(tmp_path: Path, name: str, value: Any, reason: str) -> None:
    midi = MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS["performance"]))
    found = json.loads(
        sidecar_text(
            midi,
            Request(prompt=midi.prompt(None), constraints=midi.default_constraints()),
            checkpoint="",
            candidate=0,
            ids=np.zeros((0, 1), dtype=np.int64),
            log_probability=0.0,
            name="a",
            source=None,
            sound=None,
        )
    )
    found["constraints"][name] = value
    (tmp_path / "a.json").write_text(json.dumps(found))
    with pytest.raises(ArgumentsError, match=re.escape(reason)):
        read_sidecar(tmp_path / "a.json", midi)


def test_constraints_of_all_domains_with_nothing_asked_are_read_as_earlier_sidecars_have_them(tmp_path: Path) -> None:
    earlier = {
        "instruments": [], "key": None, "tempo": None, "keep_instruments": False, "keep_tempo": False, "bars": None,
        "seconds": None, "bytes": 40, "silence": None, "repeats": None, "rules": 2,
    }  # fmt: skip
    assert read(tmp_path, changed("constraints", earlier)).request.constraints == TextConstraints(bytes=40)


@pytest.mark.parametrize(
    "place", [name for name in content() if name in ("prompt", "ids", "seed", "name", "constraints")]
)
def test_a_field_that_is_missing_is_named(tmp_path: Path, place: str) -> None:
    found = content()
    del found[place]
    assert refusal(tmp_path, found) == f" is not a complete sidecar: it has no '{place}'"


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a\0b", "a_b"), ("../../x", "x"), ("..\\x", "x"), ("..", "again"), ("", "again"),
     ("é" * 300, "é" * 100), ("line\nbreak", "line_break")],
)  # fmt: skip
def test_the_name_of_an_output_stays_one_in_its_folder(tmp_path: Path, name: str, kept: str) -> None:
    assert read(tmp_path, changed("name", name)).name == kept


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b"[1]", b"null", b'{"a": 1}'])
def test_a_file_that_is_not_a_sidecar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ArgumentsError, match=r"a.json is (damaged: it is not JSON|not a sidecar)[^\n]*$"):
        read_sidecar(tmp_path / "a.json", DOMAIN)


def test_a_prompt_whose_name_is_no_utf_8_has_a_sidecar(tmp_path: Path) -> None:
    text = sidecar_text(
        DOMAIN, Request(prompt=DOMAIN.prompt(b"gold")), checkpoint="", candidate=0, ids=DOMAIN.tokenizer.encode(b"x"),
        log_probability=0.0, name="caf\udce9", source="caf\udce9.txt", sound=None,
    )  # fmt: skip
    (tmp_path / "a.json").write_bytes(text.encode("utf-8"))
    assert read_sidecar(tmp_path / "a.json", DOMAIN).name == "caf?"


def test_lengths_have_ends() -> None:
    for name, value in (("max_steps", 10**8), ("max_steps", 0)):
        with pytest.raises(ArgumentsError, match=r"max_new_tokens is \d+; allowed: more than 0, up to 10,000,000"):
            Request(prompt=DOMAIN.prompt(None), **{name: value})  # type: ignore[arg-type]
