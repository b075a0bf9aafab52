"""The recipes that `edgeq tune` tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeq.reporting import cells
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Panel, Point, Section, Series, Table, XYPlot
from edgeq.values import Trial, Tuning
from edgeq.wording import describe_recipe, plural, show_bytes, show_ms


def section(gathered: Gathered) -> Section:
    """A plot of quality against cost, and a table of all trials."""
    blocks: list[Block] = []
    for part in gathered.of("tune"):
        blocks += [_pareto(part.value), _trial_table(part.value)]
    lead = "Every recipe that was tried; the Pareto ones are beaten by no other in all respects."
    return Section("search", "What tune tried", lead, tuple(blocks))


def _pareto(tuning: Tuning) -> XYPlot:
    trials = [trial for trial in tuning.trials if trial.failure is None]
    timed = tuning.options.objective == "latency" and any(trial.latency_ms for trial in trials)
    labelled = any(trial.drop_points is not None for trial in trials)
    rest = trials[1:]
    series = tuple(
        Series(name, role, shape, tuple(_places(group, timed=timed, labelled=labelled)))
        for name, role, shape, group in (
            ("other", "other", "dots", [trial for trial in rest if not trial.is_pareto]),
            ("Pareto", "candidate", "diamonds", [trial for trial in rest if trial.is_pareto]),
            ("chosen", "accent", "rings", trials[:1]),
        )
    )
    options = tuning.options.convert
    limit = options.max_drop_points if labelled else options.min_sqnr_db
    title = f"lost {tuning.metric or 'accuracy'}, points" if labelled else "SQNR, dB"
    panel = Panel(title, series, limit, "" if limit is None else "budget", is_stretched=labelled)
    axis = f"latency on {tuning.facts.device}, ms" if timed else "size, kB"
    description = f"Chosen: {_trial_tip(trials[0])}. {plural(len(tuning.trials), 'trial')}."
    return XYPlot("Quality against cost", description, axis, (panel,))


def _places(trials: Sequence[Trial], *, timed: bool, labelled: bool) -> Iterator[Point]:
    for trial in trials:
        across = trial.latency_ms if timed else trial.size_bytes / 1000
        drop = trial.drop_points
        up = trial.sqnr_db if not labelled else None if drop is None else drop.value
        if across is not None and up is not None:
            yield Point(across, up, _trial_tip(trial))


def _trial_tip(trial: Trial) -> str:
    drop = trial.drop_points
    parts = [
        describe_recipe(trial.recipe),
        "" if drop is None else f"drop {drop.value:+.2f} points",
        f"SQNR {cells.db(trial.sqnr_db).text} dB",
        "" if trial.latency_ms is None else show_ms(trial.latency_ms),
        show_bytes(trial.size_bytes),
    ]
    return ", ".join(filter(None, parts))


def _trial_table(tuning: Tuning) -> Table:
    titles = cells.columns(
        "recipe",
        "",
        (
            f">{tuning.metric or ''} drop".replace("> ", ">"),
            f"Lost {tuning.metric or 'accuracy'} in points, with its paired interval.",
        ),
        ">SQNR dB",
        ">latency",
        (">speed-up", "Against the FP32 model on the same device."),
        ">size",
        "why not",
    )
    rows = []
    for number, trial in enumerate(tuning.trials):
        mark = "Pareto" if trial.is_pareto else "refuted" if trial.is_refuted else ""
        own = [
            Cell("chosen" if number == 0 else mark),
            cells.points(trial.drop_points),
            cells.db(trial.sqnr_db),
            cells.ms(trial.latency_ms),
            cells.times(None if trial.speedup is None else trial.speedup.value),
            cells.size(trial.size_bytes),
        ]
        if trial.failure is not None:
            own = [Cell(f"failed: {trial.failure}", None, "bad"), *[Cell("-")] * 5]
        rows.append((Cell(describe_recipe(trial.recipe)), *own, Cell(trial.rejected or "-")))
    caption = f"{plural(len(rows), 'trial')}, on {plural(tuning.search_samples, 'sample')}"
    return Table(caption, titles, tuple(rows))
