"""Promises of subcommands: which one a command line chooses, where --help lists them, what a misspelt one gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import RunCommand

SUBCOMMANDS = {"train": ["codec"], "evaluate": ["codec", "--continue"], "compare": ["report", "time"]}


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_help_lists_the_subcommands(command: str, run: RunCommand) -> None:
    _, _, after = run(command, "--help").out.partition("\nsubcommands")
    listed = [line.split()[0] for line in after.partition("\n\n")[0].splitlines()[1:]]
    assert listed == SUBCOMMANDS[command]


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("evaluate", "--quiet", "codec"), "muse-evaluate codec --data RUN"),
        (("evaluate", "--data", "store", "codec"), "muse-evaluate codec --data RUN"),
        (("evaluate", "--continue", "midi"), "muse-evaluate midi --continue --data SOURCE"),
        (("evaluate", "--data", "codec", "midi"), "muse-evaluate DOMAIN --data STORE"),
        (("compare", "-o", "time", "sweep"), "muse-compare PLAN --out DIR"),
        (("compare", "--out=there", "time", "sweep"), "muse-compare time PLAN --out DIR"),
        (("compare", "report"), "muse-compare report DIR"),
    ],
)
def test_the_first_positional_argument_chooses_also_after_options(
    words: tuple[str, ...], usage: str, run: RunCommand
) -> None:
    assert run(*words, "--help").out.startswith(f"usage: {usage} [OPTIONS]\n")


def test_a_file_of_options_chooses_a_subcommand_too(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("domain: codec\n")
    assert "domain: codec" in run("train", "--config", tmp_path / "config.yaml", "--print-config").out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("train", "codex"), "muse-train: DOMAIN is 'codex'; allowed: midi, audio, text; did you mean codec?"),
        (("evaluate", "cdoec"), "muse-evaluate: DOMAIN is 'cdoec'; allowed: midi, audio, text; did you mean codec?"),
        (("compare", "reprot", "there"), "muse-compare: unexpected argument: there; did you mean report?"),
    ],
)
def test_a_misspelt_subcommand_is_suggested(words: tuple[str, ...], line: str, run: RunCommand) -> None:
    done = run(*words, "--out" if words[0] != "evaluate" else "--data", "there")
    assert (done.code, done.err) == (2, f"{line} (see --help)\n")


def test_completion_names_the_subcommands(run: RunCommand) -> None:
    for command in ("train", "evaluate"):
        assert "(midi audio text codec)" in run(command, "--print-completion", "bash").out
