"""Tests of the options of muse-train: presets, files of options, displayed values, and suggestions."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import docstring_parser
import pytest
import yaml
from conftest import RunCommand

from muse_shortcut.codec.config import CodecTrainConfig
from muse_shortcut.config import ModelConfig, ShortcutConfig, TrainConfig
from muse_shortcut.presets import PRESETS
from muse_shortcut.shipped import default_checkpoint

NEEDED = ("--data", "D", "--out", "R")


@pytest.fixture
def printed(run: RunCommand) -> Any:
    """The configuration that muse-train would use, and prints."""

    def read(*words: object) -> dict[str, Any]:
        done = run("train", *words, "--print-config")
        assert done.code == 0, done.err
        return dict(yaml.safe_load(done.out))

    return read


def shape(preset: str) -> dict[str, Any]:
    return dict(json.loads(json.dumps(PRESETS[preset].to_json())))


@pytest.mark.parametrize("preset", [("--preset", "tiny"), ("--preset=tiny",)])
def test_the_printed_configuration_is_that_of_the_preset(printed: Any, preset: tuple[str, ...]) -> None:
    assert printed("midi", *NEEDED, *preset)["model"] == shape("tiny")
    assert printed(*NEEDED, *preset, "midi")["model"] == shape("tiny")
    assert printed("audio", *NEEDED)["model"] == shape("audio")


def test_the_printed_configuration_is_that_of_the_checkpoint_that_is_tuned(printed: Any) -> None:
    found = printed("text", *NEEDED, "--from", default_checkpoint("text"))["model"]
    content = json.loads((default_checkpoint("text") / "config.json").read_text())["model"]
    # It has fields that the file is too old for.
    assert found == json.loads(json.dumps(ModelConfig.from_json(content).to_json()))


@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_wins_over_a_file_wherever_that_stands(printed: Any, tmp_path: Path, first: bool) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"domain": "midi", "data": "D", "out": "theirs", "preset": "small", "seed": 4,
                                    "model": shape("small"), "train": {"max_steps": 4}}))  # fmt: skip
    mine = ("--out", "mine", "--train.max_steps", 2)
    words = ("--config", path, *mine) if first else (*mine, "--config", path)
    found = printed(*words)
    assert (found["domain"], found["out"], found["seed"]) == ("midi", "mine", 4)
    assert (found["train"]["max_steps"], found["model"]) == (2, shape("small"))
    # A preset of the command line is the shape, whatever fields the file has.
    assert printed(*words, "--preset", "tiny")["model"] == shape("tiny")


def test_taps_are_numbers_with_commas_between_them(printed: Any) -> None:
    for taps in (("--model.shortcut.taps", "1,2"), ("--model.shortcut.taps=1, 2",), ("--model.shortcut.taps", "[1,2]")):
        assert printed("midi", *NEEDED, "--model.layers", 5, *taps)["model"]["shortcut"]["taps"] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("midi", "--lr", 3), "there is no option --lr; did you mean --train.learning_rate?"),
        (("midi", "--max_steps", 3), "there is no option --max-steps; did you mean --train.max_steps?"),
        (("midi", "--model.layer", 3), "there is no option --model.layer; did you mean --model.layers"),
        (("midi", "--model.shortcut.tap", 3), "no option --model.shortcut.tap; did you mean --model.shortcut.taps"),
        (("midi", "--model.shortcut.taps", "a"), "--model.shortcut.taps is 'a'; allowed: whole numbers with commas"),
        (("midi", "--train.optimiser", "sgd"), "--train.optimiser is 'sgd'; allowed: muon, adamw"),
        (
            ("midi", "--preset", "smal"),
            "--preset is 'smal'; allowed: tiny, small, audio, text, base, medium, paper; did",
        ),
        (("midy",), "DOMAIN is 'midy'; allowed: midi, audio, text; did you mean midi?"),
        (("midi", "--config", "none.yaml"), "--config: cannot read none.yaml: No such file or directory"),
    ],
)
def test_unknown_options_are_reported_with_suggestions(
    run: RunCommand, words: tuple[object, ...], message: str
) -> None:
    done = run("train", *words, *NEEDED)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert message in done.err


def test_missing_arguments_are_named_as_in_the_usage(run: RunCommand) -> None:
    assert "missing: DOMAIN (midi, audio, text), --data, --out" in run("train").err
    assert "missing: DOMAIN (midi, audio, text), SOURCE, --out" in run("prepare").err


def test_fewer_layers_say_how_to_name_the_taps(run: RunCommand) -> None:
    done = run("train", "midi", *NEEDED, "--train.source-weights", "mutopia=1")
    assert "--train.source_weights is 'mutopia=1'; allowed: names with numbers, such as {\"a\": 1" in done.err
    done = run("train", "midi", *NEEDED, "--model.layers", 5)
    assert "with so many layers choose other taps: --model.shortcut.taps 2,4" in done.err


@pytest.mark.parametrize(("content", "message"), [
    ("{a", "c.yaml is not YAML at line 2"),
    ("- a", "c.yaml has no options"),
    ("modl: 3", "there is no option --modl; did you mean --model"),
    ("train: {max_step: 3}", "there is no option --train.max_step; did you mean --train.max_steps"),
])  # fmt: skip
def test_a_file_of_options_is_checked(run: RunCommand, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(content + "\n")
    done = run("train", "midi", *NEEDED, "--config", tmp_path / "c.yaml")
    assert (done.code, message in done.err) == (2, True), done.err


def test_help_has_the_words_of_every_field_and_preset(run: RunCommand) -> None:
    for domain, kinds in (("midi", (ModelConfig, TrainConfig, ShortcutConfig)), ("codec", (CodecTrainConfig,))):
        shown = " ".join(run("train", domain, "--help").out.split())
        for kind in kinds:
            words = {one.arg_name: one.description for one in docstring_parser.parse_from_object(kind).params}
            for field in fields(kind):
                said = " ".join((words[field.name] or "").split())
                assert said, f"{kind.__name__}.{field.name} has no docstring"
                # A long word may be cut at its dash.
                assert said.replace(" ", "") in shown.replace(" ", ""), field.name
        assert "null)" not in shown
    for preset in PRESETS:
        assert f" {preset} " in run("train", "midi", "--help").out
