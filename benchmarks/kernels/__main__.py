"""Measures which runtime computes which operator right in which integer form.

    python -m benchmarks.kernels [OPERATOR...] [--write]

It builds one tiny float model per operator, or several where its kernels differ, and runs it with
ai-edge-litert. It writes the model in every form of `forms.FORMS`, under each rule for the scale
of the results, and runs it in every runtime of `measure.RUNTIMES`. A form is right if its results
have at least 20 dB of SQNR against float. `--write` writes edgeq/tflite/kernels.txt, which edgeq
reads, or replaces the rows of the named operators; without it, the rows are printed.
EDGEQ_TFLITE_RUNTIME_PYTHON and EDGEQ_TFLITE_MICRO_PYTHON name the Pythons of tflite-runtime and
tflite-micro; both must be set.

It does not measure the operators of StableHLO, custom and random operators, spectra, suppression of
boxes, variables, control flow, and recurrent operators except for the fused LSTM.
"""

from __future__ import annotations

import argparse
import subprocess

from benchmarks.kernels import measure
from benchmarks.kernels.cases import CASES
from benchmarks.kernels.table import rows
from edgeq.tflite import kernels

PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "micro": "tflite-micro"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("operators", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wanted = {
        name: item
        for name, item in CASES.items()
        if not options.operators or item.operator in options.operators
    }
    lines = rows(wanted, tuple(measure.RUNTIMES))
    if not options.write:
        print(*lines, sep="\n")
        return
    old = kernels.TABLE.read_text().splitlines() if options.operators else []
    lines += [
        line
        for line in old
        if not line.startswith("#") and line.split()[0].split("/")[0] not in options.operators
    ]
    lines.sort(key=lambda line: line.split()[:2])
    found = (f"{package} {_version(runtime, package)}" for runtime, package in PACKAGES.items())
    head = [
        "# Written by `python -m benchmarks.kernels --write`: edit nothing here.",
        f"# Measured with {', '.join(found)}.",
        "# operator[/variant] form rule version=of the operator, then runtime=SQNR in dB against",
        "# float, of runtimes that compute it right, and fuses=activations. 99 stands for equal.",
    ]
    kernels.TABLE.write_text("\n".join([*head, *lines]) + "\n")


def _version(runtime: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run(
        [measure.python(runtime), "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
