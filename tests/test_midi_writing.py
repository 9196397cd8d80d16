"""Written MIDI files, checked with readers that share no code with ours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import mido
import music21
import pretty_midi
import pytest
from midi_pieces import DRUMS, band, control_rows, make_score, note_rows, pedal_rows, tempo_rows
from symusic import ControlChange, KeySignature, PitchBend, TextMeta

from muse_tokenizers.midi.reading import parse_score
from muse_tokenizers.midi.writing import dump_score


def trio() -> Any:
    """Two instruments and drums in 3/4 and F# minor, with names, volumes, pans, banks, bends, pedals and words."""
    score = make_score(
        {
            40: [(0, 1, 66, 80), (1, 1, 66, 70), (2, 1, 69, 60), (3, 3, 73, 90)],
            33: [(0, 3, 42, 64), (3, 3, 37, 65)],
            DRUMS: [(beat, 0.5, 38, 100) for beat in range(6)],
        },
        tempos=[(0, 90), (3, 72)],
        signatures=[(0, 3, 4), (3, 6, 8)],
        pedals={40: [(0, 1.5)]},
        controls={40: [(0, 0, 8), (0, 32, 1), (0, 7, 99), (0, 10, 20)], 33: [(0, 7, 50), (2, 11, 77)]},
    )
    score.key_signatures.append(KeySignature(0, 3, 1))
    score.markers.append(TextMeta(1440, "bridge"))
    score.tracks[0].name, score.tracks[1].name, score.tracks[2].name = "Geige é", "Bass", "Kit"
    score.tracks[0].pitch_bends.extend([PitchBend(480, 2048), PitchBend(960, 0)])
    score.tracks[0].lyrics.append(TextMeta(480, "lá"))
    return score


def everything(score: Any) -> dict[str, Any]:
    return {
        "rows": [rows(score) for rows in (note_rows, pedal_rows, control_rows, tempo_rows)],
        "metres": [(item.time, item.numerator, item.denominator) for item in score.time_signatures],
        "keys": [(item.time, item.key, item.tonality) for item in score.key_signatures],
        "markers": [(item.time, item.text) for item in score.markers],
        "tracks": [
            (
                track.name,
                track.program,
                track.is_drum,
                [(bend.time, bend.value) for bend in track.pitch_bends],
                [(lyric.time, lyric.text) for lyric in track.lyrics],
            )
            for track in score.tracks
        ],
    }


@pytest.mark.parametrize("make", [trio, band])
def test_reading_and_writing_again_changes_nothing(make: Any) -> None:
    # Reading tells what controllers say of the pedals, so the second reading is compared with the first.
    once = parse_score(dump_score(make()), "once")
    again = parse_score(dump_score(once), "again")
    assert everything(again) == everything(once)
    assert dump_score(again) == dump_score(once)
    assert note_rows(once) == note_rows(make())


def test_mido_finds_a_conductor_and_a_track_for_each_part() -> None:
    file = mido.MidiFile(file=io.BytesIO(dump_score(trio())))
    assert (file.type, file.ticks_per_beat) == (1, 480)
    conductor, violin, bass, drums = file.tracks
    assert [message.type for message in conductor] == [
        "time_signature", "key_signature", "set_tempo", "time_signature", "set_tempo", "marker", "end_of_track",
    ]  # fmt: skip
    assert conductor[1].key == "F#m"
    assert [track.name for track in (bass, drums)] == ["Bass", "Kit"]
    assert {message.channel for message in drums if not message.is_meta} == {9}
    first = [m for m in violin if not m.is_meta][:5]
    # The bank, then the program that it holds for.
    assert [(m.type, getattr(m, "control", None)) for m in first[:4]] == [
        ("control_change", 0), ("control_change", 32), ("program_change", None), ("control_change", 7),
    ]  # fmt: skip
    assert first[2].program == 40
    now, struck = 0, []
    for message in violin:
        now += message.time
        if message.type in ("note_on", "note_off") and message.note == 66:
            struck.append((now, message.type))
    assert struck == [(0, "note_on"), (480, "note_off"), (480, "note_on"), (960, "note_off")]


