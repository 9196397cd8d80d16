"""What a visitor has: sources, continuations, a folder. Plain data; knows nothing of gradio, nor of drawing."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.errors import ArgumentsError, MuseError
from muse_shortcut.files import make_folder
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.trace import Trace
from muse_tokenizers.base import Ids, Token, Waveform

__all__ = ["Candidate", "Limits", "NotFoundError", "Run", "Source", "Visitor", "Visitors"]


class NotFoundError(MuseError):
    """A source, a continuation or a candidate that this visitor does not have (any more)."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of the machine a visitor may take, and all of them together."""

    upload_bytes: int = 25 * 2**20
    piece: dict[str, float] = field(default_factory=lambda: {"midi": 1800.0, "audio": 600.0, "text": 1_000_000.0})
    """The longest piece of each domain, in its unit."""
    new: dict[str, float] = field(default_factory=lambda: {"midi": 300.0, "audio": 60.0, "text": 10_000.0})
    """The longest continuation of each."""
    bars: int = 100
    """The longest continuation where bars are counted."""
    candidates: int = 4
    runs: int = 24
    """Continuations that are kept; the oldest go."""
    kept_bytes: int = 512 * 2**20
    """Of their sound and traces together; the oldest go."""
    sources: int = 6
    visitors: int = 200
    all_bytes: int = 6 * 2**30
    """Of all visitors' sources, sounds and traces together; those longest idle go."""
    waiting_bytes: int = 2 * 2**30
    """Of all uploads that nobody has opened yet; those sent first go."""
    waiting_seconds: float = 3600.0
    """After so long an upload that nobody has opened goes."""
    idle_seconds: float = 1800.0
    """Who has not called for so long is forgotten; a page that is open calls every minute."""
    left_seconds: float = 600.0
    """Who has lost the connection is forgotten after so long, unless they call again."""


@dataclass(kw_only=True)
class Source:
    """Something that can be continued."""

    id: str
    domain: str
    name: str
    file: str | None
    """What its file is called; None for what was played or typed."""
    checkpoint: Checkpoint
    """Whose tokenizer read it."""
    piece: Any
    gain: float | None = None
    """With which it is heard, once that is known."""

    @property
    def nbytes(self) -> int:
        """Of its sound in memory; of a score or a text there is little."""
        return self.piece.samples.nbytes if isinstance(self.piece, Waveform) else 0


@dataclass(kw_only=True)
class Candidate:
    """One continuation of a run; replaced as a whole where it grows, never changed in its parts."""

    ids: Ids
    """(T, K), whole."""
    ready: float
    """Up to here, in seconds of the piece, its sound will not change any more."""
    sound: NDArray[np.float32] | None = None
    """(N,) of prompt and continuation, in a domain whose steps are sound."""
    piece: Any = None
    """Prompt and continuation, once it is finished."""
    trace: Trace | None = None
    """Once it is finished; its rows lie in the visitor's folder."""
    log_probability: float = 0.0
    """Nats of all steps."""
    tokens: list[list[Token]] | None = None
    """What all its ids mean, once that has been asked; of notes alone, which are called by where they stand."""


@dataclass(kw_only=True)
class Run:
    """One generation: a request and what came of it."""

    id: str
    domain: str
    name: str
    file: str | None
    """What the file was called that its prompt was read from."""
    checkpoint: Checkpoint
    request: Request
    candidates: list[Candidate]
    stop: threading.Event = field(default_factory=threading.Event)
    finished: bool = False
    steps: int = 0
    gain: float | None = None
    """With which it is heard, once that is known: the prompt's, kept while it grows."""

    def end(self) -> None:
        """Ask it to end. One that is over stays as it is: how it ended stands in its sidecar."""
        if not self.finished:
            self.stop.set()

    @property
    def nbytes(self) -> int:
        """Of sound in memory and of traces on disk."""
        sound = sum(one.sound.nbytes for one in self.candidates if one.sound is not None)
        return sound + sum(one.trace.attention.nbytes for one in self.candidates if one.trace is not None)

    def candidate(self, number: int) -> Candidate:
        """Raises NotFoundError."""
        if not 0 <= number < len(self.candidates):
            raise NotFoundError(
                f"candidate {number} does not exist; this continuation has 0 to {len(self.candidates) - 1}"
            )
        return self.candidates[number]

    def traced(self, number: int) -> tuple[Candidate, Trace]:
        """A finished candidate and its trace. Raises NotFoundError."""
        candidate = self.candidate(number)
        if candidate.trace is None:
            raise NotFoundError("this continuation is still being generated; its attention can be seen when it is done")
        return candidate, candidate.trace


