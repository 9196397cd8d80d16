"""Shared by all fuzzing scripts: inputs by number, counts, findings, limits of time and memory, resumable runs.

A script passes a `Fuzz` to `main`: how the input of a number is made, and what is tried with it. Inputs depend only on
their number, so shards are ranges of numbers, and `--only NUMBER` repeats one. Work is done in child processes; one
that crashes, hangs or grows is replaced, and its input is a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["Files", "Finding", "Fuzz", "Progress", "change_bytes", "main", "run_range"]

Files = dict[str, bytes]
"""Files of one input, by their path in its folder."""

SECONDS = 10.0
"""Processor time limit of one input in seconds."""
HANGING = 180.0
"""Seconds without a result after which a child process is killed."""
GROWTH = 300 * 2**20
"""Limits of the growth of the process in bytes, at its peak and permanently."""
_WARMING = 200
"""Number of inputs after which growth is measured, because imports and caches come first."""
_SAVED = 5
"""Number of inputs that are saved of each kind of finding."""
_SAVING = 2.0
"""Seconds between saves of the progress."""
_GREW = 3
"""Exit code of a child process that must be replaced because its peak of memory cannot be reset."""


@dataclass(frozen=True, kw_only=True)
class Fuzz:
    """One kind of input, and what is tried with it."""

    name: str
    """Name for the folder of results and the progress line."""
    make: Callable[[Random], Files]
    """Makes an input from random numbers whose seed is its number."""
    attempt: Callable[[Files, Path], str]
    """Tries an input in an empty folder, and returns the outcome in a word or two, which is counted. An exception is a
    finding."""
    keeps_folder: bool = False
    """Whether `attempt` writes nothing into its folder, so that it need not be emptied."""


@dataclass(kw_only=True)
class Finding:
    """A fault."""

    number: int
    kind: str
    """Key that is equal for findings with probably the same cause."""
    text: str


@dataclass(kw_only=True)
class Progress:
    """Progress and outcomes of a range of numbers, saved as JSON to resume a run."""

    first: int
    count: int
    done: int = 0
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    """Number of findings of each kind; `findings` has the first few of each."""
    slowest: float = 0.0
    slowest_number: int = -1
    growth: int = 0
    """Largest growth of the process in bytes after the first inputs."""

    def add(self, finding: Finding) -> bool:
        """Count a finding. Returns whether it is among the first of its kind."""
        self.kinds[finding.kind] = self.kinds.get(finding.kind, 0) + 1
        if self.kinds[finding.kind] <= _SAVED:
            self.findings.append(finding)
            return True
        return False

    def save(self, path: Path) -> None:
        """Replace the file atomically, so that a run that is killed leaves a complete file."""
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> Progress:
        """Load the progress from a file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**content | {"findings": [Finding(**finding) for finding in content["findings"]]})


