"""Places in held-out pieces at which they are continued, and the stretches that a continuation is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from muse_shortcut.data.store import Store
from muse_shortcut.errors import ArgumentsError, StoreError
from muse_shortcut.evaluation.sources import decode_piece, read_ids
from muse_tokenizers.base import Ids, Prompt, Tokenizer, Unit

__all__ = ["Choice", "Window", "WindowWishes", "choose_windows", "shared_out"]

_DRAWS = 16
"""Moments that are tried in a piece until the bar line before one leaves room for the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowWishes:
    """What windows are asked for."""

    count: int
    """Of all sources together."""
    prompt_length: float
    """The least that lies before the cut, in the domain's unit; never less than `length`, which the repeated prompt
    needs."""
    length: float
    """How long what is compared is."""
    unit: Unit
    """Of both."""
    seed: int
    """Another one chooses other pieces and cuts."""

    def __post_init__(self) -> None:
        names = {"count": "windows", "prompt_length": f"prompt-{self.unit}", "length": self.unit}
        for name, option in names.items():
            if not 0 < getattr(self, name) < float("inf"):
                raise ArgumentsError(f"--{option} is {getattr(self, name)}; allowed: more than 0")
        if not 0 <= self.seed < 2**63:
            raise ArgumentsError(f"--seed is {self.seed}; allowed: 0 to 2^63 - 1")

    @property
    def before(self) -> float:
        """What lies before every cut."""
        return max(self.prompt_length, self.length)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A held-out piece, cut. All stretches are equally long and begin where a prompt may be cut, or at the start.
    Places are in the domain's unit."""

    source: str
    number: int
    """Of the piece in its store."""
    ids: Ids
    """(T, K), begin and end included."""
    piece: Any
    """Decoded from them."""
    prompt: Prompt[Any]
    """All of the piece before the cut."""
    repeated: float
    """Where the last whole stretch before the cut begins in the piece."""
    elsewhere: float | None
    """Where another stretch of the piece begins, one that does not overlap the continuation; None: there is no room."""
    other_number: int
    other: Any
    """Another held-out piece of the same source."""
    other_start: float
    """Where its stretch begins: as far along in it as the cut is in the piece."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
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
    tokenizer: Tokenizer[Any],
    sources: Mapping[str, Sequence[int]],
    wishes: WindowWishes,
    watch: Callable[[int], None] = lambda _: None,
) -> Choice:
    """Cut held-out pieces, each at most once, at the last bar line before a moment drawn at random.

    Args:
        store: where the pieces are.
        tokenizer: its own.
        sources: the numbers of the pieces, by source.
        wishes: how many windows, and how long.
        watch: called with the number of windows that are found.

    Raises:
        StoreError: no piece is long enough.
    """
    lengths = {number: store.pieces[number].length for pieces in sources.values() for number in pieces}
    fitting: dict[str, list[int]] = {}
    for source, pieces in sources.items():
        partners = [number for number in pieces if lengths[number] >= wishes.length]
        longer = [n for n in partners if lengths[n] >= wishes.before + wishes.length]
        fitting[source] = longer if len(partners) > 1 else []
    shares = shared_out(wishes.count, {source: len(pieces) for source, pieces in fitting.items()})
    windows: list[Window] = []
    left_out: dict[str, int] = {}
    for source, pieces in fitting.items():
        random = np.random.default_rng((wishes.seed, 1, *source.encode()))
        wanted, left_out[source] = len(windows) + shares[source], len(sources[source]) - len(pieces)
        for number in random.permutation(pieces).tolist():
            if len(windows) == wanted:
                break
            partners = [n for n in sources[source] if n != number and lengths[n] >= wishes.length]
            window = _cut(store, tokenizer, source, number, partners, wishes)
            if window is None:
                left_out[source] += 1
            else:
                windows.append(window)
                watch(len(windows))
    if not windows:
        raise StoreError(
            f"no piece of {store.folder} is long enough for {wishes.before:g} {wishes.unit} before a cut and "
            f"{wishes.length:g} after it, beside another of its source; ask for fewer --{wishes.unit}"
        )
    return Choice(windows=tuple(windows), left_out=left_out)


def _cut(
    store: Store, tokenizer: Tokenizer[Any], source: str, number: int, partners: Sequence[int], wishes: WindowWishes
) -> Window | None:
    """A window in a piece; None where the piece has no cut with enough on both sides."""
    random = np.random.default_rng((wishes.seed, 2, number))
    ids = read_ids(store, number)
    piece = tokenizer.decode(ids)
    room = tokenizer.duration(piece) - wishes.length
    prompt = _draw_prompt(tokenizer, piece, room, wishes, random)
    if prompt is None:
        return None
    cut = prompt.cut
    other_number = int(random.choice(partners))
    other = decode_piece(store, tokenizer, other_number)
    other_room = max(0.0, tokenizer.duration(other) - wishes.length)
    return Window(
        source=source,
        number=number,
        ids=ids,
        piece=piece,
        prompt=prompt,
        repeated=_line_before(tokenizer, piece, cut - wishes.length),
        elsewhere=_elsewhere(tokenizer, piece, cut, room, wishes, random),
        other_number=other_number,
        other=other,
        other_start=_line_before(tokenizer, other, other_room * cut / room),
    )


def _draw_prompt(
    tokenizer: Tokenizer[Any], piece: Any, room: float, wishes: WindowWishes, random: np.random.Generator
) -> Prompt[Any] | None:
    if room < wishes.before:
        return None
    moments = [*random.uniform(wishes.before, room, _DRAWS - 1).tolist(), room]
    for moment in moments:
        if wishes.before <= tokenizer.cut_before(piece, moment) <= room:
            return tokenizer.prompt(piece, moment)
    return None


def _elsewhere(
    tokenizer: Tokenizer[Any], piece: Any, cut: float, room: float, wishes: WindowWishes, random: np.random.Generator
) -> float | None:
    """A moment before or after the continuation, drawn evenly from those that have room."""
    before, after = cut - wishes.length, max(0.0, room - (cut + wishes.length))
    for _ in range(_DRAWS):
        moment = random.uniform(0.0, before + after)
        start = _line_before(tokenizer, piece, moment if moment <= before else moment - before + cut + wishes.length)
        if start <= before or start >= cut + wishes.length:
            return start
    return None


def _line_before(tokenizer: Tokenizer[Any], piece: Any, moment: float) -> float:
    """The last place before a moment at which a piece may be cut; its start where there is none."""
    line = tokenizer.cut_before(piece, moment) if moment > 0 else 0.0
    return line if line <= moment else 0.0
