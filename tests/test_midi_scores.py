"""Reading and writing MIDI files: complete files survive a round trip, others are refused in one line."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_pieces import (
    DRUMS,
    band,
    control_rows,
    domain,
    make_score,
    note_rows,
    pedal_rows,
    scale,
    signature_rows,
    tempo_rows,
)
from symusic import ControlChange, Pedal

from muse_tokenizers.errors import UnreadablePieceError, UnwritablePieceError
from muse_tokenizers.midi import reading
from muse_tokenizers.midi.reading import parse_score, read_score
from muse_tokenizers.midi.scores import score_seconds
from muse_tokenizers.midi.writing import dump_score, write_score


def ignore(line: str) -> None:
    assert re.match(r"^NAME: [^\n]+$", line)


def tried(data: bytes) -> Any:
    """The score in these bytes, or what was said of them."""
    try:
        score = parse_score(data, "NAME", ignore)
    except UnreadablePieceError as error:
        return str(error)
    return score


def refusal(source: Path | bytes) -> str:
    """The message of a refusal, without the name of the file; it is one line."""
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
        read_score(source) if isinstance(source, Path) else parse_score(source, "NAME")
    return str(caught.value).replace(str(source), "NAME") if isinstance(source, Path) else str(caught.value)


def midi_file(*tracks: bytes, division: int = 480, count: int | None = None, form: int = 1) -> bytes:
    head = struct.pack(">4sIHHH", b"MThd", 6, form, len(tracks) if count is None else count, division)
    return head + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


ON, OFF, END = b"\x00\x90\x3c\x40", b"\x10\x80\x3c\x40", b"\x00\xff\x2f\x00"
WHOLE = midi_file(ON + OFF + END)

# What comes back


@pytest.mark.parametrize("ticks_per_quarter", [1, 24, 96, 220, 480, 960, 1024, 32767])
def test_a_score_survives_its_file(tmp_path: Path, ticks_per_quarter: int) -> None:
    score = parse_score(dump_score(band(ticks_per_quarter)), "band")
    write_score(score, tmp_path / "band.mid")
    again = read_score(tmp_path / "band.mid")
    for rows in (note_rows, pedal_rows, control_rows, tempo_rows, signature_rows):
        assert rows(again) == rows(score)
    assert [track.name for track in again.tracks] == [track.name for track in score.tracks]
    assert again.ticks_per_quarter == ticks_per_quarter


def test_pedals_are_written_and_read_on_every_track_of_a_full_orchestra() -> None:
    """The library's own reader begins the first pedal of all but a few tracks at tick 0."""
    instruments = [*range(128), DRUMS]
    score = make_score(
        {program: [(0, 4, 60, 63)] for program in instruments},
        pedals={program: [(1 + program / 64, 5), (6, 7), (7, 8)] for program in instruments},
    )
    assert pedal_rows(parse_score(dump_score(score), "orchestra")) == pedal_rows(score)


def test_pedals_are_read_from_any_values_of_their_controller() -> None:
    values = [
        (0, 10),
        (1, 63),
        (2, 64),
        (3, 127),
        (4, 65),
        (5, 63),
        (6, 0),
        (7, 64),
        (7, 0),
        (8, 100),
        (9, 1),
        (10, 90),
    ]
    score = make_score({3: [(0, 1, 60, 63)]}, controls={3: [(beat, 64, value) for beat, value in values]})
    # Pressed at 2 and 8; at 7 for no time; at 10 for ever, which is no length.
    assert pedal_rows(parse_score(dump_score(score), "flutter")) == [(3, 960, 2400), (3, 3840, 4320)]


def test_controllers_keep_their_values_and_their_order() -> None:
    rpn = [(2.0, 101, 0), (2.0, 100, 0), (2.0, 6, 12), (2.0, 38, 0), (2.0, 101, 127), (2.0, 100, 127)]
    score = make_score({5: [(0, 1, 60, 63)]}, controls={5: [(0, 7, 99), *rpn, (3, 64, 33)]}, pedals={5: [(2, 4)]})
    kept = [row for row in control_rows(parse_score(dump_score(score), "rpn")) if row[2] != 64 or row[3] == 33]
    assert kept == control_rows(score)


def test_a_pedal_that_touches_the_next_is_released_before_that_is_pressed() -> None:
    score = make_score({0: [(0, 8, 60, 63)]}, pedals={0: [(0, 2), (2, 4)]})
    values = [value for _, time, _, value in control_rows(parse_score(dump_score(score), "pedals")) if time == 960]
    assert values == [0, 127]


