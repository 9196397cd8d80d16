"""Promises of the documentation: its lengths, its links, its options, and its examples, which run."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCommand

from muse_shortcut.data.recipe import load_recipe
from muse_shortcut.shipped import prompt_names, shipped_prompt
from muse_tokenizers import loading

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING")), *ROOT.glob("docs/*.md"))
}
HELP = {
    "generate": [["generate", "--help"]],
    "prepare": [["prepare", "--help"]],
    "train": [["train", "midi", "--help"], ["train", "codec", "--help"]],
    "evaluate": [["evaluate", *words, "--help"] for words in (["midi"], ["midi", "--continue"], ["codec"])],
    "export": [["export", "--help"]],
    "compare": [["compare", *words, "--help"] for words in ([], ["report"], ["time"])],
    "bench": [["bench", "--help"]],
    "doctor": [["doctor", "--help"]],
    "web": [["muse_web.command", "--help"]],
}
"""The helps in which a command's options are found."""
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w.-]*\w")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SOURCES = ("muse_shortcut", "tokenizers/muse_tokenizers", "web/muse_web")


@pytest.fixture
def options(run: RunCommand) -> dict[str, set[str]]:
    """The options of each command, with dashes."""
    return {
        command: {
            _with_dashes(option) for words in several for option in _OPTION.findall(run(words[0], *words[1:]).out)
        }
        for command, several in HELP.items()
    }


def _with_dashes(option: str) -> str:
    return option.replace("_", "-")


def _code(text: str) -> list[str]:
    """The lines of all code blocks, fenced or indented."""
    fenced = [line for block in _FENCED.finditer(text) for line in block[2].splitlines()]
    return fenced + [line for line in _FENCED.sub("", text).splitlines() if line.startswith("    ")]


def _python(text: str) -> list[str]:
    return [block[2] for block in _FENCED.finditer(text) if block[1] == "python"]


def _prose(text: str) -> list[str]:
    """The lines that are neither code nor tables."""
    return [line for line in _FENCED.sub("", text).splitlines() if not line.startswith(("    ", "|"))]


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "words"), [("README.md", 1000), ("ARCHITECTURE.md", 1500)])
def test_the_first_pages_stay_short(page: str, words: int) -> None:
    assert len(PAGES[page].split()) <= words


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_too_long_to_read(page: str) -> None:
    assert len(PAGES[page].split()) <= 1500


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped_at_100_columns(page: str) -> None:
    # A link, an image or a word that is longer has a line of its own.
    broken = [line for line in _prose(PAGES[page]) if len(line) > 100 and not line.startswith("![")]
    assert [line for line in broken if len(line.split()) > 1 and "](" not in line.split()[0]] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_and_images_lead_somewhere(page: str) -> None:
    text = _FENCED.sub("", PAGES[page])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in _anchors(path.read_text(encoding="utf-8")), f"{page} links to {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_the_readme_leads_to_every_page(page: str) -> None:
    assert f"]({page})" in PAGES["README.md"]


def test_commands_in_code_blocks_have_the_options_they_are_given(options: dict[str, set[str]]) -> None:
    found = 0
    for page, text in PAGES.items():
        for line in _code(text):
            for command, arguments in re.findall(r"\bmuse-([a-z]+)\b([^|#]*)", line):
                assert command in options, f"{page}: there is no muse-{command}"
                for option in _OPTION.findall(arguments):
                    found += 1
                    assert _with_dashes(option) in options[command], f"{page}: muse-{command} has no {option}"
    assert found > 50


def test_options_in_sentences_and_tables_are_those_of_some_command(options: dict[str, set[str]]) -> None:
    known = {option for found in options.values() for option in found}
    # Names of earlier versions, and options of other programs.
    known |= {"--train.mix", "--train.min-gain", "--import-mode"}
    for page, text in PAGES.items():
        spans = re.findall(r"`([^`\n]+)`", "\n".join(_FENCED.sub("", text).splitlines()))
        written = {option for span in spans for option in _OPTION.findall(span)}
        assert {_with_dashes(option) for option in written} <= known, page


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_examples_in_python_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What an example registers is forgotten after it.
    monkeypatch.setattr(loading, "_registered", {})
    (tmp_path / "songs").mkdir()
    for name in prompt_names("midi"):
        prompt = shipped_prompt("midi", name)
        assert prompt is not None
        shutil.copy(prompt, tmp_path / "songs" / prompt.name)
    shutil.copy(tmp_path / "songs" / "bach-prelude.mid", tmp_path / "song.mid")
    names: dict[str, Any] = {"__name__": "example"}
    blocks = _python(PAGES[page])
    assert blocks
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{page}, example {number}", "exec"), names)
    for made in ("out.mid", "out.wav", "why.png"):
        assert (tmp_path / made).stat().st_size > 0


def test_the_recipe_that_training_shows_can_be_read(tmp_path: Path) -> None:
    [recipe] = [block[2] for block in _FENCED.finditer(PAGES["docs/training.md"]) if block[1] == "yaml"]
    (tmp_path / "tunes.yaml").write_text(recipe, encoding="utf-8")
    assert load_recipe(str(tmp_path / "tunes.yaml")).domain == "text"


def test_the_tree_in_architecture_names_every_source_file_and_no_other() -> None:
    folder, named = "", set[str]()
    for line in PAGES["ARCHITECTURE.md"].split("## Rules")[0].splitlines():
        if heading := re.match(r" {4}(\S+)/ ", line + " "):
            folder = heading[1]
        elif line.startswith("      "):
            named |= {f"{folder}/{file}" for file in re.findall(r"(\w+\.(?:py|js|css))\b", line)}
    there = {
        str(path.relative_to(ROOT))
        for source in _SOURCES
        for path in (ROOT / source).rglob("*")
        if path.suffix in (".py", ".js", ".css") and path.name != "__init__.py"
    }
    assert named == there


def test_sections_of_docstrings_stand_once_and_at_the_margin() -> None:
    folders = (ROOT / "muse_shortcut", ROOT / "tokenizers", ROOT / "web", ROOT / "examples")
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    found: list[str] = []
    seen = 0
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = (ast.get_docstring(node) or "") if isinstance(node, kinds) else ""
            for section in ("Args:", "Returns:", "Raises:"):
                places = re.findall(rf"^( *){section}$", text, re.MULTILINE)
                seen += len(places)
                if places not in ([], [""]):
                    found.append(f"{path.name}: {section}")
    assert found == []
    assert seen > 300
