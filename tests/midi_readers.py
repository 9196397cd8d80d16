"""A slow decoder of scores in parts that shares no code with the tested one, and the slow decoders by name."""

from __future__ import annotations

from collections.abc import Callable

from midi_pieces import DRUMS, Reading, read_performance, read_remi


def read_parts(tokens: list[str]) -> Reading:
    """Decode scores in parts by the table of `muse_tokenizers.midi.parts_vocabulary`, in 48ths of a quarter. Raises
    AssertionError if a rule is broken."""
    found = Reading(48)
    words = [(kind, value) for kind, _, value in (token.partition("_") for token in tokens)]
    header, base, words = [kind for kind, _ in words[:3]], 120.0, words[:]
    assert header == ["Origin", "Style", "BaseTempo"][: len(header)], "a score begins with its header"
    if len(words) >= 3:
        base = float(words[2][1])
    sounding: dict[tuple[int, int, int], int] = {}
    down: dict[int, int] = {}
    loudness: dict[tuple[int, int], int] = {}
    start, length, position, now = 0, 192, -1, 0
    signature, ratio, program, part = "4/4", "1", None, 0
    before = "BaseTempo"
    for index in range(3, len(words)):
        (kind, value), number = words[index], 0
        after = words[index + 1 : index + 3]
        if kind == "Bar":
            start = start + length if found.bars else 0
            position, now = -1, start
            found.bars.append((start, *(int(number) for number in signature.split("/"))))
        elif kind == "TimeSig":
            assert before == "Bar", "a time signature follows a bar line"
            assert value != signature, "a time signature is another one"
            signature, (beats, unit) = value, (int(number) for number in value.split("/"))
            length = beats * 192 // unit
            found.bars[-1] = (start, beats, unit)
        elif kind == "Tempo":
            assert before in ("Bar", "TimeSig"), "a tempo follows a bar line"
            assert value != ratio, "a tempo is another one"
            ratio = value
            found.tempos.append((start, base * float(value)))
        elif kind == "Position":
            assert position < int(value) < length, "positions ascend inside the bar"
            assert not after or after[0][0] in ("Program", "Part", "Pedal", "PedalOff", "Pitch", "PitchDrum")
            position = int(value)
            now = start + position
        elif kind == "Program":
            assert program != int(value), "a program is another one"
            assert before not in ("Bar", "TimeSig", "Tempo", "Program", "Part")
            program, part = int(value), 0
        elif kind == "Part":
            assert part != int(value), "a part is another one"
            assert program not in (None, DRUMS), "a part is one of a program, and the drum kit has none"
            assert not after or after[0][0] in ("Pitch", "Pedal", "PedalOff")
            part = int(value)
        elif kind in ("Pedal", "PedalOff"):
            assert program is not None
            if kind == "Pedal":
                assert program not in down, "a pedal is pressed when up"
                down[program] = now
            else:
                assert down[program] < now, "a pedal that is pressed is down for a while"
                found.presses.append((program, down.pop(program), now))
        elif kind in ("Pitch", "PitchDrum"):
            assert program is not None, "a note has a player"
            assert position >= 0, "a note has a position"
            assert (program == DRUMS) == (kind == "PitchDrum"), "drum pitches belong to the drum kit"
            assert part == 0 or (program, part - 1) in loudness, "parts enter in their order"
            key = (program, part, int(value))
            assert sounding.get(key, 0) <= now, "a sounding pitch is not struck again"
            if after and after[0][0] == "Velocity":
                number = int(after.pop(0)[1])
                assert loudness.get((program, part)) != number, "a velocity is another one"
            elif after:
                number = loudness[program, part]
            if kind == "PitchDrum":
                number, ticks = number or loudness.get((program, part), 63), 1
            elif not after:
                break
            else:
                assert after[0][0] == "Duration", "a pitched note has a duration"
                ticks = int(after[0][1])
            loudness[program, part] = number
            sounding[key] = now + ticks
            found.notes.append((program, now, ticks, int(value), number))
            found.parts.append(part)
        else:
            assert kind in ("Velocity", "Duration"), f"{kind} is reserved"
            assert before in ("Pitch", "PitchDrum", "Velocity")
        before = kind
    for index, (owner, onset, _, pitch, velocity) in enumerate(found.notes):
        if owner == DRUMS:
            again = [row[1] - onset for row in found.notes if row[0] == DRUMS and row[3] == pitch and row[1] > onset]
            found.notes[index] = (owner, onset, min([12, *again]), pitch, velocity)
    found.presses += [(owner, pressed, None) for owner, pressed in down.items()]
    return found


READERS: dict[str, Callable[[list[str]], Reading]] = {
    "parts": read_parts,
    "remi": read_remi,
    "performance": read_performance,
}
