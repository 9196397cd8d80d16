"""Chooses split points in held-out pieces, and the segments that continuations are compared with."""

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
"""Length of the parts of long texts, in windows."""
_DRAWS = 16
"""Number of random times that are tried in a piece until there is a split point with room for the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSelection:
    """Options of the choice of windows."""

    count: int
    """Number of windows of all sources together."""
    prompt_length: float
    """Shortest prompt before the split point, in the unit of the domain; at least `length`, which the repeated prompt
    needs."""
    length: float
    """Length of the compared segments."""
    unit: Unit
    """Of both."""
    seed: int
    """Seed of the choice of pieces and split points."""

    def __post_init__(self) -> None:
        names = {"count": "windows", "prompt_length": f"prompt_{self.unit}", "length": self.unit}
        for name, option in names.items():
            require_range(option, getattr(self, name))
        if not 0 <= self.seed < 2**63:
            raise OptionError("seed", self.seed, "0 to 2^63 - 1")

    @property
    def before(self) -> float:
        """Length before every split point."""
        return max(self.prompt_length, self.length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A split point in a held-out piece. All segments have the same length and begin at a possible split point or at
    the start of the piece. Positions are in the unit of the domain."""

    source: str
    number: int
    """Index of the piece in its store."""
    first: int
    """Offset of the ids in the piece: 0, except in a part of a long text."""
    ids: Ids
    """(T, K) ids, including begin and end."""
    piece: Any
    """The piece, decoded from the ids."""
    prompt: Prompt[Any]
    """The prompt: everything before the split point."""
    repeated: float
    """Start of the last whole segment before the split point."""
    elsewhere: float | None
    """Start of another segment of the piece that does not overlap the continuation; None if there is no room."""
    other_number: int
    other: Any
    """Another held-out piece of the same source."""
    other_start: float
    """Start of its segment: at the same relative position as the split point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowChoice:
    """The chosen windows, by source."""

    windows: tuple[Window, ...]
    left_out: dict[str, int]
    """Number of pieces that are too short or have no suitable split point, by source."""


def shared_out(count: int, room: Mapping[str, int]) -> dict[str, int]:
    """Distribute `count` windows evenly over sources with limited room; what one source cannot take goes to the others.

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
    """Choose split points in held-out pieces, or in parts of long texts, at most one in each. A split point is the last
    possible one before a random time: a bar line, a frame, or the end of a word.

    Args:
        store: where the pieces are.
        domain: Domain of the store.
        sources: the numbers of the pieces, by source.
        selection: Number and lengths of the windows.
        watch: Called with the number of windows found so far.

    Raises:
        StoreError: No piece is long enough.
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
            f"no piece of {store.folder} has {selection.before:g} {selection.unit} before a split point and "
            f"{selection.length:g} after it, and another piece of its source to compare with; reduce --{selection.unit}"
        )
    return WindowChoice(windows=tuple(windows), left_out=left_out)


@dataclass(frozen=True, slots=True)
class _Place:
    """A piece of a store, or a part of a long text, that may contain a window."""

    number: int
    first: int
    """Offset of its ids in the piece."""
    stop: int
    length: float
    """Approximate length in the unit of the domain."""


def _places(store: Store, number: int, selection: WindowSelection) -> list[_Place]:
    piece = store.pieces[number]
    parts = 1
    if selection.unit == "bytes":
        # A book before the split point would take long to read, and the model sees only its last page.
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
    """Return a window in a place; None if it has no split point with enough room on both sides."""
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
    """Draw a position before or after the continuation, uniformly from those with enough room."""
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
    """Return the last possible split point before a position; the start of the piece if there is none."""
    line = domain.find_split_point(piece, moment) if moment > 0 else 0.0
    return line if line <= moment else 0.0
