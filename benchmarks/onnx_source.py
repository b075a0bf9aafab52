"""Run an ONNX model with onnxruntime on arrays; `onnx_models.py` starts it with another Python.

    python onnx_source.py MODEL IN.npz OUT.npz
    python onnx_source.py MODEL IN.npz OUT.npz --states NAME=OUTPUT,...

IN.npz has one array for each input, [samples, ...]; an array without samples is a constant. With
`--states`, only the array of the first input is given, and each state begins with zeros and becomes
the named output of the sample before: OUT.npz then has the states that each sample starts with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Run the model one sample at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--states", default="")
    given = parser.parse_args()
    session = onnxruntime.InferenceSession(given.model, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    shapes = {item.name: item.shape for item in session.get_inputs()}
    with np.load(given.inputs, allow_pickle=False) as stored:
        arrays = dict(stored)
    pairs = [pair.partition("=")[::2] for pair in given.states.split(",") if pair]
    states = {
        name: np.zeros([size if isinstance(size, int) else 1 for size in shapes[name]], np.float32)
        for name, _ in pairs
    }
    constants = {name: array for name, array in arrays.items() if array.ndim == 0}
    varied = {name: array for name, array in arrays.items() if array.ndim > 0}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in states or names}
    for sample in zip(*varied.values(), strict=True):
        for name, value in states.items():
            rows[name].append(value)
        found = session.run(None, {**constants, **dict(zip(varied, sample, strict=True)), **states})
        for name, output in pairs:
            states[name] = found[names.index(output)]
        if not states:
            for name, value in zip(names, found, strict=True):
                rows[name].append(value)
    np.savez(given.outputs, **{name: np.stack(values) for name, values in rows.items()})


if __name__ == "__main__":
    main()
