"""The child that simplifies an ONNX model, as onnx2tf would have it done by a program.

    onnxsim_child.py SOURCE.onnx TARGET.onnx

It is run by a Python that has onnx2tf, which brings onnxsim, and knows nothing else of edgeq.
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

from edgeq.children.sandbox import confine_as_planned  # of the start, which brings it

_ROUNDS = 3  # what onnx2tf does: one round can make room for the next


def main() -> None:
    """Simplify, or end with a sentence."""
    confine_as_planned()
    source, target = sys.argv[1:]
    model = onnx.load(source)
    for _ in range(_ROUNDS):
        model, is_same = onnxsim.simplify(model)
        if not is_same:
            sys.exit("the simplified model computes something else")
    onnx.save(model, target)


if __name__ == "__main__":
    main()
