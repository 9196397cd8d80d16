"""Evaluations as functions, as `muse-evaluate` runs them: likelihood, distances of continuations, copies.

store = open_store("stores/mine")
scores = evaluate_likelihood(model, store)
scores.together.nats_per_token
continued = evaluate_continuations(model, store, count=20)
copies = evaluate_copies(model, store, continued.outcomes)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from muse_shortcut.api.model import Model
from muse_shortcut.config import SamplingConfig
from muse_shortcut.data.store import Store
from muse_shortcut.evaluation.by_source import pieces_by_source
from muse_shortcut.evaluation.continuations import Outcome, continue_window, measure_windows
from muse_shortcut.evaluation.copy_check import CopyFound, CopySummary, TrainingPieces, find_copies, summarise_copies
from muse_shortcut.evaluation.distances import Comparison, Rate, compare, rates
from muse_shortcut.evaluation.likelihood import Likelihood, PieceLikelihood, ScoringWindows, pool, score_pieces
from muse_shortcut.evaluation.windows import Window, WindowChoice, WindowSelection, choose_windows
from muse_tokenizers.base import Constraints, Unit

__all__ = [
    "DEFAULT_LENGTHS",
    "ContinuationResult",
    "CopyResult",
    "LikelihoodResult",
    "continue_windows",
    "default_scoring",
    "evaluate_continuations",
    "evaluate_copies",
    "evaluate_likelihood",
]

DEFAULT_LENGTHS: dict[Unit, tuple[float, float]] = {"seconds": (12.0, 16.0), "bytes": (1000, 1000)}
"""Default length of a prompt and of a continuation, by the unit of the domain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelihoodResult:
    """Likelihood of held-out pieces under a model."""

    together: Likelihood
    """Likelihood of all pieces together."""
    sources: dict[str, Likelihood]
    """Likelihood of the pieces of each source; the source of a store with one source is "all"."""
    pieces: dict[str, list[PieceLikelihood]]
    """Likelihood of each piece, by source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuationResult:
    """Continuations of held-out pieces, compared with what truly follows."""

    outcomes: list[Outcome]
    """The measures of each continued piece, for the continuation and everything that it is compared with."""
    comparisons: list[Comparison]
    """Distances of the model and each baseline from the true continuation, by measure, with 95 % intervals."""
    rates: list[Rate]
    """Rates of faults (silence, loops) in the model's continuations and in the true ones."""
    left_out: dict[str, int]
    """Number of pieces that are too short, by source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyResult:
    """Copies of training pieces in continuations."""

    searched: int
    """Number of training pieces that were searched."""
    copies: dict[str, list[CopyFound | None]]
    """The longest copy in each continuation of the "model" and each "true" one; None if it is too short."""
    summaries: dict[str, CopySummary | None]


def default_scoring(model: Model) -> ScoringWindows:
    """Return scoring windows of the model's whole context, half a context apart, in float32."""
    context = model.core.config.context
    return ScoringWindows(context=context, stride=max(1, context // 2))


def evaluate_likelihood(
    model: Model,
    store: Store,
    *,
    split: str = "validation",
    pieces: Mapping[str, Sequence[int]] | None = None,
    scoring: ScoringWindows | None = None,
    hidden_depths: Collection[int] = (),
    watch: Callable[[int], None] = lambda _: None,
) -> LikelihoodResult:
    """Compute the likelihood of held-out pieces. Every id is scored once, in a sliding window.

    Args:
        model: The model.
        store: A store made with the model's tokenizer.
        split: "train", "validation" or "test"; ignored if `pieces` is set.
        pieces: Indices of the pieces, by source; None for all pieces of the split.
        scoring: The windows; None for `default_scoring`.
        hidden_depths: Depths that are hidden from the last layer (an ablation).
        watch: Called with the number of scored windows.

    Returns:
        Nats per token, bits per second or per byte, and nats per note.

    Raises:
        StoreError: The store was made by another tokenizer, or the split has no pieces.
    """
    store.check_tokenizer(model.tokenizer, "the model")
    sources = pieces_by_source(store, split) if pieces is None else pieces
    how = default_scoring(model) if scoring is None else scoring
    scored = score_pieces(model.core, model.domain, store, sources, how, watch, without=hidden_depths)
    return LikelihoodResult(
        together=pool([piece for found in scored.values() for piece in found]),
        sources={source: pool(found) for source, found in scored.items()},
        pieces=scored,
    )


def continue_windows(
    model: Model,
    windows: Sequence[Window],
    length: float,
    *,
    constraints: Constraints,
    sampling: SamplingConfig,
    seed: int,
) -> Iterator[Outcome]:
    """Continue the prompts of windows one after another, and measure each continuation against the true one.

    Args:
        model: The model.
        windows: Windows from `choose_windows`.
        length: Length of a continuation, in the unit of the domain.
        constraints: Constraints of the continuations, without a length.
        sampling: Sampling options of the continuations.
        seed: Seed of the continuations.
    """
    constraints = constraints.with_length(length)
    for window in windows:
        ids, steps = continue_window(model, window, constraints, sampling, seed)
        yield measure_windows(model.domain, window, ids, steps, length)


def evaluate_continuations(
    model: Model,
    store: Store,
    *,
    split: str = "validation",
    count: int = 100,
    prompt_length: float | None = None,
    length: float | None = None,
    sampling: SamplingConfig | None = None,
    constrained: bool = True,
    seed: int = 0,
    watch: Callable[[int], None] = lambda _: None,
) -> ContinuationResult:
    """Continue held-out pieces, and compare the continuations with what truly follows.

    Args:
        model: The model.
        store: A store made with the model's tokenizer.
        split: Split of the pieces.
        count: Number of pieces to continue, shared evenly among the sources.
        prompt_length: Shortest prompt, in seconds or bytes of text; None for 12 s or 1,000 bytes.
        length: Length of a continuation, in seconds or bytes of text; None for 16 s or 1,000 bytes.
        sampling: Sampling options; None for those of the checkpoint.
        constrained: Whether to apply the default constraints of the domain, as `Model.continue_` does.
        seed: Seed of the choice of pieces and of the continuations.
        watch: Called with the number of continued pieces.

    Raises:
        StoreError: The store was made by another tokenizer, or no piece is long enough.
        ArgumentsError: A length or the count is out of its range.
    """
    domain = model.domain
    store.check_tokenizer(domain.tokenizer, "the model")
    before, after = DEFAULT_LENGTHS[domain.unit]
    selection = WindowSelection(
        count=count,
        prompt_length=before if prompt_length is None else prompt_length,
        length=after if length is None else length,
        unit=domain.unit,
        seed=seed,
    )
    choice: WindowChoice = choose_windows(store, domain, pieces_by_source(store, split), selection)
    outcomes: list[Outcome] = []
    for outcome in continue_windows(
        model,
        choice.windows,
        selection.length,
        constraints=domain.default_constraints() if constrained else domain.constraints_type(),
        sampling=model.checkpoint.sampling if sampling is None else sampling,
        seed=seed,
    ):
        outcomes.append(outcome)
        watch(len(outcomes))
    return ContinuationResult(
        outcomes=outcomes,
        comparisons=compare(outcomes, seed),
        rates=rates(outcomes),
        left_out=dict(choice.left_out),
    )


def evaluate_copies(
    model: Model, store: Store, outcomes: Sequence[Outcome], watch: Callable[[int], None] = lambda _: None
) -> CopyResult:
    """Search the training pieces of a store for the longest run of notes, frames or characters of each continuation.

    Args:
        model: The model whose tokenizer made the store.
        store: The store to search.
        outcomes: Outcomes of `evaluate_continuations`; their true continuations are searched for too, for comparison.
        watch: Called with the number of training pieces that have been read.
    """
    training = TrainingPieces(store, model.domain)
    found = dict(zip(("model", "true"), find_copies(training, outcomes, watch), strict=True))
    summaries = {kind: summarise_copies(copies, model.domain.copy_threshold) for kind, copies in found.items()}
    return CopyResult(searched=training.searched, copies=found, summaries=summaries)
