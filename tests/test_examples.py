"""Tests of examples/: each runs, is short and type-checked; and registered extensions work."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import muse_shortcut as muse
from muse_shortcut.model import own_last
from muse_tokenizers import loading

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LEAVES = {
    "continue_midi": {"best.mid", "best.wav", "best.json", "best.png", "other.mid", "longer.mid"},
    "read_trace": {"sea.npz"},
    "ablate_source": {"explained.json", "why.png", "branch.mid"},
    "train": {"run", "store", "made.txt"},
    "own_last_layer": {"run", "store", "made.npz"},
    "own_recipe": {"music", "etudes.yaml", "store"},
    "own_tokenizer_abc": {"tunes", "store", "run", "made.abc"},
}


@pytest.fixture(autouse=True)
def nothing_stays_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(own_last, "_registered", {})
    monkeypatch.setattr(loading, "_registered", {})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def example(name: str, run_name: str = "example") -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name=run_name)


@pytest.mark.parametrize("name", list(LEAVES))
def test_an_example_runs_and_writes_its_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, str(tmp_path / "out")])
    example(name, "__main__")
    assert {path.name for path in (tmp_path / "out").iterdir()} == LEAVES[name]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("words", [[], ["--help"], ["out", "two", "three"]])
@pytest.mark.parametrize("name", list(LEAVES))
def test_an_example_without_its_folder_prints_its_usage_and_writes_nothing(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, *words])
    with pytest.raises(SystemExit, match=rf"^usage: python examples/{name}\.py FOLDER"):
        example(name, "__main__")
    assert not list(tmp_path.iterdir())


def test_every_example_is_run_and_checked_for_types() -> None:
    assert {path.stem for path in EXAMPLES} == set(LEAVES)
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["modules"]
    assert sorted(checked) == sorted(LEAVES)
    for path in EXAMPLES:
        lines = len(path.read_text().splitlines())
        # A tokenizer has two dozen methods.
        assert lines <= (80 if path.stem == "own_tokenizer_abc" else 65), path.name


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "examples" / "continue_and_explain.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5
    assert not [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    # As Jupyter does, the value of a last line is shown.
    script = "\n".join(re.sub(r"^(\w[\w.]*)$", r"print(\1)", cell, flags=re.MULTILINE) for cell in cells)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"out.mid", "why.png"} <= {path.name for path in tmp_path.iterdir()}


# A last layer of one's own


@pytest.fixture
def core() -> muse.Core:
    kind = example("own_last_layer")["OneDepthPerHead"]
    muse.register_last_layer("one_depth_per_head", kind)
    torch.manual_seed(3)
    shape = muse.ModelConfig(
        vocabulary_size=11, context=160, layers=4, width=30, heads=3, feed_forward=19, last_layer="one_depth_per_head",
        shortcut=muse.ShortcutConfig(taps=(1, 3), feature_map="norm"),
    )  # fmt: skip
    return muse.Core(shape).double().eval()


def test_generation_with_a_cache_equals_generation_without_one(core: muse.Core) -> None:
    ids = torch.randint(11, (3, 140, 1), generator=torch.Generator().manual_seed(1))
    # Long enough that the candidates share their prompt.
    ids[:, :130] = ids[:1, :130]
    cache = core.make_cache(1)
    with torch.inference_mode():
        core.prefill(ids[:1, :130], cache)
        cache.repeat(3)
        for step in range(130, 140):
            given = core.step(ids[:, step], cache)
            torch.testing.assert_close(given.logits, core(ids[:, : step + 1])[:, -1])
            assert given.weights.shape == (3, 3, 2, step + 1)
            torch.testing.assert_close(given.weights.sum((2, 3)), torch.ones(3, 3))


def test_its_sources_are_hidden_one_by_one(core: muse.Core) -> None:
    ids = torch.randint(11, (1, 9, 1), generator=torch.Generator().manual_seed(1))
    hidden = torch.zeros(3, 2, 9, dtype=torch.bool)
    hidden[1, 0] = True
    hidden[2] = True
    with torch.inference_mode():
        split_point = core.ablate(ids, hidden)
        torch.testing.assert_close(split_point.logits[0], core(ids)[0, -1])
        torch.testing.assert_close(split_point.logits[1], core.forward_without(ids, [1])[0, -1])
        torch.testing.assert_close(split_point.logits[2], core.forward_without(ids, [1, 3])[0, -1])
    assert (split_point.weights[1, :, 0] == 0).all()


def test_a_checkpoint_with_an_unregistered_last_layer_names_it(core: muse.Core, tmp_path: Path) -> None:
    tokenizer = muse.load_tokenizer("text")
    shape = muse.ModelConfig(**{**vars(core.config), "vocabulary_size": tokenizer.vocabulary_size})
    muse.save_checkpoint(muse.Checkpoint(core=muse.Core(shape), tokenizer=tokenizer), tmp_path)
    assert muse.load(tmp_path, device="cpu").core.config.last_layer == "one_depth_per_head"
    own_last._registered.clear()
    with pytest.raises(muse.CheckpointError, match=r"'one_depth_per_head'; registered: none is\. muse_shortcut\.regis"):
        muse.load(tmp_path, device="cpu")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "last.module.query.weight" in file.keys()  # noqa: SIM118


def test_its_own_initialisation_is_left_alone() -> None:
    class Seven(torch.nn.Linear):
        def __init__(self, config: muse.ModelConfig) -> None:
            super().__init__(config.width, config.width)
            torch.nn.init.constant_(self.weight, 7.0)

        def forward(self, h: Any, depths: Any, hidden: Any = None) -> Any:
            return super().forward(h), h

    muse.register_last_layer("seven", Seven)
    core = muse.Core(muse.ModelConfig(vocabulary_size=5, context=8, last_layer="seven"))
    assert (core.last.module.weight == 7).all()  # type: ignore[union-attr]
    with pytest.raises(muse.ArgumentsError, match=r"'seven' gave .* and weights .*; wanted: .* and \(1, 6, 3, 4\)"):
        core(torch.zeros(1, 4, 1, dtype=torch.long))
    with pytest.raises(muse.ArgumentsError, match="last_layer is 'a b'; allowed: a name"):
        muse.register_last_layer("a b", Seven)


# A domain of one's own


@pytest.fixture(autouse=True)
def no_other_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten after it."""
    monkeypatch.setattr(loading, "_registered", {})


