"""Tests for authors of domains: defaults for optional methods, and all functions work with a new domain."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import SHORTCUTS, make_core, small_config

import muse_shortcut as muse
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from muse_shortcut.generation.sidecar import read_sidecar
from muse_tokenizers import loading
from muse_tokenizers.base import Constraints, Ids, Prompt, Token, Tokenizer
from muse_tokenizers.built_in import BUILT_IN, UNITS
from muse_tokenizers.domain import EMBEDDED, Domain
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import (
    ConstraintError,
    UnknownTokenizerError,
    UnreadablePieceError,
    UnwritablePieceError,
    Warn,
    warn_about_file,
)
from muse_tokenizers.loading import domain_class, domain_of, load_tokenizer, register_domain, tokenizer_class
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

NAMES = "abcdefgh"


class TuneTokenizer(Tokenizer[str]):
    """Tunes of eight notes, a second each."""

    kind = "tune"
    streams = 1
    vocabulary_size = 11
    pad, begin, end = 8, 9, 10

    def encode(self, piece: str) -> Ids:
        return np.array([[NAMES.index(name)] for name in piece], dtype=np.int64).reshape(-1, 1)

    def decode(self, ids: Ids) -> str:
        return "".join(NAMES[i] for i in ids[:, 0] if i < 8)

    def describe(self, ids: Ids, prompt: Prompt[str] | None = None) -> list[list[Token]]:
        ends = np.cumsum(ids[:, 0] < 8).tolist()
        return [
            [Token(id=i, label=self.vocabulary()[i], kind="note" if i < 8 else "special", start=end - (i < 8), end=end)]
            for i, end in zip(ids[:, 0].tolist(), ends, strict=True)
        ]

    def configuration(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], folder: Path | None = None) -> TuneTokenizer:
        return cls()

    def vocabulary(self) -> list[str]:
        return [*NAMES, "pad", "begin", "end"]


class TuneDomain(Domain[str]):
    """Files of their names."""

    info = DomainInfo(suffixes=frozenset({".tune"}), suffix=".tune")

    def dumps(self, piece: str) -> bytes:
        return piece.encode()

    def loads(self, data: bytes, name: str = EMBEDDED, *, warn: Warn = warn_about_file) -> str:
        if not data or not set(data) <= set(NAMES.encode()):
            raise UnreadablePieceError(f"{name} is no tune")
        return data.decode()

    def duration(self, piece: str) -> float:
        return float(len(piece))


@pytest.fixture
def tunes(monkeypatch: pytest.MonkeyPatch) -> Domain[Any]:
    monkeypatch.setattr(loading, "_registered", {})
    register_domain(TuneTokenizer, TuneDomain)
    return domain_of(TuneTokenizer())


@pytest.fixture
def model(tunes: Domain[Any], tmp_path: Path) -> muse.Model:
    core = make_core(small_config(SHORTCUTS["two taps"])).float()
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(Checkpoint(core=core, tokenizer=tunes.tokenizer, card="# Tunes\n"), tmp_path / "checkpoint")
    return muse.Model(load_checkpoint(tmp_path / "checkpoint"))


def test_a_registered_domain_is_found_by_its_kind_wherever_a_shipped_one_is(tunes: Domain[Any], tmp_path: Path) -> None:
    assert (tokenizer_class("tune"), domain_class("tune")) == (TuneTokenizer, TuneDomain)
    tunes.tokenizer.save(tmp_path)
    assert type(domain_of(load_tokenizer(tmp_path))) is TuneDomain
    with pytest.raises(
        UnknownTokenizerError, match=r"^no tokenizer is called 'flute'; allowed: midi, audio, text, tune"
    ):
        domain_class("flute")


def test_no_domain_takes_the_place_of_a_shipped_one() -> None:
    class Other(TuneTokenizer):
        kind = "midi"

    with pytest.raises(UnknownTokenizerError, match=r"^kind is 'midi'; allowed: a name such as 'abc'"):
        register_domain(Other, TuneDomain)


def test_reading_and_writing_files_uses_loads_and_dumps(tunes: Domain[Any], tmp_path: Path) -> None:
    tunes.write("abba", tmp_path / "a.tune")
    assert tunes.read(tmp_path / "a.tune") == tunes.read_part(tmp_path / "a.tune", None) == "abba"
    with pytest.raises(UnreadablePieceError, match=r"^cannot read .*none\.tune: No such file"):
        tunes.read(tmp_path / "none.tune")
    (tmp_path / "b.tune").write_text("xyz")
    with pytest.raises(UnreadablePieceError, match=r"b\.tune is no tune$"):
        tunes.read(tmp_path / "b.tune")
    with pytest.raises(UnwritablePieceError, match=r"^cannot write"):
        tunes.write("abba", tmp_path)


def test_without_more_a_prompt_is_whole_and_anything_may_follow(tunes: Domain[Any]) -> None:
    prompt = tunes.prompt("abba")
    assert (prompt.ids[:, 0].tolist(), prompt.split_point) == ([9, 0, 1, 1, 0], 4.0)
    assert tunes.prompt("abba", 9.0).ids.tolist() == prompt.ids.tolist()
    with pytest.raises(ConstraintError, match=r"^a prompt of tune is continued whole"):
        tunes.prompt("abba", 2.0)
    assert tunes.grammar(prompt.ids, 3) is None
    joined = tunes.join(prompt, np.array([[2], [10]]))
    assert joined == "abbac"
    assert tunes.extended(prompt, np.array([[2]])).ids.tolist() == tunes.prompt("abbac").ids.tolist()
    assert tunes.labels_after(prompt.ids, 0, [0, 10]) == ["a", "end"]


def test_without_more_there_is_no_sound_no_augmentation_and_no_measure(tunes: Domain[Any]) -> None:
    assert tunes.render("abba") is tunes.sound("abba") is tunes.describe_sound() is tunes.sound_rate is None
    variations = tunes.variations()
    assert (variations.maps.tolist(), variations.valid.all()) == ([list(range(11))], True)
    assert tunes.measure("abba", 0.0, 2.0) == {}
    assert not tunes.note_starts().any()
    units = tunes.copy_units(tunes.prompt("abcab").ids, 1.0, 5.0)
    assert (units.places[:, 0].tolist(), len(units.numbers)) == ([1.0, 2.0, 3.0, 4.0], 4)


def test_without_more_nothing_can_be_asked_for(tunes: Domain[Any]) -> None:
    assert tunes.constraints({}) == tunes.default_constraints() == Constraints()
    assert asdict(Constraints().with_length(20.0)) == {}
    with pytest.raises(ConstraintError, match=r"^key is 'C'; allowed: none, since this domain has none$"):
        tunes.constraints({"key": "C"})


def test_a_checkpoint_of_it_continues_files_and_its_sidecar_repeats_them(model: muse.Model, tmp_path: Path) -> None:
    (tmp_path / "song.tune").write_text("abba")
    [made] = model.continue_(tmp_path / "song.tune", max_new_tokens=8, seed=3)
    assert made.piece.startswith("abba")
    assert made.save(tmp_path / "out.tune").read_text() == made.piece
    sidecar = read_sidecar(made.save(tmp_path / "out.json"), model.domain)
    [again] = model.start(sidecar.request).run()
    assert again.piece == made.piece
    made.plot(tmp_path / "why.svg")
    assert made.explain(0).tokens
    with pytest.raises(muse.ArgumentsError, match=r"a prompt of tune cannot be of type float; allowed: a path, bytes"):
        model.continue_(3.5)


@pytest.mark.parametrize("kind", BUILT_IN_DOMAINS)
def test_what_commands_know_of_a_domain_is_what_its_class_has(kind: str) -> None:
    domain = domain_class(kind)
    known = replace(BUILT_IN[kind], suffixes=domain.info.suffixes, reads=domain.info.reads)
    assert (domain.info, domain.unit) == (known, UNITS[kind])
    assert domain.info.suffixes <= BUILT_IN[kind].suffixes


def test_a_domain_whose_view_does_not_exist_is_not_registered() -> None:
    class Painted(TuneDomain):
        view: Any = "oil"

    with pytest.raises(UnknownTokenizerError, match=r"Painted has the view 'oil'; allowed: notes, sound, text$"):
        register_domain(TuneTokenizer, Painted)
