"""Reading MIDI files: valid ones as intended, damaged ones as far as possible, with a line of warning."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import pytest
from midi_pieces import DRUMS, control_rows, domain, note_rows, pedal_rows, signature_rows, tempo_rows
from symusic import TextMeta

from muse_tokenizers.errors import FileWarning, UnreadablePieceError, warn_about
from muse_tokenizers.midi import smf
from muse_tokenizers.midi.domain import MidiDomain
from muse_tokenizers.midi.reading import MAXIMUM_NOTES, parse_score
from muse_tokenizers.midi.smf import Repairs, parse_file
from muse_tokenizers.midi.tempo_map import TempoMap
from muse_tokenizers.midi.writing import dump_score

Row = tuple[int, ...]

ON, OFF, END = b"\x00\x90\x3c\x40", b"\x10\x80\x3c\x40", b"\x00\xff\x2f\x00"
NOTE = [(0, 0, 16, 60, 64)]


def midi_file(*tracks: bytes, division: int = 480, count: int | None = None, form: int = 1) -> bytes:
    head = struct.pack(">4sIHHH", b"MThd", 6, form, len(tracks) if count is None else count, division)
    return head + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


WHOLE = midi_file(ON + OFF + END)


def track(*events: tuple[int, bytes], end: int = 0) -> bytes:
    """The events of a track with their delta times, and its end."""
    return b"".join(number(delta) + data for delta, data in events) + number(end) + b"\xff\x2f\x00"


def number(value: int) -> bytes:
    groups = [value >> shift & 127 for shift in (21, 14, 7, 0)]
    while len(groups) > 1 and not groups[0]:
        groups.pop(0)
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def on(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x90 | channel, pitch, 64))


def off(pitch: int, channel: int = 0) -> bytes:
    return bytes((0x80 | channel, pitch, 64))


def control(value: int, channel: int = 0, number: int = 64) -> bytes:
    return bytes((0xB0 | channel, number, value))


def program(value: int, channel: int = 0) -> bytes:
    return bytes((0xC0 | channel, value))


def read(data: bytes) -> tuple[Any, list[str]]:
    """The score in these bytes, and what was said of them."""
    lines: list[str] = []
    score = parse_score(data, "NAME", lines.append)
    assert all(line.startswith("NAME: ") and "\n" not in line for line in lines)
    return score, [line.removeprefix("NAME: ") for line in lines]


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
        parse_score(data, "NAME")
    return str(caught.value)


# A channel's state

HANDS = [
    track((0, program(5)), (0, on(72)), (480, off(72)), (0, on(74)), (480, off(74))),
    track((0, on(48)), (960, off(48))),
]
PEDAL = track((100, control(127)), (300, control(0)), (80, control(100)), (200, control(0)))


@pytest.mark.parametrize("tracks", [[*HANDS, PEDAL], [PEDAL, *HANDS]])
def test_a_pedal_in_a_track_of_its_own_is_that_of_all_notes_of_its_channel(tracks: list[bytes]) -> None:
    score, said = read(midi_file(*tracks))
    assert not said
    assert [part.program for part in score.tracks] == [5, 5]
    assert pedal_rows(score) == sorted([(5, 100, 400), (5, 480, 680)] * 2)


def test_an_instrument_of_two_tracks_has_each_pedal_once_among_its_ids() -> None:
    midi = domain("remi")
    names = [midi.tokenizer.vocabulary()[i] for i in midi.tokenizer.encode(read(midi_file(*HANDS, PEDAL))[0])[:, 0]]
    assert names.count("Pedal_5") == names.count("PedalOff_5") == 2


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("tick", [0, 480])
def test_a_program_set_in_another_track_is_that_of_the_notes(before: bool, tick: int) -> None:
    programs = track((tick, program(40)), (0, program(32, 1)), (0, control(90, 1, 7)), (0, b"\xe0\x00\x50"))
    notes = track((tick, on(60)), (0, on(36, 1)), (480, off(60)), (0, off(36, 1)))
    score, _ = read(midi_file(*((programs, notes) if before else (notes, programs))))
    assert note_rows(score) == [(32, tick, 480, 36, 64), (40, tick, 480, 60, 64)]
    assert control_rows(score) == [(32, tick, 7, 90)]
    assert [(bend.time, bend.value) for part in score.tracks for bend in part.pitch_bends] == [(tick, 2048)]


def test_a_change_of_program_makes_two_parts_with_their_own_controllers() -> None:
    score, _ = read(
        midi_file(
            track(
                (0, control(80, number=7)), (0, program(0)), (0, control(127)), (0, on(60)), (480, off(60)),
                (0, program(48)), (120, control(0)), (0, on(62)), (240, control(99, number=7)), (240, off(62)),
            )
        )
    )  # fmt: skip
    assert note_rows(score) == [(0, 0, 480, 60, 64), (48, 600, 480, 62, 64)]
    # The volume goes on under the strings, and the pedal of the piano is released when it is.
    assert pedal_rows(score) == [(0, 0, 600), (48, 480, 600)]
    volumes = [row for row in control_rows(score) if row[2] == 7]
    assert volumes == [(0, 0, 7, 80), (48, 480, 7, 80), (48, 840, 7, 99)]


def test_tracks_that_contradict_each_other_keep_to_themselves() -> None:
    """Many programs write all tracks on the first channel."""
    tracks = [track((0, program(p)), (0, control(p, number=7)), (480, on(60 + p)), (480, off(60 + p))) for p in (1, 2)]
    score, _ = read(midi_file(*tracks))
    assert [row[:4] for row in note_rows(score)] == [(1, 480, 480, 61), (2, 480, 480, 62)]
    assert control_rows(score) == [(1, 0, 7, 1), (2, 0, 7, 2)]


def test_each_port_has_channels_of_its_own() -> None:
    ports = [track((0, b"\xff\x21\x01" + bytes((p,))), (p, program(p)), (0, on(60)), (9, off(60))) for p in (0, 1)]
    score, _ = read(midi_file(*ports))
    assert [part.program for part in score.tracks] == [0, 1]


# Notes that nothing ends


@pytest.mark.parametrize(
    ("events", "end", "lengths"),
    [
        ([(0, on(60)), (100, on(60)), (100, off(60))], 0, [100, 100]),
        ([(0, on(60)), (0, on(64)), (70, control(0, number=123)), (300, on(60)), (10, off(60))], 0, [70, 70, 10]),
        ([(0, on(60)), (50, control(0, number=120))], 500, [50]),
        ([(0, on(60)), (50, control(0, number=127))], 500, [50]),
        ([(0, on(60)), (50, control(0, 1, number=123))], 500, [550]),
        ([(0, on(60)), (0, on(67))], 960, [960, 960]),
        # A track that ends with its last chord, and one that goes on for hours.
        ([(0, on(60)), (240, off(60)), (0, on(64))], 0, [240, 480]),
        ([(0, on(60))], 20_000_000, [16 * 480]),
        ([(0, on(60)), (3_000_000, control(9, number=7))], 0, [1000 * 480]),
        # The note-off is that of the second.
        ([(0, on(60)), (100, on(60)), (50, off(60)), (100, on(60)), (50, off(60))], 0, [100, 50, 50]),
    ],
)
def test_no_note_is_lost_that_nothing_ends(events: list[tuple[int, bytes]], end: int, lengths: list[int]) -> None:
    score, said = read(midi_file(track(*events, end=end)))
    assert [row[2] for row in sorted(note_rows(score), key=lambda row: row[1:2] + row[3:4])] == lengths
    count = sum(data[0] >> 4 == 9 for _, data in events) - sum(data[0] >> 4 == 8 for _, data in events)
    notes = "1 note" if count == 1 else f"{count} notes"
    assert said == [f"{notes} without a note-off, ended at the next of the pitch, at All Notes Off, or with the track"]


def test_notes_of_one_pitch_that_overlap_end_in_the_order_in_which_they_began() -> None:
    score, said = read(midi_file(track((5, off(60)), (0, on(60)), (10, on(60)), (10, off(60)), (10, off(60)))))
    assert [row[1:3] for row in note_rows(score)] == [(5, 20), (15, 20)]
    assert not said


def test_all_notes_off_in_another_track_ends_them_too() -> None:
    score, _ = read(midi_file(track((0, on(60)), end=900), track((300, control(0, number=123)))))
    assert [row[1:3] for row in note_rows(score)] == [(0, 300)]


# Valid files of every kind

VALID = {
    "running status": midi_file(ON + b"\x10\x3c\x00" + END),
    "running status across a meta event": midi_file(ON + b"\x00\xff\x01\x01a" + b"\x10\x3c\x00" + END),
    "running status across an exclusive message": midi_file(ON + b"\x00\xf0\x01\xf7" + b"\x10\x3c\x00" + END),
    "running status of one data byte": midi_file(
        b"\x00\xc0\x00\x00\x06\x00\xff\x01\x00\x00\x00" + ON + OFF + b"\x00\xd0\x01\x00\x02" + END
    ),
    "an exclusive message": midi_file(b"\x00\xf0\x03\x7e\x7f\xf7" + ON + OFF + END),
    "an exclusive message in parts": midi_file(
        b"\x00\xf0\x02\x43\x12\x00\xf7\x02\x01\x02\x00\xf7\x02\x03\xf7" + ON + OFF + END
    ),
    "what is to be sent as it is": midi_file(b"\x00\xf7\x02\xf3\x01" + ON + OFF + END),
    "a longer header": WHOLE[:4] + b"\x00\x00\x00\x08" + WHOLE[8:14] + b"\x00\x00" + WHOLE[14:],
    "an unknown chunk": WHOLE[:14] + b"XFIH\x00\x00\x00\x04abcd" + WHOLE[14:],
    "a RIFF file": b"RIFF" + (len(WHOLE) + 12).to_bytes(4, "little") + b"RMIDdata" + bytes(4) + WHOLE,
    "a text that is no UTF-8": midi_file(b"\x00\xff\x03\x02\xff\xfe" + ON + OFF + END),
    "aftertouch": midi_file(b"\x00\xa0\x3c\x40\x00\xd0\x40" + ON + OFF + END),
    "a delta time longer than it need be": midi_file(b"\x80\x80\x00" + ON[1:] + OFF + END),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_file_is_read_without_a_word(name: str) -> None:
    score, said = read(VALID[name])
    assert note_rows(score) == NOTE
    assert not said


@pytest.mark.parametrize(
    ("division", "seconds"),
    [(0xE728, 1 / 1000), (0xE701, 1 / 25), (0xE850, 1 / 1920), (0xE30A, 1001 / 300_000), (0xE2FF, 1 / 7650)],
)
def test_smpte_time_is_read_as_real_time(division: int, seconds: float) -> None:
    tempo = b"\x00\xff\x51\x03\x01\x00\x00"
    score, said = read(midi_file(tempo + ON + b"\x87\x68\x80\x3c\x40" + END, division=division))
    assert float(TempoMap(score).seconds(note_rows(score)[0][2])) == pytest.approx(1000 * seconds, rel=1e-9)
    assert said == ["1 tempo left out: its ticks are parts of a second"]


def test_the_patterns_of_format_2_follow_one_another_at_bar_lines() -> None:
    fast = b"\x00\xff\x51\x03\x03\x00\x00\x00\xff\x58\x04\x03\x02\x18\x08"
    first = fast + track((0, program(7)), (0, on(60)), (100, off(60)))
    score, said = read(midi_file(first, track((10, on(62)), (100, off(62))), form=2))
    assert [row[:4] for row in note_rows(score)] == [(7, 0, 100, 60), (7, 1450, 100, 62)]
    assert tempo_rows(score) == [(0, 0x30000), (1440, 500_000)]
    assert signature_rows(score) == [(0, 3, 4), (1440, 4, 4)]
    assert said == ["its 2 tracks are pieces of their own (format 2); read one after the other"]


def test_the_tenth_channel_is_the_drums() -> None:
    score, _ = read(midi_file(*(track((0, on(36, 9)), (9, off(36, 9))) for _ in range(16)), ON + OFF + END))
    assert note_rows(score) == [(DRUMS, 0, 9, 36, 64)] * 16 + NOTE


def test_words_and_names_come_along_in_any_encoding() -> None:
    words = b"\x00\xff\x05\x04\x6c\x61\xe9\x20" + END
    score, _ = read(midi_file(words, b"\x00\xff\x03\x04Caf\xe9" + b"\x00\xff\x06\x05\xc3\xa9\x00ab" + ON + OFF + END))
    assert [part.name for part in score.tracks] == ["Café"]
    assert [lyric.text for lyric in score.tracks[0].lyrics] == ["laé "]
    assert [marker.text for marker in score.markers] == ["éab"]


@pytest.mark.parametrize("text", ["\0", "\0\u0100x", "\0\x51\0\0\0", "\0\x2f"])
def test_a_marker_of_a_score_from_elsewhere_becomes_no_other_event(text: str) -> None:
    score, _ = read(midi_file(ON + OFF + END))
    before = dump_score(score)
    score.markers.append(TextMeta(0, text))
    again, _ = read(dump_score(score))
    assert [marker.text for marker in again.markers] == [text.replace("\0", "")]
    again.markers.clear()
    assert dump_score(again) == before


def test_the_title_texts_and_copyright_of_a_file_are_written_again() -> None:
    def meta(kind: int, text: bytes) -> bytes:
        return b"\x00\xff" + bytes((kind, len(text))) + text

    conductor = meta(3, b"Gr\xfcn") + meta(2, b"(c) 1900") + b"\x08\xff\x01\x05slow\xe9"
    late = meta(1, b"far behind the last note")
    data = midi_file(conductor + END, meta(3, b"Flute") + meta(1, b"solo") + ON + OFF + b"\x60" + late[1:] + END)
    midi = domain("remi")
    score, said = read(data)
    assert (said, score.end()) == ([], 16)
    prompt = midi.prompt(score)
    for written in (midi.dumps(score), midi.dumps(midi.join(prompt, prompt.ids[:0]))):
        first = parse_file(written, Repairs()).tracks[0]
        # The notes of the prompt are in ticks of another length.
        assert [(kind, text.decode()) for _, kind, text in first.meta if kind < 5] == [
            (3, "Grün"), (2, "(c) 1900"), (1, "solo"), (1, "slowé"),
        ]  # fmt: skip
        again, _ = read(written)
        assert [track.name for track in again.tracks] == ["Flute"]
        assert midi.dumps(again) == written


def test_a_prompt_from_its_file_and_from_a_sidecar_has_the_same_texts() -> None:
    text = b"\x20\xff\x01\x01a"
    whole, _ = read(
        midi_file(
            text * 40 + END,
            b"\x00\xff\x03\x01b" + (ON + b"\x10" + OFF[1:]) * 3 + b"\x87\x68" + ON[1:] + OFF + END,
            division=96,
        )
    )
    midi = domain("remi")
    piece = midi.prompt(whole, 0.1).piece
    assert 0 < len(piece.markers) < len(whole.markers)
    assert midi.dumps(midi.loads(midi.dumps(piece))) == midi.dumps(piece)


def test_karaoke_and_riff_files_are_midi_files() -> None:
    assert {".mid", ".midi", ".kar", ".rmi"} == MidiDomain.info.suffixes


# What is repaired

REPAIRED = {
    "its header promises 9 tracks; there is 1": [midi_file(ON + OFF + END, count=9)],
    "its header promises 0 tracks; there is 1": [midi_file(ON + OFF + END, count=0)],
    "the length of its header is wrong; read as 6 bytes": [
        WHOLE[:4] + b"\x00\x00\x00\x09" + WHOLE[8:],
        WHOLE[:4] + b"\x00\x00\x00\x00" + WHOLE[8:],
    ],
    "there is no format 7; read as format 1": [midi_file(ON + OFF + END, form=7)],
    "8 bytes before its header left out": [b"garbage\n" + WHOLE],
    "19 bytes after its last track left out": [WHOLE + b"\x00garbage at the end"],
    "3 bytes between two tracks left out": [WHOLE[:14] + b"abc" + WHOLE[14:]],
    "1 track without an end (track 1, tick 16)": [midi_file(ON + OFF)],
    "the length of 1 track is wrong (track 1)": [
        WHOLE[:14] + b"MTrk\x80\x00\x00\x10" + WHOLE[22:],
        WHOLE[:14] + b"MTrk\x00\x00\x00\x05" + WHOLE[22:],
    ],
    "1 track cut off and read as far as possible (track 1, tick 16)": [
        WHOLE[:-1],
        WHOLE[:-3],
        midi_file(ON + OFF + b"\x00\xff\x01\x10abc"),
        midi_file(ON + OFF + b"\x00\xf0\x81\x00abc"),
        midi_file(ON + OFF + b"\x00\x90\x3c"),
    ],
    "1 data byte above 127 read as 127 (track 1, tick 0)": [
        midi_file(b"\x00\xc0\x00\x00\xb0\x07\xff" + ON + OFF + END)
    ],
    "3 data bytes above 127 read as 127 (the first in track 1, tick 0)": [
        midi_file(b"\x00\xb0\xff\x81\x05\xe0\x00\xf8" + b"\x00\x90\x3c\x40\x10\x80\x3c\x40" + END)
    ],
    "1 system message left out (track 1, tick 0)": [
        midi_file(ON + b"\x00" + message + OFF + END) for message in (b"\xf1\x01", b"\xf2\x01\x02", b"\xf6", b"\xfe")
    ],
    "1 tempo beyond 3,000 beats per minute left out (track 1, tick 0)": [
        midi_file(b"\x00\xff\x51\x03\x00\x00\x00" + ON + OFF + END),
        midi_file(b"\x00\xff\x51\x02\x07\xa1" + ON + OFF + END),
    ],
    "1 impossible time signature left out (track 1, tick 0)": [
        midi_file(b"\x00\xff\x58\x04" + data + b"\x18\x08" + ON + OFF + END) for data in (b"\x00\x02", b"\x04\xc8")
    ],
    "1 impossible key signature left out (track 1, tick 0)": [
        midi_file(b"\x00\xff\x59\x02" + data + ON + OFF + END) for data in (b"\x08\x00", b"\xf8\x00", b"\x00\x02")
    ],
}


@pytest.mark.parametrize(("line", "data"), [(line, data) for line, all_ in REPAIRED.items() for data in all_])
def test_repairs_are_reported_in_one_line(line: str, data: bytes) -> None:
    score, said = read(data)
    assert said == [line]
    assert [row[3] for row in note_rows(score)] == [60]


def test_a_file_with_hundreds_of_faults_has_a_few_lines() -> None:
    _, said = read(b"MThd" + WHOLE[4:14] + b"".join(b"x" * length + WHOLE[14:] for length in range(1, 300)))
    assert said == [
        "44,850 bytes between two tracks left out",
        "its header promises 1 track; there are 299",
    ]


def test_one_reading_warns_of_the_first_faults_and_how_many_more_there_are() -> None:
    for count, rest in (
        (8, []),
        (9, ["a.mid: and 1 more such problem"]),
        (2000, ["a.mid: and 1,992 more such problems"]),
    ):
        said: list[str] = []
        warn_about([f"a.mid: fault {number}" for number in range(count)], "a.mid", said.append)
        assert said == [*(f"a.mid: fault {number}" for number in range(8)), *rest]


_MEASURE_MEMORY = """
import resource, sys
import numpy as np
from muse_tokenizers.loading import domain_of
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.tokenizer import MidiTokenizer
midi = domain_of(MidiTokenizer.of(CONFIGURATIONS[sys.argv[1]]))
def notes(count):
    return b"".join(bytes((4, 0x90, 30 + n * 7 % 60, 40 + n % 80, 6, 30 + n * 7 % 60, 0)) for n in range(count))
