"""Configuration of a MIDI tokenizer. Imports neither MidiTok nor symusic."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from muse_tokenizers.errors import UnknownTokenizerError

__all__ = ["CONFIGURATIONS", "MidiConfiguration"]


def _signatures() -> tuple[tuple[int, int], ...]:
    return tuple((beats, unit) for unit in (4, 8) for beats in range(1, 13))


@dataclass(frozen=True, kw_only=True)
class MidiConfiguration:
    """The vocabulary of a MIDI tokenizer.

    `parts` has a fixed vocabulary (`muse_tokenizers.midi.parts_vocabulary`), of which only the augmentation can be
    configured. `remi` encodes bars and positions (Huang and Yang 2020, with programs as in von Rütte et al. 2022):
    a program token where the instrument changes, tempos, time signatures, sustain pedals, and separate drum
    pitches, so that transposition does not change drums. `performance` is a stream of note on, note off, velocity
    and time shift in real time (Oore et al. 2018), for one piano.
    """

    scheme: Literal["parts", "remi", "performance"] = "remi"
    """Bars and positions of players (`parts`) or of programs (`remi`), or events in milliseconds (`performance`)."""
    velocities: int = 32
    """Number of velocity bins."""
    positions_per_beat: int = 24
    """remi: positions per beat; 24 includes 32nd notes and triplets of 16ths."""
    durations: tuple[tuple[int, int, int], ...] = ((0, 1, 24), (1, 2, 12), (2, 4, 6), (4, 12, 2))
    """remi: resolution of durations, as (from beat, to beat, bins per beat)."""
    tempos: int = 61
    """remi: number of tempo bins, evenly spaced over `tempo_range`."""
    tempo_range: tuple[int, int] = (20, 260)
    """remi: slowest and fastest tempo in beats per minute."""
    time_signatures: tuple[tuple[int, int], ...] = _signatures()
    """remi: time signatures as (beats, unit). Signatures over 1, 2, 16 and 32 are rewritten over 4 and 8 if the bar
    allows it."""
    shift_milliseconds: int = 10
    """performance: shortest time shift, which is also the time grid."""
    shifts: int = 100
    """performance: number of time shifts; the longest is shifts x shift_milliseconds."""
    transpositions: tuple[int, ...] = (0, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)
    """Transpositions in semitones for augmentation; the first is 0. By default, every key is transposed to every
    other."""

    def __post_init__(self) -> None:
        problem = self._wrong_type() or self._problem()
        if problem:
            raise UnknownTokenizerError(f"impossible MIDI tokenizer: {problem}")

    def _problem(self) -> str | None:
        if self.scheme not in ("parts", "remi", "performance"):
            return f"scheme is {self.scheme!r}; allowed: parts, remi, performance"
        if not 1 <= self.velocities <= 127:
            return f"velocities is {self.velocities}; allowed: 1 to 127"
        if not 1 <= self.positions_per_beat <= 96:
            return f"positions_per_beat is {self.positions_per_beat}; allowed: 1 to 96"
        if not self.durations:
            return "durations is empty; allowed: at least one (from beat, to beat, bins per beat)"
        for start, stop, bins in self.durations:
            if not (0 <= start < stop <= 64 and bins >= 1 and self.positions_per_beat % bins == 0):
                return (
                    f"durations has {(start, stop, bins)}; allowed: up to beat 64, "
                    f"with bins per beat that divide {self.positions_per_beat}"
                )
        slowest, fastest = self.tempo_range
        # MIDI stores the microseconds per quarter in 24 bits, which do not suffice below 4 beats per minute.
        if not (1 <= self.tempos <= 1000 and 4 <= slowest <= fastest <= 1000):
            return f"{self.tempos} tempos over {self.tempo_range}; allowed: 1 to 1000 over 4 to 1000, slowest first"
        if not all(1 <= beats <= 64 and unit in (4, 8) for beats, unit in self.time_signatures):
            return "time_signatures must be pairs of beats, up to 64, and a unit of 4 or 8"
        if (4, 4) not in self.time_signatures:
            return "time_signatures is without 4/4, which a score has that names none"
        if not 1 <= self.shift_milliseconds <= 500 or 500 % self.shift_milliseconds:
            return f"shift_milliseconds is {self.shift_milliseconds}; it must divide 500"
        if not 1 <= self.shifts <= 10_000 or self.shifts % (500 // self.shift_milliseconds):
            return f"shifts is {self.shifts}; it must fill whole halves of a second, up to 10,000 shifts"
        if self.transpositions[:1] != (0,) or not all(-127 <= step <= 127 for step in self.transpositions):
            return "transpositions must begin with 0 and lie from -127 to 127"
        if len(set(self.transpositions)) < len(self.transpositions):
            return "transpositions has one twice"
        return None

    def _wrong_type(self) -> str | None:
        """Return a field whose type differs from that of its default; parsed JSON can have any type."""
        for field in fields(self):
            value, default = getattr(self, field.name), field.default
            depth = 0
            while isinstance(default, tuple):
                default, depth = default[0], depth + 1
            if not _is_made_of(value, type(default), depth):
                return f"{field.name} is {repr(value)[:60]}; it must be made of {type(default).__name__}"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, from which `from_json` restores an equal configuration."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> MidiConfiguration:
        """Build a configuration from parsed JSON. Raises UnknownTokenizerError if a field is missing, unknown or
        invalid."""
        names = {field.name for field in fields(cls)}
        if isinstance(content, dict) and "form" in content:
            # Name of the scheme up to 0.1.0.
            content = {"scheme" if name == "form" else name: value for name, value in content.items()}
        if not isinstance(content, dict) or set(content) != names:
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise UnknownTokenizerError(
                f"a MIDI tokenizer's configuration has the fields {sorted(names)}, found {found}"
            )
        try:
            return cls(**{name: _tuples(value) for name, value in content.items()})
        except ValueError as error:
            raise UnknownTokenizerError(
                "impossible MIDI tokenizer: a list is longer or shorter than it can be"
            ) from error


def _is_made_of(value: Any, kind: type, depth: int) -> bool:
    """Whether a value has a type, in tuples nested to `depth`."""
    if depth:
        return isinstance(value, tuple) and all(_is_made_of(item, kind, depth - 1) for item in value)
    return type(value) is kind


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


CONFIGURATIONS = {
    "parts": MidiConfiguration(scheme="parts"),
    "remi": MidiConfiguration(),
    "performance": MidiConfiguration(scheme="performance"),
}
"""Configurations by name: `parts`, the default; `remi`, that of version 0.1; `performance`, the 388 ids of the piano
experiment of arXiv 2409.10870."""
