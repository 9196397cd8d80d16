"""Results of muse-evaluate, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_shortcut.commands.command_line import StopSwitch, Terminal
from muse_shortcut.errors import ArgumentsError

if TYPE_CHECKING:
    import torch

    from muse_shortcut.checkpoints import Checkpoint
    from muse_shortcut.commands.evaluate_options import EvaluateOptions
    from muse_shortcut.commands.evaluation_tables import Tables
    from muse_shortcut.commands.progress import ProgressBar
    from muse_shortcut.data.store import Store
    from muse_shortcut.evaluation.continuations import Outcome

__all__ = ["Evaluation", "check_json", "compared", "copied", "shown"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Shared state of all parts of an evaluation."""

    options: EvaluateOptions
    checkpoint: Checkpoint
    store: Store
    device: torch.device
    sources: dict[str, list[int]]
    tables: Tables
    terminal: Terminal


def check_json(name: str | None) -> None:
    """Check before the work that its results can be written. Raises ArgumentsError."""
    if name and Path(name).is_dir():
        raise ArgumentsError(f"--json is {name!r}, a folder; allowed: a file")
    if name and not Path(name).absolute().parent.is_dir():
        raise ArgumentsError(f"--json is {name!r}; there is no folder {Path(name).parent}")


def shown(bar: ProgressBar, unit: str, stop: StopSwitch) -> Callable[[int], None]:
    """Return a progress callback for long work; it raises if Ctrl-C was pressed."""

    def watch(done: int) -> None:
        bar.show(done, unit)
        if stop():
            raise KeyboardInterrupt

    return watch


def compared(evaluation: Evaluation, outcomes: Sequence[Outcome], left_out: Mapping[str, int]) -> dict[str, Any]:
    from muse_shortcut.evaluation.distances import compare, distances, rates

    seed, store = evaluation.options.seed, evaluation.store
    by_source: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_source.setdefault(outcome.window.source, []).append(outcome)
    whole, whole_rates = compare(outcomes, seed), rates(outcomes)
    apart = {source: (compare(found, seed), rates(found)) for source, found in by_source.items()}
    evaluation.tables.comparisons(whole, {source: len(found) for source, found in by_source.items()})
    evaluation.tables.by_source({source: found for source, (found, _) in apart.items()})
    evaluation.tables.rates(whole_rates)
    return {
        "left_out": dict(left_out),
        "comparisons": [comparison.to_json() for comparison in whole],
        "rates": [rate.to_json() for rate in whole_rates],
        "sources": {
            source: {
                "windows": len(by_source[source]),
                "comparisons": [comparison.to_json() for comparison in found],
                "rates": [rate.to_json() for rate in their_rates],
            }
            for source, (found, their_rates) in apart.items()
        },
        "windows": [
            {
                "piece": store.pieces[outcome.window.number].name,
                "source": outcome.window.source,
                "split_point": outcome.window.prompt.split_point,
                "other": store.pieces[outcome.window.other_number].name,
                "other_start": outcome.window.other_start,
                "elsewhere": outcome.window.elsewhere,
                "steps": outcome.steps,
                "distances": distances(outcome),
            }
            for outcome in outcomes
        ],
    }


def copied(evaluation: Evaluation, outcomes: Sequence[Outcome], stop: StopSwitch) -> dict[str, Any]:
    from muse_shortcut.api.model import Model
    from muse_shortcut.evaluation.evaluating import evaluate_copies

    store, domain = evaluation.store, evaluation.checkpoint.domain
    training = sum(piece.split == "train" for piece in store.pieces)
    with evaluation.terminal.progress("reading the training pieces", training) as bar:
        result = evaluate_copies(Model(evaluation.checkpoint), store, outcomes, shown(bar, "pieces", stop))
    found, summaries = result.copies, result.summaries
    names = [store.pieces[outcome.window.number].name for outcome in outcomes]
    longest = {
        kind: max(
            ((name, copy) for name, copy in zip(names, copies, strict=True) if copy is not None),
            key=lambda pair: pair[1].count,
            default=None,
        )
        for kind, copies in found.items()
    }
    evaluation.tables.copies(summaries, result.searched, longest, domain)
    return {
        "searched": result.searched,
        **{kind: summary and summary.to_json() for kind, summary in summaries.items()},
        "windows": [
            {"piece": name} | {kind: copy and asdict(copy) for kind, copy in zip(found, pair, strict=True)}
            for name, *pair in zip(names, *found.values(), strict=True)
        ],
    }
