"""Channels: whatever the number of tracks, no instrument is played with the program of another."""

from __future__ import annotations

import io

import mido
from symusic import Note, Score, Track

from muse_tokenizers.midi.reading import parse_score
from muse_tokenizers.midi.writing import dump_score


def _orchestra(programs: list[int]) -> Score:
    score = Score(480)
    for number, program in enumerate(programs):
        track = Track(program=program, is_drum=False, name=f"Staff {number}")
        track.notes.append(Note(480 * number, 240, 40 + number, 70))
        score.tracks.append(track)
    drums = Track(program=0, is_drum=True, name="Drums")
    drums.notes.append(Note(0, 240, 36, 90))
    score.tracks.append(drums)
    return score


def _programs_by_channel(data: bytes) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for track in mido.MidiFile(file=io.BytesIO(data)).tracks:
        for message in track:
            if message.type == "program_change":
                found.setdefault(message.channel, set()).add(message.program)
    return found


def test_twenty_staves_of_four_instruments_keep_their_instruments() -> None:
    score = _orchestra([40, 41, 42, 73] * 5)
    data = dump_score(score)
    assert all(len(programs) == 1 for programs in _programs_by_channel(data).values())
    played = {(track.program, note.pitch, note.time) for track in score.tracks for note in track.notes}
    back = parse_score(data, "it")
    assert {(track.program, note.pitch, note.time) for track in back.tracks for note in track.notes} == played


def test_fifteen_tracks_stay_as_they_are() -> None:
    score = _orchestra([40] * 15)
    assert [track.name for track in parse_score(dump_score(score), "it").tracks] == [t.name for t in score.tracks]