def encode(count):
    track = notes(count) + b"\\0\\xff\\x2f\\0"
    head = b"MThd\\0\\0\\0\\6\\0\\1\\0\\1\\1\\xe0MTrk" + len(track).to_bytes(4)
    midi.tokenizer.encode(midi.loads(head + track))
encode(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
encode(30_000)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 30_000)
"""


@pytest.mark.parametrize("scheme", ["remi", "performance"])
def test_the_most_notes_of_a_file_take_at_most_300_mebibytes(scheme: str) -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURE_MEMORY, scheme], capture_output=True, text=True, check=True)
    assert int(done.stdout) * MAXIMUM_NOTES < 300 * 2**20


def test_a_caller_that_gives_no_ear_gets_a_warning() -> None:
    with pytest.warns(FileWarning, match=r"^NAME: its header promises 9 tracks; there is 1$"):
        parse_score(midi_file(ON + OFF + END, count=9), "NAME")


# What is refused

DAMAGED = {
    "its header is cut off": [WHOLE[:8], WHOLE[:13], b"MThd"],
    "its header has 5 bytes; a header has 6 or more": [WHOLE[:4] + b"\x00\x00\x00\x05" + WHOLE[8:14] + b"  "],
    "its header promises 1 track; there is none": [WHOLE[:14], WHOLE[:20]],
    "it does not say how long a tick is": [midi_file(ON + END, division=0), midi_file(ON + END, division=0xE700)],
    "it counts 31 frames per second; allowed: 24, 25, 29, 30": [midi_file(ON + OFF + END, division=0xE128)],
    "track 1, tick 0: a data byte without a status before it": [midi_file(b"\x00\x3c\x40" + OFF + END)],
    "track 2, tick 16: a time or length of more than 28 bits": [
        midi_file(END, ON + OFF + b"\x81\x80\x80\x80\x00\x90\x3c\x40" + END),
        midi_file(END, ON + OFF + b"\x00\xff\x01\xff\xff\xff\xff\x7f" + END),
    ],
}


@pytest.mark.parametrize(("reason", "data"), [(reason, data) for reason, all_ in DAMAGED.items() for data in all_])
def test_a_reason_says_where(reason: str, data: bytes) -> None:
    assert refusal(data) == f"NAME is a damaged MIDI file: {reason}"


def test_a_file_of_nothing_is_empty() -> None:
    assert refusal(b"") == "NAME is empty"


def test_more_is_refused_than_can_be_counted() -> None:
    far = b"\x87\xff\xff\x7f"
    assert refusal(midi_file(far * 1 + ON[1:] + OFF + END, division=100)) == (
        "NAME has 167,772 quarters; allowed: up to 50,000"
    )
    tiny = b"\x00\xff\x58\x04\x01\x07\x18\x08"
    fast = b"\x00\xff\x51\x03\x00\x4e\x20"
    assert refusal(midi_file(tiny + fast + far + ON[1:] + OFF + END, division=2000)) == (
        "NAME has 268,436 bars; allowed: up to 60,000"
    )
    assert read(midi_file(*[ON + OFF + END] * 1000))[1] == []
    assert refusal(midi_file(*[ON + OFF + END] * 1001)) == "NAME has too many tracks; allowed: up to 1,000"


@pytest.mark.parametrize(
    ("what", "most", "events"),
    [
        ("note-ons and note-offs", 2_000_000, b"\x00\x3c\x00"),
        ("events that are no notes", 800_000, b"\x00\xd0\x01"),
        ("events that are no notes", 800_000, b"\x00\xff\x04\x00"),
        ("tempos and words", 300_000, b"\x00\xff\x05\x01a"),
        ("bytes of words", 2**22, b"\x00\xff\x05\xff\x7f" + b"a" * (2**14 - 1)),
    ],
)
def test_more_events_than_anyone_writes_are_refused_before_they_take_memory(
    what: str, most: int, events: bytes
) -> None:
    half = ON + events * (most // max(events.count(b"a"), 1) // 2 + 1) + OFF + END
    assert refusal(midi_file(half, half)) == f"NAME has too many {what}; allowed: up to {most:,}"


def test_controllers_that_each_part_would_have_of_its_own_are_counted_with_the_parts() -> None:
    # Tracks that contradict one another each have what a track without notes says.
    parts = [b"\x00\xc0" + bytes((number,)) + ON + OFF + END for number in range(40)]
    assert refusal(midi_file(*parts, b"\x00\xb0\x07\x01" + b"\x01\x07\x02" * 30_000 + END)) == (
        "NAME has too many controllers; allowed: up to 800,000"
    )


def test_small_steps_count_no_further_than_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smf, "LATEST_TICK", 1000)
    reason = "NAME is a damaged MIDI file: track 1, tick 971: it counts more ticks than fit into 31 bits"
    assert refusal(midi_file(ON + OFF + b"\x05\xfe" + b"\x5f\xfe" * 20 + END)) == reason
    assert refusal(midi_file(ON + OFF + b"\x87\x3b\xfe\x1e\xfe" + END)) == reason


@pytest.mark.parametrize("metre", [b"\x01\x06", b"\xff\x00", b"\xff\x07", b"\x01\x07", b"\x05\x04", b"\x0d\x03"])
@pytest.mark.parametrize("tempo", [b"\x00\x4e\x20", b"\xff\xff\xff"])
@pytest.mark.parametrize("division", [1, 32767])
def test_whatever_is_read_can_be_continued(metre: bytes, tempo: bytes, division: int) -> None:
    meta = b"\x00\xff\x58\x04" + metre + b"\x18\x08\x00\xff\x51\x03" + tempo
    score, _ = read(
        midi_file(meta + b"\x00\x90\x3c\x40\x00\x3c\x00" + ON + b"\x60\x80\x3c\x40" + END, division=division)
    )
    for name in ("remi", "performance"):
        midi = domain(name)
        prompt = midi.prompt(score)
        grammar = midi.grammar(prompt.ids, 1)
        assert grammar is not None
        assert grammar.allowed().any()
        joined = midi.join(prompt, midi.tokenizer.encode(midi.tokenizer.decode(prompt.ids)))
        assert len(midi.tokenizer.describe(midi.tokenizer.encode(score)))
        assert midi.measure(score, 0.0, 1.0)
        assert midi.loads(midi.dumps(joined)).note_num() >= 1
