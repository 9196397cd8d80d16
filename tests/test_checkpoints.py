"""Checkpoints: read as they were written, refused in one line when anything is wrong, and never unpickled."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import DEVICES, SHORTCUTS, random_ids, small_config

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint, read_tensors, save_checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import CheckpointError, OutputError
from muse_shortcut.files import hash_file
from muse_shortcut.model.core import Core
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.remi import RemiTokenizer
from muse_tokenizers.midi.tokenizer import MidiTokenizer


def make_checkpoint(**changes: Any) -> Checkpoint:
    tokenizer = MidiTokenizer.of(CONFIGURATIONS["performance"])
    torch.manual_seed(0)
    config = small_config(SHORTCUTS["two taps"], vocabulary_size=tokenizer.vocabulary_size, **changes)
    return Checkpoint(
        core=Core(config),
        tokenizer=tokenizer,
        sampling=SamplingConfig(temperature=0.9, top_k=7),
        facts={"steps": 3, "licence": "CC BY 4.0, © José"},
        card="# A card, ♯♭\n",
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    save_checkpoint(make_checkpoint(), folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A good checkpoint that may be damaged."""
    return shutil.copytree(written, tmp_path / "checkpoint")


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("changes", [{"tied_embeddings": True}, *({"shortcut": kind} for kind in SHORTCUTS.values())])
def test_a_checkpoint_is_read_as_it_was_written(changes: dict[str, Any], device: str, tmp_path: Path) -> None:
    before = make_checkpoint()
    config = replace(before.core.config, **changes)
    before = replace(before, core=Core(config))
    save_checkpoint(before, tmp_path)
    after = load_checkpoint(tmp_path, device)
    assert after.core.config == config
    assert not after.core.training
    assert next(after.core.parameters()).device.type == device
    for name, weight in before.core.state_dict().items():
        assert torch.equal(after.core.state_dict()[name].cpu(), weight), name
    assert (after.sampling, after.facts, after.card) == (before.sampling, before.facts, before.card)
    assert after.tokenizer.fingerprint() == before.tokenizer.fingerprint()
    assert after.digest == hash_file(tmp_path / "model.safetensors")
    if config.tied_embeddings:
        assert after.core.heads[0].weight is after.core.embeddings[0].weight
        assert not [name for name in load_file(tmp_path / "model.safetensors") if name.startswith("heads")]


def test_the_same_checkpoint_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    save_checkpoint(load_checkpoint(folder), again)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "README.md", "config.json", "generation.json", "model.safetensors", "tokenizer/tokenizer.json",
    ]  # fmt: skip
    for path in files:
        assert (again / path).read_bytes() == (folder / path).read_bytes(), path


def test_weights_kept_in_half_precision_are_computed_with_in_float32(folder: Path) -> None:
    save_checkpoint(load_checkpoint(folder), folder, torch.float16)
    core = load_checkpoint(folder).core
    assert {p.dtype for p in core.parameters()} == {torch.float32}
    exact = make_checkpoint().core.eval()
    torch.testing.assert_close(core(random_ids(2, 5, 1)), exact(random_ids(2, 5, 1)), atol=5e-3, rtol=0)


# Damage


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == (
        f"no checkpoint at {tmp_path / 'nowhere'}: there is no such folder; "
        "allowed: the folder of a checkpoint or of a run, or midi, audio, text, the shipped models"
    )
    (tmp_path / "file").write_text("")
    assert "no checkpoint at" in refusal(tmp_path / "file")


PARTS = ["config.json", "model.safetensors", "generation.json", "tokenizer/tokenizer.json"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(folder: Path, part: str) -> None:
    (folder / part).unlink()
    if part == "config.json":
        assert refusal(folder) == f"{folder} is not a checkpoint: it has no config.json"
    else:
        assert f"cannot read {folder / part}: No such file or directory" in refusal(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "a folder", "nested", "other json"])
def test_a_damaged_file_is_named(folder: Path, part: str, damage: str) -> None:
    path = folder / part
    content = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "half": content[: len(content) // 2],
                "noise": random.Random(1).randbytes(200),
                "nested": b"[" * 100_000,
                "other json": b"[1, 2]",
            }[damage]
        )
    assert part in refusal(folder)


def test_weights_cut_anywhere_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert str(path) in refusal(folder)
    path.write_bytes(content + b"\0")
    assert str(path) in refusal(folder)


def test_a_hostile_heading_of_the_weights_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"

    def with_heading(heading: bytes, data: bytes = b"\0" * 16) -> bytes:
        return struct.pack("<Q", len(heading)) + heading + data

    def one(**entry: Any) -> bytes:
        whole = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry
        return with_heading(json.dumps({"norm.weight": whole}).encode())

    for content in (
        struct.pack("<Q", 2**63) + b"{}",
        with_heading(b"[]"),
        with_heading(b"{"),
        with_heading(b"{}", b""),
        one(),
        one(dtype="F9"),
        one(dtype="F8_E8M0", shape=[16]),
        one(dtype="F4", shape=[32]),
        one(shape=[2**62, 4]),
        one(shape=[-4]),
        one(data_offsets=[0, 2**60]),
        one(data_offsets=[8, 0]),
    ):
        path.write_bytes(content)
        assert str(path) in refusal(folder), content


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (os.mkdir, (os.environ["MUSE_TEST_BOMB"],))


@pytest.mark.parametrize("form", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_unpickled(folder: Path, part: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exploded = folder.parent / "exploded"
    monkeypatch.setenv("MUSE_TEST_BOMB", str(exploded))
    path = folder / part
    if form == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"norm.weight": Bomb()}, path, _use_new_zipfile_serialization=form == "torch")
    assert part in refusal(folder)
    assert not exploded.exists()
    if form == "pickle":  # the bomb is a real one
        pickle.loads(path.read_bytes())
        assert exploded.exists()


