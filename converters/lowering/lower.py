"""From a source model to a checked float `.tflite`, the input of all later steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeq.children.child import warn_of
from edgeq.children.framing import read_sample, write_sample
from edgeq.converters.graph.finite_weights import require_finite_constants
from edgeq.converters.graph.rewriting import drop_stored_results, replace_half_used_splits
from edgeq.converters.lowering.framework_process import TensorFlowProcess
from edgeq.errors import LoweringError, SourceError, UsageError
from edgeq.files import storage
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.model_file import read_model
from edgeq.values import ConvertOptions, FileRef, FloatModel, TensorSpec
from edgeq.wording import repeat_option

Arrays = Mapping[str, NDArray[Any]]
FindInputs = Callable[[Sequence[TensorSpec]], Sequence[TensorSpec]]

# Sums in another order differ by about 1e-6 of the largest value; another function, by far more.
MAX_DEVIATION = 1e-3

# If activations are rounded, such a difference changes a few of them by a whole step, and single
# outputs with them; so the outputs are compared as a whole: 26 dB.
MAX_ROUNDED_DEVIATION = 0.05


class Reader(Protocol):
    """A source model that can be lowered, and that computes its own outputs."""

    kind: str

    def lower(self, options: ConvertOptions, folder: Path) -> FloatModel:
        """Lower to a float `.tflite` in `folder`."""

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The source model's outputs, name to [batch, ...]."""

    def rescaling(self) -> tuple[float, float] | None:
        """Scale and offset of the first layer, see `frameworks.first_rescaling`."""

    def batch_statistics(self, inputs: Arrays) -> tuple[float, float] | None:
        """Inputs compared with training data, see `frameworks.batch_statistics`."""


class FileReader:
    """A framework's model file, read in the child process.

    Args:
        kind: "keras", "h5" or "saved_model".
        find_inputs: see `declare`.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        process: TensorFlowProcess,
        find_inputs: FindInputs | None = None,
    ):
        self.path, self.kind, self._process = path, kind, process
        self._find_inputs = find_inputs
        self._folder = Path()
        self._read: Any = None
        self._input_names: list[str] = []
        self._output_names: list[str] = []
        self._rescaling: tuple[float, float] | None = None

    def lower(self, options: ConvertOptions, folder: Path) -> FloatModel:
        """Read, trace and lower.

        Raises:
            SourceError, LoweringError, UsageError: the child refused the model or an option.
        """
        self._folder = folder
        read = self._read = self._read or self._load(options)
        declared = {name: tuple(shape) for name, shape, _ in read["inputs"]}
        self._input_names = list(declared)
        lowered = self._process.call(
            "lower",
            out=folder / "lowered.tflite",
            batch=traced_batch(options),
            shapes=check_shapes(options, declared),
            fuses=options.lstm == "fused",
        )
        self._output_names = lowered["output_names"]
        return finish(
            (folder / "lowered.tflite").read_bytes(),
            folder,
            source=storage.refer(self.path),
            source_kind=self.kind,
            framework=read["framework"],
            input_names=list(declared),
            output_names=lowered["output_names"],
            unrolled=lowered["unrolled"],
            fused=lowered["fused"],
            other_dtypes=lowered["other_dtypes"],
            notes=read["notes"],
        )

    def _load(self, options: ConvertOptions) -> Any:
        read = self._process.call(
            "load",
            path=str(self.path),
            kind=self.kind,
            custom_objects=list(options.custom_objects),
            trusted=options.trusted,
            signature=options.signature,
        )
        warn_of(read["gaps"])
        self._rescaling = read["rescaling"]
        if not read["is_declared"]:
            known = [TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in read["inputs"]]
            found = declare(known, options, self._find_inputs)
            read["inputs"] = [(spec.name, spec.shape, spec.dtype) for spec in found]
            self._process.call("declare", inputs=read["inputs"])
        return read

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of the model, name to [batch, ...]."""
        out = self._folder / "check-out.bin"
        self._process.call("predict", arrays=self._write(inputs), out=out)
        with out.open("rb") as stream:
            arrays = read_sample(stream)
        assert arrays is not None
        return dict(zip(self._output_names, arrays, strict=True))

    def rescaling(self) -> tuple[float, float] | None:
        """Scale and offset of the first layer, which `lower` has read."""
        return self._rescaling

    def batch_statistics(self, inputs: Arrays) -> tuple[float, float] | None:
        """The comparison of `frameworks.batch_statistics`."""
        found = self._process.call("batch_statistics", arrays=self._write(inputs))
        return None if found is None else (found[0], found[1])

    def _write(self, inputs: Arrays) -> str:
        path = self._folder / "check-in.bin"
        with path.open("wb") as stream:
            write_sample(stream, [inputs[name] for name in self._input_names])
        return str(path)