def test_a_registered_domain_is_loaded_by_its_name_alone(tmp_path: Path) -> None:
    kind = example("own_tokenizer_abc")["AbcTokenizer"]
    tokenizer = kind()
    domain = muse.domain_of(tokenizer)
    tune = "X:1\nK:G\nGABc d2|\n"
    assert tokenizer.decode(tokenizer.encode(tune)) == tune
    assert np.array_equal(domain.prompt(tune, 12).ids[1:, 0], tokenizer.encode(tune)[:8, 0]) is False
    tokenizer.save(tmp_path / "tokenizer")
    assert isinstance(muse.load_tokenizer(tmp_path), kind)
    loading._registered.clear()
    with pytest.raises(
        muse.UnknownTokenizerError, match=r"'abc'; allowed: midi, audio, text, or one that is registered"
    ):
        muse.load_tokenizer(tmp_path)


def test_an_invalid_domain_is_refused() -> None:
    class Unfinished(muse.Tokenizer[str]):
        kind = "unfinished"

    own = example("own_tokenizer_abc")
    with pytest.raises(muse.UnknownTokenizerError, match=r"the tokenizer Unfinished lacks decode, encode, vocabulary$"):
        muse.register_domain(Unfinished, own["AbcDomain"])
    with pytest.raises(muse.UnknownTokenizerError, match=r"the domain Domain lacks dumps, duration, loads$"):
        muse.register_domain(own["AbcTokenizer"], muse.Domain)
    Unfinished.kind = "midi"
    with pytest.raises(muse.UnknownTokenizerError, match="kind is 'midi'; allowed: a name"):
        muse.register_domain(Unfinished, own["AbcDomain"])
