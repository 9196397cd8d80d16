"""Tests of the exchange with the Hugging Face Hub, with a small server on loopback."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RunCommand
from loopback_hub import TOKEN, Hub, served_hub

import muse_shortcut as muse
from muse_shortcut.hub import FILES, fetch_model, parse_hub_name
from muse_shortcut.shipped import default_checkpoint

NAME = "me/waltzes"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, an empty cache and nobody logged in."""
    from huggingface_hub import constants

    with served_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield hub


def metadata_of(data: bytes) -> dict[str, str]:
    [length] = struct.unpack("<Q", data[:8])
    return dict(json.loads(data[8 : 8 + length])["__metadata__"])


def test_a_model_is_loaded_from_the_hub_and_then_from_the_cache(
    hub: Hub, random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_folder(NAME, random_checkpoint)
    model = muse.load(f"hf:{NAME}", device="cpu")
    assert model.checkpoint.digest == muse.load(random_checkpoint, device="cpu").checkpoint.digest
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    with pytest.raises(muse.HubError, match="not in the cache, and the hub cannot be reached: HF_HUB_OFFLINE is set"):
        muse.load("hf:me/polkas", device="cpu")
    assert muse.load(f"hf:{NAME}", device="cpu").checkpoint.digest == model.checkpoint.digest
    assert hub.asked == []


def test_a_pinned_revision_does_not_change(hub: Hub, random_checkpoint: Path) -> None:
    first = hub.add_folder(NAME, random_checkpoint)
    hub.branches[NAME]["v1"] = first
    hub.add_folder(NAME, random_checkpoint, **{"README.md": b"# Another\n"})
    cards = [muse.load(f"hf:{NAME}{pin}", device="cpu").checkpoint.card for pin in (f"@{first}", "@v1", "")]
    assert cards == ["# Random\n", "# Random\n", "# Another\n"]
    with pytest.raises(muse.HubError, match=r"has no such revision; allowed: a branch"):
        muse.load(f"hf:{NAME}@v9")


def test_nothing_but_the_known_files_is_fetched(hub: Hub, random_checkpoint: Path) -> None:
    others = {"pytorch_model.bin": b"\x80\x04.", "modeling.py": b"raise SystemExit", "x/model.safetensors": b"x",
              "../evil.json": b"{}", "tokenizer/evil.json": b"{}", "training/state.safetensors": b"x"}  # fmt: skip
    hub.add_folder(NAME, random_checkpoint, **others)
    folder = fetch_model(f"hf:{NAME}")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found <= set(FILES)
    assert {"config.json", "model.safetensors", "tokenizer/tokenizer.json"} <= found
    assert not [line for line in hub.asked for name in others if line.endswith(name) and "resolve" in line]


def test_a_model_without_safetensors_is_refused(hub: Hub) -> None:
    hub.commit(NAME, {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."})
    with pytest.raises(muse.HubError, match=r"has no model\.safetensors; weights of any other kind are not read"):
        muse.load(f"hf:{NAME}")


@pytest.mark.parametrize("name", [
    "hf:", "hf:waltzes", "hf:me/../x", "hf:me/waltzes/more", "hf:me/..", "hf:/etc/passwd", "hf:me/w@",
    "hf:me/w@../../x",
    "hf:me/w@/x", "hf:m--e/w", "hf:me/w\n", "hf:me/" + "w" * 100,
])  # fmt: skip
def test_invalid_model_names_are_refused_before_any_request(hub: Hub, name: str) -> None:
    with pytest.raises(muse.HubError, match="allowed: "):
        parse_hub_name(name)
    assert hub.asked == []


def test_commands_take_a_model_of_the_hub_wherever_they_take_a_checkpoint(
    hub: Hub, run: RunCommand, random_checkpoint: Path, tmp_path: Path
) -> None:
    hub.add_folder(NAME, random_checkpoint)
    quiet = ("--max-new-tokens", 5, "--sound", "false", "--out", tmp_path / "out")
    done = run("generate", "midi", "--checkpoint", f"hf:{NAME}", *quiet)
    assert done.code == 0, done.err
    from muse_web.checkpoint_registry import CheckpointRegistry

    assert CheckpointRegistry(Path(f"hf:{NAME}"), "cpu").names("midi") == ["midi-small", NAME]
    music = default_checkpoint("midi").parent / "prompts" / "midi"
    done = run("prepare", "midi", music, "--tokenizer", f"hf:{NAME}", "--workers", 1, "--out", tmp_path / "store")
    assert done.code == 0, done.err
    small = ("--train.max_steps", 1, "--train.batch_size", 1, "--train.eval_windows", 1, "--train.sample_every", 0)
    words = ("--data", tmp_path / "store", "--out", tmp_path / "run", "--from", f"hf:{NAME}", "--device", "cpu")
    done = run("train", "midi", *words, *small)
    assert done.code == 0, done.err
    facts = muse.load(tmp_path / "run", device="cpu").checkpoint.facts
    assert facts["parent"]["name"] == f"hf:{NAME}"


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
def test_a_pushed_model_is_as_the_hubs_tools_expect_it_and_is_loaded_again(
    hub: Hub, run: RunCommand, random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = run("export", random_checkpoint, "--push", NAME, "--private")
    assert done.code == 0, done.err
    assert f"muse-generate --checkpoint hf:{NAME}" in done.out
    assert hub.private == {NAME: True}
    files = hub.files(NAME)
    assert set(files) - {".gitattributes"} == {
        "README.md", "config.json", "generation.json", "model.safetensors", "tokenizer/tokenizer.json"
    }  # fmt: skip
    assert metadata_of(files["model.safetensors"]) == {"format": "pt"}
    config = json.loads(files["config.json"])
    assert (config["library_name"], config["architectures"]) == ("muse-shortcut", ["Core"])
    from huggingface_hub import ModelCard

    card = ModelCard(files["README.md"].decode())
    assert card.data.library_name == "muse-shortcut"
    assert "midi" in (card.data.tags or [])
    assert card.text.strip().startswith("# Random")
    assert muse.load(f"hf:{NAME}", device="cpu").domain.kind == "midi"
    # Once more: into the same repository, from a copy that stays.
    assert run("export", random_checkpoint, "--push", NAME).code == 0


@pytest.mark.parametrize(
    ("words", "token", "line"),
    [
        (("--push", NAME), None, "the hub does not know who you are; `hf auth login`"),
        (("--push", "you/waltzes"), TOKEN, "the hub does not let you write it"),
        (("--push", "waltzes"), TOKEN, "waltzes is not the name of a model on the Hub; allowed: OWNER/NAME"),
        (("--private",), TOKEN, "there is no destination; allowed: --out, --push"),
    ],
)
def test_a_failed_push_gives_one_line(
    hub: Hub, run: RunCommand, random_checkpoint: Path, words: tuple[str, ...], token: str | None, line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    done = run("export", random_checkpoint, *words)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert line in done.err
    assert NAME not in hub.repositories


def test_a_failed_download_gives_one_line(
    hub: Hub, run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("generate", "midi", "--checkpoint", f"hf:{NAME}", "--out", tmp_path)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert f"hf:{NAME}: the hub has no such model, or shows it to others only" in done.err
    assert run("generate", "--checkpoint", f"hf:{NAME}", "--out", tmp_path).err == done.err
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    done = run("generate", "midi", "--checkpoint", f"hf:{NAME}", "--out", tmp_path)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert "is not in the cache, and the hub cannot be reached" in done.err


def test_the_environment_alone_says_where_the_hub_is(hub: Hub, random_checkpoint: Path, tmp_path: Path) -> None:
    hub.add_folder(NAME, random_checkpoint)
    code = f"import muse_shortcut as m; print(m.load_tokenizer('hf:{NAME}').kind)"
    env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "midi", done.stderr
    assert (tmp_path / "home" / "hub").is_dir()


def test_checkpoints_from_before_are_read(random_checkpoint: Path, tmp_path: Path) -> None:
    """Two of the shipped ones have neither the fields of the hub nor metadata in their weights."""
    content = json.loads((default_checkpoint("text") / "config.json").read_text())
    assert "library_name" not in content
    assert muse.load("text", device="cpu").domain.kind == "text"
