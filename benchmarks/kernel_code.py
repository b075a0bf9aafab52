"""Sums up the machine code that each operator brings along in tflite-micro.

    python -m benchmarks.kernel_code [--write]

The library `_runtime.so` of the Python package tflite-micro (EDGEQ_TFLITE_MICRO_PYTHON), which is
x86-64 code, keeps its symbols. `objdump` shows which function or constant each function names. All
that can be reached from `Register_CONV_2D()` and `ParseConv2D()` is the code of CONV_2D, without
what the interpreter itself reaches, and without what the C and C++ libraries provide. `--write`
writes edgeq/fit/kernel_code.txt: a row has the bytes that a set of operators shares.
"""

from __future__ import annotations

import argparse
import bisect
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from edgeq.fit import kernel_code, tflite_micro
from edgeq.fit.operators import METHODS

_OTHER_NAMES = {
    "L2_NORMALIZATION": "L2NORM_REF",
    "TFLite_Detection_PostProcess": "DETECTION_POSTPROCESS",
}
_INTERPRETER = re.compile(
    r"tflite::micro::(MicroInterpreter|MicroAllocator)::(?!Recording)"
    r"(MicroInterpreter|~?MicroInterpreter|AllocateTensors|Invoke|Reset|input|output|Create)\("
)
_OURS = re.compile(r"\btflite::|\bgemmlowp::|^k[A-Z]")


class Library:
    """The symbols of a shared library, and which of them each refers to."""

    def __init__(self, path: Path) -> None:
        self.names: dict[int, str] = {}
        self.sizes: dict[int, int] = {}
        for line in _run("nm", "-S", "-C", "--defined-only", str(path)):
            found = re.fullmatch(r"([0-9a-f]{16}) ([0-9a-f]{16}) (\w) (.*)", line)
            if found and found[3] in "tTwWvVurRdDi":
                address = int(found[1], 16)
                self.names.setdefault(address, found[4])
                self.sizes[address] = max(self.sizes.get(address, 0), int(found[2], 16))
        self._starts = sorted(self.names)
        self._references: dict[int, set[int]] = defaultdict(set)
        for line in _run("objdump", "-d", "--no-show-raw-insn", str(path)):
            self._read(line)
        for line in _run("objdump", "-R", str(path)):  # tables of functions
            found = re.match(
                r"([0-9a-f]{16}) R_X86_64_(?:RELATIVE|64)\s+\*ABS\*\+0x([0-9a-f]+)", line
            )
            if found:
                self._refer(int(found[1], 16), int(found[2], 16))

    def _read(self, line: str) -> None:
        found = re.match(r"\s+([0-9a-f]+):\s+(\w+)\s*(.*)", line)
        if found is None:
            return
        aside = re.search(r"# ([0-9a-f]+) ", found[3])
        target = re.match(r"([0-9a-f]+) <(?!.*@plt)", found[3])
        for other in (aside, target):
            if other is not None:
                self._refer(int(found[1], 16), int(other[1], 16))

    def _refer(self, where: int, target: int) -> None:
        source, other = self.symbol(where), self.symbol(target)
        if source is not None and other is not None and source != other:
            self._references[source].add(other)

    def symbol(self, address: int) -> int | None:
        """The start of the symbol that an address is in."""
        place = bisect.bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        start = self._starts[place]
        return start if address < start + max(self.sizes[start], 1) else None

    def reach(self, roots: Iterable[int]) -> set[int]:
        """All symbols that can be reached from some."""
        found, pending = set(), list(roots)
        while pending:
            item = pending.pop()
            if item not in found:
                found.add(item)
                pending += self._references[item]
        return found


def _run(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def measure(path: Path) -> tuple[int, dict[frozenset[str], int]]:
    """Bytes of the interpreter, and those that each set of operators shares."""
    library = Library(path)
    by_name: dict[str, list[int]] = defaultdict(list)
    for address, name in library.names.items():
        by_name[name].append(address)
    core = library.reach(
        address for address, name in library.names.items() if _INTERPRETER.match(name)
    )
    users: dict[int, set[str]] = defaultdict(set)
    for operator, method in METHODS.items():
        own = _OTHER_NAMES.get(operator, operator)
        roots = by_name[f"tflite::micro::Register_{own}()"]
        if not roots:
            raise SystemExit(f"{path} has no Register_{own}().")
        parse = f"tflite::micro::Parse{method.removeprefix('Add')}("
        roots = roots + [at for at, name in library.names.items() if name.startswith(parse)]
        for address in library.reach(roots) - core:
            users[address].add(operator)
    shared: dict[frozenset[str], int] = defaultdict(int)
    for address, operators in users.items():
        if _OURS.search(library.names[address]):
            shared[frozenset(operators)] += library.sizes[address]
    ours = [address for address in core if _OURS.search(library.names[address])]
    return sum(library.sizes[address] for address in ours), shared


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    runtime = tflite_micro.find()
    code = "import tflite_micro; print(tflite_micro.__path__[0])"
    (folder,) = _run(runtime.python, "-I", "-c", code)
    (path,) = Path(folder).rglob("_runtime.so")
    interpreter, shared = measure(path)
    lines = [
        "# Written by `python -m benchmarks.kernel_code --write`: edit nothing here.",
        f"# x86-64 code in tflite-micro {runtime.version}: bytes, then the operators that share",
        "# them; * stands for the interpreter.",
        f"{interpreter} *",
    ]
    lines += [
        f"{size} {' '.join(sorted(operators))}"
        for operators, size in sorted(shared.items(), key=lambda row: sorted(row[0]))
        if size
    ]
    text = "\n".join(lines) + "\n"
    if parser.parse_args().write:
        kernel_code.TABLE.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
