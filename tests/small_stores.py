"""Small music files and stores, and preparation in a process that can be killed.

The program's domain reads lines of numbers: its workers start in a tenth of a second, and can be made to crash.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from muse_shortcut.data import preparation
from muse_shortcut.data.preparation import Preparation, prepare
from muse_shortcut.data.scan import SourceFile
from muse_tokenizers.base import Ids, Prompt, Token, Tokenizer
from muse_tokenizers.domain import Domain
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file
from muse_tokenizers.loading import register_domain

if TYPE_CHECKING:
    import pytest

# Music


def write_midi(path: Path, start: int, notes: int = 40) -> Path:
    """Return repeated broken triads from a pitch, which are easy to learn."""
    from symusic import Note, Score, Tempo, TimeSignature, Track

    score = Score(480)
    score.tempos.append(Tempo(0, 120.0))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track(program=0, is_drum=False, name="Piano")
    for number in range(notes):
        track.notes.append(Note(240 * number, 240, start + (0, 4, 7, 12)[number % 4], 80))
    score.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(score.dumps_midi())
    return path


def write_music(folder: Path, pieces: int = 14) -> Path:
    """Write a folder of small, distinct pieces."""
    for number in range(pieces):
        write_midi(folder / f"piece-{number:02}.mid", 40 + number, notes=28 + number)
    return folder


_made: dict[str, Path] = {}


def midi_store(factory: pytest.TempPathFactory) -> Path:
    """A store of `write_music` with the performance vocabulary, made once for all tests, beside its source `music`."""
    if "store" not in _made:
        from muse_shortcut.data.scan import scan_files
        from muse_tokenizers.midi.configuration import CONFIGURATIONS
        from muse_tokenizers.midi.domain import MidiDomain
        from muse_tokenizers.midi.tokenizer import MidiTokenizer

        folder = factory.mktemp("midi")
        domain = MidiDomain.of(MidiTokenizer.of(CONFIGURATIONS["performance"]))
        files = scan_files(write_music(folder / "music"), None, domain.info.suffixes, "file")
        how = Preparation(workers=1, seed=0, held_out=0.15, source={"sources": ["made by hand"]})
        prepare([files], domain, folder / "store", how)
        _made["store"] = folder / "store"
    return _made["store"]


def two_sources(factory: pytest.TempPathFactory) -> Path:
    """A store with the REMI vocabulary and two sources, `high-1` and `low-2`: of each three pieces for training, three
    for validation, half a minute long, and one of three seconds."""
    if "two sources" not in _made:
        from muse_tokenizers.midi.domain import RemiDomain
        from muse_tokenizers.midi.remi import RemiTokenizer

        folder = factory.mktemp("two-sources")
        sources = []
        for rank, name in enumerate(("high-1", "low-2")):
            files = []
            for number in range(7):
                start, notes = 70 - 30 * rank + number, 12 if number == 6 else 120 + number
                path = write_midi(folder / f"{name}-{number}.mid", start, notes)
                split = "train" if number < 3 else "validation"
                files.append(SourceFile(path=path, name=f"{name}/{number}.mid", split=split, group=path.name))
            sources.append(files)
        how = Preparation(workers=1, seed=0, held_out=0.0, source={"sources": [{"recipe": "high"}, {"recipe": "low"}]})
        prepare(sources, RemiDomain(RemiTokenizer()), folder / "store", how)
        _made["two sources"] = folder / "store"
    return _made["two sources"]


# A domain of numbers


class Numbers(Tokenizer[list[int]]):
    """Numbers from 0 to 96, two streams."""

    kind = "numbers"
    streams = 2
    vocabulary_size = 100
    pad, begin, end = 97, 98, 99

    def __init__(self, log: str = "") -> None:
        self.log = log

    def encode(self, piece: list[int]) -> Ids:
        return np.array(piece, dtype=np.int64).reshape(-1, 2)

    def decode(self, ids: Ids) -> list[int]:
        raise AssertionError

    def describe(self, ids: Ids, prompt: Prompt[list[int]] | None = None) -> list[list[Token]]:
        raise AssertionError

    def configuration(self) -> dict[str, Any]:
        return {"log": self.log}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> Numbers:
        return cls(**configuration)

    def vocabulary(self) -> list[str]:
        return [str(number) for number in range(97)] + ["pad", "begin", "end"]


class NumberDomain(Domain[list[int]]):
    """Files of lines of numbers: a line holds one step.

    A file may also hold one word: `crash` kills the process that reads it, `bug` raises what no reader should,
    `wait n` takes a tenth of a second.
    """

    tokenizer: Numbers
    info = DomainInfo(suffixes=frozenset({".txt"}), suffix=".txt")
    steps_per_second = 7.0

    def read(self, path: Path, *, limit: float | None = None, warn: Warn = warn_about_file) -> list[int]:
        if self.tokenizer.log:
            with Path(self.tokenizer.log).open("a") as log:
                log.write(f"{os.getpid()} {path.name}\n")
        text = path.read_text(encoding="utf-8").strip()
        if text.startswith("wait "):
            time.sleep(0.1)
            text = "5 " + text.removeprefix("wait ")
        match text:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "bug":
                raise ZeroDivisionError(f"in {path}\nand more")
            case "":
                raise UnreadablePieceError(f"{path} has no numbers")
        try:
            return [int(word) for word in text.split()]
        except ValueError:
            raise UnreadablePieceError(f"cannot read {path}: it holds more than numbers") from None

    def duration(self, piece: list[int]) -> float:
        return len(piece) / 2 / self.steps_per_second

    def dumps(self, piece: list[int]) -> bytes:
        raise AssertionError

    def loads(self, data: bytes, name: str = "", *, warn: Warn = warn_about_file) -> list[int]:
        raise AssertionError


@dataclass(frozen=True)
class Prepared:
    """The outcome of a preparation."""

    code: int
    """Exit code; 2 for a user's error, -9 if it was killed."""
    manifest: dict[str, Any]
    err: str


