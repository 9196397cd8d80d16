"""What a MIDI tokenizer is made of, as plain data. Knows neither MidiTok nor scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from muse_tokenizers.errors import UnknownTokenizer

__all__ = ["CONFIGURATIONS", "MidiConfiguration"]


def _signatures() -> tuple[tuple[int, int], ...]:
    return tuple((beats, unit) for unit in (4, 8) for beats in range(1, 13))


@dataclass(frozen=True, kw_only=True)
class MidiConfiguration:
    """The vocabulary of a MIDI tokenizer.

    `remi` counts bars and positions (Huang and Yang 2020, with programs as in Ruette et al. 2022): a program token
    where the instrument changes, tempos, time signatures, sustain pedals, and drum pitches of their own, so that a
    transposition leaves drums where they are. `performance` is a stream of note on, note off, velocity and time
    shift in real time (Oore et al. 2018), for one piano.
    """

    form: Literal["remi", "performance"] = "remi"
    """Bars and positions, or events in milliseconds."""
    velocities: int = 32
    """Loudness bins."""
    positions_per_beat: int = 24
    """remi: the time grid; 24 holds 32nd notes and triplets of 16ths under a beat of a quarter."""
    durations: tuple[tuple[int, int, int], ...] = ((0, 1, 24), (1, 2, 12), (2, 4, 6), (4, 12, 2))
    """remi: note lengths, as (from beat, to beat, bins a beat)."""
    tempos: int = 61
    """remi: tempo bins, evenly spaced over `tempo_range`."""
    tempo_range: tuple[int, int] = (20, 260)
    """remi: slowest and fastest, beats a minute."""
    time_signatures: tuple[tuple[int, int], ...] = _signatures()
    """remi: (beats, unit) of a bar. Signatures over 1, 2, 16 and 32 are rewritten over 4 and 8 where the bar allows."""
    shift_milliseconds: int = 10
    """performance: the shortest time shift, and the time grid."""
    shifts: int = 100
    """performance: how many time shifts there are; the longest is shifts x shift_milliseconds."""
    transpositions: tuple[int, ...] = (0, -3, -2, -1, 1, 2, 3)
    """Augmentation, in semitones; the first is 0."""

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise UnknownTokenizer(f"impossible MIDI tokenizer: {problem}")

    def _problem(self) -> str | None:
        if self.form not in ("remi", "performance"):
            return f"form is {self.form!r}; allowed: remi, performance"
        if not 1 <= self.velocities <= 127:
            return f"velocities is {self.velocities}; allowed: 1 to 127"
        if not 1 <= self.positions_per_beat <= 96:
            return f"positions_per_beat is {self.positions_per_beat}; allowed: 1 to 96"
        for start, stop, bins in self.durations:
            if not (0 <= start < stop and bins >= 1 and self.positions_per_beat % bins == 0):
                return f"durations has {(start, stop, bins)}; bins a beat must divide {self.positions_per_beat}"
        if self.tempos < 1 or not 1 <= self.tempo_range[0] <= self.tempo_range[1]:
            return f"{self.tempos} tempos over {self.tempo_range}; allowed: at least one, slowest first"
        if not self.time_signatures or any(beats < 1 or unit not in (4, 8) for beats, unit in self.time_signatures):
            return "time_signatures must be pairs of beats and a unit of 4 or 8"
        if self.shifts < 1 or self.shift_milliseconds < 1 or 1000 % self.shift_milliseconds:
            return f"shift_milliseconds is {self.shift_milliseconds}; it must divide 1000"
        if self.shifts % (500 // self.shift_milliseconds or 1):
            return f"shifts is {self.shifts}; it must fill whole halves of a second"
        if not self.transpositions or self.transpositions[0] != 0:
            return "transpositions must begin with 0"
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, from which `from_json` makes an equal configuration."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> MidiConfiguration:
        """Raises UnknownTokenizer: a field is missing, unknown or impossible."""
        names = {field.name for field in fields(cls)}
        if not isinstance(content, dict) or set(content) != names:
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise UnknownTokenizer(f"a MIDI tokenizer's configuration has the fields {sorted(names)}, found {found}")
        try:
            return cls(**{name: _tuples(value) for name, value in content.items()})
        except TypeError as error:
            raise UnknownTokenizer(f"impossible MIDI tokenizer: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


CONFIGURATIONS = {
    "remi": MidiConfiguration(),
    "performance": MidiConfiguration(form="performance"),
}
"""By name: `remi`, the default; `performance`, the 388 ids of arXiv 2409.10870's piano experiment."""
