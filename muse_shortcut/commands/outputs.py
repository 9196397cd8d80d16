"""Writes the candidates of muse-generate as files. What cannot be regenerated from the rest is written first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_shortcut.commands.command_line import Terminal
from muse_shortcut.commands.explained_step import ExplainedStep, explanation_lines, find_step
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.files import write_text
from muse_tokenizers.built_in import domain_info
from muse_tokenizers.levels import LOUDNESS, QUIETEST
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Continuation

__all__ = [
    "Output",
    "OutputOptions",
    "WrittenContinuation",
    "choose_output",
    "format_lengths",
    "parse_loudness",
    "print_lengths",
    "print_next_steps",
    "write_candidates",
]

_SUFFIXES = (".mid", ".wav", ".txt", ".json", ".trace.npz", ".png", ".svg", ".explain.json")
"""Suffixes of all files that are written."""
_OTHER_SUFFIXES = (".midi", ".mp3", ".flac", ".ogg", ".m4a", ".text", ".npz")
"""Suffixes of files that are not written, which therefore do not name a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputOptions:
    """What to write in addition to the piece and its sidecar."""

    keep: int | None = None
    """Number of best candidates to write; None writes all, unranked."""
    trace: bool = True
    picture: bool = False
    explain: ExplainedStep | None = None
    sound: dict[str, Any] | None = None
    """How the sound is rendered, as returned by `Domain.describe_sound`; None for no sound."""
    soundfont: Path | None = None
    """Path of the soundfont; None for the default one."""
    loudness: float | None = None
    """Loudness in LUFS; None for the level of the soundfont."""
    named: bool = False
    """The user named the single file, so it gets no number."""


