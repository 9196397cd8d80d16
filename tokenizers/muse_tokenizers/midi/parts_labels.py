"""What an id of a score in parts is called."""

from __future__ import annotations

from muse_tokenizers.built_in import STYLES
from muse_tokenizers.midi.clock import Clock
from muse_tokenizers.midi.labels import drum_name, pitch_name, program_name
from muse_tokenizers.midi.parts_reading import PartsReading
from muse_tokenizers.midi.parts_vocabulary import DRUM_KIT, ORIGINS, PARTS, SIGNATURES, TICKS, PartsKind, PartsTables

__all__ = ["parts_label"]

_SPECIAL = {
    PartsKind.PAD: "pad",
    PartsKind.BOS: "begin",
    PartsKind.EOS: "end",
    PartsKind.Prefix: "prefix",
    PartsKind.Suffix: "suffix",
    PartsKind.Middle: "middle",
}


def parts_label(
    reading: PartsReading, index: int, tables: PartsTables, clock: Clock | None = None
) -> tuple[str, str, int | None]:
    """Return label, kind and value of the id at an index; `clock` has the tempos of the file."""
    i, kind = int(reading.ids[index]), PartsKind(int(reading.kind[index]))
    number = int(tables.number[i])
    scale = 1.0 if clock is None else clock.scale
    program = int(reading.player[index]) // PARTS
    match kind:
        case PartsKind.Pitch:
            return pitch_name(number), "pitch", number
        case PartsKind.PitchDrum:
            return drum_name(number), "drum", number
        case PartsKind.Velocity:
            return f"velocity {number}", "velocity", None
        case PartsKind.Duration:
            return f"{tables.ticks[i] / TICKS:.4g} beats", "duration", None
        case PartsKind.Bar:
            return f"bar {reading.bar[index]}", "bar", None
        case PartsKind.Position:
            beat = TICKS * 4 // SIGNATURES[reading.signature[index]][1]
            return f"beat {number / beat + 1:.4g}", "position", None
        case PartsKind.BaseTempo:
            return f"{round(float(tables.beats_per_minute[i]) * scale, 1):g} bpm", "tempo", None
        case PartsKind.Tempo:
            return f"{round(float(tables.ratio[i]) * reading.base * scale, 1):g} bpm", "tempo", None
        case PartsKind.TimeSig:
            beats, unit = SIGNATURES[number]
            return f"{beats}/{unit}", "time signature", None
        case PartsKind.Program:
            return program_name(-1 if number == DRUM_KIT else number), "program", None
        case PartsKind.Part:
            return f"{program_name(program)} {number + 1}" if program >= 0 else f"part {number + 1}", "program", None
        case PartsKind.Pedal | PartsKind.PedalOff:
            name = program_name(max(program, 0))
            return f"pedal {'down' if kind == PartsKind.Pedal else 'up'}, {name}", "pedal", None
        case PartsKind.Origin:
            return ORIGINS[number], "origin", None
        case PartsKind.Style:
            return f"style: {STYLES[number]}", "style", None
        case _:
            return _SPECIAL[kind], "special", None
