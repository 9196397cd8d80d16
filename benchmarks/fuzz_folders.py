"""Fuzzes sidecars, checkpoints, stores and traces, opened as the commands open them.

    python benchmarks/fuzz_folders.py --kind=sidecars --count=100000 --jobs=2

A refusal must be a MuseError of one line; whatever is accepted must be usable.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from fuzzing import Files, Fuzz, change_bytes, main

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from muse_shortcut.config import ModelConfig, ShortcutConfig
from muse_shortcut.data.store import SPLITS, open_store
from muse_shortcut.errors import MuseError
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sidecar import read_sidecar, sidecar_text
from muse_shortcut.generation.trace import load_trace
from muse_shortcut.model.core import Core
from muse_shortcut.runs import best_checkpoint, newest_checkpoint, write_checksums
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.text.domain import TextDomain

__all__ = ["KINDS", "fuzz_of"]

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 64, 1.0, 0.5, -0.0, 1e30, -1e30, 1e308, 10**30, -(10**30), 2**31, 2**63, 2**64,
    float("nan"), float("inf"), "", "0", "1", "\0", "a\0b", "../../x", "/", "\ud800", "x" * 300, "😀", [], [[]], [0],
    {}, [[[[[[1]]]]]], {"a": 1},
)  # fmt: skip
"""Replacement values."""
_PIECES = (
    b"\0",
    b"null",
    b"1e999",
    b"[" * 3000,
    b'"',
    b"{",
    b"}",
    b"]",
    b"-",
    b"9" * 5000,
    b"NaN",
    b"\xff",
    b"\\ud800",
)


# Mutation


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) in parsed JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield content, key
        yield from _places(value)


def change_json(random: Random, data: bytes) -> bytes:
    """Change, remove or move one to three values of JSON data."""
    content = json.loads(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        # Half of them are near the root, because elsewhere there are mostly ids.
        places = list(_places(content))
        if random.random() < 0.5:
            places = [place for place in places if isinstance(place[0], dict)] or places
        if not places:
            break
        container, key = random.choice(places)
        value = container[key]
        match random.randrange(6):
            case 0:
                del container[key]
            case 1 if type(value) in (int, float):
                container[key] = value + random.choice((-1, 1, 0.5, 1000, -1000))
            case 2 if isinstance(value, str) and value:
                at = random.randrange(len(value))
                container[key] = value[:at] + random.choice(("", "\0", "A", "é", "=", value)) + value[at + 1 :]
            case 3:
                other, place = random.choice(places)
                container[key] = json.loads(json.dumps(other[place]))
            case _:
                container[key] = deepcopy(random.choice(_VALUES))
    return json.dumps(content).encode()


def change_tensors(random: Random, data: bytes) -> bytes:
    """Change the header or the data of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    if random.random() < 0.5:
        return change_bytes(random, data)
    heading = change_json(random, data[8 : 8 + length])
    return len(heading).to_bytes(8, "little") + heading + data[8 + length :]


def change_array(random: Random, data: bytes) -> bytes:
    """Change bytes of a .npy file, mostly in its header."""
    return change_bytes(random, data[:128], (b"<f8", b"|O", b"True", b"99999999999", b"-1", b"()")) + data[128:]


def change_file(random: Random, name: str, data: bytes) -> bytes:
    """Change a file according to its type."""
    if not data or random.random() < 0.3:
        return change_bytes(random, data, _PIECES)
    if name.endswith(".json"):
        return change_json(random, data)
    if name.endswith(".jsonl"):
        lines = data.splitlines()
        at = random.randrange(len(lines))
        lines[at] = change_json(random, lines[at])
        return b"\n".join(lines) + b"\n"
    changer = {".safetensors": change_tensors, ".npy": change_array}.get(Path(name).suffix, change_bytes)
    return changer(random, data)


def change_folder(random: Random, files: Files) -> Files:
    """Change one or two files of a folder; rarely remove or empty one."""
    changed = dict(files)
    for name in random.sample(sorted(files), random.choice((1, 1, 2))):
        if random.random() < 0.05:
            del changed[name]
        else:
            changed[name] = b"" if random.random() < 0.02 else change_file(random, name, files[name])
    return changed


# Valid inputs


