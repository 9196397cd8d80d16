"""The contract of `muse_tokenizers.base` and `.domain`, tested with every tokenizer and domain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from all_tokenizers import EXAMPLES, Example

from muse_tokenizers.base import Waveform
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError, UnknownTokenizerError, UnreadablePieceError, UnwritablePieceError
from muse_tokenizers.loading import domain_of, load_tokenizer, tokenizer_class
from muse_tokenizers.measures import Histogram

pytest_plugins = ["all_tokenizers"]


# Files


def test_a_piece_survives_its_file(some: Domain[Any], example: Example, tmp_path: Path) -> None:
    path = tmp_path / f"piece{some.info.suffix}"
    assert some.info.suffix in some.info.suffixes
    for piece in example.pieces():
        some.write(piece, path)
        assert path.read_bytes() == some.dumps(piece)
        assert some.tokenizer.encode(some.read(path)).tolist() == some.tokenizer.encode(piece).tolist()


def test_the_same_piece_gives_the_same_bytes(some: Domain[Any], example: Example) -> None:
    for piece, again in zip(example.pieces(), example.pieces(), strict=True):
        assert some.dumps(piece) == some.dumps(piece) == some.dumps(again)


def test_bytes_become_the_piece_they_were_made_of(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        data = some.dumps(piece)
        assert some.dumps(some.loads(data)) == data


def test_a_file_of_another_kind_is_refused_in_one_line(some: Domain[Any], example: Example, tmp_path: Path) -> None:
    path = tmp_path / f"piece{some.info.suffix}"
    path.write_bytes(example.damaged)
    for attempt in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
            some.read(attempt)
        assert str(attempt) in str(caught.value)
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$"):
        some.loads(example.damaged)


def test_a_place_that_cannot_be_written_is_named(some: Domain[Any], example: Example, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "piece"):
        with pytest.raises(UnwritablePieceError, match=r"^cannot write [^\n]+: [^\n]+$") as caught:
            some.write(example.pieces()[0], place)
        assert str(place) in str(caught.value)


def test_rendered_sound_is_a_waveform_with_a_description(some: Domain[Any], example: Example) -> None:
    sound = some.render(example.pieces()[0])
    if sound is not None:
        assert isinstance(sound, Waveform)
        assert sound.samples.dtype == np.float32
        assert np.abs(sound.samples).max() <= 1
        assert set(some.describe_sound() or {}) >= {"sha256"}


def test_a_piece_lasts_a_while(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        seconds = some.duration(piece)
        assert seconds > 0


# Ids


def test_the_vocabulary_has_one_name_an_id_and_three_special_ids(some: Domain[Any]) -> None:
    vocabulary = some.tokenizer.vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) == some.tokenizer.vocabulary_size
    assert len({some.tokenizer.pad, some.tokenizer.begin, some.tokenizer.end}) == 3
    assert all(
        0 <= i < some.tokenizer.vocabulary_size for i in (some.tokenizer.pad, some.tokenizer.begin, some.tokenizer.end)
    )


def test_a_piece_becomes_ids_without_special_ones(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        ids = some.tokenizer.encode(piece)
        assert ids.dtype == np.int64
        assert ids.ndim == 2
        assert ids.shape[1] == some.tokenizer.streams
        assert len(ids) > 0
        assert ids.min() >= 0
        assert ids.max() < some.tokenizer.vocabulary_size
        assert not (ids == some.tokenizer.begin).any()
        # The delay pattern leaves a hole of so many steps at each end of a stream.
        for stream in range(some.tokenizer.streams):
            wait = some.tokenizer.streams - 1 - stream
            assert (ids[:stream, stream] == some.tokenizer.pad).all()
            assert (ids[len(ids) - wait :, stream] == some.tokenizer.end).all()
            assert not np.isin(ids[stream : len(ids) - wait, stream], [some.tokenizer.pad, some.tokenizer.end]).any()


def test_encoding_leaves_the_piece_as_it_is(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        before = some.dumps(piece)
        some.tokenizer.encode(piece)
        some.prompt(piece, 2.0)
        some.render(piece)
        assert some.dumps(piece) == before


def test_decoded_ids_become_the_same_ids_again(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        ids = some.tokenizer.encode(piece)
        assert some.tokenizer.encode(some.tokenizer.decode(ids)).tolist() == ids.tolist()


def test_special_ids_are_left_out_when_decoding(some: Domain[Any], example: Example) -> None:
    ids = some.tokenizer.encode(example.pieces()[0])
    around = [
        np.full((1, some.tokenizer.streams), i) for i in (some.tokenizer.begin, some.tokenizer.end, some.tokenizer.pad)
    ]
    assert some.dumps(some.tokenizer.decode(np.concatenate([around[0], ids, *around[1:]]))) == some.dumps(
        some.tokenizer.decode(ids)
    )


def test_any_beginning_of_a_piece_decodes(some: Domain[Any], example: Example) -> None:
    ids = some.tokenizer.encode(example.pieces()[-1])
    for length in range(min(len(ids), 60)):
        some.tokenizer.decode(ids[:length])


def test_every_id_is_described(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        ids = np.concatenate(
            [
                some.prompt(None).ids,
                some.tokenizer.encode(piece),
                np.full((1, some.tokenizer.streams), some.tokenizer.end),
            ]
        )
        described = some.tokenizer.describe(ids)
        assert [[token.id for token in step] for step in described] == ids.tolist()
        for token in (token for step in described for token in step):
            assert token.label
            assert token.kind
            assert 0 <= token.start <= token.end


# Augmentation


def test_variations_are_maps_of_ids_the_first_of_which_changes_nothing(some: Domain[Any]) -> None:
    variations = some.variations()
    everything = np.arange(some.tokenizer.vocabulary_size)
    assert variations.maps.shape == variations.valid.shape
    assert variations.maps.shape[1] == some.tokenizer.vocabulary_size
    assert (variations.maps[0] == everything).all()
    assert variations.valid[0].all()
    names = some.tokenizer.vocabulary()
    # At the ends of a scale two velocities or two tempos become one, and every style can become "any".
    distinct = np.array([not name.startswith(("Velocity", "BaseTempo", "Style")) for name in names])
    for moved, valid in zip(variations.maps, variations.valid, strict=True):
        assert len(set(moved[valid & distinct].tolist())) == (valid & distinct).sum()
        assert set(moved.tolist()) <= set(everything.tolist())
        assert all(moved[i] == i and valid[i] for i in (some.tokenizer.pad, some.tokenizer.begin, some.tokenizer.end))


# What a piece is like


def test_every_stretch_can_be_measured(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        before = some.dumps(piece)
        for start, end in ((0.0, 1e-3), (0.0, 3.0), (2.5, 9.0), (1000.0, 1001.0)):
            for name, measure in some.measure(piece, start, end).items():
                assert name
                if isinstance(measure, Histogram):
                    assert len(measure.bins) == len(measure.shares)
                    assert measure.shares.min() >= 0
                    assert measure.shares.sum() == pytest.approx(1)
                else:
                    assert np.isfinite(measure.value)
                    assert measure.floor is None or measure.floor > 0
        assert some.dumps(piece) == before


def test_a_measure_has_the_same_bins_in_every_stretch(some: Domain[Any], example: Example) -> None:
    bins: dict[str, object] = {}
    for piece in example.pieces():
        for start in range(10):
            for name, measure in some.measure(piece, start, start + 4.0).items():
                shape = measure.bins if isinstance(measure, Histogram) else (measure.unit, measure.floor)
                assert bins.setdefault(name, shape) == shape


def test_every_copy_unit_has_a_position(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        for start, end in ((0.0, 1000.0), (2.0, 5.0), (1000.0, 1001.0)):
            found = some.copy_units(some.tokenizer.encode(piece), start, end)
            numbers, places = found.numbers, found.places
            assert numbers.dtype == np.int64
            assert places.shape == (len(numbers), 2)
            assert (numbers >= 0).all()
            assert numbers[:1].tolist() in ([], [0])
            assert (numbers[1:] > 0).all()
            assert (np.diff(places[:, 0]) >= 0).all()
            assert ((places[:, 0] >= start - 0.01) & (places[:, 0] < end)).all()


def test_a_stretch_is_counted_as_the_whole_piece_is_but_for_its_first(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        ids = some.tokenizer.encode(piece)
        whole, part = (some.copy_units(ids, start, 1000.0).numbers for start in (0.0, 2.0))
        assert part[1:].tolist() == whole[len(whole) - len(part) + 1 :].tolist()


def test_where_a_piece_would_be_cut_is_where_it_is_cut(some: Domain[Any], example: Example) -> None:
    for piece in example.pieces():
        for seconds in (0.05, 1.0, 2.7, 1000.0):
            assert some.find_split_point(piece, seconds) == some.prompt(piece, seconds).split_point


def test_the_ids_that_start_a_note_are_no_special_ones(some: Domain[Any]) -> None:
    starts = some.note_starts()
    assert starts.shape == (some.tokenizer.vocabulary_size,)
    assert starts.dtype == bool
    assert not starts[[some.tokenizer.pad, some.tokenizer.begin, some.tokenizer.end]].any()


# The tokenizer as data


def test_a_saved_tokenizer_comes_back_equal(some: Domain[Any], example: Example, tmp_path: Path) -> None:
    some.tokenizer.save(tmp_path / "new" / "folder")
    again = load_tokenizer(tmp_path / "new" / "folder")
    assert type(again) is type(some.tokenizer)
    assert type(domain_of(again)) is type(some)
    assert again.fingerprint() == some.tokenizer.fingerprint()
    assert again.vocabulary() == some.tokenizer.vocabulary()
    assert again.configuration() == some.tokenizer.configuration()
    piece = example.pieces()[0]
    assert again.encode(piece).tolist() == some.tokenizer.encode(piece).tolist()


def test_a_tokenizer_that_cannot_be_saved_says_where(some: Domain[Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenizerError, match=r"^cannot write .*file: File exists$"):
        some.tokenizer.save(tmp_path / "file")
    (tmp_path / "taken" / "tokenizer.json").mkdir(parents=True)
    with pytest.raises(TokenizerError, match=r"^cannot write .*tokenizer.json: Is a directory$"):
        some.tokenizer.save(tmp_path / "taken")
    for number, name in enumerate(some.tokenizer.extra_files()):
        (tmp_path / str(number) / name).mkdir(parents=True)
        with pytest.raises(TokenizerError, match=rf"^cannot write .*{name}: Is a directory$"):
            some.tokenizer.save(tmp_path / str(number))


def test_the_configuration_is_plain_json(some: Domain[Any], tmp_path: Path) -> None:
    content = json.loads(json.dumps(some.tokenizer.configuration()))
    some.tokenizer.save(tmp_path)
    assert type(some.tokenizer).from_configuration(content, tmp_path).fingerprint() == some.tokenizer.fingerprint()
    assert isinstance(some.tokenizer, tokenizer_class(some.kind))


def test_two_tokenizers_do_not_share_a_fingerprint() -> None:
    prints = {name: example.make().tokenizer.fingerprint() for name, example in EXAMPLES.items()}
    assert len(set(prints.values())) == len(EXAMPLES)
    assert all(len(text) == 64 for text in prints.values())


def refusal(folder: Path, content: object) -> str:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "tokenizer.json").write_bytes(text)
    with pytest.raises(UnknownTokenizerError, match=r"^[^\n]+$") as caught:
        load_tokenizer(folder)
    return str(caught.value)


def saved(some: Domain[Any]) -> dict[str, Any]:
    return {
        "kind": some.kind,
        "fingerprint": some.tokenizer.fingerprint(),
        "configuration": some.tokenizer.configuration(),
    }


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UnknownTokenizerError, match=r"^cannot read .*tokenizer\.json: No such file or directory$"):
            load_tokenizer(folder)
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(UnknownTokenizerError, match=r"^cannot read .*tokenizer\.json: Is a directory$"):
        load_tokenizer(tmp_path)


DAMAGED = [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe{}", b"{}", b'{"kind": "midi"}', b"[" * 100_000, b"1" * 10_000]


@pytest.mark.parametrize("content", DAMAGED, ids=[str(content[:12]) for content in DAMAGED])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, content)
    assert message.startswith(f"{tmp_path / 'tokenizer.json'} is damaged: ")
    assert "it is not JSON" in message or message.endswith("it should hold kind, fingerprint and configuration")


@pytest.mark.parametrize("kind", ["flute", "", 3, None, ["midi"], {"midi": 1}])
def test_another_kind_of_tokenizer_is_refused(some: Domain[Any], tmp_path: Path, kind: object) -> None:
    message = refusal(tmp_path, saved(some) | {"kind": kind})
    assert message.startswith(f"no tokenizer is called {kind!r}; allowed: ")


def test_a_vocabulary_of_another_version_is_refused(some: Domain[Any], tmp_path: Path) -> None:
    some.tokenizer.save(tmp_path)
    for fingerprint in ("0" * 64, None, 1.5, []):
        message = refusal(tmp_path, saved(some) | {"fingerprint": fingerprint})
        assert message.endswith("tokenizer.json was written by another version: its ids no longer mean the same")


@pytest.mark.parametrize("configuration", [None, 3, [], "remi", {}, {"scheme": "remi"}, {"x\ny": 1}])
def test_a_foreign_configuration_is_refused(some: Domain[Any], tmp_path: Path, configuration: object) -> None:
    refusal(tmp_path, saved(some) | {"configuration": configuration})
