"""Builds MidiTok tokenizers, and their vocabularies as arrays.

Knows MidiTok's names ("Pitch_60"), but nothing of scores or of the grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.midi.configuration import MidiConfiguration

if TYPE_CHECKING:
    from miditok import MusicTokenizer

__all__ = ["SPECIAL", "Vocabulary", "make_miditok", "make_vocabulary"]

SPECIAL = ("PAD", "BOS", "EOS")

# The order of the events at a position that MidiTok's own token-type graph accepts. MidiTok leaves them in the order of
# the tracks, and then counts a pedal after a note, or its release after its press, as an error.
_ORDER = {"TimeSig": 0, "Tempo": 1, "PedalOff": 2, "Pedal": 3}


def make_miditok(configuration: MidiConfiguration) -> MusicTokenizer:
    """Build the MidiTok tokenizer of a configuration."""
    from miditok import REMI, MIDILike, TokenizerConfig

    shared: dict[str, Any] = {
        "pitch_range": (0, 127),
        "num_velocities": configuration.velocities,
        "special_tokens": list(SPECIAL),
        "remove_duplicated_notes": True,
    }
    if configuration.scheme == "performance":
        # MidiTok counts beats. Scores are converted to 120 beats per minute, at which a beat is half a second.
        beats = configuration.shifts * configuration.shift_milliseconds // 500
        return MIDILike(
            TokenizerConfig(
                **shared,
                beat_res={(0, beats): 500 // configuration.shift_milliseconds},
                use_time_signatures=False,
                use_pitchdrum_tokens=False,
            )
        )

    class OrderedREMI(REMI):  # type: ignore[misc]
        def _sort_events(self, events: list[Any]) -> None:
            events.sort(key=lambda event: (event.time, _ORDER.get(event.type_, 4)))

    signatures: dict[int, list[int]] = {}
    for beats, unit in configuration.time_signatures:
        signatures.setdefault(unit, []).append(beats)
    return OrderedREMI(
        TokenizerConfig(
            **shared,
            drums_pitch_range=(0, 127),
            beat_res={(start, stop): bins for start, stop, bins in configuration.durations},
            use_tempos=True,
            num_tempos=configuration.tempos,
            tempo_range=configuration.tempo_range,
            delete_equal_successive_tempo_changes=True,
            use_time_signatures=True,
            time_signature_range=signatures,
            use_sustain_pedals=True,
            use_programs=True,
            program_changes=True,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The names of ids as arrays."""

    names: tuple[str, ...]
    """V names, such as "Pitch_60"."""
    kinds: tuple[str, ...]
    """V kinds, such as "Pitch"."""
    values: tuple[str, ...]
    """V values as MidiTok writes them, such as "60"."""

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, kind: str) -> NDArray[np.int64]:
        """Return the ids of one kind, in the order of the vocabulary."""
        return np.array([i for i, other in enumerate(self.kinds) if other == kind], dtype=np.int64)

    def numbers(self, kind: str) -> dict[int, int]:
        """Return {id: value} for a kind whose values are integers."""
        return {int(i): int(self.values[i]) for i in self.ids(kind)}


def make_vocabulary(miditok: MusicTokenizer) -> Vocabulary:
    """Return the vocabulary of a MidiTok tokenizer, sorted by id."""
    names = tuple(sorted(miditok.vocab, key=miditok.vocab.get))
    split = [name.split("_", 1) for name in names]
    return Vocabulary(names=names, kinds=tuple(kind for kind, _ in split), values=tuple(value for _, value in split))
