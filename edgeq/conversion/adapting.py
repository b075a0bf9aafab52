"""Adapt a lowered float model to integers: rewrite it, and refuse it before any calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeq.conversion.plan import select_options
from edgeq.converters.calibration.calibrate import why_stock
from edgeq.converters.graph.finite_weights import require_finite_constants
from edgeq.converters.lowering.framework_process import has_tensorflow
from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.converters.rewrites.outputs.cutting import cut_outputs, find_choosing
from edgeq.converters.rewrites.outputs.parts import split_outputs
from edgeq.converters.training.learned_ranges import is_learned
from edgeq.converters.writer.precisions import choose_precisions, refuse_islands
from edgeq.errors import MissingExtraError, QuantizationError, UsageError
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.values import ConvertOptions, FloatModel
from edgeq.values.schemes import Scheme
from edgeq.wording import repeat_option


def adapt(model: FloatModel, scheme: Scheme, options: ConvertOptions, folder: Path) -> FloatModel:
    """Rewrite what does not survive the scheme's dtypes.

    Args:
        model: as it was lowered.
        folder: where a rewritten model is stored.

    Returns:
        The same model, or the rewritten one, which computes the same.

    Raises:
        SourceError: it is damaged, or its FP16 or sparse weights hold NaN or infinity.
        MissingExtraError: the model needs the stock calibrator, and TensorFlow is not installed.
        QuantizationError: operators would stay float, and the user has not allowed that.
    """
    if options.outputs:
        model = _cut(model, options.outputs, folder)
    content = Path(model.file.path).read_bytes()
    is_ours = scheme.activations != "float32" and options.calibrator != "tflite"
    is_ours = is_ours and not is_learned(scheme, model)
    made = rewrite(content) if is_ours else unpack(content)
    if made.names:
        require_finite_constants(shared_tree(made.content, model.source.path))  # unpacked ones
        path = folder / "rewritten.tflite"
        path.write_bytes(made.content)
        tree = shared_tree(made.content, model.source.path)
        model = replace(
            model,
            file=storage.refer(path),
            rewrites=(*model.rewrites, *made.names),
            inputs=flatbuffer.interface(tree)[0],  # one that holds indices may become int32
        )
    if options.split_outputs:
        model = _split_outputs(model, made.content, folder)
    content = Path(model.file.path).read_bytes()
    reason = why_stock(content) if is_ours else None
    if reason is not None and not has_tensorflow():
        raise MissingExtraError(
            f"--scheme {scheme.name} needs TensorFlow for this model, because {reason}; TensorFlow "
            "is not installed here.",
            hint='Install it with: pip install "edgeq[convert]"; --scheme dynamic and fp16 do not '
            "need it.",
        )
    if is_ours and not options.allow_float and reason is None:
        mix = select_options(content, options)
        tree = shared_tree(content, "the float model")
        if (found := find_choosing(tree, mix.keep_float)) is not None:
            raise _refuse_choosing(*found)
        precisions = choose_precisions(tree, scheme.activations, mix.keep_float, mix.int16)
        refuse_islands(tree, precisions, mix.keep_float, scheme.activations)
    return model


def _cut(model: FloatModel, names: Sequence[str], folder: Path) -> FloatModel:
    content = cut_outputs(Path(model.file.path).read_bytes(), names)
    path = folder / "cut.tflite"
    path.write_bytes(content)
    inputs, outputs = flatbuffer.interface(shared_tree(content, "the float model"))
    rewrites = (*model.rewrites, f"cut off at {', '.join(names)}")
    return replace(
        model, file=storage.refer(path), inputs=inputs, outputs=outputs, rewrites=rewrites
    )


def _refuse_choosing(kind: str, names: Sequence[str]) -> QuantizationError:
    options = repeat_option("--outputs", names)
    return QuantizationError(
        f"{kind} suppresses overlapping boxes inside the model, and has no INT8 kernel.",
        hint=f"Cut it off: {options}. Then state with --decode how boxes are read from these "
        "outputs; eval and the code of packages suppress them (docs/tasks.md).",
    )


def _split_outputs(model: FloatModel, content: bytes, folder: Path) -> FloatModel:
    """Give the parts of joined outputs as outputs.

    Raises:
        UsageError: no output joins parts.
    """
    split, joins = split_outputs(content)
    if not joins:
        names = ", ".join(repr(spec.name) for spec in model.outputs)
        raise UsageError(
            f"--split-outputs has no effect: no CONCATENATION makes an output ({names}).",
            hint="Remove it; without --io, an output that INT8 would ruin is float32.",
        )
    path = folder / "parted.tflite"
    path.write_bytes(split)
    inputs, outputs = flatbuffer.interface(shared_tree(split, "the float model"))
    rewrites = (*model.rewrites, f"outputs split into their parts ({len(joins)})")
    return replace(
        model, file=storage.refer(path), inputs=inputs, outputs=outputs, rewrites=rewrites,
        joins=joins,
    )  # fmt: skip
