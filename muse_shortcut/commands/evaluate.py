"""muse-evaluate: measures the likelihood of held-out pieces, compares continuations with true ones, and finds
copies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from muse_shortcut.commands.checkpoint_names import checkpoint_folder
from muse_shortcut.commands.command_line import CommandLine, StopSwitch, Terminal, run_command
from muse_shortcut.commands.evaluate_options import EvaluateOptions, WindowOptions, build_parser
from muse_shortcut.commands.evaluate_results import Evaluation, check_json, compared, copied, shown
from muse_shortcut.commands.progress import check_ids
from muse_shortcut.commands.subcommands import Subcommand, run_subcommand
from muse_shortcut.commands.typed_options import given_options, typed_options
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.shipped import default_checkpoint

if TYPE_CHECKING:
    from muse_shortcut.config import SamplingConfig
    from muse_shortcut.evaluation.continuations import Outcome
    from muse_shortcut.evaluation.evaluating import LikelihoodResult
    from muse_shortcut.evaluation.windows import WindowChoice, WindowSelection

__all__ = ["main"]

PROGRAM = "muse-evaluate"
_PARTS = ("likelihood", "continuations", "copies")


def _parser() -> CommandLine:
    return build_parser(
        PROGRAM,
        [
            Subcommand("codec", "measure how well a codec reconstructs sound", _codec_parser, _evaluate_codec),
            Subcommand("--continue", "midi: continue files instead of a store", _continue_parser, _evaluate_continue),
        ],
    )


def _codec_parser() -> CommandLine:
    from muse_shortcut.commands.evaluate_codec import build_parser

    return build_parser()


def _evaluate_codec() -> NoReturn:
    from muse_shortcut.commands.evaluate_codec import main as evaluate_codec

    evaluate_codec()


def _continue_parser() -> CommandLine:
    from muse_shortcut.commands.evaluate_continue import build_parser

    return build_parser()


def _evaluate_continue() -> NoReturn:
    from muse_shortcut.commands.evaluate_continue import main as evaluate_continue

    evaluate_continue()


def main() -> NoReturn:
    """The command."""
    parser = _parser()
    run_subcommand(parser, parser.subcommands)
    options = typed_options(EvaluateOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _evaluate(options), parser.option_name)


def _evaluate(options: EvaluateOptions) -> int:
    from muse_shortcut.checkpoints import load_checkpoint
    from muse_shortcut.commands.evaluation_tables import Tables
    from muse_shortcut.data.store import open_store
    from muse_shortcut.devices import choose_device
    from muse_shortcut.evaluation.by_source import pieces_by_source
    from muse_shortcut.files import write_text

    _check(options)
    terminal = Terminal(PROGRAM, options)
    device = choose_device(options.device)
    named = options.checkpoint
    folder = checkpoint_folder(named, terminal) if named else default_checkpoint(options.domain)
    store = open_store(Path(options.data))
    if store.domain != options.domain:
        raise ArgumentsError(f"{options.data} is a store of {store.domain}, not of {options.domain}")
    checkpoint = load_checkpoint(folder, device)
    store.check_tokenizer(checkpoint.tokenizer, str(folder))
    check_ids(store, checkpoint.tokenizer.vocabulary_size, quiet=terminal.quiet)
    only = [name.strip() for name in (options.sources or "").split(",") if name.strip()]
    if options.sources is not None and not only:
        raise ArgumentsError("--sources is empty; allowed: names with commas between them")
    evaluation = Evaluation(
        options=options,
        checkpoint=checkpoint,
        store=store,
        device=device,
        sources=pieces_by_source(store, options.split, only),
        tables=Tables(),
        terminal=terminal,
    )
    result: dict[str, Any] = {
        "evaluate": options.domain,
        "checkpoint": {
            "folder": str(folder),
            "sha256": checkpoint.digest,
            "parameters": checkpoint.core.parameter_count(),
        },
        "store": {"folder": options.data, "sha256": store.manifest["sha256"], "split": options.split},
        "seed": options.seed,
    }
    # Options are checked before hours of work.
    scoring, selection, sampling = (
        _scoring(evaluation),
        _selection(options.domain, options.continued, options.seed),
        replace(checkpoint.sampling, **given_options(options.sampling)),
    )
    with StopSwitch() as stop:
        # Ctrl-C ends the current part and skips the rest; finished parts are written.
        with suppress(KeyboardInterrupt):
            needed = options.continuations or options.copies
            choice = _choose(evaluation, selection, stop) if needed else None
            if options.likelihood:
                result["likelihood"] = _likelihood(evaluation, scoring, stop)
            if choice is not None:
                _continuations(evaluation, choice, selection, sampling, stop, result)
        if options.json:
            write_text(Path(options.json), json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return 130 if stop.pressed else 0


def _check(options: EvaluateOptions) -> None:
    if not any(getattr(options, part) for part in _PARTS):
        raise ArgumentsError(f"there is nothing to do: {', '.join(f'--{part}' for part in _PARTS)} are all false")
    if options.scoring.max_pieces is not None and options.scoring.max_pieces < 1:
        raise ArgumentsError(f"--max-pieces is {options.scoring.max_pieces}; allowed: 1 or more")
    check_json(options.json)


def _scoring(evaluation: Evaluation) -> Any:
    from muse_shortcut.devices import choose_precision
    from muse_shortcut.evaluation.likelihood import ScoringWindows

    options, longest = evaluation.options.scoring, evaluation.checkpoint.core.config.context
    context = longest if options.context is None else options.context
    if not 1 <= context <= longest:
        raise ArgumentsError(f"--context is {context}; allowed: 1 to the checkpoint's {longest}")
    return ScoringWindows(
        context=context,
        stride=max(1, context // 2) if options.stride is None else options.stride,
        batch_size=options.batch_size,
        precision=choose_precision(options.precision, evaluation.device),
    )


def _selection(domain: str, options: WindowOptions, seed: int) -> WindowSelection:
    from muse_shortcut.evaluation.evaluating import DEFAULT_LENGTHS
    from muse_shortcut.evaluation.windows import WindowSelection
    from muse_tokenizers.loading import domain_class

    unit = domain_class(domain).unit
    other = "seconds" if unit == "bytes" else "bytes"
    for option in (f"prompt_{other}", other):
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise ArgumentsError(f"--{name} does not apply to {domain}; allowed: --prompt-{unit}, --{unit}")
    values, length = (getattr(options, option) for option in (f"prompt_{unit}", unit))
    return WindowSelection(
        count=options.windows,
        prompt_length=DEFAULT_LENGTHS[unit][0] if values is None else values,
        length=DEFAULT_LENGTHS[unit][1] if length is None else length,
        unit=unit,
        seed=seed,
    )


def _likelihood(evaluation: Evaluation, scoring: Any, stop: StopSwitch) -> dict[str, Any]:
    from muse_shortcut.api.model import Model
    from muse_shortcut.evaluation.evaluating import evaluate_likelihood
    from muse_shortcut.evaluation.likelihood import windows_of

    store, most = evaluation.store, evaluation.options.scoring.max_pieces
    sources = {source: _evenly(pieces, most) for source, pieces in evaluation.sources.items()}
    total = sum(len(windows_of(store.pieces[n].tokens, scoring)) for pieces in sources.values() for n in pieces)
    model = Model(evaluation.checkpoint)

    def score(without: Sequence[int] = ()) -> LikelihoodResult:
        with evaluation.terminal.progress("scoring", total) as bar:
            watch = shown(bar, "windows", stop)
            return evaluate_likelihood(
                model, store, pieces=sources, scoring=scoring, hidden_depths=without, watch=watch
            )

    scores = score()
    pooled, whole = scores.sources, scores.together
    evaluation.tables.likelihood(pooled, whole)
    hidden = []
    depths = model.core.config.depths
    choices = [[depth] for depth in depths] + ([list(depths)] if len(depths) > 1 else [])
    for without in choices if evaluation.options.scoring.hide_depths else []:
        again = score(without)
        found = {source: one.nats_per_token for source, one in again.sources.items()}
        found["together"] = again.together.nats_per_token
        before = {source: one.nats_per_token for source, one in pooled.items()} | {"together": whole.nats_per_token}
        hidden.append({"depths": without, "nats_per_token": {s: found[s] - before[s] for s in before}})
    if hidden:
        evaluation.tables.hidden_depths(hidden)
    return {
        "context": scoring.context,
        "stride": scoring.stride,
        "precision": str(scoring.precision).removeprefix("torch."),
        "all": whole.to_json(),
        "hidden_depths": hidden,
        "sources": {source: likelihood.to_json() for source, likelihood in pooled.items()},
        "pieces": [
            {"piece": store.pieces[piece.number].name, "source": source} | piece.to_json()
            for source, pieces in scores.pieces.items()
            for piece in pieces
        ],
    }


def _evenly(pieces: Sequence[int], most: int | None) -> list[int]:
    if most is None or most >= len(pieces):
        return list(pieces)
    return [pieces[(2 * place + 1) * len(pieces) // (2 * most)] for place in range(most)]


def _choose(evaluation: Evaluation, selection: WindowSelection, stop: StopSwitch) -> WindowChoice:
    from muse_shortcut.evaluation.windows import choose_windows

    domain = evaluation.checkpoint.domain
    with evaluation.terminal.progress("cutting", selection.count) as bar:
        return choose_windows(evaluation.store, domain, evaluation.sources, selection, shown(bar, "pieces", stop))


def _continuations(
    evaluation: Evaluation,
    choice: WindowChoice,
    selection: WindowSelection,
    sampling: SamplingConfig,
    stop: StopSwitch,
    result: dict[str, Any],
) -> None:
    """Continue pieces, and add the requested measures to the result; after Ctrl-C, those of the finished ones."""
    from muse_shortcut.api.model import Model
    from muse_shortcut.devices import use_decoding_threads
    from muse_shortcut.evaluation.evaluating import continue_windows

    model, domain = Model(evaluation.checkpoint), evaluation.checkpoint.domain
    use_decoding_threads(evaluation.checkpoint.core.parameter_count())
    rules = domain.default_constraints() if evaluation.options.continued.rules else domain.constraints_type()
    outcomes: list[Outcome] = []
    stream = continue_windows(
        model, choice.windows, selection.length, constraints=rules, sampling=sampling, seed=selection.seed
    )
    with evaluation.terminal.progress("continuing", len(choice.windows)) as bar:
        while not stop() and (outcome := next(stream, None)) is not None:
            outcomes.append(outcome)
            bar.show(len(outcomes), "pieces")
    if evaluation.options.continuations and outcomes:
        result["continuations"] = compared(evaluation, outcomes, choice.left_out) | {
            selection.unit: selection.length,
            f"{selection.unit}_before": selection.before,
            "sampling": asdict(sampling),
            "constraints": asdict(rules.with_length(selection.length)),
        }
    if evaluation.options.copies and outcomes:
        result["copies"] = copied(evaluation, outcomes, stop)
