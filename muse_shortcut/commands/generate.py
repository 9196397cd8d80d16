"""muse-generate: continue a prompt."""

from __future__ import annotations

import codecs
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unicodedata import category

from muse_shortcut.checks import RANGES
from muse_shortcut.commands.checkpoint_names import checkpoint_folder
from muse_shortcut.commands.command_line import StopSwitch, Terminal, run_command, say
from muse_shortcut.commands.explained_step import check_explained_step, parse_explained_step
from muse_shortcut.commands.generate_options import GenerateOptions, build_parser
from muse_shortcut.commands.generation_progress import GenerationProgress
from muse_shortcut.commands.outputs import (
    OutputOptions,
    choose_output,
    format_lengths,
    parse_loudness,
    print_lengths,
    print_next_steps,
    write_candidates,
)
from muse_shortcut.commands.prompts import (
    STANDARD_INPUT,
    Target,
    check_options,
    choose_target,
    find_prompt,
    positionals_first,
    read_standard_input,
    request_options,
)
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError, OutputError
from muse_shortcut.shipped import default_checkpoint
from muse_shortcut.suggesting import spelt
from muse_tokenizers.levels import LOUDNESS
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Stream
    from muse_shortcut.api.model import Model
    from muse_shortcut.api.prompts import LoadedPrompt
    from muse_shortcut.generation.request import Request
    from muse_tokenizers.base import Prompt
    from muse_tokenizers.domain import Domain
    from muse_tokenizers.errors import Warn

__all__ = ["main"]

PROGRAM = "muse-generate"
_SHOWN_EVERY = 16
_SHOWN_CHARACTERS = 800
_SHOWN_LINES = 10
"""Largest part of a prompt of text that is printed: that many characters at its end, and lines."""
_LENGTHS = ("seconds", "bars", "bytes", "max_new_tokens")


def main() -> NoReturn:
    """Run the command."""
    parser = build_parser(PROGRAM)
    options = typed_options(GenerateOptions, parser.parse_line(positionals_first(sys.argv[1:], parser)))
    run_command(PROGRAM, lambda: _generate(options), parser.option_name)


def _generate(options: GenerateOptions) -> int:
    # User errors are reported before anything that takes seconds to load.
    terminal = Terminal(PROGRAM, options)
    target = choose_target(options)
    if options.from_json:
        _refuse_request_options(options, target)
    if options.credits:
        return _print_credits(options, target, terminal)
    path = find_prompt(target)
    check_options(options, target)
    outputs = _output_options(options)
    output = choose_output(options.files.out, target.domain)
    from muse_shortcut.api.model import load
    from muse_shortcut.api.prompts import LoadedPrompt
    from muse_shortcut.files import make_folder
    from muse_shortcut.generation.sidecar import read_sidecar
    from muse_shortcut.native.decoding import unsupported
    from muse_shortcut.native.library import missing_step

    named = options.checkpoint
    folder = checkpoint_folder(named, terminal) if named else default_checkpoint(target.domain)
    model = load(folder, device=options.device)
    if model.domain.kind != target.domain:
        which = "" if path is None else f", which {target.prompt} is"
        raise ArgumentsError(f"{folder} continues {model.domain.kind}, not {target.domain}{which}")
    sidecar = None
    if options.from_json:
        sidecar = read_sidecar(Path(options.from_json), model.domain, warn=terminal.warn)
        if sidecar.checkpoint != model.checkpoint.digest:
            raise ArgumentsError(
                f"{options.from_json} was made with the weights {sidecar.checkpoint[:12]}, {folder} has "
                f"{model.checkpoint.digest[:12]}; give the right checkpoint with --checkpoint"
            )
        request, source = sidecar.request, LoadedPrompt(sidecar.request.prompt.piece, sidecar.name, sidecar.source)
        request = _with_engine_of_sidecar(request, model, options.from_json, terminal)
        if options.files.loudness is None:
            outputs = replace(outputs, loudness=sidecar.loudness)
    else:
        request, source = _make_request(options, target, model, path, terminal)
    if outputs.explain is not None:
        check_explained_step(outputs.explain, model.domain, request, None if sidecar is None else len(sidecar.ids))
    # A wrong soundfont is reported before the continuation is generated.
    if options.files.sound:
        outputs = replace(outputs, sound=model.domain.describe_sound(outputs.soundfont, outputs.loudness))
    single = sidecar is not None or (outputs.keep or request.candidates) == 1
    outputs = replace(outputs, named=single and output.name is not None)
    stem = output.stem(source.name, single=single)
    make_folder(stem.parent)
    keep = outputs.trace or outputs.picture or outputs.explain is not None
    stream = model.start(request, source, trace=keep)
    if sidecar is None:
        terminal.hint(f"seed {request.seed}")
        if request.engine == "auto" and unsupported(model.core) is None and (problem := missing_step()) is not None:
            terminal.hint(f"{problem}: torch decodes, more slowly; muse-doctor says how to get it")
        _print_visible(model, request.prompt, terminal)
        lengths = [name for name in _LENGTHS if getattr(options.length, name) is not None]
        if len(lengths) > 1:
            terminal.hint(f"{' and '.join(map(spelt, lengths))}: whichever is reached first ends the continuation")
    with StopSwitch() as stop:
        full: OutputError | None = None
        try:
            _run_stream(stream, model.domain, stop, terminal)
        except OutputError as error:
            # There is no space for the trace; everything else is still written.
            full = error
        # After Ctrl-C everything that was generated is written.
        interrupted = stop.pressed
        if full is not None:
            outputs = replace(outputs, trace=False, picture=False, explain=None)
        continuations = stream.continuations()
        selected = continuations if sidecar is None else [continuations[sidecar.candidate]]
        written, problems = write_candidates(selected, stem, outputs, terminal)
        print_lengths(written, terminal)
        if interrupted or not problems:
            print_next_steps(written, stream.steps if interrupted else None, outputs, terminal)
        terminal.finish(
            {
                "seed": request.seed,
                "prompt": None if source.piece is None else {"file": source.file} | continuations[0].prompt_length,
                "continuations": [one.to_json() for one in written],
                "interrupted": interrupted,
            }
        )
    if full is not None:
        raise full
    if problems and not interrupted:
        raise ArgumentsError("; ".join(problems))
    for problem in problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if (
        sidecar is not None
        and not interrupted
        and continuations[sidecar.candidate].ids.tolist() != sidecar.ids.tolist()
    ):
        terminal.warn("the ids differ from those of the sidecar: this machine computes slightly different numbers")
    return 130 if interrupted else 0


