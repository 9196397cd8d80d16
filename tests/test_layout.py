"""Tests of the layout: no folder hides another package, help is fast, and files are short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = {
    f"muse-{name}": f"muse_shortcut.commands.{name}"
    for name in ("prepare", "train", "generate", "bench", "export", "evaluate", "compare", "doctor")
} | {"muse-web": "muse_web.command"}


def _python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_from_the_root_tokenizers_is_hugging_faces() -> None:
    path = _python("import tokenizers; print(tokenizers.__file__); tokenizers.Tokenizer", ROOT)
    assert ROOT / "tokenizers" not in Path(path).parents


@pytest.mark.parametrize("folder", ["tokenizers", "web", "data_recipes", "tests"])
def test_folders_that_are_no_packages_have_no_init(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize(
    "line",
    [
        *COMMANDS,
        "muse-train codec",
        "muse-evaluate codec",
        "muse-evaluate midi --continue",
        "muse-compare report",
        "muse-compare time",
    ],
)
def test_help_imports_neither_torch_nor_gradio_nor_miditok(line: str, tmp_path: Path) -> None:
    command = line.split()[0]
    heavy = _python(
        "import sys\n"
        f"sys.argv = {[*line.split(), '--help']}\n"
        f"from {COMMANDS[command]} import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('HEAVY', [name for name in ('torch', 'gradio', 'miditok', 'symusic') if name in sys.modules])",
        tmp_path,
    )
    assert command in heavy
    assert heavy.endswith("HEAVY []")


def test_importing_the_packages_is_light(tmp_path: Path) -> None:
    imports = "import sys, muse_shortcut, muse_tokenizers.base, muse_web"
    code = f"{imports}; print([m for m in ('torch', 'miditok', 'gradio') if m in sys.modules])"
    assert _python(code, tmp_path) == "[]"


def test_no_file_of_the_sources_is_longer_than_400_lines() -> None:
    folders = (ROOT / "muse_shortcut", ROOT / "tokenizers", ROOT / "web")
    sources = [path for folder in folders for path in (*folder.rglob("*.py"), *folder.rglob("*.js"))]
    assert [path.name for path in sources if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []


def _modules() -> dict[str, Path]:
    folders = (ROOT / "muse_shortcut", ROOT / "tokenizers" / "muse_tokenizers", ROOT / "web" / "muse_web")
    found = {path.relative_to(folder.parent): path for folder in folders for path in folder.rglob("*.py")}
    return {".".join(name.with_suffix("").parts).removesuffix(".__init__"): path for name, path in found.items()}


def _imported(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules that a module imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else node.module


def test_no_module_imports_itself_through_others_even_inside_functions() -> None:
    modules = _modules()
    graph = {name: set(_imported(path, modules)) & modules.keys() - {name} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 900
    TopologicalSorter(graph).prepare()
