"""Writes the results of a comparison as a table and a picture, from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muse_shortcut.comparison.plan import Plan, read_plan
from muse_shortcut.comparison.results import read_results
from muse_shortcut.comparison.summary import CoreRow, rows_of, runs_of
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.files import write_bytes, write_text
from muse_tokenizers.wording import counted

__all__ = ["write_report"]


def write_report(folder: Path) -> str:
    """Write `report.md` and `report.png` into the folder of a comparison, and return the text of the former.

    Raises:
        ArgumentsError: The folder is not that of a comparison, or no run is finished.
        OutputError: A file could not be written.
    """
    if not (folder / "plan.json").is_file():
        raise ArgumentsError(f"{folder} is not the folder of a comparison: it has no plan.json")
    plan = read_plan(str(folder / "plan.json"))
    runs = runs_of(plan, read_results(folder))
    if not runs:
        raise ArgumentsError(f"{folder} has no finished run yet")
    times = _times(folder)
    text = _text(plan, runs, times)
    write_text(folder / "report.md", text)
    write_bytes(folder / "report.png", _picture(plan, runs, times))
    return text


def _times(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "times.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["cores"]) if path.is_file() else {}
    except (ValueError, LookupError, TypeError) as error:
        raise ArgumentsError(f"{path} is damaged; muse-compare time writes it again") from error


def _text(plan: Plan, runs: Sequence[dict[str, Any]], times: dict[str, dict[str, float]]) -> str:
    total = sum(1 for _ in plan.jobs())
    lines = [
        f"# {plan.name}: {len(runs)} of {counted(total, 'run')}",
        "",
        plan.about,
        "",
        f"Nats per token on {plan.test_windows} windows of the validation and of the test split, after {plan.tokens:,} "
        f"tokens; mean over seeds, ± standard deviation. Minus {plan.baseline}: mean of the differences between runs "
        "that saw the same batches, ± half the 95 % interval (Student's t).",
        "",
    ]
    seen = [store for store in plan.stores if any(run["store"] == store for run in runs)]
    for store in seen:
        lines += [f"## {store}", "", *_table(plan, rows_of(plan, runs, [store]), times), ""]
    if len(seen) > 1:
        lines += ["## All stores", "", *_overall(plan, rows_of(plan, runs, seen)), ""]
    if times:
        lines += ["Step and decode: times the first core's, measured in turns on an otherwise idle machine.", ""]
    return "\n".join(lines)


def _name(plan: Plan, row: CoreRow) -> str:
    return row.core if len(plan.rates) == 1 else f"{row.core}, rate x {row.rate:g}"


def _table(plan: Plan, rows: Sequence[CoreRow], times: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        f"| core | parameters | MFLOP a token | step | decode | cache, bytes per token | runs | validation | minus "
        f"{plan.baseline} | test | minus {plan.baseline} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        run, time = row.runs[0], times.get(row.core, {})
        spread = "" if row.spread is None else f" ± {row.spread:.4f}"
        cells = [
            _name(plan, row),
            f"{run['parameters']:,}",
            f"{run['flops_per_token'] / 1e6:.2f}",
            f"{time['step_ratio']:.2f}" if time else "",
            f"{time['decode_ratio']:.2f}" if time else "",
            f"{run['cache_bytes_per_token']:,}",
            str(len(row.runs)),
            f"{row.validation:.4f}{spread}",
            "" if row.difference is None else str(row.difference),
            f"{row.test:.4f}",
            "" if row.test_difference is None else str(row.test_difference),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _overall(plan: Plan, rows: Sequence[CoreRow]) -> list[str]:
    lines = [
        f"| core | pairs | validation minus {plan.baseline} | standard errors | test minus {plan.baseline} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.difference is None:
            continue
        errors = "" if not row.difference.error else f"{row.difference.mean / row.difference.error:+.1f}"
        cells = [_name(plan, row), str(row.difference.pairs), str(row.difference), errors, str(row.test_difference)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _picture(plan: Plan, runs: Sequence[dict[str, Any]], times: dict[str, dict[str, float]]) -> bytes:
    """Plot the validation loss relative to the baseline at equal tokens, operations and seconds, for each store."""
    import matplotlib
    from matplotlib.figure import Figure

    from muse_shortcut.plots.palette import FAINT, MUTED
    from muse_shortcut.plots.style import STYLE, bare, picture_bytes

    stores = [store for store in plan.stores if any(run["store"] == store for run in runs)]
    axis_names = ["million tokens", "teraflop of training", *(["seconds of training"] if times else [])]
    names = list(dict.fromkeys((row.core, row.rate) for row in rows_of(plan, runs, stores)))
    colours = dict(zip(names, _colours(len(names)), strict=True))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(axis_names) + 2.2, 3.4 * len(stores)), dpi=120, layout="constrained")
        grid = figure.subplots(len(stores), len(axis_names), squeeze=False)
        drawn: dict[str, Any] = {}
        for store, places in zip(stores, grid, strict=True):
            rows = rows_of(plan, runs, [store])
            for number, (axes, label) in enumerate(zip(places, axis_names, strict=True)):
                for row in rows:
                    first = next((r for r in rows if (r.core, r.rate) == (plan.baseline, row.rate)), None)
                    if first is None:
                        continue
                    scale, other = (_scale(one, number, times) for one in (row, first))
                    if scale is None or other is None:
                        continue
                    x, y = _curve(row)
                    base_x, base_y = _curve(first)
                    # Beyond the end of the baseline there is nothing to compare with.
                    inside = (x * scale >= base_x[0] * other) & (x * scale <= base_x[-1] * other * (1 + 1e-9))
                    beside = np.interp(np.log(x * scale), np.log(base_x * other), base_y)
                    name = _name(plan, row)
                    (drawn[name],) = axes.plot(
                        (x * scale)[inside], (y - beside)[inside], color=colours[row.core, row.rate], linewidth=1.3
                    )
                bare(axes)
                axes.grid(axis="y", color=FAINT, linewidth=0.6)
                axes.set_xlabel(label)
            places[0].set_ylabel(f"{store}\nnats per token minus {plan.baseline}", color=MUTED)
        figure.legend(list(drawn.values()), list(drawn), loc="outside right upper", frameon=False, fontsize=8)
        return picture_bytes(figure, "png")


def _curve(row: CoreRow) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the numbers of tokens and the validation loss averaged over seeds, without that of the untrained core."""
    curves = [np.array([point for point in run["curve"] if point[0]]) for run in row.runs]
    shortest = min(len(curve) for curve in curves)
    mean = np.mean([curve[:shortest] for curve in curves], axis=0)
    return mean[:, 0], mean[:, 1]


def _scale(row: CoreRow, number: int, times: dict[str, dict[str, float]]) -> float | None:
    """Return the length of a token on an axis (1, operations or seconds); None if it is not known."""
    if number == 0:
        return 1e-6
    if number == 1:
        return 3e-12 * float(row.runs[0]["flops_per_token"])
    if row.core not in times:
        return None
    return times[row.core]["step_seconds"] * float(row.runs[0]["steps"] / row.runs[0]["tokens"])


def _colours(count: int) -> list[str]:
    """Return `count` colours that are as distinct as possible."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    table = colormaps["tab20"]
    return [to_hex(table(number % 20)) for number in range(count)]
