"""The child that simplifies an ONNX model; onnx2tf would start a program for it.

Its arguments are the source and the target. A Python that has onnx2tf runs it, which brings
onnxsim; edgeq may be missing there.
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

from edgeq.children.sandbox import confine_as_planned  # the start of the child brings it

_ROUNDS = 3  # as onnx2tf does: one round can make the next one possible


def main() -> None:
    """Simplify, or end with a sentence."""
    confine_as_planned()
    source, target = sys.argv[1:]
    model = onnx.load(source)
    for _ in range(_ROUNDS):
        model, is_same = onnxsim.simplify(model)
        if not is_same:
            sys.exit("the outputs of the simplified model differ")
    onnx.save(model, target)