def test_a_pedal_of_no_length_is_not_written() -> None:
    score = make_score({0: [(0, 8, 60, 63)]})
    score.tracks[0].pedals.append(Pedal(480, 0))
    assert control_rows(parse_score(dump_score(score), "pedals")) == []


def test_writing_changes_neither_the_score_nor_a_second_writing() -> None:
    score = band()
    before = control_rows(score)
    assert dump_score(score) == dump_score(score)
    assert control_rows(score) == before


def test_the_length_is_that_of_the_last_event() -> None:
    assert score_seconds(make_score({0: [(0, 8, 60, 63)]}, tempos=[(0, 120), (4, 60)])) == pytest.approx(6)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwritablePieceError, match=f"^cannot write {re.escape(str(tmp_path))}: Is a directory$"):
        write_score(scale(), tmp_path)
    with pytest.raises(UnwritablePieceError, match=r"^cannot write .*: No such file or directory$"):
        write_score(scale(), tmp_path / "none" / "a.mid")


def test_other_writers_files_are_read(tmp_path: Path) -> None:
    """mido shares no code with symusic: one track of several channels, running status, note-on for note-off."""
    file = mido.MidiFile(type=0, ticks_per_beat=96)
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=400_000))
    track.append(mido.MetaMessage("time_signature", numerator=3, denominator=4))
    track.append(mido.Message("program_change", channel=2, program=40))
    track.append(mido.Message("control_change", channel=2, control=64, value=127, time=10))
    for channel, pitch in ((2, 60), (9, 36)):
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=77))
    track.append(mido.Message("note_on", channel=2, note=60, velocity=0, time=96))
    track.append(mido.Message("note_off", channel=9, note=36))
    track.append(mido.Message("control_change", channel=2, control=64, value=0, time=4))
    file.save(tmp_path / "other.mid")
    score = read_score(tmp_path / "other.mid")
    assert note_rows(score) == [(DRUMS, 10, 96, 36, 77), (40, 10, 96, 60, 77)]
    assert pedal_rows(score) == [(40, 10, 110)]
    assert tempo_rows(score) == [(0, 400_000)]
    assert signature_rows(score) == [(0, 3, 4)]


def test_our_files_are_read_by_others() -> None:
    file = mido.MidiFile(file=io.BytesIO(dump_score(band())))
    notes = [message for track in file.tracks for message in track if message.type == "note_on" and message.velocity]
    assert len(notes) == band().note_num()
    presses = [m for track in file.tracks for m in track if m.is_cc(64) and m.value == 127]
    assert len(presses) == len([row for row in pedal_rows(band()) if row[2] > row[1]])


# What is refused


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.mid") == "cannot read NAME: No such file or directory"
    assert refusal(tmp_path) == "cannot read NAME: Is a directory"
    (tmp_path / "text.mid").write_text("la la la\n" * 100)
    assert refusal(tmp_path / "text.mid") == "NAME is not a MIDI file: it is text; choose text for it"
    (tmp_path / "empty.mid").write_bytes(b"")
    assert refusal(tmp_path / "empty.mid") == "NAME is empty"


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "a.mid").write_bytes(WHOLE)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert refusal(tmp_path / "a.mid") == "cannot read NAME: Permission denied"


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.mid").open("wb") as file:
        file.truncate(65 * 2**20)
    assert refusal(tmp_path / "large.mid") == "NAME has 65 MiB; allowed: up to 64 MiB"


def test_a_truncated_file_is_read_as_far_as_it_goes_or_refused() -> None:
    data = dump_score(band())
    for length in range(4, len(data) - 8, 7):
        found = tried(data[:length])
        if isinstance(found, str):
            assert re.match(
                r"^NAME (is a damaged MIDI file: its header (is cut off|promises 5 tracks; .*)|has no notes)$",
                found,
            )


def test_a_file_without_notes_is_refused() -> None:
    assert refusal(midi_file(END)) == "NAME has no notes"
    assert refusal(midi_file()) == "NAME has no notes"
    assert refusal(dump_score(make_score({0: []}))) == "NAME has no notes"


def test_six_hours_are_refused() -> None:
    score = make_score({0: [(0, 1, 60, 63), (6 * 3600 * 2, 1, 60, 63)]}, ticks_per_quarter=96)
    assert refusal(dump_score(score)) == "NAME is 6.0 hours long; allowed: up to 4 hours"


def test_a_million_notes_are_refused() -> None:
    data = midi_file(ON + b"\x01\x3c\x00\x00\x3c\x40" * 999_999 + OFF + END)
    assert refusal(data) == "NAME has 1,000,000 notes; allowed: up to 200,000"


