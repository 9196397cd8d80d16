"""The configuration of a MIDI tokenizer: what is accepted, and that everything else is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from midi_pieces import domain, draw, names, note_rows, scale

from muse_tokenizers.errors import UnknownTokenizerError
from muse_tokenizers.loading import load_tokenizer, tokenizer_class
from muse_tokenizers.midi.configuration import CONFIGURATIONS, MidiConfiguration
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.tokenizer import MidiTokenizer


def test_a_configuration_survives_json() -> None:
    for configuration in CONFIGURATIONS.values():
        assert MidiConfiguration.from_json(json.loads(json.dumps(configuration.to_json()))) == configuration


SIGNATURES = "time_signatures must be pairs of beats, up to 64, and a unit of 4 or 8"
IMPOSSIBLE: list[tuple[str, Any, str]] = [
    ("scheme", "sonata", "scheme is 'sonata'; allowed: parts, remi, performance"),
    ("velocities", 0, "velocities is 0; allowed: 1 to 127"),
    ("velocities", 128, "velocities is 128; allowed: 1 to 127"),
    ("positions_per_beat", 0, "positions_per_beat is 0; allowed: 1 to 96"),
    ("positions_per_beat", 10**9, "positions_per_beat is 1000000000; allowed: 1 to 96"),
    ("durations", [], "durations is empty; allowed: at least one (from beat, to beat, bins per beat)"),
    ("durations", [[0, 1, 5]], "durations has (0, 1, 5); allowed: up to beat 64, with bins per beat that divide 24"),
    (
        "durations",
        [[0, 10**9, 24]],
        "durations has (0, 1000000000, 24); allowed: up to beat 64, with bins per beat that divide 24",
    ),
    ("durations", [[1, 1, 24]], "durations has (1, 1, 24); allowed: up to beat 64, with bins per beat that divide 24"),
    ("tempos", 0, "0 tempos over (20, 260); allowed: 1 to 1000 over 4 to 1000, slowest first"),
    ("tempos", 10**9, "1000000000 tempos over (20, 260); allowed: 1 to 1000 over 4 to 1000, slowest first"),
    ("tempo_range", [90, 60], "61 tempos over (90, 60); allowed: 1 to 1000 over 4 to 1000, slowest first"),
    ("tempo_range", [1, 60], "61 tempos over (1, 60); allowed: 1 to 1000 over 4 to 1000, slowest first"),
    ("time_signatures", [[4, 4], [4, 16]], SIGNATURES),
    ("time_signatures", [[4, 4], [10**9, 4]], SIGNATURES),
    ("time_signatures", [[4, 4], [0, 4]], SIGNATURES),
    ("time_signatures", [], "time_signatures is without 4/4, which a score has that names none"),
    ("time_signatures", [[3, 4]], "time_signatures is without 4/4, which a score has that names none"),
    ("shift_milliseconds", 7, "shift_milliseconds is 7; it must divide 500"),
    ("shift_milliseconds", 0, "shift_milliseconds is 0; it must divide 500"),
    ("shifts", 99, "shifts is 99; it must fill whole halves of a second, up to 10,000 shifts"),
    ("shifts", 0, "shifts is 0; it must fill whole halves of a second, up to 10,000 shifts"),
    ("shifts", 10**9, "shifts is 1000000000; it must fill whole halves of a second, up to 10,000 shifts"),
    ("transpositions", [], "transpositions must begin with 0 and lie from -127 to 127"),
    ("transpositions", [1, 0], "transpositions must begin with 0 and lie from -127 to 127"),
    ("transpositions", [0, 128], "transpositions must begin with 0 and lie from -127 to 127"),
    ("transpositions", [0, 1, 1], "transpositions has one twice"),
    # Of the wrong kind.
    ("scheme", 3, "scheme is 3; it must be made of str"),
    ("velocities", "32", "velocities is '32'; it must be made of int"),
    ("velocities", 32.0, "velocities is 32.0; it must be made of int"),
    ("velocities", True, "velocities is True; it must be made of int"),
    ("velocities", None, "velocities is None; it must be made of int"),
    ("durations", 5, "durations is 5; it must be made of int"),
    ("durations", [5], "durations is (5,); it must be made of int"),
    ("durations", [[0, 1, "24"]], "durations is ((0, 1, '24'),); it must be made of int"),
    ("durations", {"0": 1}, "durations is {'0': 1}; it must be made of int"),
    ("tempo_range", "20", "tempo_range is '20'; it must be made of int"),
    ("tempo_range", [[20], 60], "tempo_range is ((20,), 60); it must be made of int"),
    ("transpositions", ["0"], "transpositions is ('0',); it must be made of int"),
    # Of the wrong length.
    ("durations", [[0, 1]], "a list is longer or shorter than it can be"),
    ("durations", [[0, 1, 24, 1]], "a list is longer or shorter than it can be"),
    ("tempo_range", [20], "a list is longer or shorter than it can be"),
    ("tempo_range", [20, 60, 260], "a list is longer or shorter than it can be"),
    ("time_signatures", [[4]], "a list is longer or shorter than it can be"),
]


@pytest.mark.parametrize(
    ("field", "value", "message"), IMPOSSIBLE, ids=[f"{field} {value!s:.20}" for field, value, _ in IMPOSSIBLE]
)
def test_an_impossible_field_is_named_with_the_allowed_values(
    tmp_path: Path, field: str, value: Any, message: str
) -> None:
    configuration = {**domain("remi").tokenizer.configuration(), field: value}
    expected = f"^{re.escape(f'impossible MIDI tokenizer: {message}')}$"
    with pytest.raises(UnknownTokenizerError, match=expected):
        MidiConfiguration.from_json(json.loads(json.dumps(configuration)))
    content = {"kind": "midi", "fingerprint": "0" * 64, "configuration": configuration}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UnknownTokenizerError, match=expected):
        load_tokenizer(tmp_path)


def test_fields_that_are_missing_or_unknown_are_listed() -> None:
    known = sorted(domain("remi").tokenizer.configuration())
    content = {**domain("remi").tokenizer.configuration(), "flavour": 1}
    del content["scheme"]
    message = f"a MIDI tokenizer's configuration has the fields {known}, found {sorted(content)}"
    with pytest.raises(UnknownTokenizerError, match=f"^{re.escape(message)}$"):
        MidiConfiguration.from_json(content)


@pytest.mark.parametrize(("content", "found"), [(None, "NoneType"), ([], "list"), ("remi", "str"), (3, "int")])
def test_a_file_that_is_not_a_mapping_is_refused(content: Any, found: str) -> None:
    with pytest.raises(
        UnknownTokenizerError, match=rf"^a MIDI tokenizer's configuration has the fields .*, found {found}$"
    ):
        MidiConfiguration.from_json(content)


def test_an_unknown_domain_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownTokenizerError, match=r"^no tokenizer is called 'flute'; allowed: midi"):
        tokenizer_class("flute")


@pytest.mark.parametrize(
    "changes",
    [
        {"positions_per_beat": 1, "durations": ((0, 1, 1),), "tempos": 1, "velocities": 1},
        {"positions_per_beat": 96, "durations": ((0, 4, 96), (4, 64, 1)), "velocities": 127, "tempos": 200},
        {"positions_per_beat": 7, "durations": ((0, 2, 7),), "tempo_range": (4, 1000), "transpositions": (0,)},
        {"time_signatures": ((4, 4),)},
    ],
    ids=str,
)
def test_the_limits_of_the_range_are_accepted(changes: dict[str, Any]) -> None:

    midi = MidiDomain.of(MidiTokenizer.of(MidiConfiguration(**changes)))
    ids = midi.tokenizer.encode(scale())
    again = midi.tokenizer.encode(midi.tokenizer.decode(ids))
    assert again.tolist() == ids.tolist()
    grammar = midi.grammar(midi.prompt(None).ids, 2, MidiConstraints(seconds=1e9))
    for candidate in draw(grammar, 200, seed=0):
        decoded = midi.tokenizer.decode(candidate)
        finished = sum(name.startswith("Duration") for name in names(midi, candidate))
        assert len(note_rows(decoded)) == finished
