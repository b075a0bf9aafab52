"""A search as terminal text: the choice, its proof, and the table of what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeq.render.parts import (
    grid,
    harmless,
    heading,
    issue_parts,
    plural,
    quality_rows,
    render,
    show_bytes,
    show_db,
    show_ms,
    show_ratio,
    show_sizes,
    tensor_cells,
)
from edgeq.values import LayerEffect, Recipe, Trial, Tuning

_MOST_ROWS = 12
_MOST_LAYERS = 5
_MOST_NAMES = 4


@harmless
def show_tuning(result: Tuning) -> str:
    """Summary of `edgeq tune`."""
    title = f"{result.source.source.path} -> {result.model.file.path}"
    apart = (
        "kept apart from the search"
        if result.is_confirmed
        else "the same that the search looked at"
    )
    count = plural(result.quality.sample_count, "sample")
    parts: list[RenderableType] = [
        heading(title),
        "",
        heading(f"The best of {plural(len(result.trials), 'trial')} for {_budget(result)}"),
        grid(_choice_rows(result)),
        "",
        heading(f"Against the float model on {count}, {apart}"),
        grid(quality_rows(result.quality)),
    ]
    if result.layers:
        parts += ["", heading("What quantizing one operator alone costs, the worst")]
        parts.append(grid(map(_layer_cells, result.layers[:_MOST_LAYERS])))
    parts += ["", heading(f"Tried, on {plural(result.search_samples, 'sample')}"), _table(result)]
    parts += issue_parts(result.issues)
    parts += ["", f"Wrote {result.model.file.path} and {result.model.file.path}.json"]
    return render(*parts)


def _budget(result: Tuning) -> str:
    options = result.options.convert
    asked = [
        f"{option} {value:g}"
        for option, value in (
            ("--max-drop", options.max_drop_points),
            ("--min-sqnr", options.min_sqnr_db),
        )
        if value is not None
    ]
    return " and ".join(asked)


def _choice_rows(result: Tuning) -> list[tuple[str, ...]]:
    chosen, proof = result.trials[0], result.certificate
    before = result.source.file.size_bytes
    rows: list[tuple[str, ...]] = [
        ("recipe", describe_recipe(chosen.recipe)),
        *_name_rows("in float", chosen.recipe.keep_float),
        *_name_rows("in INT16", chosen.recipe.int16),
        ("size", f"{show_bytes(before)} -> {show_bytes(proof.size_bytes)}, "
                 f"{show_sizes(before / proof.size_bytes)}"),
    ]  # fmt: skip
    if chosen.speedup is not None and chosen.latency_ms is not None:
        speed = f"{show_ms(chosen.latency_ms)}, {show_ratio(chosen.speedup)}"
        rows.append((f"latency {result.facts.device}", speed))
    rows += [("input", *tensor_cells(spec)) for spec in proof.inputs]
    rows += [("output", *tensor_cells(spec)) for spec in proof.outputs]
    rows.append(("runtime", f"TensorFlow Lite {proof.min_runtime_version or 'unknown'} or newer"))
    resumed = f", {result.resumed_trials} of them before" if result.resumed_trials else ""
    rows.append(
        ("search", f"{plural(len(result.trials), 'trial')} in {result.elapsed_s:.1f} s{resumed}")
    )
    return rows


def _name_rows(label: str, names: Sequence[str]) -> list[tuple[str, str]]:
    rows = [(label, _short(name)) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        rows.append(("", f"and {len(names) - _MOST_NAMES} more, all in the record"))
    return rows


def describe_recipe(recipe: Recipe) -> str:
    """A recipe in one line."""
    parts = [
        "INT8" if recipe.granularity == "channel" else "INT8 per tensor",
        recipe.statistic,
        *(["equalized"] if recipe.is_equalized else []),
        *(["+".join(recipe.corrections)] if recipe.corrections else []),
        *([f"{len(recipe.keep_float)} in float"] if recipe.keep_float else []),
        *([f"{len(recipe.int16)} in INT16"] if recipe.int16 else []),
    ]
    return ", ".join(parts)


def _short(name: str) -> str:
    return name.split(";", maxsplit=1)[0]


def _layer_cells(layer: LayerEffect) -> tuple[str, str]:
    return _short(layer.name), f"{layer.operator}, outputs {show_db(layer.sqnr_db)}"


def _table(result: Tuning) -> Padding:
    """The chosen trial, those that the samples kept apart refuted, the Pareto ones, others."""
    rows = _rows(result.trials)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("recipe", overflow="fold")
    for column in ("drop", "SQNR", "size", "latency"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in rows:
        mark = "pareto" if trial.is_pareto else "refuted" if trial.is_refuted else ""
        mark = "chosen" if trial is result.trials[0] else mark
        drop = "-" if trial.drop_points is None else f"{trial.drop_points.value:+.2f}"
        table.add_row(
            mark,
            _recipe_cell(trial),
            drop,
            show_db(trial.sqnr_db),
            show_bytes(trial.size_bytes),
            "-" if trial.latency_ms is None else show_ms(trial.latency_ms),
        )
    left = len(result.trials) - len(rows)
    if left:
        table.add_row("", Text(f"and {left} more, all in the record", style="dim"), *[""] * 4)
    return Padding(table, (0, 0, 0, 2))


def _recipe_cell(trial: Trial) -> Text:
    cell = Text(describe_recipe(trial.recipe))
    return cell if trial.rejected is None else cell.append(f"\n  {trial.rejected}", "dim")


def _rows(trials: Sequence[Trial]) -> list[Trial]:
    rest = [trial for trial in trials[1:] if trial.failure is None]
    rest.sort(
        key=lambda trial: (not trial.is_refuted, not trial.is_pareto, _lost(trial), -trial.sqnr_db)
    )
    return [trials[0], *rest[: _MOST_ROWS - 1]]


def _lost(trial: Trial) -> float:
    return 0.0 if trial.drop_points is None else trial.drop_points.value
