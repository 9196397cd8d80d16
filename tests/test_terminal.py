"""Promises of what commands print: only results with --quiet, one JSON object with --json, completion for shells."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand

from muse_shortcut.shipped import shipped_prompt

SHORT = ("--seed", 3, "--bars", 2, "--max-new-tokens", 60, "--sound", "false")
TINY = (
    "--preset", "tiny", "--model.context", 32, "--model.width", 16, "--model.feed_forward", 32, "--model.layers", 3,
    "--model.heads", 2, "--train.max_steps", 2, "--train.batch_size", 2, "--train.eval_windows", 2,
    "--train.eval_every", 2, "--train.sample_every", 0, "--train.tensorboard", "false", "--device", "cpu",
)  # fmt: skip
COMMANDS = {
    "generate": [()],
    "prepare": [()],
    "train": [(), ("codec",)],
    "evaluate": [(), ("codec",), ("midi", "--continue")],
    "export": [()],
    "compare": [(), ("time",)],
    "bench": [()],
    "doctor": [()],
    "muse_web.command": [()],
}
"""Each command, and the words after which it has other options."""


def test_quiet_prints_the_files_alone(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    words = ("midi", "--checkpoint", random_checkpoint, *SHORT, "--num-samples", 2, "--keep", 1)
    done = run("generate", *words, "--quiet", "-o", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [str(tmp_path / f"from-nothing-1{one}") for one in (".mid", ".json", ".trace.npz")]


def test_quiet_still_prints_errors(run: RunCommand, tmp_path: Path) -> None:
    done = run("generate", "midi", "--quiet", "--top-p", 2, "-o", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == "muse-generate: --top-p is 2.0; allowed: more than 0, up to 1 (off)\n"


def test_json_of_generate_is_one_object_with_files_seed_lengths_and_ranking(
    run: RunCommand, random_checkpoint: Path, prompt_file: Path, tmp_path: Path
) -> None:
    words = (prompt_file, "--checkpoint", random_checkpoint, *SHORT, "--prompt-seconds", 7, "--num-samples", 2)
    done = run("generate", *words, "--keep", 2, "--json", "-o", tmp_path)
    found = json.loads(done.out)
    # Warnings may follow, but no hints: neither progress nor lengths.
    assert [line for line in done.err.splitlines() if not line.startswith("muse-generate: ")] == []
    assert (found["seed"], found["interrupted"]) == (3, False)
    # Two bars of 72 beats per minute.
    assert found["prompt"] == {"file": "bach-prelude.mid", "seconds": pytest.approx(20 / 3), "bars": 2}
    assert len(found["continuations"]) == 2
    for place, one in enumerate(found["continuations"]):
        assert [Path(file).name for file in one["files"]] == [
            f"bach-prelude-{place + 1}{ending}" for ending in (".mid", ".json", ".trace.npz")
        ]
        assert one["ranking"]["place"] == place + 1
        assert one["length"]["seconds"] >= 0
        assert one["length"]["bars"] in (0, 1, 2)


def test_prepare_and_train_have_quiet_and_json(run: RunCommand, prompt_file: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for name in ("bach-prelude", "saints"):
        shutil.copy(str(shipped_prompt("midi", name)), music)
    (music / "letter.mid").write_text("not music")
    done = run("prepare", "midi", music, "-o", tmp_path / "store", "--workers", 1, "--json")
    found = json.loads(done.out)
    assert (found["store"], found["pieces"]) == (str(tmp_path / "store"), 2)
    assert sum(split["tokens"] for split in found["splits"].values()) == found["tokens"]
    assert [one["name"] for one in found["not_used"]] == ["letter.mid"]
    again = run("prepare", "midi", music, "-o", tmp_path / "store", "--workers", 1, "--quiet", "--overwrite")
    assert (again.out, again.err) == (f"{tmp_path / 'store'}\n", "")
    done = run("train", "midi", "--data", tmp_path / "store", "-o", tmp_path / "run", *TINY, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["run"], found["steps"], found["stopped"]) == (str(tmp_path / "run"), 2, False)
    assert Path(found["checkpoint"]).parent == tmp_path / "run" / "checkpoints"
    assert found["best_validation"] > 0


def test_all_is_written_though_nobody_reads_either_stream(random_checkpoint: Path, tmp_path: Path) -> None:
    code = "from muse_shortcut.commands.generate import main; main()"
    words = ["midi", "--checkpoint", random_checkpoint, *SHORT, "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_completion_script_names_every_option_of_its_command(command: str, run: RunCommand) -> None:
    script = run(command, "--print-completion", "bash").out
    [names] = re.findall(r"_option_strings=\((.*)\)", script)
    for words in COMMANDS[command]:
        listed = re.findall(r"^\s+(?:-\w(?: \w+)?, )?(--[\w.-]+)", run(command, *words, "--help").out, re.MULTILINE)
        assert len(listed) > 2
        assert set(listed) <= set(names.split()), words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_sentence_of_help(command: str, run: RunCommand) -> None:
    for words in COMMANDS[command]:
        lines = [*run(command, *words, "--help").out.splitlines(), ""]
        places = [number for number, line in enumerate(lines) if re.match(r" {2,4}-", line)]
        assert len(places) > 2
        for number in places:
            _, _, beside = lines[number].strip().partition("  ")
            below = itertools.takewhile(lambda line: re.match(r" {6,}\S", line), lines[number + 1 :])
            text = " ".join([beside.strip(), *map(str.strip, below)])
            assert len(re.sub(r"\(default: .*\)", "", text).split()) > 1, lines[number]
            assert not re.search(r"(see|as for) muse-", text), lines[number]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish", "powershell"])
def test_every_shell_has_a_script(shell: str, run: RunCommand) -> None:
    done = run("train", "--print-completion", shell)
    assert (done.code, done.err) == (0, "")
    # Some shells' options are written without their dashes.
    assert "muse-train" in done.out
    assert "train.max_steps" in done.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_script_and_completes_options_and_their_values(run: RunCommand, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run("generate", "--print-completion", "bash").out)
    line = r"""
        . "$1"; f=$(complete -p muse-generate | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=(muse-generate --prompt-s); COMP_CWORD=1; $f; echo "${COMPREPLY[@]}"
        COMP_WORDS=(muse-generate --device c); COMP_CWORD=2; $f; echo "${COMPREPLY[@]}"
        COMP_WORDS=(muse-generate m); COMP_CWORD=1; $f; echo "${COMPREPLY[@]}"
        COMP_WORDS=(muse-generate midi b); COMP_CWORD=2; $f; echo "${COMPREPLY[@]}"
    """
    (tmp_path / "mine.mid").touch()
    command = ["bash", "-c", line, "bash", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    options, devices, first, prompts = done.stdout.splitlines()
    assert (options, devices) == ("--prompt-seconds", "cpu cuda")
    assert set(first.split()) == {"midi", "mine.mid"}
    assert set(prompts.split()) == {"bach-prelude", "bach-fugue"}


@pytest.mark.parametrize(
    ("shell", "words_and_files", "files"),
    [
        ("zsh", r"_alternative 'words:word:\(midi .*\)' 'files:file:_files'", r'"\*:source:_files"'),
        ("tcsh", r"'p/1/`.*COMMAND_LINE.*; echo midi .* \$typed`/'", "'p/\\*/f/'"),
        ("fish", r"printf '%s\\n' midi .*; __fish_complete_path", r"npos -ge 1' -ka \"\(__fish_complete_path"),
        (
            "powershell",
            "@\\('midi', .*\\) [^}]*}\\s*_shtab_powershell_compgen_files",
            "'_shtab_powershell_compgen_files'",
        ),
    ],
)
def test_every_shell_completes_files_where_they_are_expected(
    shell: str, words_and_files: str, files: str, run: RunCommand
) -> None:
    """A prompt may be a domain, a shipped prompt or a file; sources are files, as many as are named."""
    assert re.search(words_and_files, run("generate", "--print-completion", shell).out)
    assert re.search(files, run("prepare", "--print-completion", shell).out)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes_domains_prompts_and_files(run: RunCommand, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run("generate", "--print-completion", "fish").out)
    (tmp_path / "mine.mid").touch()
    lines = "; ".join(f'complete -C "muse-generate {words}"' for words in ("mi", "midi m", "midi bach-p"))
    command = ["fish", "--no-config", "-c", f"source {script}; {lines}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        "midi", "mine.mid", "mine.mid", "bach-prelude"
    ]  # fmt: skip


def test_without_shtab_one_line_says_how_to_get_it(run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    done = run("doctor", "--print-completion", "bash")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--print-completion needs shtab; install it with python -m pip install shtab" in done.err


@pytest.mark.parametrize("command", ["generate", "prepare", "train", "compare", "export"])
def test_o_is_short_for_out(command: str, run: RunCommand) -> None:
    done = run(command, "midi", "-o")
    assert (done.code, done.err) == (2, f"muse-{command}: --out needs a value (see --help)\n")


def test_a_silence_is_reported_with_its_start() -> None:
    from muse_shortcut.api.model import load
    from muse_shortcut.api.ranking import find_faults
    from muse_tokenizers.base import Waveform

    domain = load("audio", device="cpu").domain
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, 24_000 * 9).astype(np.float32)
    sound[24_000 * 5 :] = 0
    piece = Waveform(samples=sound[None], sample_rate=24_000)
    assert find_faults(domain, piece, 3.0, 100) == ["silent for 4.0 s from 0:05.0 on"]
    assert find_faults(domain, piece, 3.0, 0) == ["nothing was written"]
    sound[24_000 * 6 :] = 0.1
    assert find_faults(domain, piece, 3.0, 100) == []
