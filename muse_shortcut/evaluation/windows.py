"""Places in held-out pieces at which they are continued, and the segments that a continuation is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from muse_shortcut.checks import require_range
from muse_shortcut.data.store import Store
from muse_shortcut.errors import OptionError, StoreError
from muse_shortcut.evaluation.by_source import read_ids
from muse_tokenizers.base import Ids, Prompt, Tokenizer, Unit
from muse_tokenizers.domain import Domain

__all__ = ["Window", "WindowChoice", "WindowSelection", "choose_windows", "shared_out"]

_ROOM = 4
"""Parts of long texts are so many times as long as a window."""
_DRAWS = 16
"""Moments that are tried in a piece until the bar line before one leaves room for the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSelection:
    """What windows are asked for."""

    count: int
    """Of all sources together."""
    prompt_length: float
    """The least that lies before the split point, in the domain's unit; never less than `length`, which the repeated
    prompt needs."""
    length: float
    """How long what is compared is."""
    unit: Unit
    """Of both."""
    seed: int
    """Another one chooses other pieces and cuts."""

    def __post_init__(self) -> None:
        names = {"count": "windows", "prompt_length": f"prompt_{self.unit}", "length": self.unit}
        for name, option in names.items():
            require_range(option, getattr(self, name))
        if not 0 <= self.seed < 2**63:
            raise OptionError("seed", self.seed, "0 to 2^63 - 1")

    @property
    def before(self) -> float:
        """What lies before every split point."""
        return max(self.prompt_length, self.length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A held-out piece, cut. All segments are equally long and begin where a prompt may be cut, or at the start.
    Places are in the domain's unit."""

    source: str
    number: int
    """Of the piece in its store."""
    first: int
    """Where its ids begin there: 0 but in a part of a long text."""
    ids: Ids
    """(T, K), begin and end included."""
    piece: Any
    """Decoded from them."""
    prompt: Prompt[Any]
    """All of the piece before the split point."""
    repeated: float
    """Where the last whole segment before the split point begins in the piece."""
    elsewhere: float | None
    """Where another segment of the piece begins, one that does not overlap the continuation; None: there is no room."""
    other_number: int
    other: Any
    """Another held-out piece of the same source."""
    other_start: float
    """Where its segment begins: as far along in it as the split point is in the piece."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowChoice:
    """The windows that were found, source by source."""

    windows: tuple[Window, ...]
    left_out: dict[str, int]
    """Pieces that are too short or have no fitting cut, by source."""


def shared_out(count: int, room: Mapping[str, int]) -> dict[str, int]:
    """So many windows over sources that have room for some each: evenly, and what one cannot take goes to the others.

    >>> shared_out(10, {"few": 2, "many": 50, "more": 90})
    {'few': 2, 'many': 4, 'more': 4}
    """
    shares, left = dict.fromkeys(room, 0), count
    for rank, source in enumerate(sorted(room, key=lambda name: (room[name], name))):
        shares[source] = min(room[source], left // (len(room) - rank))
        left -= shares[source]
    return shares


def choose_windows(
    store: Store,
    domain: Domain[Any],
    sources: Mapping[str, Sequence[int]],
    selection: WindowSelection,
    watch: Callable[[int], None] = lambda _: None,
) -> WindowChoice:
    """Cut held-out pieces, or the parts of long texts, each at most once, at the last place before a moment drawn at
    random at which a piece may be cut: a bar line, a frame, the end of a word.

    Args:
        store: where the pieces are.
        domain: its own.
        sources: the numbers of the pieces, by source.
        selection: how many windows, and how long.
        watch: called with the number of windows that are found.

    Raises:
        StoreError: no piece is long enough.
    """
    places = {source: [p for n in pieces for p in _places(store, n, selection)] for source, pieces in sources.items()}
    fitting: dict[str, list[_Place]] = {}
    for source, found in places.items():
        partners = [place for place in found if place.length >= selection.length]
        longer = [place for place in partners if place.length >= selection.before + selection.length]
        fitting[source] = longer if len(partners) > 1 else []
    shares = shared_out(selection.count, {source: len(found) for source, found in fitting.items()})
    windows: list[Window] = []
    left_out: dict[str, int] = {}
    for source, found in fitting.items():
        random = np.random.default_rng((selection.seed, 1, *source.encode()))
        wanted, left_out[source] = len(windows) + shares[source], len(places[source]) - len(found)
        for chosen in random.permutation(len(found)).tolist():
            if len(windows) == wanted:
                break
            place = found[chosen]
            partners = [other for other in places[source] if other != place and other.length >= selection.length]
            window = _split(store, domain, source, place, partners, selection)
            if window is None:
                left_out[source] += 1
            else:
                windows.append(window)
                watch(len(windows))
    if not windows:
        raise StoreError(
            f"no piece of {store.folder} is long enough for {selection.before:g} {selection.unit} before a split point "
            f"and {selection.length:g} after it, beside another of its source; ask for fewer --{selection.unit}"
        )
    return WindowChoice(windows=tuple(windows), left_out=left_out)


@dataclass(frozen=True, slots=True)
class _Place:
    """A piece of a store, or a part of a long text, in which a window may lie."""

    number: int
    first: int
    """Of its ids in the piece."""
    stop: int
    length: float
    """In the domain's unit, about."""


def _places(store: Store, number: int, selection: WindowSelection) -> list[_Place]:
    piece = store.pieces[number]
    parts = 1
    if selection.unit == "bytes":
        # A book before a split point would take long to read, and a core sees its last page.
        parts = max(1, int(piece.length / (_ROOM * (selection.before + selection.length))))
    edges = np.linspace(0, piece.tokens, parts + 1).round().astype(np.int64).tolist()
    return [_Place(number, first, stop, piece.length / parts) for first, stop in pairwise(edges)]


def _read(store: Store, tokenizer: Tokenizer[Any], place: _Place) -> Ids:
    ids = read_ids(store, place.number)[place.first : place.stop]
    begin = np.full((1, ids.shape[1]), tokenizer.begin, dtype=np.int64)
    return np.concatenate([begin, ids]) if place.first else ids


def _split(
    store: Store,
    domain: Domain[Any],
    source: str,
    place: _Place,
    partners: Sequence[_Place],
    selection: WindowSelection,
) -> Window | None:
    """A window in a place; None where it has no cut with enough on both sides."""
    random = np.random.default_rng((selection.seed, 2, place.number, *([place.first] if place.first else [])))
    ids = _read(store, domain.tokenizer, place)
    piece = domain.tokenizer.decode(ids)
    room = domain.duration(piece) - selection.length
    prompt = _draw_prompt(domain, piece, room, selection, random)
    if prompt is None:
        return None
    split_point = prompt.split_point
    partner = partners[int(random.choice(len(partners)))]
    other = domain.tokenizer.decode(_read(store, domain.tokenizer, partner))
    other_room = max(0.0, domain.duration(other) - selection.length)
    return Window(
        source=source,
        number=place.number,
        first=place.first,
        ids=ids,
        piece=piece,
        prompt=prompt,
        repeated=_line_before(domain, piece, split_point - selection.length),
        elsewhere=_elsewhere(domain, piece, split_point, room, selection, random),
        other_number=partner.number,
        other=other,
        other_start=_line_before(domain, other, other_room * split_point / room),
    )


def _draw_prompt(
    domain: Domain[Any], piece: Any, room: float, selection: WindowSelection, random: np.random.Generator
) -> Prompt[Any] | None:
    if room < selection.before:
        return None
    moments = [*random.uniform(selection.before, room, _DRAWS - 1).tolist(), room]
    for moment in moments:
        if selection.before <= domain.find_split_point(piece, moment) <= room:
            return domain.prompt(piece, moment)
    return None


def _elsewhere(
    domain: Domain[Any],
    piece: Any,
    split_point: float,
    room: float,
    selection: WindowSelection,
    random: np.random.Generator,
) -> float | None:
    """A moment before or after the continuation, drawn evenly from those that have room."""
    before, after = split_point - selection.length, max(0.0, room - (split_point + selection.length))
    for _ in range(_DRAWS):
        moment = random.uniform(0.0, before + after)
        start = _line_before(
            domain, piece, moment if moment <= before else moment - before + split_point + selection.length
        )
        if start <= before or start >= split_point + selection.length:
            return start
    return None


def _line_before(domain: Domain[Any], piece: Any, moment: float) -> float:
    """The last place before a moment at which a piece may be cut; its start where there is none."""
    line = domain.find_split_point(piece, moment) if moment > 0 else 0.0
    return line if line <= moment else 0.0
