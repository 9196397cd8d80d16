"""Tests of options: command line, page and Python make the same requests and refusals, in their own names."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCommand
from small_visits import Visit, visit

import muse_shortcut as muse
from muse_shortcut.api.options import OPTION_NAMES, build_request
from muse_shortcut.commands import generate_options
from muse_shortcut.commands.prompts import request_options
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import OptionError
from muse_web.endpoints import LABELS

NEVER_SAID = {"instruments": "", "key": "", "tempo": "", "silence": None}


@pytest.fixture
def page(tmp_path: Path) -> Visit:
    return visit(tmp_path)


def by_api(page: Visit, options: dict[str, Any]) -> Any:
    checkpoint = page.registry.get("midi")
    return build_request(checkpoint.domain, checkpoint.domain.prompt(None), checkpoint.sampling, options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seconds": 7},
        {"bars": 3, "key": " F# minor  "},
        {"bars": 3, "seconds": 5.0},
        {"instruments": "piano, drums", "tempo": "90"},
        {"instruments": "any", "tempo": "free", "silence": 0, "repeats": 0},
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "greedy": True},
    ],
)
def test_the_page_and_the_library_make_the_same_request(page: Visit, options: dict[str, Any]) -> None:
    given = {("amount" if name == "seconds" else name): value for name, value in options.items()}
    run = page.ask(domain="midi", seed=3, **(NEVER_SAID | given))
    wanted = by_api(page, options | {"seed": 3})
    assert repr((run.request.constraints, run.request.sampling)) == repr((wanted.constraints, wanted.sampling))
    assert (run.request.seed, run.request.candidates) == (wanted.seed, wanted.candidates)


@pytest.mark.parametrize(
    "options",
    [
        {"instruments": ","},
        {"instruments": [" "]},
        {"instruments": 7},
        {"key": "   "},
        {"tempo": 0},
        {"tempo": "0"},
        {"tempo": "soon"},
        {"tempo": 1e9},
        {"temperature": 0},
        {"silence": -1},
    ],
)
def test_page_and_library_refuse_with_the_same_words(page: Visit, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as by_library:
        by_api(page, options)
    with pytest.raises(OptionError) as by_page:
        page.ask(domain="midi", **options)
    [name] = options
    assert by_library.value.option == by_page.value.option == name
    assert str(by_page.value).split(";")[1] == str(by_library.value).split(";")[1]


def test_an_error_names_the_option_as_its_reader_knows_it() -> None:
    error = OptionError("temperature", 0, "more than 0; {top_k} cuts")
    assert str(error) == "temperature is 0; allowed: more than 0; top_k cuts"
    assert error.worded(lambda option: f"<{option}>") == "<temperature> is 0; allowed: more than 0; <top_k> cuts"
    assert error.worded(LABELS.__getitem__) == "Temperature is 0; allowed: more than 0; Top-k cuts"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.option, again.value) == (str(error), "temperature", 0)
    assert str(OptionError("key", "x\ny" * 100, "z")).count("\n") == 0
    assert issubclass(OptionError, muse.ArgumentsError)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("midi", "--top-k", -1), "muse-generate: --top-k is -1; allowed: 0 (off) or more, up to 1,000,000\n"),
        (("midi", "--key", " "), "muse-generate: --key is ' '; allowed: a key such as 'F# minor'"),
        (("midi", "--tempo", 0), "muse-generate: --tempo is 0.0; allowed: more than 0, up to 1,000\n"),
        (("speech", "--prompt-seconds", -2), "muse-generate: --prompt-seconds is -2.0; allowed: more than 0"),
    ],
)
def test_the_command_line_spells_options_as_its_help_does(
    run: RunCommand, tmp_path: Path, words: tuple[object, ...], line: str
) -> None:
    done = run("generate", *words, "--out", tmp_path)
    assert done.code == 2
    assert done.err.startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--train.max_steps", 0), "--train.max_steps is 0; allowed: 1 or more"),
        (("--model.layers", 0), "--model.layers is 0; allowed: 1 to 1000"),
        (("--model.shortcut.feature_width", 0), "--model.shortcut.feature_width is 0; allowed: 1 or more"),
        (("--model.layers", 5), "with so many layers choose other taps: --model.shortcut.taps 2,4"),
    ],
)
def test_fields_of_a_configuration_are_spelt_as_options(
    run: RunCommand, tmp_path: Path, words: tuple[object, ...], line: str
) -> None:
    done = run("train", "midi", "--data", tmp_path, "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert line in done.err


def test_two_lengths_end_at_the_first_that_is_reached(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    words = ("midi", "--checkpoint", random_checkpoint, "--sound", "false", "--out", tmp_path, "--seed", 1)
    done = run("generate", *words, "--bars", 9, "--seconds", 1)
    assert "--seconds and --bars: whichever is reached first ends the continuation\n" in done.out
    alone = run("generate", *words, "--seconds", 1)
    assert "whichever" not in alone.out
    both = (tmp_path / "from-nothing-1.mid").read_bytes()
    assert both == (tmp_path / "from-nothing-2.mid").read_bytes()


def requested(*words: str) -> dict[str, Any]:
    """The options for the library that a command line has."""
    parsed = generate_options.build_parser("muse-generate").parse_line(words)
    return request_options(typed_options(generate_options.GenerateOptions, parsed))


def test_the_parsed_options_of_muse_generate_are_those_of_the_library() -> None:
    kinds = (generate_options.LengthOptions, generate_options.MusicOptions, generate_options.SamplingOptions)
    names = {one.name for kind in kinds for one in fields(kind)} | {"seed", "engine"}
    assert names == set(OPTION_NAMES)
    assert {one.name for one in fields(kinds[-1])} == {one.name for one in fields(SamplingConfig)}
    assert requested() == {}
    assert requested("--top-k", "0", "--greedy") == {"top_k": 0, "greedy": True}
