"""muse-evaluate: measures the likelihood of held-out pieces, compares continuations with true ones, and finds
copies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from muse_shortcut.commands.checkpoint_names import checkpoint_folder
from muse_shortcut.commands.command_line import CommandLine, StopSwitch, Terminal, run_command
from muse_shortcut.commands.evaluate_results import Evaluation, check_json, compared, copied, shown
from muse_shortcut.commands.generate_options import add_option
from muse_shortcut.commands.progress import check_ids
from muse_shortcut.commands.subcommands import Subcommand, run_subcommand
from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.shipped import default_checkpoint
from muse_tokenizers.plugins import installed_domains

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from muse_shortcut.evaluation.continuations import Outcome
    from muse_shortcut.evaluation.evaluating import LikelihoodResult
    from muse_shortcut.evaluation.windows import WindowChoice, WindowSelection

__all__ = ["main"]

PROGRAM = "muse-evaluate"
_PARTS = ("likelihood", "continuations", "copies")


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description="Evaluate a checkpoint on pieces that it was not trained on: how likely it finds them, how close "
        "its continuations are to the true ones, and how much of them is copied from the training pieces. Options of "
        "sampling default to the checkpoint's.",
        subcommands=[
            Subcommand("codec", "measure how well a codec reconstructs sound", _codec_parser, _evaluate_codec),
            Subcommand("--continue", "midi: continue files instead of a store", _continue_parser, _evaluate_continue),
        ],
    )
    domains = installed_domains()
    parser.add_argument("domain", choices=domains, metavar="DOMAIN", help=f"what the store holds: {', '.join(domains)}")
    parser.add_argument(
        "--checkpoint",
        type=str,
        metavar="DIR",
        help="a checkpoint, a run, hf:OWNER/NAME, or midi, audio, text: the shipped models (default: that of DOMAIN)",
    )
    parser.add_argument("--data", type=str, required=True, metavar="STORE", help="a token store, made by muse-prepare")
    parser.add_argument(
        "--split", choices=["validation", "test", "train"], default="validation", help="split of the pieces"
    )
    parser.add_argument(
        "--sources", type=str, metavar="LIST", help="only these sources of the store, such as mutopia,groove"
    )
    parser.add_argument("--likelihood", type=bool, default=True, help="score all pieces of the split")
    parser.add_argument(
        "--hide_depths",
        action="store_true",
        help="score them again with each depth, then all depths, hidden from the last layer",
    )
    parser.add_argument("--continuations", type=bool, default=True, help="continue pieces and compare")
    parser.add_argument(
        "--copies", type=bool, default=True, help="search the training pieces for copies of continuations"
    )
    parser.add_argument("--context", type=int, help="context of a scored window in steps; default: the checkpoint's")
    parser.add_argument(
        "--stride", type=int, help="steps from one scored window to the next; default: half the context"
    )
    parser.add_argument("--max_pieces", type=int, help="score at most N pieces of each source, spread evenly")
    parser.add_argument("--batch_size", type=int, default=8, help="windows scored at once")
    parser.add_argument(
        "--precision", choices=["auto", "float32", "bfloat16"], default="float32", help="numeric precision of scoring"
    )
    parser.add_argument("--windows", type=int, default=100, help="pieces to continue, shared evenly by the sources")
    parser.add_argument("--prompt_seconds", type=float, help="least length of a prompt (default: 12)")
    parser.add_argument("--seconds", type=float, help="length of a continuation (default: 16)")
    parser.add_argument("--prompt_bytes", type=int, help="text: least length of a prompt (default: 1,000)")
    parser.add_argument("--bytes", type=int, help="text: length of a continuation (default: 1,000)")
    for item in fields(SamplingConfig):
        add_option(parser, item.name)
    parser.add_argument(
        "--rules", type=bool, default=True, help="keep silence, repeats, instruments and tempo as muse-generate does"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the choice of pieces and split points, and of continuations"
    )
    parser.add_argument("--json", type=str, metavar="FILE", help="write all results, window by window, to this file")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where the model computes"
    )
    parser.add_terminal_options()
    return parser


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
    arguments = parser.parse_line()
    run_command(PROGRAM, lambda: _evaluate(arguments), parser.option_name)


def _evaluate(arguments: Namespace) -> int:
    from muse_shortcut.checkpoints import load_checkpoint
    from muse_shortcut.commands.evaluation_tables import Tables
    from muse_shortcut.data.store import open_store
    from muse_shortcut.devices import choose_device
    from muse_shortcut.evaluation.by_source import pieces_by_source
    from muse_shortcut.files import write_text

    _check(arguments)
    terminal = Terminal(PROGRAM, arguments)
    device = choose_device(arguments.device)
    named = arguments.checkpoint
    folder = checkpoint_folder(named, terminal) if named else default_checkpoint(arguments.domain)
    store = open_store(Path(arguments.data))
    if store.domain != arguments.domain:
        raise ArgumentsError(f"{arguments.data} is a store of {store.domain}, not of {arguments.domain}")
    checkpoint = load_checkpoint(folder, device)
    store.check_tokenizer(checkpoint.tokenizer, str(folder))
    check_ids(store, checkpoint.tokenizer.vocabulary_size, quiet=terminal.quiet)
    only = [name.strip() for name in (arguments.sources or "").split(",") if name.strip()]
    if arguments.sources is not None and not only:
        raise ArgumentsError("--sources is empty; allowed: names with commas between them")
    evaluation = Evaluation(
        arguments=arguments,
        checkpoint=checkpoint,
        store=store,
        device=device,
        sources=pieces_by_source(store, arguments.split, only),
        tables=Tables(),
        terminal=terminal,
    )
    result: dict[str, Any] = {
        "evaluate": arguments.domain,
        "checkpoint": {
            "folder": str(folder),
            "sha256": checkpoint.digest,
            "parameters": checkpoint.core.parameter_count(),
        },
        "store": {"folder": arguments.data, "sha256": store.manifest["sha256"], "split": arguments.split},
        "seed": arguments.seed,
    }
    # Options are checked before hours of work.
    scoring, selection, sampling = (
        _scoring(evaluation),
        _selection(arguments),
        _sampling(arguments, checkpoint.sampling),
    )
    with StopSwitch() as stop:
        # Ctrl-C ends the current part and skips the rest; finished parts are written.
        with suppress(KeyboardInterrupt):
            needed = arguments.continuations or arguments.copies
            choice = _choose(evaluation, selection, stop) if needed else None
            if arguments.likelihood:
                result["likelihood"] = _likelihood(evaluation, scoring, stop)
            if choice is not None:
                _continuations(evaluation, choice, selection, sampling, stop, result)
        if arguments.json:
            write_text(Path(arguments.json), json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return 130 if stop.pressed else 0


def _check(arguments: Namespace) -> None:
    if not any(getattr(arguments, part) for part in _PARTS):
        raise ArgumentsError(f"there is nothing to do: {', '.join(f'--{part}' for part in _PARTS)} are all false")
    if arguments.max_pieces is not None and arguments.max_pieces < 1:
        raise ArgumentsError(f"--max-pieces is {arguments.max_pieces}; allowed: 1 or more")
    check_json(arguments.json)


def _scoring(evaluation: Evaluation) -> Any:
    from muse_shortcut.devices import choose_precision
    from muse_shortcut.evaluation.likelihood import ScoringWindows

    arguments, longest = evaluation.arguments, evaluation.checkpoint.core.config.context
    context = longest if arguments.context is None else arguments.context
    if not 1 <= context <= longest:
        raise ArgumentsError(f"--context is {context}; allowed: 1 to the checkpoint's {longest}")
    return ScoringWindows(
        context=context,
        stride=max(1, context // 2) if arguments.stride is None else arguments.stride,
        batch_size=arguments.batch_size,
        precision=choose_precision(arguments.precision, evaluation.device),
    )


def _selection(arguments: Namespace) -> WindowSelection:
    from muse_shortcut.evaluation.evaluating import DEFAULT_LENGTHS
    from muse_shortcut.evaluation.windows import WindowSelection
    from muse_tokenizers.loading import domain_class

    unit = domain_class(arguments.domain).unit
    other = "seconds" if unit == "bytes" else "bytes"
    for option in (f"prompt_{other}", other):
        if getattr(arguments, option) is not None:
            name = option.replace("_", "-")
            raise ArgumentsError(f"--{name} does not apply to {arguments.domain}; allowed: --prompt-{unit}, --{unit}")
    values, length = (getattr(arguments, option) for option in (f"prompt_{unit}", unit))
    return WindowSelection(
        count=arguments.windows,
        prompt_length=DEFAULT_LENGTHS[unit][0] if values is None else values,
        length=DEFAULT_LENGTHS[unit][1] if length is None else length,
        unit=unit,
        seed=arguments.seed,
    )


def _sampling(arguments: Namespace, default: SamplingConfig) -> SamplingConfig:
    values = {item.name: getattr(arguments, item.name) for item in fields(SamplingConfig)}
    return replace(
        default, **{name: value for name, value in values.items() if value is not None and value is not False}
    )


def _likelihood(evaluation: Evaluation, scoring: Any, stop: StopSwitch) -> dict[str, Any]:
    from muse_shortcut.api.model import Model
    from muse_shortcut.evaluation.evaluating import evaluate_likelihood
    from muse_shortcut.evaluation.likelihood import windows_of

    store, most = evaluation.store, evaluation.arguments.max_pieces
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
    for without in choices if evaluation.arguments.hide_depths else []:
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
    rules = domain.default_constraints() if evaluation.arguments.rules else domain.constraints_type()
    outcomes: list[Outcome] = []
    stream = continue_windows(
        model, choice.windows, selection.length, constraints=rules, sampling=sampling, seed=selection.seed
    )
    with evaluation.terminal.progress("continuing", len(choice.windows)) as bar:
        while not stop() and (outcome := next(stream, None)) is not None:
            outcomes.append(outcome)
            bar.show(len(outcomes), "pieces")
    if evaluation.arguments.continuations and outcomes:
        result["continuations"] = compared(evaluation, outcomes, choice.left_out) | {
            selection.unit: selection.length,
            f"{selection.unit}_before": selection.before,
            "sampling": asdict(sampling),
            "constraints": asdict(rules.with_length(selection.length)),
        }
    if evaluation.arguments.copies and outcomes:
        result["copies"] = copied(evaluation, outcomes, stop)