def prepare_numbers(folder: Path, sources: list[list[dict[str, Any]]], **how: Any) -> Prepared:
    """Prepare files of numbers in a new process with its own workers.

    Args:
        folder: where the files are; the store is `folder / store`, the log of what was read `folder / log`.
        sources: for every source its files, as {"name", "split", "group"}.
        how: workers, seed, held_out, out, overwrite. kill_at, interrupt_at: when so many files are done it kills
            itself, or its terminal gets a Ctrl-C. kill_before: it kills itself before it puts a file of that name in
            its place. largest_file: bytes that a file can have.
    """
    options = {"workers": 1, "seed": 0, "held_out": 0.2, "out": "store", "overwrite": False} | how
    # Files and not pipes: workers that outlived their parent would hold a pipe open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(
            [sys.executable, __file__, str(folder), json.dumps(sources), json.dumps(options)],
            stdout=out,
            stderr=err,
            check=False,
            start_new_session=True,
        )
        out.seek(0)
        err.seek(0)
        return Prepared(done.returncode, json.loads(out.read() or "{}"), err.read())


def source_files(folder: Path, files: list[dict[str, Any]]) -> list[SourceFile]:
    return [
        SourceFile(path=folder / f["name"], name=f["name"], split=f.get("split"), group=f.get("group", f["name"]))
        for f in files
    ]


def _main(folder: Path, sources: list[list[dict[str, Any]]], options: dict[str, Any]) -> None:
    from muse_shortcut.errors import MuseError

    # A shell that runs the tests in the background has them ignore Ctrl-C; this process is here to meet one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "largest_file" in options:
        # Writing beyond it then fails as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["largest_file"], resource.RLIM_INFINITY))
    if "kill_before" in options:
        replace = os.replace

        def replace_or_die(source: Any, target: Any) -> None:
            if Path(target).name == options["kill_before"]:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = replace_or_die  # type: ignore[assignment]

    def watch(files: int, _tokens: int, _rejects: int) -> None:
        if files == options.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if files == options.get("interrupt_at"):
            os.killpg(0, signal.SIGINT)

    how = Preparation(
        workers=options["workers"],
        seed=options["seed"],
        held_out=options["held_out"],
        source={"from": "numbers"},
        overwrite=options["overwrite"],
    )
    try:
        manifest = prepare(
            [source_files(folder, files) for files in sources],
            NumberDomain(Numbers(str(folder / "log"))),
            folder / options["out"],
            how,
            watch,
        )
    except MuseError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    print(json.dumps(manifest))


if __name__ in ("__main__", "__mp_main__"):
    # A worker runs this file again under the second name, and so knows the domain too.
    def _load(folder: Path) -> Numbers:
        return Numbers.from_configuration(json.loads((folder / "tokenizer.json").read_text())["configuration"])

    preparation.load_tokenizer = _load
    register_domain(Numbers, NumberDomain)

if __name__ == "__mp_main__":
    # What is to run out of room is the store, not the log.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

if __name__ == "__main__":
    _main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
