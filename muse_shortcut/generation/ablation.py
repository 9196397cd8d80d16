"""Explains a token: its attention, and the change of its log-probability when a source is ablated.

An attention weight is not the effect of a source. So each source (a depth, a span of the past, or both) is hidden from
the last layer, and the token is scored again; the layers below are unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.sampling import log_softmax
from muse_shortcut.generation.trace import Trace
from muse_shortcut.model.core import Core
from muse_tokenizers.base import Token
from muse_tokenizers.domain import Domain
from muse_tokenizers.wording import counted

__all__ = ["Ablation", "Explanation", "SourceSpan", "ablate_sources", "allowed_at", "explain", "spans_of"]

_AT_ONCE = 256
"""Ablations that are scored in one batch: each has weights (H, n, T)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSpan:
    """A span of positions with one meaning: the adjacent ids of a note, or a single id."""

    label: str
    kind: str
    start: float
    """Start in the piece, in seconds, or in bytes for text."""
    end: float
    first: int
    """First position."""
    stop: int
    """Position after the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """A source of one new token, with its attention weight and the effect of its ablation."""

    depth: int | None
    """Depth; None for all depths."""
    span: SourceSpan | None
    """Span; None for all visible positions."""
    weight: float
    """Share of attention on the source, averaged over heads."""
    change: tuple[float, ...]
    """(K,) difference of log-probability in nats, hidden minus unhidden. It is negative if the source made the id more
    likely."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The explanation of one new step."""

    step: int
    """Step, counted from 0 at the end of the prompt."""
    tokens: tuple[Token, ...]
    """(K,) sampled ids."""
    log_probability: tuple[float, ...]
    """(K,) log-probabilities under the grammar, in nats."""
    depths: tuple[Ablation, ...]
    """Ablations of each depth at all positions."""
    spans: tuple[Ablation, ...]
    """Ablations of each span at all depths, sorted by weight."""
    cells: tuple[Ablation, ...]
    """Ablations of each span at each depth, sorted by weight."""

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)

    def __repr__(self) -> str:
        labels = " ".join(token.label for token in self.tokens)
        depths = counted(len(self.depths), "depth", "d")
        return f"Explanation(step {self.step}: {labels!r}, {depths}, {counted(len(self.spans), 'span', 'd')})"


def spans_of(tokens: Sequence[Sequence[Token]]) -> list[SourceSpan]:
    """Group adjacent ids of one note into a span; every other step is a span of its own.

    Args:
        tokens: (T, K) result of `Tokenizer.describe`; a step is named after its first stream.
    """
    spans: list[SourceSpan] = []
    for position, step in enumerate(tokens):
        token = step[0]
        same = position and token.note is not None and token.note == tokens[position - 1][0].note
        if same:
            current = spans[-1]
            spans[-1] = SourceSpan(
                label=current.label,
                kind=current.kind,
                start=current.start,
                end=max(current.end, token.end),
                first=current.first,
                stop=position + 1,
            )
        else:
            spans.append(
                SourceSpan(
                    label=token.label,
                    kind=token.kind,
                    start=token.start,
                    end=token.end,
                    first=position,
                    stop=position + 1,
                )
            )
    return spans


