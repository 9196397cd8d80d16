"""Names: one meaning each in the sources; earlier names go on working in files and options."""

from __future__ import annotations

import ast
import builtins
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import RunCommand

from muse_shortcut.config import TrainConfig
from muse_shortcut.earlier_names import PROGRESS, PROMPT, SIDECAR, TRAIN, current_names, current_options
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sidecar import read_sidecar, sidecar_text
from muse_shortcut.training.run import TrainingProgress
from muse_tokenizers.loading import load_tokenizer
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_tokenizers.text.domain import TextDomain
from muse_tokenizers.text.subwords import LETTERS, CharacterModel
from muse_tokenizers.text.tokenizer import TextTokenizer

ROOT = Path(__file__).parent.parent
NEEDED = ("midi", "--data", "D", "--out", "R")


def test_no_public_class_is_defined_twice() -> None:
    defined: Counter[str] = Counter()
    for folder in ("muse_shortcut", "tokenizers", "web"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            defined.update(one.name for one in tree.body if isinstance(one, ast.ClassDef) and one.name[0] != "_")
    assert [name for name, count in defined.items() if count > 1] == []


def test_every_public_exception_is_called_an_error() -> None:
    bases: dict[str, set[str]] = {}
    for folder in ("muse_shortcut", "tokenizers", "web"):
        for path in (ROOT / folder).rglob("*.py"):
            for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(one, ast.ClassDef):
                    bases[one.name] = {base.id for base in one.bases if isinstance(base, ast.Name)}

    def is_exception(name: str) -> bool:
        known = getattr(builtins, name, None)
        if isinstance(known, type):
            return issubclass(known, BaseException) and not issubclass(known, Warning)
        return any(is_exception(base) for base in bases.get(name, ()))

    found = {name for name in bases if is_exception(name)}
    assert {"MuseError", "StoreError", "InvalidConstraintError"} <= found
    assert [name for name in sorted(found) if name[0] != "_" and not name.endswith("Error")] == []


def _earlier(content: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return current_names(content, {new: old for old, new in names.items()})


def test_a_sidecar_with_the_names_of_earlier_versions_is_read(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(CharacterModel(LETTERS, closed=False))
    domain = TextDomain(tokenizer)
    constraints = domain.default_constraints().with_length(40)
    request = Request(prompt=domain.prompt(b"all that"), constraints=constraints, forced_ids=tokenizer.encode(b" is"))
    text = sidecar_text(
        domain, request, checkpoint="0" * 64, candidate=0, ids=tokenizer.encode(b" is gold"), log_probability=-3.0,
        name="gold", source=None, sound=None,
    )  # fmt: skip
    content = _earlier(json.loads(text), SIDECAR)
    content["prompt"] = _earlier(content["prompt"], PROMPT)
    assert {"wishes", "given"} <= set(content)
    assert {"cut", "cut_step", "begun"} <= set(content["prompt"])
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    found = read_sidecar(tmp_path / "a.json", domain).request
    assert found.constraints == constraints
    assert found.prompt.split_index == 8
    assert found.forced_ids is not None
    assert found.forced_ids.tolist() == tokenizer.encode(b" is").tolist()


def test_options_of_training_may_have_the_names_of_earlier_versions(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"train": {"mix": {"a": 2.0}, "min_gain": 0.25}}))
    for words in (
        ("--train.mix", '{"a": 2.0}', "--train.min_gain", 0.25),
        ("--train.mix={'a': 2.0}", "--train.min-gain=0.25"),
        ("--config", tmp_path / "c.yaml"),
    ):
        done = run("train", *NEEDED, *words, "--print-config")
        assert done.code == 0, done.err
        train = yaml.safe_load(done.out)["train"]
        assert (train["source_weights"], train["min_delta"]) == ({"a": 2.0}, 0.25)


def test_fields_of_earlier_versions_are_fields_of_today() -> None:
    train = {field for field in TRAIN.values() if field not in TrainConfig.__dataclass_fields__}
    progress = {field for field in PROGRESS.values() if field not in TrainingProgress.__dataclass_fields__}
    assert (train, progress) == (set(), set())


def test_other_options_keep_their_names() -> None:
    assert current_options({"model": {"mix": 1}, "mix": 2, "train.mix": 3}) == {
        "model": {"mix": 1}, "mix": 2, "train.source_weights": 3,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["midi", "text"])
def test_a_tokenizer_whose_scheme_is_called_form_is_loaded(tmp_path: Path, kind: str) -> None:
    made: Any = (
        MidiTokenizer.of(CONFIGURATIONS["performance"])
        if kind == "midi"
        else TextTokenizer(CharacterModel(LETTERS, closed=False))
    )
    made.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["configuration"]["form"] = content["configuration"].pop("scheme")
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_tokenizer(tmp_path).fingerprint() == made.fingerprint()
