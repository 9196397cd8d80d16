"""Domains and last layers of other installed packages are found by their entry points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_commands import FAST, SMALL_CORE

ROOT = Path(__file__).parent.parent


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder like site-packages, with a package of the two examples."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "own_tokenizer_abc.py", folder / "abc_notation.py")
    shutil.copy(ROOT / "examples" / "own_last_layer.py", folder / "my_layers.py")
    install(folder, "abc-notation", domains="abc = abc_notation", last_layers="one_depth_per_head = my_layers")
    return folder


def install(folder: Path, package: str, **groups: str) -> None:
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[muse_shortcut.{one}]\n{of}\n" for one, of in groups.items()))


def muse(packages: Path, command: str, *words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "muse_shortcut", command, *map(str, words)]
    environment = os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(line, cwd=packages.parent, env=environment, capture_output=True, text=True, check=False)


def test_commands_work_with_a_domain_and_a_last_layer_of_an_installed_package(packages: Path, tmp_path: Path) -> None:
    tunes = tmp_path / "tunes"
    tunes.mkdir()
    for number, note in enumerate("ABcdefga"):
        (tunes / f"{number}.abc").write_text(f"X:1\nM:4/4\nL:1/8\nK:G\nGABc d2{note}2|edcB A2{note}2|\n")

    def well(command: str, *words: object) -> subprocess.CompletedProcess[str]:
        done = muse(packages, command, *words)
        assert done.returncode == 0, done.stderr
        return done

    # Workers are processes of their own, which import the package too.
    well("prepare", "abc", tunes, "--out", "store", "--held-out", 0.3, "--workers", 2)
    last = ("--model.last_layer", "one_depth_per_head", "--train.sample_every", 0)
    well("train", "abc", "--data", "store", "--out", "run", *SMALL_CORE, *FAST, *last)
    measured = ("--windows", 1, "--prompt-bytes", 20, "--bytes", 10, "--device", "cpu")
    assert "characters" in well("evaluate", "abc", "--data", "store", "--checkpoint", "run", *measured).stdout
    # The domain follows from the checkpoint.
    short = ("--checkpoint", "run", "--max-new-tokens", 5, "--trace", "false")
    done = well("generate", "tunes/3.abc", *short, "--out", "out")
    assert "read out/3-1.abc" in done.stdout
    assert (tmp_path / "out" / "3-1.abc").read_text().startswith((tunes / "3.abc").read_text())
    (tmp_path / "mine.abc").write_text("kept")
    for words, problem in (
        (("abc", "tunes/3.abc"), "no model of abc is shipped; name a checkpoint"),
        (("tunes/3.abc", *short, "--encoding", "latin-1"), "--encoding is an option of text, not of tunes"),
        (("tunes/3.abc", *short, "--tempo", 90), "--tempo is an option of music, not of tunes"),
        (("tunes/3.abc",), "no model of abc is shipped; name a checkpoint with --checkpoint"),
        (("tunes/3.abc", *short, "--seconds", 3), "--seconds is an option of music and sound, not of tunes\n"),
        (("missing.abc", *short), "there is no file missing.abc"),
        (("tunes/3.abc", *short, "--out", "mine.abc"), "mine.abc already exists"),
        (("tunes/3.abc", *short, "--out", "mine.mid"), "allowed: a folder, or a file that ends in .abc"),
    ):
        done = muse(packages, "generate", *words)
        assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "mine.abc").read_text() == "kept"


def test_help_names_installed_domains_and_imports_none(packages: Path) -> None:
    (packages / "abc_notation.py").write_text("raise SystemExit('imported')\n")
    for command in ("prepare", "train", "generate", "evaluate"):
        done = muse(packages, command, "--help")
        assert done.returncode == 0, done.stderr
        assert "midi, audio, text, abc" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError: No module named 'nothing_of"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero"),
        ("", "does not register that domain when it is imported"),
    ],
)
def test_a_package_that_does_not_work_is_named(packages: Path, module: str, problem: str) -> None:
    (packages / "abc_notation.py").write_text(module)
    done = muse(packages, "prepare", "abc", ".", "--out", "store")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"abc_notation, which the package abc-notation names for 'abc', {problem}" in line


def test_two_packages_of_one_name_are_not_guessed_between(packages: Path) -> None:
    install(packages, "other-abc", domains="abc = abc_notation")
    done = muse(packages, "prepare", "abc", ".", "--out", "store")
    assert done.returncode == 2
    assert "the packages abc-notation and other-abc both provide 'abc'; uninstall one of them" in done.stderr