def test_the_limits_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dump_score(scale(2))
    monkeypatch.setattr(reading, "MAXIMUM_NOTES", 8)
    monkeypatch.setattr(reading, "MAXIMUM_SECONDS", 4)
    assert parse_score(data, "NAME").note_num() == 8
    monkeypatch.setattr(reading, "MAXIMUM_NOTES", 7)
    assert refusal(data) == "NAME has 8 notes; allowed: up to 7"


def test_more_ticks_than_fit_are_refused() -> None:
    hour = b"\xff\xff\xff\x7f\xff\x01\x00"
    fast = b"\x00\xff\x51\x03\x00\x00\x01"
    message = "NAME is a damaged MIDI file: track 1, tick 2147483640: it counts more ticks than fit into 31 bits"
    assert refusal(midi_file(fast + hour * 9 + ON + OFF + END)) == message


@pytest.mark.parametrize("nonsense", [b"\x00\xff\x58\x04\x00\x02\x18\x08", b"\x00\xff\x58\x04\x04\xc8\x18\x08"])
def test_bars_and_beats_of_no_length_are_left_out(nonsense: bytes) -> None:
    no_time = b"\x00\xff\x51\x03\x00\x00\x00"
    score = parse_score(midi_file(nonsense + no_time + ON + OFF + END), "NAME", ignore)
    assert (signature_rows(score), tempo_rows(score)) == ([], [])
    for name in ("remi", "performance"):
        assert len(domain(name).tokenizer.encode(score))


def test_a_path_that_is_no_utf8_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mid"
    path.write_bytes(b"no")
    with pytest.raises(UnreadablePieceError, match="is not a MIDI file"):
        read_score(path)


# The bytes themselves

VALID = [dump_score(band()), dump_score(scale(2)), dump_score(make_score({p: [(0, 1, 60, 63)] for p in range(20)}))]


def check_readable_or_refused(data: bytes) -> Any:
    found = tried(data)
    if isinstance(found, str):
        assert re.match(r"^NAME [^\n]+$", found)
        return None
    assert found.note_num() > 0
    return found


def test_random_damage_gives_a_score_or_a_refusal() -> None:
    random = np.random.default_rng(0)
    read = 0
    for _ in range(1000):
        data = bytearray(VALID[random.integers(len(VALID))])
        for _ in range(random.choice([1, 1, 2, 5, 20])):
            at, kind = int(random.integers(4, len(data))), random.random()
            if kind < 0.8:
                data[at] = random.choice([0, 255, 128, 127, int(random.integers(256))])
            elif kind < 0.9:
                del data[at : at + int(random.integers(1, 9))]
            else:
                data[at:at] = random.bytes(int(random.integers(1, 9)))
        read += check_readable_or_refused(bytes(data)) is not None
    assert read > 100


def test_a_damaged_score_can_be_encoded_or_is_refused() -> None:
    random = np.random.default_rng(1)
    encoded = 0
    for _ in range(40):
        data = bytearray(VALID[random.integers(2)])
        for _ in range(2):
            data[int(random.integers(22, len(data)))] = int(random.integers(128))
        score = check_readable_or_refused(bytes(data))
        if score is not None and score_seconds(score) < 600:
            for name in ("remi", "performance"):
                midi = domain(name)
                ids = midi.tokenizer.encode(score)
                assert midi.tokenizer.encode(midi.tokenizer.decode(ids)).shape[1] == 1
            encoded += 1
    assert encoded > 10


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(tracks=st.lists(st.binary(max_size=60), max_size=4), count=st.none() | st.integers(0, 65535))
def test_any_bytes_in_tracks_give_a_score_or_a_refusal(tracks: list[bytes], count: int | None) -> None:
    check_readable_or_refused(midi_file(*tracks, count=count))
    check_readable_or_refused(midi_file(*(ON + track for track in tracks), count=count))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=80))
def test_any_bytes_give_a_score_or_a_refusal(data: bytes) -> None:
    check_readable_or_refused(data)
    check_readable_or_refused(b"MThd" + data)


def test_writing_a_pedal_that_has_controllers_writes_nothing_new() -> None:
    score = make_score({0: [(0, 8, 60, 63)]}, pedals={0: [(1, 2)]})
    score.tracks[0].controls.append(ControlChange(480, 64, 90))
    score.tracks[0].controls.append(ControlChange(960, 64, 10))
    assert control_rows(parse_score(dump_score(score), "pedal")) == [(0, 480, 64, 90), (0, 960, 64, 10)]
