"""litert-quantizer as the second engine, in a child process, perhaps in another environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.children.child import Child
from edgeq.children.other_python import OtherPython, find_python
from edgeq.converters.calibration.calibrate import batches
from edgeq.converters.graph.layout import stored_weights
from edgeq.errors import MissingExtraError, QuantizationError
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import facts, having
from edgeq.values import FloatModel

VARIABLE = "EDGEQ_LITERT_PYTHON"
PACKAGE = "litert-quantizer>=0.11,<0.12"

OPERATIONS: dict[str, str] = facts("litert")  # by its own names
BLOCK_OPERATIONS = having("blocks")

_GRANULARITY = {"channel": "CHANNELWISE", "tensor": "TENSORWISE"}
_LOG_TAIL_BYTES = 8192

Recipe = list[dict[str, Any]]


def find() -> OtherPython:
    """This Python if it has litert-quantizer, otherwise the one that EDGEQ_LITERT_PYTHON names.

    Raises:
        MissingExtraError: neither has it; the hint is how to get it.
    """
    absent = "--engine litert needs litert-quantizer, which is not installed here."
    return find_python("litert_quantizer", "litert-quantizer", VARIABLE, absent, _missing)


def _missing(message: str) -> MissingExtraError:
    return MissingExtraError(
        message,
        hint="Install it with: pip install 'edgeq[litert]'; or, in a separate environment: "
        f"python -m venv ~/litert && ~/litert/bin/pip install '{PACKAGE}' && "
        f"export {VARIABLE}=~/litert/bin/python",
    )


# ---------------------------------------------------------------- its recipe


def weight_recipe(content: bytes, bits: int, granularity: str, *, is_dynamic: bool) -> Recipe:
    """Integer weights with float activations, for every operator it knows.

    Weights that cannot be divided into blocks get a scale per channel; the certificate names them.

    Args:
        content: the float flatbuffer.
        bits: 8 or 4.
        granularity: "channel", "tensor" or "block:N".
        is_dynamic: the kernel takes integer weights; otherwise a DEQUANTIZE widens them to float.
    """
    tree = flatbuffer.parse(content, "the float model")
    size = int(granularity.removeprefix("block:")) if granularity.startswith("block:") else 0
    names, blocked = set(), []
    for graph in tree.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.operator_name(tree, operator)
            weights = stored_weights(tree, graph, operator, name)
            if name not in OPERATIONS or weights is None:
                continue
            names.add(name)
            if size and takes_blocks(name, weights.shape, size):
                # It joins the names of an operator's outputs with semicolons.
                outputs = flatbuffer.indices(operator.outputs)
                own = "".join(f"{flatbuffer.tensor_name(graph, index)};" for index in outputs)
                blocked.append(f"^{re.escape(own)}$")
    plain = _weight_config(bits, _GRANULARITY.get(granularity, "CHANNELWISE"), is_dynamic)
    found = [_entry(".*", OPERATIONS[name], plain) for name in sorted(names)]
    config = _weight_config(bits, f"BLOCKWISE_{size}", is_dynamic)
    return found + [_entry(scope, "FULLY_CONNECTED", config) for scope in blocked]


def takes_blocks(operator: str, shape: Sequence[int], size: int) -> bool:
    """Whether weights of this shape can have a scale per `size` inputs of each output."""
    return operator in BLOCK_OPERATIONS and len(shape) == 2 and shape[1] % size == 0


def static_recipe(io: str, granularity: str) -> Recipe:
    """INT8 weights and activations, as litert-quantizer's own recipe `static_wi8_ai8` has it.

    Args:
        io: "int8" or "float32".
        granularity: "channel" or "tensor", of the weights.
    """
    config = _weight_config(8, _GRANULARITY[granularity], True)
    config["activation_tensor_config"] = {
        "num_bits": 8, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT",
    }  # fmt: skip
    config["skip_checks"] = False  # or it would quantize operators without an integer kernel
    border = ("INPUT", "OUTPUT") if io == "float32" else ()
    kept = [_entry(".*", name, None, "no_quantize") for name in border]
    return [_entry(".*", "*", config), *kept]


def _entry(
    regex: str, operation: str, config: Any, algorithm: str = "min_max_uniform_quantize"
) -> dict[str, Any]:
    return {
        "regex": regex, "operation": operation, "op_config": config, "algorithm_key": algorithm,
    }  # fmt: skip


def _weight_config(bits: int, granularity: str, is_dynamic: bool) -> dict[str, Any]:
    return {
        "weight_tensor_config": {
            "num_bits": bits, "symmetric": True, "granularity": granularity, "dtype": "INT",
        },
        "compute_precision": "INTEGER" if is_dynamic else "FLOAT",
        "explicit_dequantize": not is_dynamic,
        # Its table of kernels does not matter for weights behind a DEQUANTIZE.
        "skip_checks": not is_dynamic,
        "min_weight_elements": 0,
    }  # fmt: skip


# ---------------------------------------------------------------- running it


def quantize(
    model: FloatModel,
    recipe: Recipe,
    samples: Iterator[Mapping[str, NDArray[Any]]] | None,
    folder: Path,
) -> tuple[bytes, str | None]:
    """Quantize a float model with litert-quantizer.

    Args:
        samples: input name to array without batch dimension; None for recipes without activations.
        folder: for working files.

    Returns:
        The flatbuffer as it left it, and how it calibrated.

    Raises:
        QuantizationError: it refused the model, or died.
    """
    target, reply = folder / "litert.tflite", folder / "litert-reply.json"
    job = {
        "source": str(Path(model.file.path).absolute()),  # the child works in `folder`
        "recipe": recipe,
        "samples": None if samples is None else str(_store(samples, model, folder)),
        "inputs": [spec.name for spec in model.inputs],
        "target": str(target),
        "reply": str(reply),
    }
    (folder / "litert-job.json").write_text(json.dumps(job))
    with Child(
        [str(Path(__file__).with_name("litert_child.py")), "litert-job.json"],
        folders=[folder],
        late=True,
        python=find().python,
        cwd=folder,
    ) as child:
        if (status := child.wait()) < 0:
            raise QuantizationError(
                f"litert-quantizer {child.ending}.",
                hint="Run again with -v to see its own output.",
                details=child.log(_LOG_TAIL_BYTES),
            )
        if status != 0:
            raise QuantizationError(
                f"litert-quantizer refused the model: {child.last_line('no message')[:300]}",
                details=child.log(_LOG_TAIL_BYTES),
            )
    return target.read_bytes(), json.loads(reply.read_text())["mode"]


def _store(samples: Iterator[Mapping[str, NDArray[Any]]], model: FloatModel, folder: Path) -> Path:
    path = folder / "litert-samples.npz"
    arrays = {
        f"{number}/{index}": batch[spec.name]
        for number, batch in enumerate(batches(samples, model.inputs))
        for index, spec in enumerate(model.inputs)
    }
    np.savez(path, allow_pickle=False, **arrays)
    return path
