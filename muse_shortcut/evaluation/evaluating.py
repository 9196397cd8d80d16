"""What `muse-evaluate` measures, as functions: likelihood, nearness of continuations, copies.

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
"""The least before a split point, and the length of a continuation, in the domain's unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelihoodResult:
    """How likely held-out pieces are to a model."""

    together: Likelihood
    """Of all pieces."""
    sources: dict[str, Likelihood]
    """Of the pieces of each source; a store of one source calls it "all"."""
    pieces: dict[str, list[PieceLikelihood]]
    """Of each piece, by source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuationResult:
    """Continuations of held-out pieces beside what truly follows in them."""

    outcomes: list[Outcome]
    """One for each piece that was continued, with all measures of both."""
    comparisons: list[Comparison]
    """By measure: how far the model, and each baseline, is from the true continuation, with 95 % intervals."""
    rates: list[Rate]
    """How often something undesired happens (silence, loops), in the model's continuations and the true ones."""
    left_out: dict[str, int]
    """Pieces that are too short, by source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyResult:
    """What of some continuations is found in the training pieces."""

    searched: int
    """Training pieces that were searched."""
    copies: dict[str, list[CopyFound | None]]
    """The longest copy of each continuation, of the "model" and of the "true" ones; None: it is too short."""
    summaries: dict[str, CopySummary | None]


def default_scoring(model: Model) -> ScoringWindows:
    """Windows of the model's whole context, half a context apart, in float32."""
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
    """Score every id of held-out pieces once, under a window that slides.

    Args:
        model: any.
        store: made with the model's tokenizer.
        split: "train", "validation" or "test"; has no effect beside `pieces`.
        pieces: numbers of the pieces, by source; None: all of the split.
        scoring: how; None: `default_scoring`.
        hidden_depths: depths that the last layer must do without (an ablation).
        watch: called with the number of windows that are scored.

    Returns:
        Nats per token, bits per second or byte, nats per note.

    Raises:
        StoreError: the store is of another tokenizer, or the split has no pieces.
    """
    store.check_tokenizer(model.tokenizer.fingerprint(), "the model")
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
    """Continue cut pieces one after another, and measure each beside its true continuation.

    Args:
        model: any.
        windows: as `choose_windows` found them.
        length: of a continuation, in the domain's unit.
        constraints: that continuations keep, without a length.
        sampling: of the continuations.
        seed: same seed, same continuations.
    """
    asked = constraints.with_length(length)
    for window in windows:
        ids, steps = continue_window(model, window, asked, sampling, seed)
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
    """Continue held-out pieces and compare with what truly follows.

    Args:
        model: any.
        store: made with the model's tokenizer.
        split: whose pieces.
        count: pieces to continue, shared evenly by the sources.
        prompt_length: the least before a split point, in seconds or bytes of text; None: 12 or 1,000.
        length: of continuations, in seconds or bytes of text; None: 16 or 1,000.
        sampling: None: the checkpoint's.
        constrained: keep the domain's default constraints, as `Model.continue_` does.
        seed: of the choice of pieces and of continuations.
        watch: called with the number of pieces that are continued.

    Raises:
        StoreError: the store is of another tokenizer, or no piece is long enough.
        ArgumentsError: a length or the count is out of its range.
    """
    domain = model.domain
    store.check_tokenizer(domain.tokenizer.fingerprint(), "the model")
    before, after = DEFAULT_LENGTHS[domain.unit]
    wanted = WindowSelection(
        count=count,
        prompt_length=before if prompt_length is None else prompt_length,
        length=after if length is None else length,
        unit=domain.unit,
        seed=seed,
    )
    choice: WindowChoice = choose_windows(store, domain, pieces_by_source(store, split), wanted)
    outcomes: list[Outcome] = []
    for outcome in continue_windows(
        model,
        choice.windows,
        wanted.length,
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
    """Look continuations up in the training pieces of a store: the longest run of notes or characters of each.

    Args:
        model: whose tokenizer made the store.
        store: in whose training pieces.
        outcomes: of `evaluate_continuations`; their true continuations are looked up too, for comparison.
        watch: called with the number of training pieces that are read.
    """
    training = TrainingPieces(store, model.domain)
    found = dict(zip(("model", "true"), find_copies(training, outcomes, watch), strict=True))
    summaries = {kind: summarise_copies(copies, model.domain.copy_threshold) for kind, copies in found.items()}
    return CopyResult(searched=training.searched, copies=found, summaries=summaries)
