"""The certificate of the exported file, from its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeq.converters.samples.input_shapes import show_shape
from edgeq.reporting import cells
from edgeq.reporting.cells import short
from edgeq.reporting.gathered import Gathered
from edgeq.reporting.values import Block, Cell, Facts, Prose, Section, Table
from edgeq.values import Certificate
from edgeq.values.schemes import SCHEMES
from edgeq.wording import common_prefix, describe_precision, describe_tensor, left_out, plural


def section(gathered: Gathered) -> Section:
    """Facts about the file, its operators by type, and each of them."""
    lead = "Read back from the exported file, whatever made it."
    proof = gathered.certificate()
    if proof is None:
        return Section("certificate", "Certificate", lead, ())
    blocks: list[Block] = [
        Prose(f"Not as requested: {problem}", "bad") for problem in proof.problems
    ]
    counts = Counter((op.name, op.precision) for op in proof.operators)
    kinds = tuple(
        (Cell(name), _precision(precision), cells.count(count))
        for (name, precision), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    caption = f"{plural(len(proof.operators), 'operator')} by type"
    by_type = Table(caption, cells.columns("type", "precision", ">operators"), kinds)
    made = [value.model.scheme for value in gathered.made()]
    summary = describe_precision(proof, SCHEMES[made[0]]) if made else ""
    blocks += [_file_facts(proof, summary), by_type, _operator_table(proof)]
    return Section("certificate", "Certificate", lead, tuple(blocks))


def _file_facts(proof: Certificate, summary: str) -> Facts:
    per = {True: "per channel", False: "per tensor", None: "not quantized"}[proof.is_per_channel]
    islands = Cell(
        str(proof.float_islands), proof.float_islands, "doubt" if proof.float_islands else ""
    )
    rows = [
        *([("precision", Cell(summary))] if summary else []),
        *((f"input {spec.name}", Cell(describe_tensor(spec))) for spec in proof.inputs),
        *((f"output {spec.name}", Cell(describe_tensor(spec))) for spec in proof.outputs),
        ("weights", Cell(per)),
        ("float islands", islands),
        *(
            (f"float operators {where}", Cell(_listed(names), len(names)))
            for names, where in (
                (proof.wide_inputs, "behind the inputs"),
                (proof.wide_outputs, "before the outputs"),
            )
            if names
        ),
        ("QUANTIZE, DEQUANTIZE", Cell(f"{proof.quantize_ops}, {proof.dequantize_ops}")),
        ("needs Flex", _names(proof.flex_ops)),
        ("custom operators", _names(proof.custom_ops)),
        ("float weights left", _names(proof.unquantized_weights)),
        ("oldest runtime", Cell(f"TensorFlow Lite {proof.min_runtime_version or 'not stated'}")),
        ("size", cells.size(proof.size_bytes)),
    ]
    return Facts("What the file is", tuple(rows))


def _names(names: Sequence[str]) -> Cell:
    return Cell(_listed(names), len(names), "bad") if names else Cell("none", 0)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(short(name) for name in names[:8])}{more}"


def _precision(precision: str) -> Cell:
    return Cell(precision, None, "doubt" if precision == "float32" else "")


def _operator_table(proof: Certificate) -> Table:
    prefix = common_prefix([op.output for op in proof.operators])
    titles = cells.columns(
        ("layer", "The operator's first output."), (">#", "Position in execution order."),
        "operator", "precision", "weights", "granularity", ">version",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(short(op.output, prefix)),
            cells.count(op.index),
            Cell(op.name),
            _precision(op.precision),
            Cell(f"{op.weight_dtype} {show_shape(op.weight_shape)}" if op.weight_dtype else "-"),
            Cell(op.granularity or "-"),
            cells.count(op.version),
        )
        for op in proof.operators
    )
    return Table("Every operator", titles, rows, left_out(prefix), by_layer=True)