def change_bytes(random: Random, data: bytes, interesting: tuple[bytes, ...] = ()) -> bytes:
    """Change, insert, remove or duplicate a few bytes, or truncate the data."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6, 15))):
        at = random.randrange(len(changed) + 1)
        match random.randrange(9):
            case 0 | 1 if at < len(changed):
                changed[at] = random.randrange(256)
            case 2 if at < len(changed):
                changed[at] ^= 1 << random.randrange(8)
            case 3 if at < len(changed):
                changed[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 4:
                changed[at:at] = random.randbytes(random.choice((1, 1, 2, 4)))
            case 5:
                del changed[at : at + random.choice((1, 1, 2, 4, 16))]
            case 6 if interesting:
                piece = random.choice(interesting)
                changed[at : at + random.choice((0, len(piece)))] = piece
            case 7:
                start = random.randrange(len(changed) + 1)
                changed[at:at] = changed[start : start + random.choice((1, 4, 16, 64))]
            case 8 if random.random() < 0.2:
                del changed[at:]
    return bytes(changed)


class _TooSlow(BaseException):
    """Raised past every `except Exception` of the tested code."""


def _raise_too_slow(*_: object) -> None:
    raise _TooSlow


def run_range(fuzz: Fuzz, progress: Progress, folder: Path, *, skip: frozenset[int] = frozenset()) -> bool:
    """Try the rest of a range in this process.

    Args:
        fuzz: Kind of input.
        progress: Progress, which is updated and saved in the folder.
        folder: Folder of progress and findings.
        skip: Numbers to skip.

    Returns:
        Whether all were tried; false if this process has grown too much to continue.
    """
    state = folder / f"{progress.first}-{progress.count}.json"
    before = signal.signal(signal.SIGPROF, _raise_too_slow)
    mark = os.open(folder / f"{progress.first}-{progress.count}.now", os.O_WRONLY | os.O_CREAT)
    started = saved = time.monotonic()
    spent = progress.seconds
    warm = peak = 0
    tried = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name) / "input"
        scratch.mkdir()
        try:
            while progress.done < progress.count:
                number = progress.first + progress.done
                if number not in skip:
                    os.pwrite(mark, number.to_bytes(8, "little"), 0)
                    _try(fuzz, number, progress, folder, scratch)
                    tried += 1
                    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                    if tried == _WARMING:
                        warm = peak = now
                    progress.growth = max(progress.growth, now - warm) if warm else progress.growth
                    if warm and now - peak > GROWTH:
                        text = f"the process grew by {(now - peak) / 2**20:.0f} MiB"
                        _find(fuzz, Finding(number=number, kind="memory", text=text), progress, folder)
                        progress.done += 1
                        return False
                    if warm and now - warm > GROWTH:
                        text = f"the process grew by {(now - warm) / 2**20:.0f} MiB over {tried} inputs"
                        _find(fuzz, Finding(number=number, kind="growth", text=text), progress, folder)
                        progress.done += 1
                        return False
                progress.done += 1
                if time.monotonic() - saved > _SAVING:
                    saved = time.monotonic()
                    progress.seconds = spent + saved - started
                    progress.save(state)
        finally:
            progress.seconds = spent + time.monotonic() - started
            progress.save(state)
            os.close(mark)
            signal.signal(signal.SIGPROF, before)
    return True


def _try(fuzz: Fuzz, number: int, progress: Progress, folder: Path, scratch: Path) -> None:
    files = fuzz.make(Random(number))
    began = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome = fuzz.attempt(files, scratch)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooSlow as stop:
        outcome, kind = "too slow", f"too slow in {_place(stop)}"
        text = f"more than {SECONDS:.0f} s of processor time\n{traceback.format_exc()}"
        _find(fuzz, Finding(number=number, kind=kind, text=text), progress, folder)
    except Exception as error:
        outcome, kind = "error", f"{type(error).__name__} in {_place(error)}"
        _find(fuzz, Finding(number=number, kind=kind, text=traceback.format_exc()), progress, folder)
    progress.outcomes[outcome] = progress.outcomes.get(outcome, 0) + 1
    took = time.process_time() - began
    if took > progress.slowest:
        progress.slowest, progress.slowest_number = took, number
    if not fuzz.keeps_folder:
        shutil.rmtree(scratch)
        scratch.mkdir()


def _place(error: BaseException) -> str:
    """Return where an exception was raised, and the last frame of this project on the way there."""
    frames = [(Path(frame.filename), frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    frames = [frame for frame in frames if frame[1] != _raise_too_slow.__name__]
    ours = [frame for frame in frames if any(part.startswith("muse_") for part in frame[0].parts)]
    return ", ".join(dict.fromkeys(f"{path.name}:{name}" for path, name in [*ours[-1:], *frames[-1:]]))


def _find(fuzz: Fuzz, finding: Finding, progress: Progress, folder: Path) -> None:
    if progress.add(finding):
        kept = folder / "findings" / str(finding.number)
        for name, data in fuzz.make(Random(finding.number)).items():
            path = kept / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "finding.txt").write_text(f"{finding.kind}\n\n{finding.text}\n", encoding="utf-8")


class _Shard:
    """A range of numbers and the child process that tries it."""

    def __init__(self, fuzz: Fuzz, first: int, count: int, folder: Path, options: list[str]) -> None:
        self.fuzz, self.first, self.count, self.folder = fuzz, first, count, folder
        self._options = options
        self._state = folder / f"{first}-{count}.json"
        self._mark = folder / f"{first}-{count}.now"
        self._skipped: set[int] = set()
        self._child: subprocess.Popen[bytes] | None = None
        self._seen, self._since = -1, time.monotonic()
        if not self._state.exists():
            Progress(first=first, count=count).save(self._state)

    @property
    def progress(self) -> Progress:
        return Progress.load(self._state)

    def poll(self) -> bool:
        """Start the process if it is not running, and replace it if it has crashed or hangs. Returns whether the range
        is done."""
        progress = self.progress
        if self._child is None:
            if progress.done >= self.count:
                return True
            self._start()
            return False
        now = self._number()
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        if self._child.poll() is None:
            if time.monotonic() - self._since > HANGING:
                self._child.kill()
                self._child.wait()
                self._bury("hangs", f"no end within {HANGING:.0f} s")
            return False
        code, self._child = self._child.returncode, None
        if code in (0, _GREW):
            return code == 0
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._bury(f"the process ended ({cause})", "the process that tried it ended")
        return False

    def _start(self) -> None:
        self._mark.unlink(missing_ok=True)
        self._seen, self._since = -1, time.monotonic()
        skipped = ",".join(str(number) for number in sorted(self._skipped))
        rest = ["--worker", skipped or "none", "--first", str(self.first), "--count", str(self.count)]
        self._child = subprocess.Popen([sys.executable, sys.argv[0], *rest, *self._options])

    def _number(self) -> int:
        with contextlib.suppress(OSError):
            return int.from_bytes(self._mark.read_bytes(), "little")
        return -1

    def _bury(self, kind: str, text: str) -> None:
        self._child = None
        number = self._number()
        if number < 0:
            raise SystemExit("a child process ended before its first input; its output is above")
        self._skipped.add(number)
        progress = self.progress
        # The range resumes from the saved progress; the numbers after it are repeated, with the same result.
        _find(self.fuzz, Finding(number=number, kind=kind, text=text), progress, self.folder)
        progress.outcomes[kind] = progress.outcomes.get(kind, 0) + 1
        progress.save(self._state)

    def stop(self) -> None:
        if self._child:
            self._child.terminate()
            self._child.wait()


def _ranges(first: int, count: int, jobs: int) -> Iterator[tuple[int, int]]:
    for job in range(jobs):
        start, end = count * job // jobs, count * (job + 1) // jobs
        if end > start:
            yield first + start, end - start


def _summary(name: str, parts: list[Progress], whole: int) -> dict[str, Any]:
    outcomes: dict[str, int] = {}
    for part in parts:
        for outcome, count in part.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    slowest = max(parts, key=lambda part: part.slowest)
    return {
        "name": name,
        "tried": sum(part.done for part in parts),
        "of": whole,
        "outcomes": dict(sorted(outcomes.items(), key=lambda item: -item[1])),
        "findings": sum(sum(part.kinds.values()) for part in parts),
        "seconds": round(sum(part.seconds for part in parts), 1),
        "slowest_seconds": round(slowest.slowest, 3),
        "slowest_number": slowest.slowest_number,
        "growth_mib": round(max(part.growth for part in parts) / 2**20),
    }


def main(make_fuzz: Callable[[argparse.Namespace], Fuzz], parser: argparse.ArgumentParser) -> int:
    """Run a fuzzing script; returns 1 if there are findings, else 0.

    Args:
        make_fuzz: Builds the fuzz target from the parsed arguments.
        parser: Parser with the options of the script, which are passed on to child processes unchanged, so they must be
            flags or use an equals sign.
    """
    parser.add_argument("--first", type=int, default=0, help="the first number (0)")
    parser.add_argument("--count", type=int, default=1000, help="how many numbers (1000)")
    parser.add_argument("--jobs", type=int, default=1, help="child processes, each with its share of them (1)")
    parser.add_argument("--out", type=Path, help="folder of progress and findings; the same call goes on where it was")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="try this number alone, in this process")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    fuzz = make_fuzz(arguments)
    out = arguments.out or Path("output") / "fuzz" / fuzz.name
    if arguments.only is not None:
        with tempfile.TemporaryDirectory() as name:
            print(fuzz.attempt(fuzz.make(Random(arguments.only)), Path(name)))
        return 0
    out.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        skip = [] if arguments.worker == "none" else arguments.worker.split(",")
        progress = Progress.load(out / f"{arguments.first}-{arguments.count}.json")
        return 0 if run_range(fuzz, progress, out, skip=frozenset(int(number) for number in skip)) else _GREW
    own = {"first", "count", "jobs", "out", "only", "worker"}
    options = [f"--out={out}"]
    for name, value in vars(arguments).items():
        if name not in own and value not in (None, False):
            options.append(f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}"))
    return _supervise(fuzz, arguments, out, options)


def _supervise(fuzz: Fuzz, arguments: argparse.Namespace, out: Path, options: list[str]) -> int:
    ranges = _ranges(arguments.first, arguments.count, arguments.jobs)
    shards = [_Shard(fuzz, first, count, out, options) for first, count in ranges]
    reported = time.monotonic()
    try:
        waiting = list(shards)
        while waiting:
            waiting = [shard for shard in waiting if not shard.poll()]
            if time.monotonic() - reported > 30:
                reported = time.monotonic()
                _print_summary(_summary(fuzz.name, [shard.progress for shard in shards], arguments.count))
            time.sleep(0.2)
    finally:
        for shard in shards:
            shard.stop()
    parts = [shard.progress for shard in shards]
    summary = _summary(fuzz.name, parts, arguments.count)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    _print_summary(summary)
    kinds: dict[str, int] = {}
    examples: dict[str, list[int]] = {}
    for part in parts:
        for kind, count in part.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
        for finding in part.findings:
            examples.setdefault(finding.kind, []).append(finding.number)
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"  {count} x {kind}; numbers {examples[kind][:_SAVED]}, in {out / 'findings'}")
    return 1 if kinds else 0


def _print_summary(summary: dict[str, Any]) -> None:
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in summary["outcomes"].items())
    rate = summary["tried"] / summary["seconds"] if summary["seconds"] else 0.0
    print(
        f"{summary['name']}: {summary['tried']:,} of {summary['of']:,} ({outcomes}); {summary['findings']:,} findings; "
        f"{rate:.0f} a second in a process; slowest {summary['slowest_seconds']:.2f} s, "
        f"number {summary['slowest_number']}; grew by {summary['growth_mib']} MiB",
        flush=True,
    )
