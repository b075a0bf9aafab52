"""Models exported from PyTorch and ONNX, read by a child process.

Their converters bring packages that are large or clash with ours, so the child may be another
Python, which the user names; it runs one script of this folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.children.child import Child, time_limit_s, warn_of
from edgeq.converters.graph.marked_lstm import replace_markers
from edgeq.converters.lowering.exported_shapes import (
    SOURCE_INPUTS_KEY,
    describe_layout,
    find_moves,
    fix_shapes,
    store_inputs,
)
from edgeq.converters.lowering.framework_process import FrameworkProcess
from edgeq.converters.lowering.lower import Arrays, finish
from edgeq.converters.safe_reading import onnx_file
from edgeq.converters.safe_reading.torch_archive import refuse_code
from edgeq.errors import MissingExtraError, UsageError, unknown_name
from edgeq.files import npy, scratch, storage
from edgeq.progress import OnNote, no_note
from edgeq.values import LAYOUTS, LSTM_FORMS, ConvertOptions, FloatModel

_MANY_STEPS = 100
_STEP_S = 0.2  # processor time, measured with a GRU of 28 steps

_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}


@dataclass(frozen=True)
class Framework:
    """How a kind of model is read.

    Attributes:
        kind: in `FRAMEWORKS`, and in the names of scripts, options, variables and extras.
        name: in messages.
        package: that the child's Python must have.
        install: the hint if no Python has the package.
    """

    kind: str
    name: str
    package: str
    install: str

    @property
    def variable(self) -> str:
        """The environment variable that names the Python, as the option does."""
        return f"EDGEQ_{self.kind.upper()}_PYTHON"


FRAMEWORKS = {
    "torch": Framework(
        "torch",
        "PyTorch",
        "litert_torch",
        'Install it with: pip install "edgeq[torch]", here or for another Python, which '
        "--torch-python names.",
    ),
    "onnx": Framework(
        "onnx",
        "ONNX",
        "onnx2tf",
        # Its pins exclude those of litert-torch, and Python before 3.12.
        "Give it a separate environment: python3.12 -m venv onnx-env && onnx-env/bin/pip "
        'install "edgeq[onnx]", and pass --onnx-python onnx-env/bin/python.',
    ),
}


def find_python(kind: str, options: ConvertOptions) -> str:
    """The Python that reads a kind of model: named by an option or a variable, or this one.

    Raises:
        UsageError: the named one cannot be started.
        MissingExtraError: none is named, and this one does not have the package.
    """
    framework = FRAMEWORKS[kind]
    for origin, path in (
        (f"--{kind}-python", getattr(options, f"{kind}_python")),
        (framework.variable, os.environ.get(framework.variable)),
    ):
        if path:
            if not os.access(path, os.X_OK) or Path(path).is_dir():
                raise UsageError(
                    f"{origin} {path} is not a Python that can be started.",
                    hint=f"Name one such as {kind}-env/bin/python.",
                )
            return str(path)
    if importlib.util.find_spec(framework.package) is None:
        raise _missing(framework, "this Python does not have", framework.install)
    return sys.executable


def _missing(framework: Framework, whose: str, hint: str) -> MissingExtraError:
    package = framework.package.replace("_", "-")
    return MissingExtraError(
        f"Converting from {framework.name} needs {package}, which {whose}.", hint=hint
    )


def refuse_options(kind: str, options: ConvertOptions) -> None:
    """Raise for options that do not apply to this kind of model.

    Raises:
        UsageError: there is one.
    """
    if options.layout not in LAYOUTS:
        raise UsageError(f"Unknown layout {options.layout!r}; use one of {', '.join(LAYOUTS)}.")
    if options.lstm not in LSTM_FORMS:
        raise unknown_name("form", options.lstm, LSTM_FORMS)
    if options.lstm != "auto" and kind in ("tflite", "onnx"):
        raise UsageError(
            f"--lstm {options.lstm} is for models from Keras and PyTorch only.",
            hint="The LSTM layers of other models stay what the file or its converter made them.",
        )
    if kind not in FRAMEWORKS:
        if options.fixed_inputs:
            raise UsageError("--fix-input is for ONNX models only.")
        if options.layout != "source":
            raise UsageError(
                f"--layout {options.layout} is for models from PyTorch and ONNX only.",
                hint="Keras models take channels last already; a .tflite stays as it is.",
            )
        return
    for option, given in (
        ("--custom-objects", options.custom_objects),
        ("--signature", options.signature),
        ("--fix-input", options.fixed_inputs and kind != "onnx"),
    ):
        if given:
            raise UsageError(f"{option} is for Keras models, not for {FRAMEWORKS[kind].name}.")
    if options.batch == 0:
        raise UsageError(
            f"--batch dynamic is not possible for a model from {FRAMEWORKS[kind].name}, which is "
            "lowered with fixed shapes.",
            hint="Pass --batch N.",
        )


class ExportedReader:
    """A `.pt2` or `.onnx` file, read in the child process, which ends with the `with` block.

    Args:
        path: of the model.
        kind: a key of `FRAMEWORKS`.
        options: may name the Python.
        verbose: show the framework's own output.
        on_note: called before work that takes long.

    Raises:
        MissingExtraError, UsageError: see `find_python`.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        options: ConvertOptions,
        *,
        verbose: bool = False,
        on_note: OnNote = no_note,
    ):
        self.path, self.kind = path, kind
        self._framework = FRAMEWORKS[kind]
        self._python = find_python(kind, options)
        self._folder, self._on_note = Path(), on_note
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        name, target = self._framework.name, [f"edgeq.converters.lowering.{kind}_child"]
        try:
            self._process = FrameworkProcess(
                name, target, _ENVIRONMENT, verbose=verbose, python=self._python
            )
        except OSError as error:
            raise UsageError(
                f"{self._python} cannot be started: {error.strerror or error}."
            ) from error

    def __enter__(self) -> ExportedReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(*error)

    def lower(self, options: ConvertOptions, folder: Path) -> FloatModel:
        """Read and lower with fixed shapes.

        Raises:
            MissingExtraError: the Python does not have the packages.
            SourceError: the file cannot be read, holds code, names files in other folders, is
                quantized, or was exported for training.
            LoweringError: the framework's converter refused it.
            UsageError: a shape is missing or does not fit.
        """
        self._folder = folder
        read = self._load(options)
        declared = {name: tuple(shape) for name, shape, _ in read["inputs"]}
        for name, _ in options.fixed_inputs:
            if name not in declared or len(declared) == 1:
                raise UsageError(
                    f"--fix-input names {name!r}; the model's inputs are {', '.join(declared)}.",
                    hint="Name one of them, and leave at least one that takes samples.",
                )
            del declared[name]
        self._inputs = list(declared)
        shapes = fix_shapes(options, declared)
        moves = find_moves(options, shapes)
        sizes = [list(shape) for shape in shapes.values()]
        given: dict[str, Any] = {"shapes": sizes, "fuses": options.lstm == "fused"}
        notes: list[str] = []
        if self.kind == "onnx":
            prepared, notes = self._prepare(folder, sizes, options)
            given = {"prepared": prepared}
        self._note_steps(read.get("steps", []), fuses=options.lstm == "fused")
        lowered = self._process.call("lower", out=folder / "lowered.tflite", moves=moves, **given)
        self._outputs = lowered["outputs"]
        content = (folder / "lowered.tflite").read_bytes()
        fused = lowered.get("fused", [])
        model = finish(
            replace_markers(content) if fused else content,
            folder,
            source=storage.refer(self.path),
            source_kind=self.kind,
            framework=", ".join(filter(None, (read["framework"], lowered.get("route")))),
            input_names=self._inputs,
            output_names=[self._outputs[position] for position in lowered["order"]],
            unrolled=lowered.get("unrolled", []),
            fused=fused,
            notes=(),
            metadata={SOURCE_INPUTS_KEY: store_inputs(shapes, options)},
        )
        layout = describe_layout(
            model,
            shapes,
            [self._inputs[position] for position in moves],
            [self._outputs[position] for position in lowered["moved"]],
        )
        return replace(model, notes=(*layout, *notes, *lowered["notes"]))

    def _note_steps(self, layers: Sequence[tuple[int, bool]], *, fuses: bool) -> None:
        """Say how long litert-torch takes for recurrent layers with many steps.

        Args:
            layers: the number of steps of each one, and whether one operator can compute it.
            fuses: whether those become one operator.
        """
        steps = sum(number for number, is_fusable in layers if not (fuses and is_fusable))
        if steps >= _MANY_STEPS:
            self._on_note(
                f"recurrent layers are unrolled into {steps} steps, for which litert-torch needs "
                f"about {steps * _STEP_S:.0f} s"
            )

    def _prepare(
        self, folder: Path, sizes: list[list[int]], options: ConvertOptions
    ) -> tuple[dict[str, str], list[str]]:
        """Fix shapes and inputs of an ONNX model, and simplify it.

        Returns:
            The files to lower, by their names in messages, and notes.
        """
        plain, simple = folder / "prepared.onnx", folder / "simplified.onnx"
        fixed = dict(options.fixed_inputs)
        told = self._process.call(
            "prepare", out=plain, shapes=sizes, fixed=fixed, ranges=_uses_ranges(options)
        )
        notes = [f"input {name!r} is {value:g} in every inference" for name, value in fixed.items()]
        notes += told["notes"]
        failure = self._simplify(plain, simple)
        if failure is None:
            return {"simplified": str(simple), "original": str(plain)}, notes
        notes.append(f"onnxsim could not simplify the model ({failure}); it was left as it is")
        return {"original": str(plain)}, notes

    def _load(self, options: ConvertOptions) -> dict[str, Any]:
        """Have the child read the file, after a check for code and for other files it names."""
        if self.kind == "onnx":
            onnx_file.refuse_outside(self.path)
        elif not options.trusted:
            refuse_code(self.path)
        try:
            read = self._process.call("load", path=str(self.path), trusted=options.trusted)
        except MissingExtraError as error:
            raise _missing(
                self._framework,
                f"{self._python} does not have ({error.message})",
                f'Install it with: {self._python} -m pip install "edgeq[{self.kind}]"',
            ) from error
        warn_of(read["gaps"])
        return dict(read)

    def _simplify(self, prepared: Path, target: Path) -> str | None:
        """Simplify a file in a process and folder apart.

        Returns:
            Why the simplifier could not do it, None if it could.
        """
        with scratch.folder() as folder:
            made = folder / target.name
            command = ["edgeq.converters.lowering.onnx_routes", str(prepared), str(made)]
            limit = time_limit_s()
            with Child(
                command, folders=[folder], late=True, python=self._python, deadline_s=limit
            ) as child:
                if child.wait() != 0:
                    if child.is_late:
                        return f"it took longer than {limit:g} s and was stopped"
                    return child.last_line(f"it {child.ending}")[:300]
            shutil.move(made, target)
        return None

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of the source, as `lower.Reader.predict`, in the lowered model's layout."""
        given, out = self._folder / "check-in.npz", self._folder / "check-out.npz"
        numbered = {str(self._inputs.index(name)): array for name, array in inputs.items()}
        np.savez(given, **numbered)  # type: ignore[arg-type]  # numpy's own arguments have other names
        self._process.call("predict", arrays=str(given), out=out)
        stored = npy.load_all(Path(out))
        return {name: stored[str(i)] for i, name in enumerate(self._outputs)}

    def rescaling(self) -> tuple[float, float] | None:
        """None: exported graphs do not show which layers rescale."""
        return None

    def batch_statistics(self, inputs: Arrays) -> tuple[float, float] | None:
        """None: exported graphs do not show which layers normalize."""
        return None


def _uses_ranges(options: ConvertOptions) -> bool:
    """Whether the ranges of a quantized model decide, not options that work on those of samples."""
    mixed = options.keep_float or options.int16 or options.int4
    return (
        (options.scheme, options.calibrator, options.weights) == ("int8", "edgeq", "int8")
        and (options.statistic, options.corrections) in (("auto", "auto"), ("auto", "none"))
        and not mixed
    )