def _output_options(options: GenerateOptions) -> OutputOptions:
    """Return the requested outputs, as far as they are known without a model."""
    files = options.files
    return OutputOptions(
        keep=options.length.keep,
        trace=files.trace,
        picture=files.picture,
        explain=None if files.explain is None else parse_explained_step(files.explain),
        soundfont=Path(files.soundfont) if files.soundfont else None,
        loudness=LOUDNESS if files.loudness is None else parse_loudness(files.loudness),
    )


def _print_credits(options: GenerateOptions, target: Target, terminal: Terminal) -> int:
    from muse_shortcut.api.model import load

    named = options.checkpoint
    model = load(checkpoint_folder(named, terminal) if named else default_checkpoint(target.domain))
    for line in model.credits:
        terminal.result(line)
    terminal.finish({"credits": model.credits})
    return 0


def _refuse_request_options(options: GenerateOptions, target: Target) -> None:
    requested = request_options(options) | {"prompt": target.prompt, "encoding": options.encoding}
    used = next((name for name, value in requested.items() if value is not None), None)
    if used is not None:
        raise ArgumentsError(f"--from-json generates the same continuation again; it does not go with {spelt(used)}")


def _with_engine_of_sidecar(request: Request, model: Model, path: str, terminal: Terminal) -> Request:
    """Return a sidecar's request with torch in place of an engine that is not here, which it warns of."""
    from muse_shortcut.generation.decoders import native_problem

    if request.engine == "native" and (problem := native_problem(model.core)) is not None:
        terminal.warn(f"{path} was made by the native step; {problem}: torch makes it, and the bytes may differ")
        return replace(request, engine="torch")
    return request


def _make_request(
    options: GenerateOptions, target: Target, model: Model, path: Path | None, terminal: Terminal
) -> tuple[Request, LoadedPrompt]:
    from muse_shortcut.api.options import build_request, check_prompt_seconds
    from muse_shortcut.api.prompts import LoadedPrompt

    domain, seconds = model.domain, options.length.prompt_seconds
    check_prompt_seconds(domain, seconds, has_prompt=target.prompt is not None)
    piece = _read_prompt(options, target, domain, path, terminal)
    prompt = domain.prompt(piece, seconds)
    if piece is not None and seconds is not None:
        _warn_about_length(domain, piece, seconds, target, prompt, terminal)
    name, file = ("from-nothing", None) if path is None else (path.stem, path.name)
    if path is None and piece is not None:
        name = "words"
    request = build_request(domain, prompt, model.checkpoint.sampling, request_options(options))
    return request, LoadedPrompt(piece, name, file)