def _read(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@cache
def _domains() -> dict[str, Domain[Any]]:
    from muse_tokenizers.midi.configuration import CONFIGURATIONS
    from muse_tokenizers.midi.domain import RemiDomain
    from muse_tokenizers.midi.remi import RemiTokenizer
    from muse_tokenizers.midi.tokenizer import MidiTokenizer
    from muse_tokenizers.text.subwords import CharacterModel
    from muse_tokenizers.text.tokenizer import TextTokenizer

    letters = CharacterModel("abcdefghijklmnopqrstuvwxyz .", closed=False)
    return {
        "remi": RemiDomain(RemiTokenizer()),
        "performance": MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS["performance"])),
        "characters": TextDomain(TextTokenizer(letters)),
    }


@cache
def _core(name: str) -> Core:
    domain = _domains()[name]
    torch.manual_seed(0)
    shortcut = ShortcutConfig(taps=(1,), feature_map="linear")
    shape = ModelConfig(context=24, layers=2, width=8, heads=2, feed_forward=8, shortcut=shortcut)
    return Core(shape.for_vocabulary(domain.tokenizer.vocabulary_size, domain.tokenizer.streams)).eval()


def _piece(name: str) -> Any:
    domain = _domains()[name]
    if domain.kind == "text":
        return b"all that is gold does not glitter. "
    from symusic import Note, Score, Tempo, TimeSignature, Track

    score = Score(480)
    score.tempos.append(Tempo(0, 120.0))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track(program=0, is_drum=False, name="Piano")
    for number in range(10):
        track.notes.append(Note(240 * number, 240, 60 + number, 80))
    score.tracks.append(track)
    return domain.loads(score.dumps_midi())


@cache
def _generation(name: str, *, from_nothing: bool = False) -> Generation:
    domain = _domains()[name]
    constraints = domain.default_constraints().with_length(40 if domain.kind == "text" else 2.0)
    prompt = domain.prompt(None if from_nothing else _piece(name))
    generation = Generation(_core(name), domain, Request(prompt=prompt, constraints=constraints, max_steps=12, seed=3))
    for _ in generation:
        pass
    return generation


@cache
def _sidecar(name: str, from_nothing: bool) -> bytes:
    generation = _generation(name, from_nothing=from_nothing)
    return sidecar_text(
        _domains()[name], generation.request, checkpoint="0" * 64, candidate=0, ids=generation.continuations()[0],
        log_probability=-1.0, name="piece", source="piece.mid", sound=None,
    ).encode()  # fmt: skip


@cache
def _checkpoint(name: str, *, sums: bool) -> Files:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "step-000003"
        (place / "training").mkdir(parents=True)
        save_checkpoint(Checkpoint(core=_core(name), tokenizer=_domains()[name].tokenizer, card="# A card\n"), place)
        (place / "training" / "optimiser.safetensors").write_bytes((place / "model.safetensors").read_bytes())
        progress = {
            "step": 3,
            "best": 1.5,
            "reference": 1.5,
            "evaluations_without_improvement": 0,
            "tokens": 72,
            "seconds": 1.5,
        }
        (place / "training" / "progress.json").write_text(json.dumps(progress))
        if sums:
            write_checksums(place)
        else:
            config = json.loads((place / "config.json").read_text())
            del config["sha256"]
            (place / "config.json").write_text(json.dumps(config))
        return _read(place)


@cache
def _store() -> Files:
    import hashlib

    lengths = (5, 7, 3, 4, 6)
    tokens = np.arange(sum(lengths), dtype=np.uint16)[:, None] % 50
    files: Files = {}
    for name, array in (("tokens.npy", tokens), ("offsets.npy", np.cumsum([0, *lengths], dtype=np.int64))):
        stream = io.BytesIO()
        np.save(stream, array)
        files[name] = stream.getvalue()
    splits = ("train", "train", "train", "validation", "test")
    pieces = [
        {"name": f"a-1/{n}.mid", "split": split, "group": str(n), "tokens": length, "seconds": 1.5, "bytes": None}
        for n, (split, length) in enumerate(zip(splits, lengths, strict=True))
    ]
    files["pieces.jsonl"] = "".join(json.dumps(piece) + "\n" for piece in pieces).encode()
    manifest = {
        "version": 1, "domain": "midi", "fingerprint": "0" * 64, "streams": 1, "pieces": 5, "tokens": len(tokens),
        "sha256": hashlib.sha256(tokens.tobytes()).hexdigest(), "source": {"sources": [{"recipe": "a"}, {}]},
        "splits": {}, "rejects": [],
    }  # fmt: skip
    return files | {"manifest.json": json.dumps(manifest).encode()}