def test_pretty_midi_renders_the_intended_notes() -> None:
    heard = pretty_midi.PrettyMIDI(io.BytesIO(dump_score(trio())))
    assert [(part.program, part.is_drum, len(part.notes)) for part in heard.instruments] == [
        (40, False, 4), (33, False, 2), (0, True, 6),
    ]  # fmt: skip
    assert [(item.numerator, item.denominator) for item in heard.time_signature_changes] == [(3, 4), (6, 8)]
    assert [pretty_midi.key_number_to_key_name(item.key_number) for item in heard.key_signature_changes] == ["F# minor"]
    assert heard.get_tempo_changes()[1] == pytest.approx([90, 72], rel=1e-5)
    assert [(control.number, control.value) for control in heard.instruments[1].control_changes] == [(7, 50), (11, 77)]
    assert heard.get_end_time() == pytest.approx(3 * 60 / 90 + 3 * 60 / 72, rel=1e-5)


def test_music21_sees_the_metre_and_the_key_in_every_part(tmp_path: Path) -> None:
    path = tmp_path / "trio.mid"
    path.write_bytes(dump_score(trio()))
    seen = music21.converter.parse(path)
    assert len(seen.parts) == 3
    for part in seen.parts:
        metres = [item.ratioString for item in part.flatten().getElementsByClass("TimeSignature")]
        assert metres == ["3/4", "6/8"]
        assert [key.sharps for key in part.flatten().getElementsByClass("KeySignature")][:1] == [3]
        marks = part.flatten().getElementsByClass("MetronomeMark")
        assert [(mark.offset, round(mark.number)) for mark in marks] == [(0, 90), (3, 72)]
    assert [len(part.flatten().notes) for part in seen.parts] == [4, 2, 6]


def test_more_instruments_than_channels_go_to_further_ports() -> None:
    score = make_score({program: [(0, 1, 60, 63)] for program in range(40)})
    score.tracks[20].controls.append(ControlChange(0, 7, 33))
    back = parse_score(dump_score(score), "many")
    assert note_rows(back) == note_rows(score)
    assert control_rows(back) == control_rows(score)
    ports = [
        [m.port for m in track if m.type == "midi_port"]
        for track in mido.MidiFile(file=io.BytesIO(dump_score(score))).tracks
    ]
    assert ports == [[]] * 16 + [[1]] * 15 + [[2]] * 10


def test_desks_of_one_program_share_a_channel_only_where_their_pedals_are_the_same() -> None:
    score = make_score({40: [(0, 1, 60, 63)]})
    for place in range(19):
        desk = make_score({40: [(place, 1, 62, 63)]}, pedals={40: [(0, 1 + place % 2)]})
        score.tracks.append(desk.tracks[0])
    back = parse_score(dump_score(score), "desks")
    assert [len(track.pedals) for track in back.tracks] == [0] + [1] * 19
    assert pedal_rows(back) == pedal_rows(score)
    channels = {
        m.channel for track in mido.MidiFile(file=io.BytesIO(dump_score(score))).tracks for m in track if not m.is_meta
    }
    assert channels == {0}


@pytest.mark.parametrize("count", [140, 600])
def test_more_parts_than_ports_keep_each_its_own_volume(count: int) -> None:
    score = make_score({40: [(0, 1, 60, 63)]}, controls={40: [(0, 7, 0)]})
    for place in range(1, count):
        desk = make_score({40: [(place, 1, 62, 63)]}, controls={40: [(0, 7, place % 128), (1, 10, place // 128)]})
        score.tracks.append(desk.tracks[0])
    back = parse_score(dump_score(score), "desks")
    assert (note_rows(back), control_rows(back)) == (note_rows(score), control_rows(score))


def test_kits_beyond_the_last_port_say_their_own_state() -> None:
    score = make_score({DRUMS: [(0, 1, 36, 63)]}, controls={DRUMS: [(0, 7, 0)]})
    for place in range(1, 130):
        kit = make_score({DRUMS: [(place, 1, 38, 63)]}, controls={DRUMS: [(place, 7, place % 128), (place, 10, 99)]})
        score.tracks.append(kit.tracks[0])
    kits = [track for track in mido.MidiFile(file=io.BytesIO(dump_score(score))).tracks if track[-2].type == "note_off"]
    assert len(kits) == 130
    assert all(any(message.type == "control_change" for message in kit) for kit in kits)


def test_a_note_of_no_length_is_written_and_read() -> None:
    score = make_score({0: [(0, 0, 60, 63), (0, 2, 62, 63), (2, 0, 62, 63)]})
    assert note_rows(parse_score(dump_score(score), "short")) == note_rows(score)
