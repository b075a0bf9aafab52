"""Adapt a lowered float model to integers: rewrite it, and refuse it before any calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeq.conversion.plan import select_options
from edgeq.converters.calibration.calibrate import why_stock
from edgeq.converters.graph.finite_weights import require_finite_constants
from edgeq.converters.lowering.framework_process import has_tensorflow
from edgeq.converters.rewrites.apply import rewrite, unpack
from edgeq.converters.training.learned_ranges import is_learned
from edgeq.converters.writer.precisions import choose_precisions, refuse_islands
from edgeq.errors import MissingExtraError
from edgeq.files import storage
from edgeq.tflite import flatbuffer
from edgeq.tflite.model_file import shared_tree
from edgeq.values import ConvertOptions, FloatModel
from edgeq.values.schemes import Scheme


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
            rewrites=model.rewrites + made.names,
            inputs=flatbuffer.interface(tree)[0],  # one that holds indices may become int32
        )
    reason = why_stock(made.content) if is_ours else None
    if reason is not None and not has_tensorflow():
        raise MissingExtraError(
            f"--scheme {scheme.name} needs TensorFlow for this model, because {reason}; TensorFlow "
            "is not installed here.",
            hint="Install it with: pip install 'edgeq[convert]'; --scheme dynamic and fp16 do not "
            "need it.",
        )
    if is_ours and not options.allow_float and reason is None:
        mix = select_options(made.content, options)
        tree = shared_tree(made.content, "the float model")
        precisions = choose_precisions(tree, scheme.activations, mix.keep_float, mix.int16)
        refuse_islands(tree, precisions, mix.keep_float, scheme.activations)
    return model
