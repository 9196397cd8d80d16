"""The tables of muse-evaluate: lines and colours on a terminal, plain columns elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from muse_shortcut.codec.metrics import CodecMetrics
    from muse_shortcut.evaluation.bootstrap import Interval
    from muse_shortcut.evaluation.continuity import FeatureRow
    from muse_shortcut.evaluation.copy_check import CopyFound, CopySummary
    from muse_shortcut.evaluation.distances import Comparison, Rate
    from muse_shortcut.evaluation.likelihood import Likelihood
    from muse_tokenizers.domain import Domain

__all__ = ["Tables"]

_UNITS = (
    ("bits per second", "bits_per_second", 2),
    ("nats per note", "nats_per_note", 3),
    ("bits per byte", "bits_per_byte", 4),
)
"""Units in which the likelihoods of different tokenizers can be compared: title, field, digits. A domain has some of
them."""
_CANDIDATES = ("model", "other", "repeated", "elsewhere")
_CONTINUED = ("true", "ours", "another", "repeated")
_PLAIN_WIDTH = 120
"""Width in columns if there is no terminal."""


class Tables:
    """Prints results to standard output."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._console = Console(width=None if self._terminal else _PLAIN_WIDTH, highlight=False, markup=False)

    def _print(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose first column is text and whose others are numbers."""
        table = Table(box=box.SIMPLE_HEAD if self._terminal else None, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(title, style="bold", soft_wrap=True)
        self._console.print(table)

    def likelihood(self, sources: Mapping[str, Likelihood], whole: Likelihood) -> None:
        """Print likelihoods by source, and of all pieces together if there are several sources."""
        rows = [*sources.items(), *([("together", whole)] if len(sources) > 1 else [])]
        units = [unit for unit in _UNITS if getattr(whole, unit[1]) is not None]
        self._print(
            "How likely the held-out pieces are",
            ("source", "pieces", "tokens", "nats per token", *(name for name, _, _ in units)),
            [
                (
                    source,
                    f"{found.pieces:,}",
                    f"{found.tokens:,}",
                    f"{found.nats_per_token:.4f}",
                    *(_number(getattr(found, field), digits) for _, field, digits in units),
                )
                for source, found in rows
            ],
        )

        streams = len(whole.nats_by_stream)
        if streams > 1:
            self._print(
                "Nats per token of each codebook, the coarsest first",
                ("source", *(str(stream + 1) for stream in range(streams))),
                [(source, *(f"{nats:.4f}" for nats in found.nats_by_stream)) for source, found in rows],
            )

    def codec(
        self,
        title: str,
        whole: Sequence[CodecMetrics],
        sources: Mapping[str, Sequence[CodecMetrics]],
        entropies: Sequence[float],
    ) -> None:
        """Print how well each way reconstructs sound, over all sounds and by source, and how many codes are used."""
        shown = {"all": whole, **(sources if len(sources) > 1 else {})}
        for measure, unit in (("mel_distance", "mel distance, dB"), ("si_sdr", "SI-SDR, dB")):
            self._print(
                f"{title}: {unit}",
                ("of", *shown),
                [
                    (one.name, *(_number(getattr(found[row], measure), 2) for found in shown.values()))
                    for row, one in enumerate(whole)
                ],
            )
        self._print(
            "Entropy of the codes of each codebook, bits",
            ("", *(str(number + 1) for number in range(len(entropies)))),
            [("", *(f"{bits:.2f}" for bits in entropies))],
        )

    def hidden_depths(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Print the value of each depth; each entry has the hidden `depths` and `nats_per_token` by source."""
        sources = list(found[0]["nats_per_token"])
        shown = sources if len(sources) > 2 else sources[:1]
        self._print(
            "What hiding depths from the last layer costs, nats per token",
            ("hidden", *shown),
            [
                (
                    "depth " + ", ".join(map(str, one["depths"])),
                    *(f"{one['nats_per_token'][source]:+.4f}" for source in shown),
                )
                for one in found
            ],
        )

    def continued(
        self,
        rows: Sequence[FeatureRow],
        pieces: int,
        continuations: int,
        prompt: float,
        seconds: float,
        accuracies: Mapping[str, float | None] | None,
    ) -> None:
        """Print continued files compared with what truly follows; `accuracies` has the accuracy of a classifier, by
        candidate."""
        self._print(
            f"{counted(continuations, 'continuation')} of {counted(pieces, 'piece')} "
            f"({prompt:g} s of prompt, {seconds:g} s): means",
            ("feature", "true", "ours", "another piece", "prompt repeated"),
            [
                (f"{row.feature}, {row.unit}", *(_number(row.means.get(name)) for name in _CONTINUED))
                for row in rows
                if row.means
            ],
        )
        self._print(
            "Mean distance from the true continuation, with 95 % intervals; last, that of another piece minus ours",
            ("feature", "ours", "another piece", "prompt repeated", "another - ours"),
            [
                (
                    f"{row.feature}, {row.unit}",
                    *(_distance(row.distances.get(name)) for name in _CONTINUED[1:]),
                    "-" if row.nearer is None else f"{row.nearer.low:+.2f} to {row.nearer.high:+.2f}",
                )
                for row in rows
                if row.distances
            ],
        )
        if accuracies is not None:
            self._print(
                "Accuracy of a classifier that separates true from generated music (0.5: it cannot)",
                ("", "ours", "another piece", "prompt repeated"),
                [("accuracy", *(_number(accuracies.get(name)) for name in _CONTINUED[1:]))],
            )

    def comparisons(self, found: Sequence[Comparison], windows: Mapping[str, int]) -> None:
        """Print every measure; `windows` has the number of windows of each source."""
        counts = ", ".join(f"{count} of {source}" for source, count in windows.items())
        self._print(
            f"Continuations of {sum(windows.values())} held-out pieces ({counts}):\n"
            "means of the true and the model's continuation; then mean distance from the true one: of the model's,\n"
            "of the same place in another piece of the source, of the repeated end of the prompt, of another place",
            ("measure", "in", "true", "model", "| model", "other", "repeated", "elsewhere", "windows"),
            [
                (
                    one.measure.replace("_", " "),
                    one.scale,
                    _number(one.true_mean),
                    _number(one.model_mean),
                    *(_number(one.means.get(name)) for name in _CANDIDATES),
                    str(one.counts["model"]),
                )
                for one in found
            ],
        )
        if not any(gain for one in found for gain in one.gains.values()):
            count = sum(windows.values())
            self._console.print(
                f"{count} {'window is' if count == 1 else 'windows are'} too few for intervals: at least eight must "
                "differ. Use a split with more pieces.",
                soft_wrap=True,
            )
        else:
            self._print(
                "How much nearer the model is: distance of the control minus that of the model, mean and 95 %\n"
                "interval, marked if it excludes 0; none if fewer than eight windows differ",
                ("measure", "than other", "than repeated"),
                [
                    (one.measure.replace("_", " "), _interval(one.gains["other"]), _interval(one.gains["repeated"]))
                    for one in found
                ],
            )

        numbers = [one for one in found if one.overlaps["model"] is not None]
        if numbers:
            self._print(
                "Overlap between the distributions of the numbers of all windows and of the true ones (1: identical),\n"
                "with 95 % interval; elsewhere in the same pieces is an upper bound",
                ("measure", "model", "other", "repeated", "elsewhere"),
                [
                    (one.measure.replace("_", " "), *(_between(one.overlaps[name]) for name in _CANDIDATES))
                    for one in numbers
                ],
            )

    def by_source(self, sources: Mapping[str, Sequence[Comparison]]) -> None:
        """Print in how many measures the model is significantly nearer than each baseline, by source."""
        if len(sources) < 2:
            return
        rows = []
        for source, found in sources.items():
            row = [source]
            for control in ("other", "repeated"):
                gains = [gain for one in found if (gain := one.gains[control]) is not None]
                nearer, farther = sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)
                row += [f"{nearer}", f"{len(gains) - nearer - farther}", f"{farther}"]
            rows.append(row)
        names = ("nearer than other", "as near", "farther", "nearer than repeated", "as near", "farther")
        self._print(
            "Number of measures in which the model is, with 95 % confidence,",
            ("source", *names),
            rows,
        )

    def rates(self, found: Sequence[Rate]) -> None:
        """Print the rates of faults, in domains that measure them."""
        if not found:
            return
        self._print(
            "Windows that",
            ("", "model", "true", "windows"),
            [(rate.what, f"{rate.model:.1%}", f"{rate.true:.1%}", str(rate.windows)) for rate in found],
        )

    def copies(
        self,
        summaries: Mapping[str, CopySummary | None],
        searched: int,
        longest: Mapping[str, tuple[str, CopyFound] | None],
        domain: Domain[Any],
    ) -> None:
        """Print copies in the model's and the true continuations; `longest` has the continued piece and its run."""
        counted, (measure, least) = domain.info.counted, domain.copy_threshold
        bound = f"over {least:g} {({'count': counted, 'length': domain.unit} | {'bars': 'bars'})[measure]}"
        rows = []
        for name, one in summaries.items():
            spreads = (None, None, None) if one is None else (one.count, one.length, one.bars)
            shown = (" / ".join(f"{value:.1f}" for value in of) if of else "-" for of in spreads)
            passing = "-" if one is None or one.passing is None else f"{one.passing:.1%}"
            rows.append([name, str(one.windows if one else 0), *shown, passing])
        self._print(
            f"Longest run that also occurs in a training piece ({searched:,} {counted}): median / 90th percentile / "
            "longest",
            ("continuations", "windows", counted, domain.unit, "bars", bound),
            rows,
        )
        for name, found in longest.items():
            if found is not None and found[1].piece is not None:
                piece, run = found
                self._console.print(f"{name}: {run.count} {counted} of {piece} are in {run.piece}", soft_wrap=True)


def _between(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.2f} [{interval.low:.2f} {interval.high:.2f}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    sure = "*" if interval.low > 0 or interval.high < 0 else " "
    return f"{interval.mean:+.3f} [{interval.low:+.3f} {interval.high:+.3f}]{sure}"


def _distance(found: Interval | float | None) -> str:
    if found is None:
        return "-"
    return _number(found) if isinstance(found, float) else f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
