"""The child that runs litert-quantizer, perhaps in another environment: it knows nothing of edgeq.

    litert_child.py JOB.json

JOB.json holds `source` (a float `.tflite`), `recipe` (litert-quantizer's own format), `samples`
(an .npz with "SAMPLE/INPUT" arrays, or null), `inputs` (signature names in that order), `target`
and `reply`, where the answer goes as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import qtyping, quantizer
from litert_quantizer.calibrator import CalibrationMode

from edgeq.children.sandbox import confine_as_planned  # of the start, which brings it


def read_samples(job: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The calibration samples as litert-quantizer takes them: signature to list of inputs."""
    signature = next(iter(Interpreter(job["source"]).get_signature_list()))
    arrays = np.load(job["samples"], allow_pickle=False)
    count = len(arrays.files) // len(job["inputs"])
    samples = [
        {name: arrays[f"{sample}/{index}"] for index, name in enumerate(job["inputs"])}
        for sample in range(count)
    ]
    return {signature: samples}


def calibrate(tool: Any, samples: dict[str, list[dict[str, Any]]]) -> tuple[Any, str]:
    """Ranges and how they were found; its default way fails on unrolled recurrent layers."""
    try:
        return tool.calibrate(samples), "tensors"
    except ValueError:
        return tool.calibrate(samples, mode=CalibrationMode.CALIBRATION_PROFILER_BASED), "profiler"


def main() -> None:
    """Do the job."""
    confine_as_planned()
    job = json.loads(Path(sys.argv[1]).read_text())
    tool = quantizer.Quantizer(job["source"])
    for entry in job["recipe"]:
        config = entry["op_config"]
        tool.update_quantization_recipe(
            entry["regex"],
            qtyping.TFLOperationName(entry["operation"]),
            None if config is None else qtyping.OpQuantizationConfig.from_dict(config),
            entry["algorithm_key"],
        )
    ranges, mode = calibrate(tool, read_samples(job)) if job["samples"] else (None, None)
    tool.quantize(ranges).export_model(job["target"], overwrite=True)
    Path(job["reply"]).write_text(json.dumps({"mode": mode}))


if __name__ == "__main__":
    main()