def declare(
    inputs: Sequence[TensorSpec], options: ConvertOptions, find: FindInputs | None
) -> Sequence[TensorSpec]:
    """The inputs of a model that declares none, such as a subclassed Keras model.

    Args:
        inputs: with the shapes of its first call, or () if nothing is known.
        options: shapes that the user has set come first.
        find: returns the inputs as the representative dataset has them, None without one.

    Raises:
        LoweringError: a shape is unknown.
    """
    found = inputs if find is None else find(inputs)
    given = dict(options.input_shapes)
    known = [replace(spec, shape=given.get(spec.name, spec.shape)) for spec in found]
    for spec in known:
        if not spec.shape:
            raise LoweringError(
                f"The model declares no inputs, so the shape of {spec.name!r} is unknown.",
                hint="Pass samples with --data, or the shape with "
                + repeat_option("--input-shape", [f"{spec.name}=1,..."]),
            )
    return known


def traced_batch(options: ConvertOptions) -> int | None:
    """The batch size to trace with: 1 by default, None to keep it dynamic."""
    return None if options.batch == 0 else (options.batch or 1)


def finish(
    content: bytes,
    folder: Path,
    *,
    source: FileRef,
    source_kind: str,
    framework: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    unrolled: Sequence[str],
    notes: Sequence[str],
    fused: Sequence[str] = (),
    other_dtypes: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> FloatModel:
    """Give a lowered flatbuffer the source's names and write `float.tflite`.

    Args:
        metadata: key to text, for the files made from it.

    Raises:
        LoweringError: two outputs are the same tensor, which can have one name only.
        SourceError: weights hold NaN or infinity.
    """
    tree = flatbuffer.parse(content, "the lowered model")
    require_finite_constants(tree)
    replace_half_used_splits(tree)
    drop_stored_results(tree)
    graph = tree.subgraphs[0]
    if len(set(flatbuffer.indices(graph.outputs))) < len(output_names):
        raise LoweringError(
            f"The model's outputs ({', '.join(output_names)}) hold the same tensor twice.",
            hint="Leave the second one out of the model.",
        )
    # The converter may reorder inputs; they were traced under the names input_0, input_1, ...
    traced = [flatbuffer.tensor_name(graph, i) for i in flatbuffer.indices(graph.inputs)]
    order = [int(name.split(":")[0].rsplit("_", 1)[1]) for name in traced]
    flatbuffer.set_interface(tree, [input_names[i] for i in order], list(output_names))
    for key, text in (metadata or {}).items():
        flatbuffer.set_metadata(tree, key, text.encode())
    target = folder / "float.tflite"
    target.write_bytes(flatbuffer.serialize(tree))
    inputs, outputs = flatbuffer.interface(tree)
    return FloatModel(
        file=storage.refer(target),
        source=source,
        source_kind=source_kind,
        framework=framework,
        inputs=inputs,
        outputs=outputs,
        unrolled_layers=tuple(unrolled),
        fused_layers=tuple(fused),
        notes=tuple(notes),
        rewrites=tuple(f"{dtype} read as float32" for dtype in other_dtypes),
        other_dtypes=tuple(other_dtypes),
    )


def adopt(path: Path, options: ConvertOptions) -> FloatModel:
    """Take a float `.tflite` of the user as the source; its weights may be FP16 or sparse.

    Raises:
        SourceError: it is damaged, already quantized, or its weights hold NaN or infinity.
        UsageError: `--input-shape` does not fit the model's inputs.
    """
    tree = read_model(path).tree
    quantized = _quantized_tensors(tree)
    if quantized:
        raise SourceError(
            f"{path} is already quantized: {len(quantized)} tensors, {quantized[0]!r} first.",
            hint="Convert from the float model; `edgeq compare` measures the file as it is.",
        )
    require_finite_constants(tree)
    inputs, outputs = flatbuffer.interface(tree)
    _require_interface(path, tree, inputs, outputs)
    check_shapes(options, {spec.name: spec.shape for spec in inputs})
    if options.batch and not any(spec.shape[:1] == (-1,) for spec in inputs):
        raise UsageError(
            f"--batch {options.batch} has no effect: no input of {path} has a dynamic batch.",
            hint="Leave the option out.",
        )
    file = storage.refer(path)
    return FloatModel(file, file, "tflite", "TensorFlow Lite file", inputs, outputs)


def _require_interface(
    path: Path, tree: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Refuse a model without inputs or outputs, and ones that nobody can compare.

    Raises:
        SourceError: names what is wrong.
    """
    for what, found in (("inputs", inputs), ("outputs", outputs)):
        if not found:
            raise SourceError(f"{path} has no {what}.", hint="Export the model again.")
        for spec in found:
            if 0 in spec.shape:
                side = what[:-1]
                raise SourceError(
                    f"{side.capitalize()} {spec.name!r} of {path} has no values: its shape is "
                    f"{list(spec.shape)}.",
                    hint=f"Leave this {side} out of the model.",
                )
    own = flatbuffer.indices(tree.subgraphs[0].outputs)
    for place, spec in enumerate(outputs):
        if own[place] in own[:place]:
            raise SourceError(
                f"{path} returns the tensor {spec.name!r} twice.",
                hint="Leave the second output out of the model.",
            )


def _quantized_tensors(tree: Any) -> list[str]:
    """Names of tensors that hold integers with a scale; FP16 weights are float weights."""
    small = {"int8", "uint8", "int16", "int4"}
    return [
        flatbuffer.text(tensor.name)
        for graph in tree.subgraphs
        for tensor in graph.tensors
        if flatbuffer.dtype(tensor) in small and flatbuffer.tensor_spec(tensor, "").scales
    ]


def check_shapes(
    options: ConvertOptions, declared: Mapping[str, tuple[int, ...]]
) -> dict[str, list[int]]:
    """The shapes that the user has set, by input name.

    Args:
        declared: the model's own shapes by input name, -1 where dynamic.

    Raises:
        UsageError: an unknown input, or a size that contradicts one that the model fixes.
    """
    for name, shape in options.input_shapes:
        if name not in declared:
            raise UsageError(
                f"--input-shape names {name!r}; the model's inputs are {', '.join(declared)}."
            )
        own = declared[name]
        fits = len(own) == len(shape) and all(
            size in (-1, asked) for size, asked in zip(own, shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"--input-shape {name}={shape} does not fit the model's {own}.",
                hint="Only dimensions that are dynamic (-1) can be set.",
            )
    return {name: list(shape) for name, shape in options.input_shapes}


def check(
    model: FloatModel,
    reference: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
) -> FloatModel:
    """Compare the float model with its source on the check samples.

    Args:
        model: the float model.
        reference: output name to the source model's values, [samples, ...].
        outputs: output name to the float `.tflite`'s values, same shapes.

    Returns:
        The model with its deviation.

    Raises:
        LoweringError: the two compute different functions.
    """
    is_rounded = bool(_quantized_tensors(read_model(Path(model.file.path)).tree))
    limit = MAX_ROUNDED_DEVIATION if is_rounded else MAX_DEVIATION
    worst = 0.0
    for name, expected in reference.items():
        # Both may compute NaN, for example where a mask leaves out the zeros of `random_samples`.
        differences = quantmath.difference(outputs[name].reshape(expected.shape), expected)
        known = expected[~np.isnan(expected)].astype(np.float64)
        if is_rounded:
            size = float(np.linalg.norm(known)) or 1.0
            deviation = float(np.linalg.norm(differences)) / size
        else:
            peak = float(np.max(np.abs(known), initial=0.0)) or 1.0
            deviation = float(np.max(differences, initial=0.0)) / peak
        worst = max(worst, deviation)
        if not deviation <= limit:  # also for NaN
            raise LoweringError(
                f"The float .tflite is not the source model: output {name!r} differs by "
                f"{deviation:.2%} of its largest value on {len(expected)} samples "
                f"(limit {limit:.1%}).",
                hint="Look for layers that behave differently in training, or random ones.",
            )
    return replace(model, max_deviation=worst)


def random_samples(
    inputs: Sequence[TensorSpec], count: int, seed: int
) -> list[dict[str, NDArray[Any]]]:
    """Inputs for the check when there is no data: normal floats, zero integers.

    Returns:
        `count` samples, input name to array without batch dimension; dynamic sizes become 1.
    """
    random = np.random.default_rng(seed)

    def draw(spec: TensorSpec) -> NDArray[Any]:
        shape, dtype = [max(size, 1) for size in spec.shape[1:]], np.dtype(spec.dtype)
        is_float = dtype.kind == "f"
        return (random.standard_normal(shape) if is_float else np.zeros(shape)).astype(dtype)

    return [{spec.name: draw(spec) for spec in inputs} for _ in range(count)]