@cache
def _trace(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        _generation(name).save_trace(0, Path(folder) / "trace.npz")
        return (Path(folder) / "trace.npz").read_bytes()


# Targets


def _outcome(body: Callable[[], None]) -> str:
    """Return the outcome; a MuseError of more than one line is a finding."""
    try:
        body()
    except (MuseError, TokenizerError) as error:
        if len(str(error).splitlines()) != 1 or not str(error).isprintable():
            raise AssertionError(f"not one plain line: {error!r}") from error
        return "refused"
    return "taken"


def _write(files: Files, folder: Path) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def make_sidecar(random: Random) -> Files:
    """Make a sidecar of MIDI or text."""
    name = random.choice(("remi", "performance", "characters"))
    data = _sidecar(name, random.random() < 0.2)
    return {name + ".json": change_file(random, "a.json", data)}


def attempt_sidecar(files: Files, folder: Path) -> str:
    """Read the sidecar, and run a small part of its request."""
    _write(files, folder)
    [file] = files
    name = file.removesuffix(".json")
    domain = _domains()[name]

    def body() -> None:
        sidecar = read_sidecar(folder / file, domain, warn=lambda _: None)
        generation = Generation(_core(name), domain, sidecar.request, trace=False)
        # Generating many candidates is slow and shows nothing new.
        for _, _event in zip(range(3 if sidecar.request.candidates < 3 else 1), generation, strict=False):
            pass
        domain.join(sidecar.request.prompt, generation.continuations()[sidecar.candidate])
        sidecar_text(
            domain, sidecar.request, checkpoint=sidecar.checkpoint, candidate=sidecar.candidate, ids=sidecar.ids,
            log_probability=0.0, name=sidecar.name, source=sidecar.source, sound=None,
        ).encode()  # fmt: skip
        (folder / f"{sidecar.name}-1.mid").touch()

    return _outcome(body)


def make_checkpoint(random: Random) -> Files:
    """Make a checkpoint in a run, with checksums or, like older ones, without."""
    name = random.choice(("performance", "characters", "characters", "characters"))
    files = change_folder(random, _checkpoint(name, sums=random.random() < 0.2))
    return {f"step-000003/{name}": data for name, data in files.items()}


def attempt_checkpoint(files: Files, folder: Path) -> str:
    """Find the checkpoint like a training does, and load it."""
    _write(files, folder)
    outcomes = [
        _outcome(lambda: newest_checkpoint(folder) and None),
        _outcome(lambda: best_checkpoint(folder) and None),
        _outcome(lambda: load_checkpoint(folder / "step-000003") and None),
    ]
    return outcomes[-1]


def make_store(random: Random) -> Files:
    """Make a store of five pieces."""
    return change_folder(random, _store())


def attempt_store(files: Files, folder: Path) -> str:
    """Open the store, check it, and read from it."""
    _write(files, folder)

    def body() -> None:
        store = open_store(folder)
        store.check_ids(50)
        for split in SPLITS:
            if len(store.split(split)):
                store.opening(split, 3)
        for number in range(len(store.pieces)):
            store.source(number)

    return _outcome(body)


def make_trace(random: Random) -> Files:
    """Make a trace with a changed member, or any changed byte."""
    data = _trace(random.choice(("remi", "characters")))
    if random.random() < 0.4:
        return {"trace.npz": change_bytes(random, data)}
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        names = before.namelist()
        chosen = random.choice(names)
        for name in names:
            member = before.read(name)
            after.writestr(zipfile.ZipInfo(name), change_array(random, member) if name == chosen else member)
    return {"trace.npz": stream.getvalue()}


def attempt_trace(files: Files, folder: Path) -> str:
    """Open the trace and read its rows."""
    _write(files, folder)

    def body() -> None:
        trace = load_trace(folder / "trace.npz")
        for step in range(trace.steps):
            trace.attended(step)

    return _outcome(body)


KINDS = {
    "sidecars": Fuzz(name="sidecars", make=make_sidecar, attempt=attempt_sidecar),
    "checkpoints": Fuzz(name="checkpoints", make=make_checkpoint, attempt=attempt_checkpoint),
    "stores": Fuzz(name="stores", make=make_store, attempt=attempt_store),
    "traces": Fuzz(name="traces", make=make_trace, attempt=attempt_trace),
}


def fuzz_of(arguments: argparse.Namespace) -> Fuzz:
    """Return the fuzz target of the command line."""
    torch.set_num_threads(1)
    return KINDS[arguments.kind]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", choices=list(KINDS), required=True)
    sys.exit(main(fuzz_of, parser))