def ablate_sources(
    core: Core,
    trace: Trace,
    step: int,
    sources: Sequence[tuple[int | None, SourceSpan | None]],
    allowed: NDArray[np.bool_] | None = None,
) -> list[Ablation]:
    """Ablate each of some sources of the id that was sampled at a step.

    Args:
        core: The core that generated the trace, in evaluation mode.
        trace: Trace of the candidate.
        step: Step, counted from 0 at the end of the prompt.
        sources: Pairs of a depth (None for all depths) and a span (None for all visible positions).
        allowed: (K, V) bool, the ids that the grammar allowed at the step; None for all.

    Raises:
        ArgumentsError: There is no such step, depth or position.
    """
    if not 0 <= step < trace.steps:
        raise OptionError("step", step, f"0 to {trace.steps - 1}, the steps of this trace")
    end = trace.prompt_steps + step
    first = int(trace.first[step])
    depths = trace.depths.tolist()
    hidden = torch.zeros(len(sources) + 1, len(depths), end - first, dtype=torch.bool)
    for number, (depth, span) in enumerate(sources):
        if depth is not None and depth not in depths:
            raise ArgumentsError(f"depth is {depth}; the last layer attends to {', '.join(map(str, depths))}")
        if span is not None and not (0 <= span.first < span.stop <= end):
            raise ArgumentsError(f"positions {span.first} to {span.stop - 1} are not before step {step}, at {end}")
        rows = slice(None) if depth is None else slice(depths.index(depth), depths.index(depth) + 1)
        columns = slice(None) if span is None else slice(max(0, span.first - first), max(0, span.stop - first))
        hidden[number + 1, rows, columns] = True
    device = next(core.parameters()).device
    ids = torch.from_numpy(np.ascontiguousarray(trace.ids[None, first:end])).to(device)
    weights = np.zeros((len(depths), end - first), dtype=np.float32)
    begin, row = trace.attended(step)
    weights[:, begin - first :] = row
    nats = []
    with torch.inference_mode():
        for start in range(0, len(hidden), _AT_ONCE):
            scores = core.ablate(ids, hidden[start : start + _AT_ONCE].to(device)).logits.double().cpu().numpy()
            if allowed is not None:
                scores[:, ~allowed] = -np.inf
            nats.append(np.take_along_axis(log_softmax(scores), trace.ids[end][None, :, None], -1)[..., 0])
    values = np.concatenate(nats)
    return [
        Ablation(
            depth=depth,
            span=span,
            weight=float(weights[hidden[number + 1].numpy()].sum()),
            change=tuple(float(value) for value in values[number + 1] - values[0]),
        )
        for number, (depth, span) in enumerate(sources)
    ]


def allowed_at(domain: Domain[Any], request: Request, trace: Trace, step: int) -> NDArray[np.bool_] | None:
    """Return the ids that the grammar allowed at a step of a trace, (K, V) bool; None if the domain has no grammar."""
    grammar = domain.grammar(
        request.prompt.ids, 1, request.constraints, request.prompt.partial_frames, request.prompt.clock
    )
    if grammar is None:
        return None
    for ids in trace.ids[trace.prompt_steps : trace.prompt_steps + step]:
        grammar.advance(ids[None])
    allowed: NDArray[np.bool_] = grammar.allowed()[0]
    return allowed


def _following(domain: Domain[Any]) -> int:
    """Number of following steps that are needed to describe a step: in text, those that complete its character."""
    return 3 if domain.unit == "bytes" else 0


def explain(core: Core, domain: Domain[Any], request: Request, trace: Trace, step: int) -> Explanation:
    """Explain the id that was sampled at a step: ablate each depth, each span (a note, or another id), and each span at
    each depth.

    Raises:
        ArgumentsError: There is no such step.
    """
    if not 0 <= step < trace.steps:
        raise OptionError("step", step, f"0 to {trace.steps - 1}, the steps of this continuation")
    end = trace.prompt_steps + step
    # One step more than is explained, which shows whether the span of the last note is complete.
    tokens = domain.tokenizer.describe(trace.ids[: end + 1 + _following(domain)], request.prompt)
    seen = [span for span in spans_of(tokens[:end]) if span.stop > int(trace.first[step])]
    depths: list[int] = trace.depths.tolist()
    sources: list[tuple[int | None, SourceSpan | None]] = [
        *((depth, None) for depth in depths),
        *((None, span) for span in seen),
        *((depth, span) for span in seen for depth in depths),
    ]
    ablations = ablate_sources(core, trace, step, sources, allowed_at(domain, request, trace, step))
    n, spans = len(depths), len(seen)

    def by_weight(found: list[Ablation]) -> tuple[Ablation, ...]:
        return tuple(sorted(found, key=lambda ablation: -ablation.weight))

    return Explanation(
        step=step,
        tokens=tuple(tokens[end]),
        log_probability=tuple(float(value) for value in trace.log_probability[step]),
        depths=tuple(ablations[:n]),
        spans=by_weight(ablations[n : n + spans]),
        cells=by_weight(ablations[n + spans :]),
    )