@dataclass(kw_only=True, slots=True)
class WrittenContinuation:
    """A continuation that has been written."""

    continuation: Continuation
    numbered: Path
    """Path of its files without their suffixes."""
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Faults such as silence and loops, in words."""

    def path_with(self, suffix: str) -> Path:
        """Return the path of one of its files."""
        return self.numbered.with_name(self.numbered.name + suffix)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `--json`."""
        one = self.continuation
        return {
            "files": [str(file) for file in self.files],
            "length": one.length,
            "steps": len(one.ids),
            "nats_per_token": -one.log_probability / max(1, one.ids.size),
            "faults": self.faults,
            "ranking": None if self.continuation.ranking is None else self.continuation.ranking.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Destination: a folder, or a named file."""

    folder: Path
    name: str | None = None
    """Name of the single file, without its suffix."""
    suffixes: tuple[str, ...] = _SUFFIXES
    """Suffixes of all files that may be written beside each other."""

    def stem(self, name: str, *, single: bool) -> Path:
        """Return the stem of all files, without their number.

        Args:
            name: Name to use if the user named no file.
            single: Whether a single candidate is written.

        Raises:
            ArgumentsError: The named file already exists.
        """
        if self.name is None or not single:
            return self.folder / (self.name or name)
        beside = [self.folder / (self.name + one) for one in self.suffixes]
        taken = next((path for path in beside if path.exists()), None)
        if taken is not None:
            raise ArgumentsError(f"{taken} already exists and is not overwritten; choose another --out")
        return self.folder / self.name


def choose_output(out: str, domain: str) -> Output:
    """Parse `--out`.

    Raises:
        ArgumentsError: The suffix belongs to another domain.
    """
    path = Path(out)
    allowed = domain_info(domain).written
    suffixes = (*allowed, *_SUFFIXES)
    if path.is_dir() or path.suffix.lower() not in {*suffixes, *_OTHER_SUFFIXES}:
        return Output(folder=path)
    if path.suffix.lower() not in allowed:
        raise ArgumentsError(f"--out is {out}; allowed: a folder, or a file that ends in {' or '.join(allowed)}")
    return Output(folder=path.parent, name=path.stem, suffixes=suffixes)


def parse_loudness(text: str) -> float | None:
    """Parse a loudness in LUFS; "off" gives None.

    Raises:
        ArgumentsError: The text is neither.
    """
    if text.strip().lower() == "off":
        return None
    with suppress(ValueError):
        if QUIETEST <= float(text) <= 0:
            return float(text)
    raise ArgumentsError(f"--loudness is {text!r}; allowed: LUFS from {QUIETEST:g} to 0 such as {LOUDNESS:g}, or off")


def write_candidates(
    continuations: Sequence[Continuation], stem: Path, options: OutputOptions, terminal: Terminal
) -> tuple[list[WrittenContinuation], list[str]]:
    """Write continuations as STEM-NUMBER with their suffixes, and print the names of the files.

    Returns:
        The written continuations, and an error message for each that could not be explained.

    Raises:
        OutputError: A file could not be written.
    """
    from muse_shortcut.api.ranking import find_faults
    from muse_shortcut.generation.output_names import free_number

    number = free_number(stem.parent, stem.name)
    if options.keep is not None:
        continuations = _best(continuations, options.keep, terminal)
    written: list[WrittenContinuation] = []

    def add_file(continuation: WrittenContinuation, path: Path) -> None:
        continuation.files.append(path)
        terminal.result(str(path))

    for one in continuations:
        numbered = stem if options.named else stem.with_name(f"{stem.name}-{number}")
        number += 1
        new = WrittenContinuation(continuation=one, numbered=numbered)
        add_file(new, one.save(new.path_with(one.domain.info.suffix)))
        sidecar = new.path_with(".json")
        write_text(sidecar, one.sidecar(name=stem.name, sound=options.sound))
        add_file(new, sidecar)
        written.append(new)
    for new in written if options.trace else []:
        # The saved file is memory-mapped: the rows of an hour need not be in memory.
        new.continuation.move_trace(new.path_with(".trace.npz"))
        add_file(new, new.path_with(".trace.npz"))
    # Sound is slow, and can be rendered again from the rest.
    for new in written if options.sound is not None else []:
        if ".wav" in new.continuation.domain.info.written[1:]:
            add_file(
                new,
                new.continuation.save(new.path_with(".wav"), soundfont=options.soundfont, loudness=options.loudness),
            )
    problems = []
    for new in written if options.picture or options.explain is not None else []:
        one = new.continuation
        step = None
        try:
            if options.explain is not None:
                step, remark = find_step(one, options.explain)
                if remark:
                    terminal.hint(remark)
        except ArgumentsError as error:
            problems.append(f"{new.numbered.name}: {error}")
        for suffix in (".png", ".svg") if options.picture else ():
            add_file(new, one.plot(new.path_with(suffix), step=step, title=new.numbered.name))
        if step is not None:
            found = one.explain(step)
            path = new.path_with(".explain.json")
            write_text(path, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
            add_file(new, path)
            terminal.result("\n".join(explanation_lines(found, one.domain.unit)))
    for new in written:
        new.faults = find_faults(
            new.continuation.domain, new.continuation.piece, new.continuation.start, len(new.continuation.ids)
        )
    return written, problems


def print_lengths(written: Sequence[WrittenContinuation], terminal: Terminal) -> None:
    """Print the faults of the continuations, and the lengths of the prompt and of the new part."""
    for new in written:
        for fault in new.faults:
            terminal.warn(f"{new.numbered.name}: {fault}")
    if written:
        first = written[0].continuation
        prompt = "none" if first.request.prompt.piece is None else format_lengths([first.prompt_length])
        lengths, rings = [new.continuation.length for new in written], ""
        requested = first.request.constraints.length
        longest = max(one.get("seconds", 0.0) for one in lengths)
        # No note begins after the requested length, but the last one may be long.
        if requested is not None and "seconds" in lengths[0] and longest > requested + 1:
            lengths = [one | {"seconds": min(one["seconds"], requested)} for one in lengths]
            rings = f"; the last note rings on until {longest:.1f} s"
        terminal.inform(f"prompt: {prompt}; new: {format_lengths(lengths)}{rings}")


def format_lengths(lengths: Sequence[dict[str, float]]) -> str:
    """Format lengths by unit: "10.2 s, 4 bars", or "9.8 to 10.2 s, 4 bars" for several."""
    words = []
    for unit in lengths[0]:
        form = ",.0f" if unit != "seconds" else ".2f" if max(one[unit] for one in lengths) < 10 else ",.1f"
        found = list(dict.fromkeys(format(one, form) for one in sorted(length[unit] for length in lengths)))
        number = " to ".join(dict.fromkeys((found[0], found[-1])))
        words.append(f"{number} {'s' if unit == 'seconds' else unit[:-1] if number == '1' else unit}")
    return ", ".join(words)


def print_next_steps(
    written: Sequence[WrittenContinuation], steps: int | None, options: OutputOptions, terminal: Terminal
) -> None:
    """Print the last line: what was written, and what can be done with it.

    Args:
        written: The written continuations.
        steps: Step at which the work was interrupted; None if it was not.
        options: The requested outputs.
        terminal: Output of the command.
    """
    if not written:
        return
    first = written[0]
    files = [
        one
        for one in dict.fromkeys((".wav", ".mid", first.continuation.domain.info.suffix))
        if first.path_with(one).exists()
    ]
    verb = "listen to" if ".wav" in files else "open" if ".mid" in files else "read"
    kept = "" if steps is None else f"interrupted after {counted(steps, 'step')}, what was written so far is kept; "
    also = " (or open the .mid in a notation program)" if files[:2] == [".wav", ".mid"] else ""
    attention = "" if options.picture or options.explain is not None else "; --picture and --explain show its attention"
    terminal.hint(f"{kept}{verb} {first.path_with(files[0])}{also}{attention}")


def _best(continuations: Sequence[Continuation], keep: int, terminal: Terminal) -> list[Continuation]:
    """Return the best continuations, and print the places of all."""
    from muse_shortcut.api.continuation import rank_continuations

    ranked = rank_continuations(continuations)
    places = [one.ranking for one in ranked if one.ranking is not None]
    for one in places:
        far = "" if one.distance is None else f", distance {one.distance:.2f} from the prompt's end"
        faults = "".join(f"; {fault}" for fault in one.faults)
        nats = f"{one.nats_per_token:.3f} nats per token"
        terminal.hint(f"place {one.place}: candidate {one.candidate + 1} of {one.of}, {nats}{far}{faults}")
    less = "" if places[0].distance is None else "; distance 1 is the candidates' mean, see docs/evaluation.md"
    terminal.hint(f"smaller is better{less}")
    return ranked[:keep]