@dataclass(kw_only=True)
class Visitor:
    """One visitor's everything."""

    folder: Path
    sources: dict[str, Source] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    gone: bool = False
    seen: float = 0.0
    """When they last called, on the clock of `time.monotonic`."""
    left: float | None = None
    """When their connection was lost; None while it is there, or once they have called again."""

    @property
    def nbytes(self) -> int:
        """Of all they have."""
        sources = sum(one.nbytes for one in list(self.sources.values()))
        return sources + sum(one.nbytes for one in list(self.runs.values()))

    @property
    def is_served(self) -> bool:
        """Whether something is being written for them."""
        return any(not run.finished for run in list(self.runs.values()))

    def source(self, key: object) -> Source:
        """Raises NotFoundError."""
        if not isinstance(key, str) or key not in self.sources:
            raise NotFoundError("this prompt does not exist any more; open it again")
        return self.sources[key]

    def run(self, key: object) -> Run:
        """Raises NotFoundError."""
        if not isinstance(key, str) or key not in self.runs:
            raise NotFoundError("this continuation does not exist any more; generate it again")
        return self.runs[key]

    def stop(self) -> None:
        """Ask everything that is being written to end."""
        for run in list(self.runs.values()):
            run.end()

    def keep(self, run: Run, limits: Limits) -> None:
        """Keep a run, and of the others the newest."""
        self.runs[run.id] = run
        for key in list(self.runs)[: -limits.runs]:
            self._drop(key)
        while len(self.runs) > 1 and sum(one.nbytes for one in self.runs.values()) > limits.kept_bytes:
            self._drop(next(iter(self.runs)))

    def _drop(self, key: str) -> None:
        self.runs.pop(key).end()
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def hold(self, source: Source, most: int) -> None:
        """Keep a source, and of the others the newest."""
        self.sources[source.id] = source
        for key in list(self.sources)[:-most]:
            del self.sources[key]


class Visitors:
    """All visitors, by a key that only their own browser knows."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def of(self, key: str | None) -> Visitor:
        """The visitor of a key, a new one if it is new.

        Raises:
            ArgumentsError: there is no key, or no room.
        """
        if not key:
            raise ArgumentsError("a call needs a session_hash, by which a visitor is known")
        with self._lock:
            visitor = self._visitors.pop(key, None)
            if visitor is None:
                if len(self._visitors) >= self._limits.visitors:
                    self._forget_longest_idle()
                # Its name cannot be guessed: whoever knows it can fetch what lies there.
                visitor = Visitor(folder=make_folder(self._folder / secrets.token_hex(16)))
            # The one that called last stands last.
            self._visitors[key] = visitor
            visitor.seen, visitor.left = time.monotonic(), None
            return visitor

    def _forget_longest_idle(self) -> None:
        idle = next((key for key, one in self._visitors.items() if not one.is_served), None)
        if idle is None:
            raise ArgumentsError(
                f"{self._limits.visitors} visitors are being served, which is the most; try again later"
            )
        self._forget(self._visitors.pop(idle))

    def sweep(self) -> None:
        """Forget who has been away for long, and of all the longest idle where there is too much of theirs."""
        now, limits = time.monotonic(), self._limits
        with self._lock:
            for key, one in list(self._visitors.items()):
                away = one.left is not None and now - one.left > limits.left_seconds
                if away or (now - one.seen > limits.idle_seconds and not one.is_served):
                    self._forget(self._visitors.pop(key))
            # Never the one who called last.
            for key, one in list(self._visitors.items())[:-1]:
                if sum(other.nbytes for other in self._visitors.values()) <= limits.all_bytes:
                    break
                if not one.is_served:
                    self._forget(self._visitors.pop(key))

    def lose(self, key: str | None) -> None:
        """A visitor's connection is lost: what is being written ends; unless they return, they are forgotten."""
        with self._lock:
            visitor = self._visitors.get(key or "")
        if visitor is not None:
            visitor.stop()
            visitor.left = time.monotonic()

    def leave(self, key: str | None) -> None:
        """Forget a visitor: what is being written for them ends, their files go."""
        with self._lock:
            visitor = self._visitors.pop(key or "", None)
        if visitor is not None:
            self._forget(visitor)

    def _forget(self, visitor: Visitor) -> None:
        visitor.gone = True
        visitor.stop()
        shutil.rmtree(visitor.folder, ignore_errors=True)
