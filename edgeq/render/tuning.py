"""A search as terminal text: the choice, its proof, and the table of what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from edgeq.render.parts import (
    grid,
    harmless,
    heading,
    indented,
    issue_parts,
    quality_rows,
    render,
    runtime_row,
    tensor_rows,
)
from edgeq.render.tables import FittingTable
from edgeq.values import Tuning
from edgeq.wording import (
    describe_recipe,
    first_name,
    plural,
    show_bytes,
    show_db,
    show_ms,
    show_ratio,
    show_sizes,
    signed,
)

_MOST_ROWS = 12
_MOST_LAYERS = 5
_MOST_NAMES = 4


@harmless
def show_tuning(result: Tuning) -> str:
    """Summary of `edgeq tune`."""
    path, searched = result.model.file.path, "the same that the search looked at"
    apart = "kept apart from the search" if result.is_confirmed else searched
    count = plural(result.quality.sample_count, "sample")
    options = result.options.convert
    limits = (("--max-drop", options.max_drop_points), ("--min-sqnr", options.min_sqnr_db))
    budget = " and ".join(f"{option} {value:g}" for option, value in limits if value is not None)
    budget += f" of {result.metric}" if result.metric else ""
    parts: list[RenderableType] = [
        heading(f"{result.source.source.path} -> {path}"),
        "",
        heading(f"The best of {plural(len(result.trials), 'trial')} for {budget}"),
        grid(_choice_rows(result)),
        "",
        heading(f"Against the float model on {count}, {apart}"),
        grid(quality_rows(result.quality)),
    ]
    if result.layers:
        parts += ["", heading("What quantizing one operator alone costs, the worst")]
        cells = [
            (first_name(layer.name), f"{layer.operator}, outputs {show_db(layer.sqnr_db)}")
            for layer in result.layers[:_MOST_LAYERS]
        ]
        parts.append(grid(cells))
    parts += ["", heading(f"Tried, on {plural(result.search_samples, 'sample')}"), _table(result)]
    parts += issue_parts(result.issues)
    return render(*parts)


def _choice_rows(result: Tuning) -> list[tuple[str, ...]]:
    chosen, proof = result.trials[0], result.certificate
    before = result.source.file.size_bytes
    rows: list[tuple[str, ...]] = [
        ("recipe", describe_recipe(chosen.recipe)),
        *_name_rows("in float", chosen.recipe.keep_float),
        *_name_rows("in INT16", chosen.recipe.int16),
        *_name_rows("INT4 weights", chosen.recipe.int4),
        ("size", f"{show_bytes(before)} -> {show_bytes(proof.size_bytes)}, "
                 f"{show_sizes(before / proof.size_bytes)}"),
    ]  # fmt: skip
    if chosen.speedup is not None and chosen.latency_ms is not None:
        speed = f"{show_ms(chosen.latency_ms)}, {show_ratio(chosen.speedup)}"
        rows.append((f"latency {result.facts.device}", speed))
    rows += [*tensor_rows(proof), runtime_row(proof)]
    resumed = f", {result.resumed_trials} of them before" if result.resumed_trials else ""
    rows.append(
        ("search", f"{plural(len(result.trials), 'trial')} in {result.elapsed_s:.1f} s{resumed}")
    )
    return rows


def _name_rows(label: str, names: Sequence[str]) -> list[tuple[str, str]]:
    rows = [(label, first_name(name)) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        rows.append(("", f"and {len(names) - _MOST_NAMES} more, all in the record"))
    return rows


def _table(result: Tuning) -> Padding:
    """The chosen trial, those that the samples kept apart refuted, the Pareto ones, others."""
    rest = [trial for trial in result.trials[1:] if trial.failure is None]
    rest.sort(
        key=lambda trial: (
            not trial.is_refuted,
            not trial.is_pareto,
            0.0 if trial.drop_points is None else trial.drop_points.value,
            -trial.sqnr_db,
        )
    )
    rows = [result.trials[0], *rest[: _MOST_ROWS - 1]]
    lost = f">{result.metric} loss" if result.metric else ">drop"
    table = FittingTable("", "recipe", lost, ">SQNR", ">size", ">latency")
    for trial in rows:
        recipe = Text(describe_recipe(trial.recipe))
        if trial.rejected is not None:
            recipe.append(f"\n  {trial.rejected}", "dim")
        mark = "pareto" if trial.is_pareto else "refuted" if trial.is_refuted else ""
        mark = "chosen" if trial is result.trials[0] else mark
        drop = "-" if trial.drop_points is None else signed(trial.drop_points.value)
        table.add_row(
            mark,
            recipe,
            drop,
            show_db(trial.sqnr_db),
            show_bytes(trial.size_bytes),
            show_ms(trial.latency_ms),
        )
    left = len(result.trials) - len(rows)
    if left:
        table.add_row("", Text(f"and {left} more, all in the record", style="dim"), *[""] * 4)
    return indented(table)
