"""muse-prepare: makes a token store from files."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from muse_shortcut.commands.command_line import CommandLine, Terminal, run_command
from muse_shortcut.commands.sources import (
    GROUP_HELP,
    SOURCE_HELP,
    count_reasons,
    fetch_under_bars,
    is_recipe,
    name_source,
    of_domain,
)
from muse_shortcut.commands.tokenizer_choice import (
    TokenizerOptions,
    choose_tokenizer,
    refuse_others_options,
)
from muse_shortcut.commands.typed_options import typed_options
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.built_in import VOCABULARY
from muse_tokenizers.plugins import BUILT_IN_DOMAINS, installed_domains
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.data.recipe import Recipe
    from muse_shortcut.data.scan import SourceFile

__all__ = ["main"]

PROGRAM = "muse-prepare"
_EXAMPLES = """examples:
  muse-prepare midi ~/my-music --out stores/mine
  muse-prepare midi maestro=~/maestro-v3.0.0 ~/more --out stores/piano
  muse-prepare text novel.txt --tokenizer characters --out stores/novel
  muse-prepare text mine.yaml=~/tunes --out stores/tunes"""


@dataclass(frozen=True)
class _PrepareOptions(TokenizerOptions):
    """The parsed options; `_parser` describes them."""

    source: list[str]
    out: str
    from_folder: str | None
    group_by: Literal["file", "folder"] | None
    exclude: str | None
    overwrite: bool
    workers: int
    quiet: bool
    json: bool


def _parser() -> CommandLine:
    parser = CommandLine(
        prog=PROGRAM,
        description=f"Turn files into a token store to train on. {SOURCE_HELP} Books of Project Gutenberg go by "
        f"number: gutenberg:84,1342.\n\n{_EXAMPLES}",
    )
    domains = installed_domains()
    parser.add_argument("domain", choices=domains, metavar="DOMAIN", help=f"what the files are: {', '.join(domains)}")
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="a folder, a file, a recipe, or RECIPE=FOLDER")
    parser.add_argument("-o", "--out", type=str, required=True, metavar="STORE", help="folder of the store")
    parser.add_argument(
        "--from_folder", type=str, metavar="DIR", help="folder with the files of the recipe, where SOURCE is one recipe"
    )
    parser.add_argument(
        "--tokenizer",
        type=str,
        metavar="NAME",
        help="midi: parts, remi or performance; text: bpe (learned from the train split), characters, letters (a to z "
        "and space), or a tokenizer.json of byte-level BPE; all: a checkpoint, a run, "
        "or midi, audio or text (the shipped models), whose tokenizer is used",
    ).suggestions = ["remi", "performance", "bpe", "characters", "letters", *BUILT_IN_DOMAINS]
    parser.add_argument(
        "--vocabulary_size", type=int, help=f"text: vocabulary size of bpe and characters; default: {VOCABULARY:,}"
    )
    parser.add_argument(
        "--line_ends", choices=["lf", "keep"], help="text: lf (default) removes carriage returns, keep does not"
    )
    parser.add_argument(
        "--encoding", type=str, metavar="NAME", help="text: encoding of the files, such as latin-1 (default: detected)"
    )
    parser.add_argument(
        "--codec",
        type=str,
        metavar="NAME",
        help="audio: muse_24khz (ships), encodec_24khz (Meta's), or the folder of a codec or of its run",
    ).suggestions = ["muse_24khz", "encodec_24khz"]
    parser.add_argument("--codebooks", type=int, help="audio: number of codebooks: 1, 2, 4 or 8 (default: 4)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], help="audio: device that computes the codes")
    parser.add_argument("--group_by", choices=["file", "folder"], help=GROUP_HELP)
    parser.add_argument(
        "--exclude",
        type=str,
        metavar="GLOBS",
        help="leave out files whose names in the store match one of these; commas between them",
    )
    parser.add_argument(
        "--held_out", type=float, default=0.05, help="fraction of the pieces for validation, and the same for test"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random split")
    parser.add_argument("--overwrite", action="store_true", help="replace STORE if it is a finished store")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that read files")
    parser.add_terminal_options(json="the store, counts by split, files that were not used or repaired")
    return parser


def main() -> NoReturn:
    """The command."""
    parser = _parser()
    options = typed_options(_PrepareOptions, parser.parse_line())
    run_command(PROGRAM, lambda: _prepare(options), parser.option_name)


def _prepare(options: _PrepareOptions) -> None:
    from muse_shortcut.data.preparation import Preparation, check_place, prepare
    from muse_shortcut.data.sources import describe_source, find_files
    from muse_shortcut.data.texts import text_parts
    from muse_tokenizers.loading import domain_class, domain_of
    from muse_tokenizers.text.encodings import check_encoding

    terminal = Terminal(PROGRAM, options)
    if not 0.0 <= options.held_out <= 0.4:
        raise ArgumentsError(f"--held-out is {options.held_out}; allowed: 0 to 0.4")
    if options.workers < 1:
        raise ArgumentsError(f"--workers is {options.workers}; allowed: 1 or more")
    named = _name_sources(options)
    refuse_others_options(options)
    if options.encoding is not None:
        options = replace(options, encoding=check_encoding(options.encoding))
    excluded = [glob.strip() for glob in (options.exclude or "").split(",") if glob.strip()]
    # Checked before anything is downloaded or trained.
    check_place(Path(options.out), overwrite=options.overwrite)
    domain = domain_class(options.domain)
    sources, unused = find_files(
        named,
        domain.info.suffixes,
        options.group_by,
        domain=options.domain,
        any_ending=domain.info.divisible,
        fetch=fetch_under_bars(terminal),
    )
    sources, excluded_files = _without(sources, excluded)
    if domain.info.divisible:
        recipes = [recipe for recipe, _ in named]
        sources = [
            text_parts(files, one, held_out=options.held_out, encoding=options.encoding)
            for files, one in zip(sources, recipes, strict=True)
        ]
    tokenizer = choose_tokenizer(options, [recipe for recipe, _ in named], sources, terminal)
    described = [describe_source(recipe, len(files)) for (recipe, _), files in zip(named, sources, strict=True)]
    total = sum(len(files) for files in sources)
    how = Preparation(
        workers=options.workers,
        device=_device(options),
        seed=options.seed,
        held_out=options.held_out,
        source={"sources": described} | ({"excluded": excluded} if excluded else {}),
        unused=(*unused, *excluded_files),
        overwrite=options.overwrite,
    )
    started = time.monotonic()
    with terminal.progress("preparing", total) as bar:
        manifest = prepare(
            sources,
            domain_of(tokenizer),
            Path(options.out),
            how,
            lambda files, tokens, rejects: bar.show(
                files, f"{'file' if files == 1 else 'files'}, {counted(tokens, 'token')}, {rejects} rejected"
            ),
        )
    seconds = time.monotonic() - started
    for line in _summary(manifest, options.out, seconds):
        terminal.hint(line)
    if terminal.quiet:
        terminal.result(options.out)
    counts = {name: manifest[name] for name in ("tokens", "pieces", "splits")}
    terminal.finish(
        {"store": options.out}
        | counts
        | {"seconds": seconds, "not_used": manifest["rejects"], "repaired": manifest["warnings"]}
    )
    if manifest["splits"]["train"]["pieces"]:
        terminal.hint(f"to train on it: muse-train {options.domain} --data {shlex.quote(options.out)} --out RUN")


def _name_sources(options: _PrepareOptions) -> list[tuple[Recipe | None, Path | None]]:
    from muse_shortcut.data.recipe import load_recipe

    words = options.source
    if options.from_folder is None:
        return [name_source(word, options.domain) for word in words]
    if len(words) > 1 or not is_recipe(words[0]):
        raise ArgumentsError("--from-folder goes with one recipe; for several write RECIPE=FOLDER")
    return [(of_domain(load_recipe(words[0]), options.domain), Path(options.from_folder).expanduser())]


def _device(options: _PrepareOptions) -> str:
    from muse_shortcut.devices import choose_device
    from muse_tokenizers.loading import tokenizer_class

    if not tokenizer_class(options.domain).uses_device:
        return "cpu"

    # The codec gives wrong results on Apple GPUs.
    found = choose_device(options.device or "auto").type
    return "cuda" if found == "cuda" else "cpu"


def _without(
    sources: list[list[SourceFile]], excluded: list[str]
) -> tuple[list[list[SourceFile]], list[tuple[str, str]]]:
    """Return the files whose names match none of the globs, each of which must match one, and the other files."""
    from muse_shortcut.data.scan import name_matcher

    names = [file.name for files in sources for file in files]
    for glob in excluded:
        if not any(map(name_matcher([glob]), names)):
            raise ArgumentsError(
                f"--exclude {glob!r} matches none of the {counted(len(names), 'file')}; the first is {names[0]}"
            )
    fits = name_matcher(excluded)
    kept = [[file for file in files if not fits(file.name)] for files in sources]
    if not any(kept):
        raise ArgumentsError(f"--exclude {','.join(excluded)!r} leaves none of the {counted(len(names), 'file')}")
    left_out = [(name, "is left out by --exclude") for name in names if fits(name)]
    return kept, left_out


def _summary(manifest: dict[str, Any], out: str, seconds: float) -> Iterator[str]:
    yield (
        f"{out}: {counted(manifest['tokens'], 'token')} of {counted(manifest['pieces'], 'piece')}, "
        f"{seconds:.1f} s, {counted(manifest['tokens'] / max(seconds, 1e-9), 'token', ',.0f')} per second"
    )
    for split, counts in manifest["splits"].items():
        pieces = f"{counted(counts['pieces'], 'piece', '>6,'):<13}"
        yield f"  {split:<10} {pieces} {counted(counts['tokens'], 'token', '>12,')}"
    for line in _lacking(manifest):
        yield f"  {line}"
    for title, name, words in (("not used", "rejects", "reason"), ("read, but", "warnings", "warning")):
        found = manifest[name]
        if found:
            files = len({one["name"] for one in found})
            yield f"  {title:<10} {counted(files, 'file', '>6,')}, listed in {out}/manifest.json:"
            for line in count_reasons((one["name"], one[words]) for one in found):
                yield f"    {line}"


def _lacking(manifest: dict[str, Any]) -> list[str]:
    """Return what a store lacks that is commonly needed."""
    none = [split for split, counts in manifest["splits"].items() if not counts["pieces"]]
    if "train" in none:
        return ["there is no train split, so no model can be trained on this store"]
    if not none or manifest["held_out"] == 0:
        return []
    return [
        f"there is no {' and no '.join(none)} split: {counted(manifest['pieces'], 'piece')} cannot be divided further"
    ]
