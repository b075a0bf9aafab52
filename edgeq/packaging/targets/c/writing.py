"""From the inputs of a package to its C++ sources."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from edgeq.errors import PackageError
from edgeq.fit import operators
from edgeq.fit.arena import ArenaMeasurement, arena_with_margin
from edgeq.packaging.contract.image_inputs import has_images
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.golden import vectors as golden
from edgeq.packaging.targets.c import literals
from edgeq.packaging.targets.c.boxes import describe_boxes, describe_letterbox
from edgeq.packaging.targets.c.forms import FORMS, slug
from edgeq.packaging.targets.c.sounds import SOUNDS, describe_sounds
from edgeq.packaging.targets.c.tensors import describe_input, describe_output
from edgeq.packaging.targets.target import templates
from edgeq.packaging.targets.tools import Tools
from edgeq.tflite.operators import having

# No board that runs such models has more flash; the source text is six times as long.
MOST_MODEL_BYTES = 16 << 20

# Names with another meaning in C++ that are not keywords: namespaces that the code uses, and macros
# of common headers and of compilers.
_TAKEN = {"std", "tflite", "linux", "unix", "i386", "mips", "sparc", "errno", "stdin", "stdout",
          "stderr", "near", "far", "small"}  # fmt: skip

_WITH_STATE = having("stateful")

# No header of a system or of an application is called so, and no two packages have one together:
# time.h would hide the system's, and x_model.h could be that of x or of x_model.
_STEM = "edgeq_{}"
_TEMPLATES = {
    **{
        name: f"{{}}_{name}"
        for name in ("model.h", "model.cc", "package.h", "package.cc", "golden.h", "golden_test.cc")
    },
    "CMakeLists.txt": "CMakeLists.txt",
    "README.md": "README.md",
}
_OPTIONAL = ("boxes", "sounds")  # headers


def make_files(inputs: PackageInputs, tools: Tools) -> dict[str, bytes]:
    """The sources; it runs the model, to measure its arena.

    Raises:
        MissingExtraError: tflite-micro, which measures, is not installed.
        PackageError: the model is too large, has operators without a kernel, or has different
            outputs there; or float32 cannot compute the features of its sounds.
    """
    contract, size = inputs.contract, len(inputs.model.content)
    if size > MOST_MODEL_BYTES:
        raise PackageError(
            f"{contract.model.path} has {size / 1e6:.1f} MB; a microcontroller's flash has room "
            f"for at most {MOST_MODEL_BYTES >> 20} MiB.",
            hint="Make it smaller: --scheme int8, or fewer and narrower layers.",
        )
    operators.require_supported(inputs.model)
    measured = measure(inputs, tools)
    environment = templates("edgeq.packaging.targets.c")
    names = _describe(inputs, measured)
    chosen = {**_TEMPLATES, **{f"{key}.h": f"{{}}_{key}.h" for key in _OPTIONAL if names[key]}}
    places = {name: f"src/{path.format(names['stem'])}" for name, path in chosen.items()}
    return {
        path: environment.get_template(name).render(names).encode()
        for name, path in {**places, **FORMS[inputs.form or "cmake"]}.items()
    }


def measure(inputs: PackageInputs, tools: Tools) -> ArenaMeasurement:
    """Run the golden vectors in the microcontroller's runtime, and check its outputs.

    Raises:
        MissingExtraError: it is not installed.
        PackageError: it refuses the model, or its outputs differ more than those of desktop
            kernels.
    """
    contract, vectors = inputs.contract, inputs.golden.vectors
    samples = [[vector.inputs[item.spec.name] for item in contract.inputs] for vector in vectors]
    measured = tools.measure_arena(
        inputs.model.content, samples, len(contract.outputs), contract.model.path
    )
    names = [item.spec.name for item in contract.outputs]
    problems = []
    for vector, outputs in zip(vectors, measured.outputs, strict=True):
        given = dict(zip(names, outputs, strict=True))
        problems += golden.check_vector(vector, given, inputs.golden.tolerances)
    if problems:
        raise PackageError(
            f"tflite-micro {measured.version} computes other outputs from "
            f"{contract.model.path} than TensorFlow Lite: {problems[0]}.",
            hint="Convert the model again with --scheme fp32: if that is accepted, one of the "
            "integer kernels there is the reason, and --keep-float finds out which.",
            details="\n".join(problems),
        )
    return measured


def namespace(name: str) -> str:
    """The C++ namespace inside `edgeq` for a package."""
    return f"{name}_model" if name in _TAKEN else name


def _describe(given: PackageInputs, measured: ArenaMeasurement) -> dict[str, Any]:
    """Everything that the templates name."""
    contract, vectors = given.contract, given.golden.vectors
    names = [name for name, _ in contract.operators]
    return {
        "name": contract.name,
        "guard": f"EDGEQ_{contract.name.upper()}",
        "stem": _STEM.format(contract.name),
        "slug": slug(contract.name),
        "form": given.form,
        "namespace": namespace(contract.name),
        "version": contract.version,
        "license": " ".join((given.license or "").split()),
        "sha256": contract.model.sha256,
        "model_bytes": len(given.model.content),
        "model_text": literals.octets(given.model.content),
        "model_crc32": literals.number(np.uint32(zlib.crc32(given.model.content))),
        "string": literals.string,
        "operators": names,
        "methods": [operators.METHODS[name] for name in names],
        "has_variables": "VAR_HANDLE" in names,
        "has_state": bool(_WITH_STATE & set(names)),
        "leaves_camera": any(
            how.resize is not None or how.channels == "gray" for how in contract.preprocessing
        ),
        "has_images": has_images(contract, given.golden),
        "arena_bytes": arena_with_margin(measured.arena_bytes),
        "arena_measured": measured.arena_bytes,
        "arena_recorded": measured.recorded_bytes,
        "arena_persistent": measured.persistent_bytes,
        "runtime": measured.version,
        "inputs": [
            describe_input(place, item, vectors) for place, item in enumerate(contract.inputs)
        ],
        "outputs": [
            describe_output(place, item, given.golden)
            for place, item in enumerate(contract.outputs)
        ],
        "indices": [vector.index for vector in vectors],
        "sound_count": min(SOUNDS, len(vectors)),
        "boxes": describe_boxes(contract, vectors),
        "letterbox": describe_letterbox(contract, vectors),
        "sounds": describe_sounds(contract, given.golden),
    }
