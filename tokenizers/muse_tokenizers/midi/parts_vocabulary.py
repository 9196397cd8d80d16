"""The vocabulary of scores in parts, as arrays: ticks, pitches, programs and tempos of each id.

| tokens            | meaning                                                                                       |
| ----------------- | --------------------------------------------------------------------------------------------- |
| Origin, Style     | header: score or performance; kind of music, "any" where it is not known                      |
| BaseTempo         | header: prevailing tempo in beats per minute                                                  |
| Bar               | bar line                                                                                      |
| TimeSig, Tempo    | after a bar line, if they change: time signature; tempo relative to that of the header        |
| Position          | position in the bar, in 48ths of a quarter: 10 ms at 120 beats per minute                     |
| Program, Part     | the player, if it changes: General MIDI program or drum kit, and the part of several of one   |
|                   | program (second violin); a program alone is its first part                                    |
| Pedal, PedalOff   | sustain pedal of the player                                                                   |
| Pitch, PitchDrum  | begin of a note of the player                                                                 |
| Velocity          | after a pitch, if it differs from that of the player's previous note                          |
| Duration          | after it; drums have none                                                                     |
| Prefix, Suffix,   | reserved for filling in                                                                       |
| Middle            |                                                                                               |

The tempo of a bar is relative, so that music which stays in tempo stays in the tempo of its file, whatever that is.
What does not change is not repeated, so that a context holds more music. Knows numbers and names; nothing of scores.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.vocabulary import Vocabulary

__all__ = [
    "DRUM_KIT",
    "DRUM_TICKS",
    "ORIGINS",
    "PARTS",
    "PLAYERS",
    "POSITIONS",
    "SIGNATURES",
    "TICKS",
    "WHOLE",
    "PartsKind",
    "PartsTables",
]

TICKS = 48
"""Ticks, which are also positions, per quarter."""
_BAR_QUARTERS = 8
POSITIONS = TICKS * _BAR_QUARTERS
"""Positions of the longest bar."""
PARTS = 8
"""Parts of one program."""
DRUM_KIT = 128
"""Program of the drum kit."""
PLAYERS = (DRUM_KIT + 1) * PARTS
"""Number of players: a player is program * PARTS + part."""
ORIGINS = ("score", "performance")
SIGNATURES = tuple((beats, unit) for unit in (4, 8) for beats in range(1, 1 + 2 * unit))
_TEMPO_STEPS = 12
"""Tempos of a header per octave: neighbours differ by 6 %."""
_SLOWEST, _TEMPOS = 15.0, 61
"""Beats per minute of the first tempo, and the number of tempos, up to 480."""
_RATIO_STEPS = 24
"""Relative tempos per octave: neighbours differ by 3 %."""
_VELOCITIES = 32
DRUM_TICKS = TICKS // 4
"""Length of a drum note: drums sound as long as they sound."""


class PartsKind(IntEnum):
    """Kinds of ids."""

    PAD = 0
    BOS = 1
    EOS = 2
    Origin = 3
    Style = 4
    BaseTempo = 5
    Bar = 6
    TimeSig = 7
    Tempo = 8
    Position = 9
    Program = 10
    Part = 11
    PedalOff = 12
    Pedal = 13
    Pitch = 14
    PitchDrum = 15
    Velocity = 16
    Duration = 17
    Prefix = 18
    Suffix = 19
    Middle = 20


WHOLE = (
    PartsKind.Bar,
    PartsKind.TimeSig,
    PartsKind.Tempo,
    PartsKind.PedalOff,
    PartsKind.Pedal,
    PartsKind.PitchDrum,
    PartsKind.Duration,
)
"""Kinds after which no event is incomplete; after the velocity of a drum none is either."""


def _durations() -> list[int]:
    """Return the lengths in ticks: exact up to a 16th, then coarser, up to 16 quarters."""
    steps = ((1, 13, 1), (14, 49, 2), (52, 97, 4), (104, 193, 8), (216, 385, 24), (432, 769, 48))
    return [ticks for step in steps for ticks in range(*step)]


def _values() -> dict[PartsKind, list[str]]:
    """Return the values of the ids of each kind, in the order of their numbers."""
    ratios = 2.0 ** (np.arange(-2 * _RATIO_STEPS, 2 * _RATIO_STEPS + 1) / _RATIO_STEPS)
    tempos = _SLOWEST * 2.0 ** (np.arange(_TEMPOS) / _TEMPO_STEPS)
    pitches = [str(pitch) for pitch in range(128)]
    return {
        PartsKind.PAD: ["None"],
        PartsKind.BOS: ["None"],
        PartsKind.EOS: ["None"],
        PartsKind.Origin: list(ORIGINS),
        PartsKind.Style: list(STYLES),
        PartsKind.BaseTempo: [f"{tempo:.6g}" for tempo in tempos],
        PartsKind.Bar: ["None"],
        PartsKind.TimeSig: [f"{beats}/{unit}" for beats, unit in SIGNATURES],
        PartsKind.Tempo: [f"{ratio:.6g}" for ratio in ratios],
        PartsKind.Position: [str(position) for position in range(POSITIONS)],
        PartsKind.Program: [str(program) for program in range(DRUM_KIT)] + ["-1"],
        PartsKind.Part: [str(part) for part in range(PARTS)],
        PartsKind.PedalOff: ["None"],
        PartsKind.Pedal: ["None"],
        PartsKind.Pitch: pitches,
        PartsKind.PitchDrum: pitches,
        PartsKind.Velocity: [str(4 * step + 3) for step in range(_VELOCITIES)],
        PartsKind.Duration: [str(ticks) for ticks in _durations()],
        PartsKind.Prefix: ["None"],
        PartsKind.Suffix: ["None"],
        PartsKind.Middle: ["None"],
    }


def parts_vocabulary() -> Vocabulary:
    """Return the names of the ids."""
    pairs = [(kind.name, value) for kind, values in _values().items() for value in values]
    return Vocabulary(
        names=tuple(f"{kind}_{value}" for kind, value in pairs),
        kinds=tuple(kind for kind, _ in pairs),
        values=tuple(value for _, value in pairs),
    )


class PartsTables:
    """Arrays over the V ids.

    Attributes:
        kind: (V,) int64, a `PartsKind`.
        number: (V,) int64: position, program, part, pitch, velocity, or place among the ids of its kind.
        ticks: (V,) int64: length of a duration, or of the bars of a time signature.
        beats_per_minute: (V,) float64, of a base tempo.
        ratio: (V,) float64, of a tempo.
        ids: The ids of each kind, in the order of their numbers.
        first: The first id of each kind.
        common_time, steady: The ids of 4/4 and of the tempo of the header.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.kind = np.array([PartsKind[kind] for kind in vocabulary.kinds], dtype=np.int64)
        self.ids = {kind: np.flatnonzero(self.kind == kind) for kind in PartsKind}
        self.first = {kind: int(ids[0]) for kind, ids in self.ids.items()}
        self.number = np.concatenate([np.arange(len(self.ids[kind])) for kind in PartsKind])
        self.ticks = np.zeros(len(vocabulary), dtype=np.int64)
        self.beats_per_minute, self.ratio = np.zeros(len(vocabulary)), np.zeros(len(vocabulary))
        values = {kind: [vocabulary.values[i] for i in ids] for kind, ids in self.ids.items()}
        self.number[self.ids[PartsKind.Velocity]] = [int(value) for value in values[PartsKind.Velocity]]
        self.ticks[self.ids[PartsKind.Duration]] = [int(value) for value in values[PartsKind.Duration]]
        self.ticks[self.ids[PartsKind.TimeSig]] = [beats * 4 * TICKS // unit for beats, unit in SIGNATURES]
        self.beats_per_minute[self.ids[PartsKind.BaseTempo]] = [float(value) for value in values[PartsKind.BaseTempo]]
        self.ratio[self.ids[PartsKind.Tempo]] = [float(value) for value in values[PartsKind.Tempo]]
        self.common_time = int(self.ids[PartsKind.TimeSig][SIGNATURES.index((4, 4))])
        self.steady = int(self.ids[PartsKind.Tempo][len(self.ids[PartsKind.Tempo]) // 2])

    def nearest_base(self, beats_per_minute: float) -> int:
        """Return the id of the nearest base tempo, by its ratio."""
        known = self.ids[PartsKind.BaseTempo]
        return int(known[_nearest(self.beats_per_minute[known], np.array([beats_per_minute]))[0]])

    def nearest_ratios(self, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the ids of the nearest relative tempos."""
        known = self.ids[PartsKind.Tempo]
        return known[_nearest(self.ratio[known], ratios)]

    def nearest_durations(self, ticks: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the ids of the nearest durations."""
        known = self.ticks[self.ids[PartsKind.Duration]]
        return self.ids[PartsKind.Duration][np.searchsorted((known[1:] + known[:-1]) / 2, ticks)]

    def longest_durations(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the longest durations that do not exceed `ticks`, or of the shortest."""
        known = self.ticks[self.ids[PartsKind.Duration]]
        return self.ids[PartsKind.Duration][np.maximum(np.searchsorted(known, ticks, side="right") - 1, 0)]

    def velocities(self, velocities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the nearest velocities."""
        place = np.clip(np.rint((velocities - 3) / 4).astype(np.int64), 0, _VELOCITIES - 1)
        return self.ids[PartsKind.Velocity][place]


def _nearest(table: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    logs = np.log(table)
    return np.searchsorted((logs[1:] + logs[:-1]) / 2, np.log(np.maximum(values, 1e-9)))
