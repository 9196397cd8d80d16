"""What every tokenizer promises, whatever its domain: the interface of `muse_tokenizers.base`, run over all of them.

A new domain joins by one more entry in `DOMAINS`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from midi_pieces import band, draw, grow, note_rows, scale, seconds_at, tokenizer
from small_codecs import audio_tokenizer, waveform
from small_texts import MANY_WRITINGS, VERSES, bpe, characters

from muse_tokenizers.base import Histogram, Ids, Prompt, Tokenizer, Waveform, Wishes
from muse_tokenizers.errors import TokenizerError, UnknownTokenizer, UnreadablePiece, UnwritablePiece
from muse_tokenizers.loading import load_tokenizer, tokenizer_class


@dataclass(frozen=True)
class Domain:
    make: Callable[[], Tokenizer[Any]]
    pieces: Callable[[], list[Any]]
    damaged: bytes
    """The content of a file that is none of this domain's."""


@cache
def audio() -> Tokenizer[Any]:
    return audio_tokenizer(Path(tempfile.mkdtemp()) / "codec")


DOMAINS = {
    "remi": Domain(lambda: tokenizer("remi"), lambda: [scale(), band()], b"no piece"),
    "performance": Domain(lambda: tokenizer("performance"), lambda: [scale(), band()], b"no piece"),
    "bpe": Domain(bpe, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "characters": Domain(characters, lambda: [VERSES, MANY_WRITINGS], b"\0\1 no text"),
    "audio": Domain(audio, lambda: [waveform(0.9), waveform(2.5, hertz=331.0)], b"no piece"),
}


@pytest.fixture(params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    return DOMAINS[request.param]


@pytest.fixture
def some(domain: Domain) -> Tokenizer[Any]:
    return domain.make()


# Files


def test_a_piece_survives_its_file(some: Tokenizer[Any], domain: Domain, tmp_path: Path) -> None:
    path = tmp_path / f"piece{some.suffix}"
    assert some.suffix in some.suffixes
    for piece in domain.pieces():
        some.write(piece, path)
        assert path.read_bytes() == some.dumps(piece)
        assert some.encode(some.read(path)).tolist() == some.encode(piece).tolist()


def test_the_same_piece_gives_the_same_bytes(some: Tokenizer[Any], domain: Domain) -> None:
    for piece, again in zip(domain.pieces(), domain.pieces(), strict=True):
        assert some.dumps(piece) == some.dumps(piece) == some.dumps(again)


def test_bytes_become_the_piece_they_were_made_of(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        data = some.dumps(piece)
        assert some.dumps(some.loads(data)) == data


def test_a_file_of_another_kind_is_refused_in_one_line(some: Tokenizer[Any], domain: Domain, tmp_path: Path) -> None:
    path = tmp_path / f"piece{some.suffix}"
    path.write_bytes(domain.damaged)
    for attempt in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(UnreadablePiece, match=r"^[^\n]+$") as caught:
            some.read(attempt)
        assert str(attempt) in str(caught.value)
    with pytest.raises(UnreadablePiece, match=r"^[^\n]+$"):
        some.loads(domain.damaged)


def test_a_place_that_cannot_be_written_is_named(some: Tokenizer[Any], domain: Domain, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "piece"):
        with pytest.raises(UnwritablePiece, match=r"^cannot write [^\n]+: [^\n]+$") as caught:
            some.write(domain.pieces()[0], place)
        assert str(place) in str(caught.value)


def test_sound_is_a_waveform_and_says_what_it_was_made_with(some: Tokenizer[Any], domain: Domain) -> None:
    sound = some.render(domain.pieces()[0])
    if sound is not None:
        assert isinstance(sound, Waveform)
        assert sound.samples.dtype == np.float32
        assert np.abs(sound.samples).max() <= 1
        assert set(some.describe_sound() or {}) >= {"sha256"}


def test_a_piece_lasts_a_while(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        seconds = some.duration(piece)
        assert seconds > 0


# Ids


def test_the_vocabulary_has_one_name_an_id_and_three_special_ids(some: Tokenizer[Any]) -> None:
    vocabulary = some.vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) == some.vocabulary_size
    assert len({some.pad, some.begin, some.end}) == 3
    assert all(0 <= i < some.vocabulary_size for i in (some.pad, some.begin, some.end))


def test_a_piece_becomes_ids_without_special_ones(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        ids = some.encode(piece)
        assert ids.dtype == np.int64
        assert ids.ndim == 2
        assert ids.shape[1] == some.streams
        assert len(ids) > 0
        assert ids.min() >= 0
        assert ids.max() < some.vocabulary_size
        assert not (ids == some.begin).any()
        # The delay pattern leaves a hole of so many steps at each end of a stream.
        for stream in range(some.streams):
            wait = some.streams - 1 - stream
            assert (ids[:stream, stream] == some.pad).all()
            assert (ids[len(ids) - wait :, stream] == some.end).all()
            assert not np.isin(ids[stream : len(ids) - wait, stream], [some.pad, some.end]).any()


def test_encoding_leaves_the_piece_as_it_is(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        before = some.dumps(piece)
        some.encode(piece)
        some.prompt(piece, 2.0)
        some.render(piece)
        assert some.dumps(piece) == before


def test_decoded_ids_become_the_same_ids_again(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        ids = some.encode(piece)
        assert some.encode(some.decode(ids)).tolist() == ids.tolist()


def test_special_ids_are_left_out_when_decoding(some: Tokenizer[Any], domain: Domain) -> None:
    ids = some.encode(domain.pieces()[0])
    around = [np.full((1, some.streams), i) for i in (some.begin, some.end, some.pad)]
    assert some.dumps(some.decode(np.concatenate([around[0], ids, *around[1:]]))) == some.dumps(some.decode(ids))


def test_any_beginning_of_a_piece_decodes(some: Tokenizer[Any], domain: Domain) -> None:
    ids = some.encode(domain.pieces()[-1])
    for length in range(min(len(ids), 60)):
        some.decode(ids[:length])


def test_every_id_is_described(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        ids = np.concatenate([some.prompt(None).ids, some.encode(piece), np.full((1, some.streams), some.end)])
        described = some.describe(ids)
        assert [[token.id for token in step] for step in described] == ids.tolist()
        for token in (token for step in described for token in step):
            assert token.label
            assert token.kind
            assert 0 <= token.start <= token.end


# Continuing


def test_no_piece_gives_nothing_but_begin(some: Tokenizer[Any]) -> None:
    prompt = some.prompt(None)
    assert prompt.ids.tolist() == [[some.begin] * some.streams]
    assert prompt.ids.dtype == np.int64
    assert (prompt.piece, prompt.cut, prompt.cut_step) == (None, 0.0, 0)


def test_a_prompt_is_the_beginning_of_the_ids_of_its_piece(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        ids = some.encode(piece)
        for seconds in (0.5, 2.0, 5.0):
            prompt = some.prompt(piece, seconds)
            assert prompt.ids[0].tolist() == [some.begin] * some.streams
            assert prompt.ids[1:].tolist() == ids[: len(prompt.ids) - 1].tolist()


def test_a_longer_prompt_is_no_shorter_in_ids(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        prompts = [some.prompt(piece, seconds) for seconds in np.arange(0.25, 12, 0.5)]
        lengths, cuts = [len(prompt.ids) for prompt in prompts], [prompt.cut for prompt in prompts]
        assert lengths == sorted(lengths)
        assert cuts == sorted(cuts)


def test_nothing_joined_to_a_prompt_is_the_prompts_piece(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        prompt = some.prompt(piece, 3.0)
        nothing = np.zeros((0, some.streams), dtype=np.int64)
        joined, kept = some.join(prompt, nothing), prompt.piece
        assert some.duration(joined) == pytest.approx(some.duration(kept))
        if not some.steps_per_second:
            # Sound is decoded.
            assert some.encode(joined).tolist() == some.encode(kept).tolist()


def test_joining_leaves_the_prompt_as_it_is(some: Tokenizer[Any], domain: Domain) -> None:
    piece = domain.pieces()[0]
    prompt = some.prompt(piece, 3.0)
    before = some.dumps(prompt.piece)
    ids = draw(grammar_after(some, prompt), 60, seed=1)[0]
    assert some.dumps(some.join(prompt, ids)) == some.dumps(some.join(prompt, ids))
    assert some.dumps(prompt.piece) == before


def grammar_after(some: Tokenizer[Any], prompt: Prompt[Any], candidates: int = 1, wishes: Wishes | None = None) -> Any:
    grammar = some.grammar(prompt.ids, candidates, wishes, prompt.begun)
    if grammar is None:
        pytest.skip("a domain without a grammar")
    return grammar


def test_the_grammar_accepts_every_piece(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        grammar = grammar_after(some, some.prompt(None))
        for step in some.encode(piece):
            assert grammar.allowed()[0, np.arange(some.streams), step].all()
            grammar.advance(step[None])
        assert grammar.whole[0]
        assert grammar.allowed()[0, :, some.end].all()


def test_the_grammar_ends_with_the_end_and_goes_on_with_padding(some: Tokenizer[Any], domain: Domain) -> None:
    grammar = grammar_after(some, some.prompt(None))
    for step in some.encode(domain.pieces()[0]):
        grammar.advance(step[None])
    for i in (some.end, some.pad, some.pad):
        grammar.advance(np.full((1, some.streams), i))
        assert grammar.finished[0]
        allowed = grammar.allowed()[0]
        assert allowed[:, some.pad].all()
        assert allowed.sum() == some.streams


def test_begin_and_padding_are_never_drawn_in_a_piece(some: Tokenizer[Any]) -> None:
    endless = Wishes(seconds=1e9) if some.unit == "seconds" else Wishes(bytes=10**9)
    ids = draw(grammar_after(some, some.prompt(None), 4, endless), 400, seed=0)
    assert not np.isin(ids, [some.begin, some.end]).any()
    assert not (ids[:, some.streams - 1 :] == some.pad).any()


def test_a_grammar_has_the_promised_shapes(some: Tokenizer[Any]) -> None:
    grammar = grammar_after(some, some.prompt(None), 3)
    allowed = grammar.allowed()
    assert allowed.shape == (3, some.streams, some.vocabulary_size)
    assert allowed.dtype == bool
    for state in (grammar.whole, grammar.finished, grammar.elapsed):
        assert state.shape == (3,)
    assert not grammar.finished.any()


def test_what_is_allowed_can_be_changed_without_harm(some: Tokenizer[Any]) -> None:
    grammar = grammar_after(some, some.prompt(None), 2)
    first = grammar.allowed()
    copy = first.copy()
    first[:] = False
    assert (grammar.allowed() == copy).all()


def test_elapsed_counts_from_the_cut(some: Tokenizer[Any], domain: Domain) -> None:
    prompt = some.prompt(domain.pieces()[0], 3.0)
    grammar = grammar_after(some, prompt, 2)
    assert np.isnan(grammar.elapsed).all() or (grammar.elapsed == 0).all()


# Augmentation


def test_variations_are_maps_of_ids_the_first_of_which_changes_nothing(some: Tokenizer[Any]) -> None:
    variations = some.variations()
    everything = np.arange(some.vocabulary_size)
    assert variations.maps.shape == variations.valid.shape
    assert variations.maps.shape[1] == some.vocabulary_size
    assert (variations.maps[0] == everything).all()
    assert variations.valid[0].all()
    for moved, valid in zip(variations.maps, variations.valid, strict=True):
        assert len(set(moved[valid].tolist())) == valid.sum()
        assert set(moved.tolist()) <= set(everything.tolist())
        assert all(moved[i] == i and valid[i] for i in (some.pad, some.begin, some.end))


# What a piece is like


def test_every_stretch_can_be_measured(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
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


def test_a_measure_has_the_same_bins_in_every_stretch(some: Tokenizer[Any], domain: Domain) -> None:
    bins: dict[str, object] = {}
    for piece in domain.pieces():
        for start in range(10):
            for name, measure in some.measure(piece, start, start + 4.0).items():
                shape = measure.bins if isinstance(measure, Histogram) else (measure.unit, measure.floor)
                assert bins.setdefault(name, shape) == shape


def test_what_copies_are_counted_in_has_a_place_each(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        for start, end in ((0.0, 1000.0), (2.0, 5.0), (1000.0, 1001.0)):
            found = some.passage(some.encode(piece), start, end)
            numbers, places = found.numbers, found.places
            assert numbers.dtype == np.int64
            assert places.shape == (len(numbers), 2)
            assert (numbers >= 0).all()
            assert numbers[:1].tolist() in ([], [0])
            assert (numbers[1:] > 0).all()
            assert (np.diff(places[:, 0]) >= 0).all()
            assert ((places[:, 0] >= start - 0.01) & (places[:, 0] < end)).all()


def test_a_stretch_is_counted_as_the_whole_piece_is_but_for_its_first(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        ids = some.encode(piece)
        whole, part = (some.passage(ids, start, 1000.0).numbers for start in (0.0, 2.0))
        assert part[1:].tolist() == whole[len(whole) - len(part) + 1 :].tolist()


def test_where_a_piece_would_be_cut_is_where_it_is_cut(some: Tokenizer[Any], domain: Domain) -> None:
    for piece in domain.pieces():
        for seconds in (0.05, 1.0, 2.7, 1000.0):
            assert some.cut_before(piece, seconds) == some.prompt(piece, seconds).cut


def test_the_ids_that_start_a_note_are_no_special_ones(some: Tokenizer[Any]) -> None:
    starts = some.note_starts()
    assert starts.shape == (some.vocabulary_size,)
    assert starts.dtype == bool
    assert not starts[[some.pad, some.begin, some.end]].any()


# The tokenizer as data


def test_a_saved_tokenizer_comes_back_equal(some: Tokenizer[Any], domain: Domain, tmp_path: Path) -> None:
    some.save(tmp_path / "new" / "folder")
    again = load_tokenizer(tmp_path / "new" / "folder")
    assert type(again) is type(some)
    assert again.fingerprint() == some.fingerprint()
    assert again.vocabulary() == some.vocabulary()
    assert again.configuration() == some.configuration()
    piece = domain.pieces()[0]
    assert again.encode(piece).tolist() == some.encode(piece).tolist()


def test_the_configuration_is_plain_json(some: Tokenizer[Any], tmp_path: Path) -> None:
    content = json.loads(json.dumps(some.configuration()))
    some.save(tmp_path)
    assert type(some).from_configuration(content, tmp_path).fingerprint() == some.fingerprint()
    assert tokenizer_class(some.kind) is type(some)


def test_two_tokenizers_do_not_share_a_fingerprint() -> None:
    prints = {name: domain.make().fingerprint() for name, domain in DOMAINS.items()}
    assert len(set(prints.values())) == len(DOMAINS)
    assert all(len(text) == 64 for text in prints.values())


def refusal(folder: Path, content: object) -> str:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "tokenizer.json").write_bytes(text)
    with pytest.raises(UnknownTokenizer, match=r"^[^\n]+$") as caught:
        load_tokenizer(folder)
    return str(caught.value)


def saved(some: Tokenizer[Any]) -> dict[str, Any]:
    return {"kind": some.kind, "fingerprint": some.fingerprint(), "configuration": some.configuration()}


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UnknownTokenizer, match=r"^cannot read .*tokenizer\.json: No such file or directory$"):
            load_tokenizer(folder)
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(UnknownTokenizer, match=r"^cannot read .*tokenizer\.json: Is a directory$"):
        load_tokenizer(tmp_path)


DAMAGED = [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe{}", b"{}", b'{"kind": "midi"}', b"[" * 100_000, b"1" * 10_000]


@pytest.mark.parametrize("content", DAMAGED, ids=[str(content[:12]) for content in DAMAGED])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, content)
    assert message == f"{tmp_path / 'tokenizer.json'} is damaged: it should hold kind, fingerprint and configuration"


@pytest.mark.parametrize("kind", ["flute", "", 3, None, ["midi"], {"midi": 1}])
def test_another_kind_of_tokenizer_is_refused(some: Tokenizer[Any], tmp_path: Path, kind: object) -> None:
    message = refusal(tmp_path, saved(some) | {"kind": kind})
    assert message.startswith(f"no tokenizer is called {kind!r}; allowed: ")


def test_a_vocabulary_of_another_version_is_refused(some: Tokenizer[Any], tmp_path: Path) -> None:
    some.save(tmp_path)
    for fingerprint in ("0" * 64, None, 1.5, []):
        message = refusal(tmp_path, saved(some) | {"fingerprint": fingerprint})
        assert message.endswith("tokenizer.json was written by another version: its ids no longer mean the same")


@pytest.mark.parametrize("configuration", [None, 3, [], "remi", {}, {"form": "remi"}, {"x\ny": 1}])
def test_a_foreign_configuration_is_refused(some: Tokenizer[Any], tmp_path: Path, configuration: object) -> None:
    refusal(tmp_path, saved(some) | {"configuration": configuration})


# Going on from a continuation


def continued(some: Tokenizer[Any], prompt: Prompt[Any], steps: int, seed: int = 3) -> Ids:
    """(T, K) ids that a generation would keep: up to the last step at which nothing is left dangling."""
    endless = Wishes().lasting(10**6, some.unit)
    if not steps:
        return np.zeros((0, some.streams), dtype=np.int64)
    return grow(some.grammar(prompt.ids, 1, endless, prompt.begun), steps, seed)[0]  # type: ignore[arg-type]


def test_a_continuation_can_be_the_prompt_of_a_further_one(some: Tokenizer[Any], domain: Domain) -> None:
    nothing = np.zeros((0, some.streams), dtype=np.int64)
    for piece, steps in itertools.product((None, *domain.pieces()), (0, 1, 2, 3, 70)):
        prompt = some.prompt(piece, None if piece is None else 2.0)
        ids = continued(some, prompt, steps)
        joined = some.join(prompt, ids)
        if some.kind == "midi" and not note_rows(joined):
            continue
        extended = some.extended(prompt, ids)
        assert extended.ids[0].tolist() == [some.begin] * some.streams
        again = some.join(extended, nothing)
        if some.steps_per_second is not None:
            # Of sound nothing is encoded once more.
            assert extended.ids.tolist() == np.concatenate([prompt.ids, ids]).tolist()
            assert extended.begun is not None
            assert prompt.begun is not None
            assert extended.begun.tolist() == prompt.begun[len(ids) :].tolist()
            np.testing.assert_allclose(again.samples, joined.samples, atol=1e-4)
            assert extended.cut_step == joined.samples.shape[1]
            assert extended.cut == pytest.approx(some.duration(joined))
        elif some.unit == "bytes":
            assert again == joined
            assert extended.cut == extended.cut_step == len(joined)
        else:
            assert some.encode(again).tolist() == some.encode(joined).tolist()
            # Only ticks may have become shorter.
            finer = again.ticks_per_quarter / joined.ticks_per_quarter
            rows = [(program, at * finer, long * finer, *rest) for program, at, long, *rest in note_rows(joined)]
            assert [tuple(row) for row in note_rows(again)] == rows
            # Up to the end of the bar, or to the last event: whatever rings on later, every note has begun.
            last = some.describe(some.encode(joined))[-1][0]
            assert last.start - 1e-6 <= extended.cut <= last.end + 10
            assert max(onset for _, onset, *_ in note_rows(joined)) <= extended.cut_step
            assert extended.cut == pytest.approx(float(seconds_at(joined, extended.cut_step)), abs=0.02)


def test_a_continuation_in_which_nothing_was_heard_yet_is_extended_or_refused(some: Tokenizer[Any]) -> None:
    prompt = some.prompt(None)
    for steps in range(8):
        ids = continued(some, prompt, steps)
        with contextlib.suppress(TokenizerError):
            extended = some.extended(prompt, ids)
            assert (grammar_after(some, extended).elapsed == 0).all()


def test_what_extends_a_prompt_goes_on_by_its_grammar(some: Tokenizer[Any], domain: Domain) -> None:
    prompt = some.prompt(domain.pieces()[0], 2.0)
    for _ in range(3):
        ids = continued(some, prompt, 50)
        extended = some.extended(prompt, ids)
        assert extended.cut > prompt.cut
        assert len(extended.ids) > len(prompt.ids)
        grammar = grammar_after(some, extended)
        assert np.isnan(grammar.elapsed).all() or (grammar.elapsed == 0).all()
        assert not grammar.finished.any()
        more = continued(some, extended, 50)
        # To what was there before, the further one adds and changes nothing.
        longer, before = some.join(extended, more), some.join(prompt, ids)
        assert some.duration(longer) > some.duration(before)
        if some.unit == "bytes":
            assert longer.startswith(before)
        elif some.steps_per_second is not None:
            length = before.samples.shape[1]
            np.testing.assert_allclose(longer.samples[:, :length], before.samples, atol=1e-4)
        else:
            assert len(note_rows(longer)) >= len(note_rows(before))
        prompt = extended


def test_ids_after_an_end_extend_nothing(some: Tokenizer[Any], domain: Domain) -> None:
    prompt = some.prompt(domain.pieces()[0], 2.0)
    ids = continued(some, prompt, 40)
    ends = np.concatenate([ids, np.full((1, some.streams), some.end)])
    plain, ended = some.extended(prompt, ids), some.extended(prompt, ends)
    assert ended.ids.tolist() == plain.ids.tolist()
    assert (ended.cut, ended.cut_step) == (plain.cut, plain.cut_step)


def test_the_label_of_another_id_is_the_one_it_would_have_in_its_place(some: Tokenizer[Any], domain: Domain) -> None:
    random = np.random.default_rng(0)
    piece = domain.pieces()[-1]
    ids = np.concatenate([some.prompt(None).ids, some.encode(piece)])
    for place in (0, 1, 2, 7, 20, min(150, len(ids))):
        for stream in range(some.streams):
            grammar = grammar_after(some, some.prompt(None))
            for step in ids[1:place]:
                grammar.advance(step[None])
            allowed = np.flatnonzero(grammar.allowed()[0, stream])
            others = [*random.permutation(allowed)[:20], *random.integers(0, some.vocabulary_size, 20)]
            others += [some.pad, some.begin, some.end, *np.unique(ids[:, stream])[:40]]
            expected = []
            for other in others:
                instead = np.concatenate([ids[:place], np.full((1, some.streams), some.pad)])
                instead[place, stream] = other
                expected.append(some.describe(instead)[place][stream].label)
            assert some.labels_after(ids[:place], stream, [int(other) for other in others]) == expected
    assert some.labels_after(ids[:5], 0, []) == []