def test_a_shape_that_the_weights_do_not_have_is_refused_before_it_is_made(folder: Path) -> None:
    path = folder / "config.json"
    good = json.loads(path.read_text())
    for changes in (
        {"width": 60},
        {"width": 6 * 10**9},
        {"feed_forward": 10**15},
        {"layers": 3},
        {"layers": 1000},
        {"shortcut": None},
        {"shortcut": good["model"]["shortcut"] | {"feature_width": 10**15}},
        {"shortcut": good["model"]["shortcut"] | {"taps": [1, 2, 3]}},
    ):
        path.write_text(json.dumps(good | {"model": good["model"] | changes}))
        assert f"{folder / 'model.safetensors'} does not fit its config.json: " in refusal(folder)


def test_a_tied_checkpoint_without_an_embedding_is_refused(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    tied = replace(checkpoint, core=Core(replace(checkpoint.core.config, tied_embeddings=True)))
    save_checkpoint(tied, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.0.weight"]
    save_file(weights, folder / "model.safetensors")
    without_checksum(folder)
    assert "does not fit its config.json" in refusal(folder)


def test_an_impossible_shape_is_refused_with_the_field(folder: Path) -> None:
    path = folder / "config.json"
    good = json.loads(path.read_text())
    for name, value in (("layers", "4"), ("dropout", 2), ("context", 10**15), ("heads", 0), ("shortcut", [1])):
        path.write_text(json.dumps(good | {"model": good["model"] | {name: value}}))
        message = refusal(folder)
        assert str(folder) in message
        assert name in message or "width" in message
    del good["model"]["heads"]
    path.write_text(json.dumps(good))
    assert "a model's fields are vocabulary_size, streams" in refusal(folder)


@pytest.mark.parametrize("content", [{"model": {}}, {}, [], None, "x"])
def test_a_config_of_something_else_is_refused(folder: Path, content: Any) -> None:
    (folder / "config.json").write_text(json.dumps(content))
    path = folder / "config.json"
    assert refusal(folder) == f"{path} is not the configuration of a checkpoint: it has no field 'version'"


@pytest.mark.parametrize("version", [2, 0, -1, 10**30, "1", 1.0, True, None, [1]])
def test_another_version_is_refused_and_named(folder: Path, version: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"version": version}))
    said = "it has version 2, of a newer muse-shortcut; this one reads up to version 1"
    if version != 2:
        said = f"its version is {repr(version)[:40]}; allowed: the number 1"
    assert refusal(folder) == f"{folder / 'config.json'} cannot be read: {said}"


def without_checksum(folder: Path) -> None:
    """As checkpoints were before their weights had one."""
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"], config["model_sha256"]
    (folder / "config.json").write_text(json.dumps(config))


def test_a_changed_bit_of_the_weights_is_seen(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1001] ^= 1
    path.write_bytes(content)
    assert refusal(folder) == f"{path} is damaged: its SHA-256 differs from the recorded one"
    without_checksum(folder)
    load_checkpoint(folder)


def test_a_model_of_other_heads_is_seen_though_its_weights_fit(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["model"]["heads"] = 1
    path.write_text(json.dumps(config))
    assert (
        refusal(folder)
        == f"{path} is damaged: its model differs from the recorded one; if you changed it, remove model_sha256"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float, dtype: torch.dtype) -> None:
    path = folder / "model.safetensors"
    weights = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    weights["norm.weight"][3] = value
    save_file(weights, path)
    without_checksum(folder)
    assert refusal(folder) == f"{path} is damaged: norm.weight has entries that are infinite or no numbers"


def test_facts_that_are_none_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"facts": [1]}))
    assert refusal(folder) == f"{path} is damaged: its facts are not a JSON object"


def test_a_card_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "README.md").write_bytes(b"\xff\xfe")
    assert refusal(folder) == f"{folder / 'README.md'} is damaged: it is not text"
    (folder / "README.md").unlink()
    assert load_checkpoint(folder).card == ""


def test_a_tokenizer_of_another_size_is_refused(folder: Path) -> None:
    RemiTokenizer().save(folder / "tokenizer")
    assert refusal(folder) == (f"checkpoint {folder}: the model has 391 ids in 1 streams, its tokenizer 1116 in 1")


def test_a_tokenizer_of_another_meaning_is_refused(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"fingerprint": "0" * 64}))
    assert f"{path} was written by another version" in refusal(folder)
    path.write_text(json.dumps(content | {"kind": "smell"}))
    assert "no tokenizer is called 'smell'; allowed: " in refusal(folder)


def test_impossible_sampling_is_refused_with_the_field(folder: Path) -> None:
    path = folder / "generation.json"
    for content, said in (
        ({"temperature": 0}, "temperature is 0; allowed: more than 0"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"flavour": 1}, "is damaged: its fields are"),
        ([1], "is damaged: its fields are"),
    ):
        path.write_text(json.dumps(content))
        message = refusal(folder)
        assert str(path) in message
        assert said in message
    path.write_text("{}")
    assert load_checkpoint(folder).sampling == SamplingConfig()


def test_a_checkpoint_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*model.safetensors: No such file or directory"):
        save_checkpoint(make_checkpoint(), tmp_path / "nowhere")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "tokenizer").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*tokenizer: File exists"):
        save_checkpoint(make_checkpoint(), tmp_path / "c")


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    save_file(tensors, tmp_path / "t")
    read = read_tensors(tmp_path / "t")
    assert set(read) == {"a", "b"}
    assert torch.equal(read["a"], tensors["a"])
