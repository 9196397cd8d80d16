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


_KINDS = {"midi", "audio", "text"}
_CLASSES = {f"{one}{of}" for one in ("Midi", "Remi", "Performance", "Audio", "Text") for of in ("Tokenizer", "Domain")}
_OF_BUILT_IN_DOMAINS = {
    "muse_shortcut/generation/sidecar.py": "sidecars of version 1, which there are of built-in domains only",
    "muse_shortcut/presets.py": "names of presets",
}


def _strings(node: ast.AST | None) -> set[str]:
    found = ast.walk(node) if node is not None else ()
    return {one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _depends_on_the_domain(node: ast.AST) -> bool:
    """Whether code decides something by the name or the class of a domain."""
    match node:
        case ast.Compare(left=left, comparators=others):
            attributes = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            return any(_strings(one) & _KINDS for one in (left, *others)) or "view" in attributes
        case ast.MatchValue(value=value):
            return bool(_strings(value) & _KINDS)
        case ast.Dict(keys=keys):
            return len({name for key in keys for name in _strings(key)} & {"midi", "audio"}) > 0
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return len({name for one in elements for name in _strings(one)} & _KINDS) > 1
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, kind]):
            named = {one.id for one in ast.walk(kind) if isinstance(one, ast.Name)}
            return bool(named & _CLASSES)
    return False


@pytest.mark.parametrize("folder", ["muse_shortcut", "web"])
def test_nothing_outside_the_domains_depends_on_which_one_it_is(folder: str) -> None:
    found = [
        f"{name}:{node.lineno}: {ast.unparse(node)[:80]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (name := path.relative_to(ROOT).as_posix()) not in _OF_BUILT_IN_DOMAINS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _depends_on_the_domain(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'kind == "midi"', 'x if "audio" != kind else y', 'kind in ("text", "tune")', "domain.view == other",
        'TITLES = {"midi": 1}', 'for one in ("midi", "audio"): pass', "isinstance(tokenizer, TextTokenizer)",
        'match kind:\n  case "audio": pass',
    ],
)  # fmt: skip
def test_what_depends_on_the_domain_is_found(line: str) -> None:
    assert any(_depends_on_the_domain(node) for node in ast.walk(ast.parse(line)))


PARSING = {"muse_shortcut.commands.command_line", "muse_shortcut.commands.typed_options"}


def _annotations(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        yield from (ast.unparse(one) for one in found if one is not None)


def test_only_parsing_knows_the_type_of_parsed_arguments() -> None:
    modules = _modules()
    knowing = {name for name, path in modules.items() if any("Namespace" in one for one in _annotations(path))}
    assert knowing == PARSING