def _warn_about_length(
    domain: Domain[Any], piece: Any, requested: float, target: Target, prompt: Prompt[Any], terminal: Terminal
) -> None:
    """Warn if the prompt is shorter or longer than requested."""
    length, split_point = domain.duration(piece), prompt.split_point
    used = domain.lengths(prompt, prompt.ids[:0], prompt.piece)[0]
    # The last frame of sound is left out if it is incomplete.
    if requested > length + 0.01 and abs(domain.find_split_point(piece, RANGES["prompt_seconds"]) - split_point) < 1e-6:
        terminal.warn(f"{target.prompt} has only {format_lengths([used])}: all of it is used as the prompt")
    elif split_point > requested + 0.01:
        bars = int(used.get("bars", 0))
        first = "first bar, " if bars == 1 else f"first {bars} bars, " if bars else "first "
        terminal.warn(
            f"{target.prompt} cannot be split in its first {requested:g} s: the prompt is its "
            f"{first}{split_point:.2f} s"
        )


def _read_prompt(
    options: GenerateOptions, target: Target, domain: Domain[Any], path: Path | None, terminal: Terminal
) -> Any:
    """Read the piece to continue; None without a prompt."""
    from muse_tokenizers.text.encodings import check_encoding

    more: dict[str, Any] = {} if options.encoding is None else {"encoding": check_encoding(options.encoding)}

    def read(file: Path, warn: Warn) -> Any:
        return domain.read(file, limit=options.length.prompt_seconds, warn=warn, **more)

    if target.prompt == STANDARD_INPUT:
        return read_standard_input(read, terminal.warn)
    if path is not None:
        return read(path, terminal.warn)
    if target.prompt is None:
        return None
    return domain.loads(target.prompt.encode("utf-8", "surrogateescape"), "--prompt")


def _run_stream(stream: Stream, domain: Domain[Any], stop: StopSwitch, terminal: Terminal) -> None:
    """Run a generation until it ends or is interrupted. A single text is printed as it is generated; otherwise a
    progress bar is shown."""
    if domain.streams_text and stream.request.candidates == 1 and not terminal.quiet and not terminal.json:
        _stream_text(stream, domain, stop)
        return
    progress = GenerationProgress(stream.request, domain)
    with terminal.progress("generating", progress.total) as bar:
        for event in stream:
            progress.advance(event)
            if event.step % _SHOWN_EVERY == 0:
                bar.show(progress.done, progress.note)
            if stop():
                break
        bar.show(progress.done, progress.note)


def _stream_text(stream: Stream, domain: Domain[Any], stop: StopSwitch) -> None:
    """Print the prompt, and each new character once it is complete."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    prompt = stream.request.prompt.piece
    # The decoder keeps an incomplete character at the end of the prompt.
    say(_last_lines(_printable(decoder.decode(b"" if prompt is None else domain.dumps(prompt)))))
    for event in stream:
        if not event.finished[0]:
            say(_printable(decoder.decode(domain.dumps(domain.tokenizer.decode(event.ids)))))
        if stop():
            break
    say("\n\n")


def _last_lines(text: str) -> str:
    """Return the end of a long prompt, after an ellipsis; a short one is unchanged."""
    kept = "".join(text[-_SHOWN_CHARACTERS:].splitlines(keepends=True)[-_SHOWN_LINES:])
    return text if len(kept) == len(text) else f"\u2026{kept}"


def _print_visible(model: Model, prompt: Prompt[Any], terminal: Terminal) -> None:
    """Print how much of the prompt the model can see, if that is not all of it."""
    from muse_shortcut.generation.request import first_visible_step

    start = first_visible_step(len(prompt.ids), model.core.config.context)
    if not start:
        return
    domain = model.domain
    if domain.unit == "bytes":
        seen = counted(len(domain.dumps(domain.tokenizer.decode(prompt.ids[start:]))), "byte")
    else:
        seen = f"{prompt.split_point - domain.tokenizer.describe(prompt.ids, prompt)[start][0].start:.1f} s"
    terminal.hint(f"the prompt is longer than the model's context: the model sees the last {seen} of it")


def _printable(text: str) -> str:
    """Replace control characters, which would affect the terminal."""
    return "".join(one if category(one) != "Cc" or one in "\n\t" else "\ufffd" for one in text.replace("\r\n", "\n"))
