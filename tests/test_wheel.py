"""Tests of the wheel: installed without a checkout, it has everything it needs to generate."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from muse_shortcut.native.compiling import library_path

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation: hatchling is among the requirements for tests, and a test fetches nothing. Without the compiler
    # there is a wheel too.
    flags = ["--wheel", "--no-isolation", "--skip-dependency-check"]
    command = [sys.executable, "-m", "build", *flags, "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_has_the_shipped_files_and_hides_no_other_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"muse_shortcut", "muse_tokenizers", "muse_web"}
    for wanted in (
        "muse_shortcut/data_recipes/maestro.yaml",
        "muse_shortcut/data_recipes/comparisons/cores.yaml",
        "muse_shortcut/shipped/prompts/midi/bach-prelude.mid",
        "muse_shortcut/shipped/midi-small/model.safetensors",
        "muse_shortcut/shipped/midi-small/README.md",
        "muse_shortcut/shipped/audio-small/model.safetensors",
        "muse_shortcut/shipped/text-small/tokenizer/bpe.json",
        "muse_shortcut/shipped/prompts/audio/speech.ogg",
        "muse_shortcut/data_recipes/text8.yaml",
        "muse_tokenizers/audio/muse_24khz/codec.safetensors",
        "muse_tokenizers/midi/tokenizer.py",
        "muse_web/static/main.js",
        "muse_web/static/muse.css",
    ):
        assert wanted in names
    native = library_path()
    assert (f"muse_shortcut/native/{native.name}" in names) is native.is_file()
    assert wheel.name.endswith("-py3-none-any.whl") is not native.is_file()
    assert not [name for name in names if "__pycache__" in name or name.endswith(".tmp")]


def test_installed_in_an_empty_environment_it_generates_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    packages = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    # The dependencies are those of this environment, named by their folder: a .pth inside it, and with it the
    # editable install of the checkout, is not read then.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    zipfile.ZipFile(wheel).extractall(packages)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = ["midi", "--prompt", "greensleeves", "--bars", "1", "--seed", "3", "--out", str(tmp_path / "out")]
    code = (
        "import sys, muse_shortcut\n"
        f"assert {str(environment)!r} in muse_shortcut.__file__, muse_shortcut.__file__\n"
        f"sys.argv = ['muse-generate', *{words!r}]\n"
        "from muse_shortcut.commands.generate import main\n"
        "main()\n"
    )
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    engine = "native" if library_path().is_file() else "torch"
    assert f'"engine": "{engine}"' in (tmp_path / "out" / "greensleeves-1.json").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "greensleeves-1.json",
        "greensleeves-1.mid",
        "greensleeves-1.trace.npz",
        "greensleeves-1.wav",
    ]
