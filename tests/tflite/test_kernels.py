"""The table of integer kernels: a sample of it is measured again, as benchmarks/kernels does."""

from __future__ import annotations

import os
import random

import pytest

from benchmarks.kernels import measure
from benchmarks.kernels.cases import CASES
from benchmarks.kernels.table import rows
from edgeq.tflite import flatbuffer, kernels
from edgeq.tflite.operators import OPERATORS

_NEAR_DB = 0.3  # processors round the tables of nonlinear operators differently
_WITHOUT = "CEIL"


def stored() -> dict[str, str]:
    """The first two words of each line to the line."""
    lines = kernels.TABLE.read_text().splitlines()
    return {" ".join(line.split()[:2]): line for line in lines if not line.startswith("#")}


def differs(line: str, measured: str, runtimes: tuple[str, ...]) -> str | None:
    """The first word in which a line of the table is not what was measured."""
    wanted, found = (
        {word.partition("=")[0]: word.partition("=")[2] for word in text.split()}
        for text in (line, measured)
    )
    for word in wanted.keys() ^ found.keys():
        if word in runtimes or word not in measure.RUNTIMES:
            return word
    for word in wanted.keys() & found.keys():
        is_db = word in measure.RUNTIMES
        if (
            abs(float(wanted[word]) - float(found[word])) > _NEAR_DB
            if is_db
            else wanted[word] != found[word]
        ):
            return word
    return None


@pytest.fixture(scope="module")
def sampled() -> tuple[list[str], tuple[str, ...]]:
    """The lines of ten operators, and of one without a kernel, as they are measured here."""
    operators = sorted({item.operator for item in CASES.values()})
    chosen = {*random.Random(19).sample(operators, 10), _WITHOUT}
    runtimes = tuple(
        name for name, python in measure.RUNTIMES.items() if python is None or python in os.environ
    )
    cases = {name: item for name, item in CASES.items() if item.operator in chosen}
    return rows(cases, runtimes), runtimes


def test_the_table_says_what_the_runtimes_do(sampled: tuple[list[str], tuple[str, ...]]) -> None:
    lines, runtimes = sampled
    table = stored()
    assert f"{_WITHOUT} int8 none" in lines
    assert len(lines) >= 20
    for line in lines:
        place = " ".join(line.split()[:2])
        assert differs(table[place], line, runtimes) is None, (table[place], line)


def test_a_changed_line_is_seen(sampled: tuple[list[str], tuple[str, ...]]) -> None:
    lines, runtimes = sampled
    line = next(line for line in lines if " own " in line)
    before, _, after = line.partition("litert=")
    db, *others = after.split(" ")
    assert differs(line, line, runtimes) is None
    assert differs(line.replace(" own ", " input "), line, runtimes) in ("own", "input")
    changed = " ".join([f"{before}litert={float(db) - 1}", *others])
    assert differs(changed, line, runtimes) == "litert"
    assert differs(before + " ".join(others), line, runtimes) == "litert"
    assert differs(line.replace("version=", "version=1"), line, runtimes) == "version"
    assert differs(f"{_WITHOUT} int8 none", f"{_WITHOUT} int8 own version=1", runtimes) is not None


def test_every_case_has_its_lines() -> None:
    places = {place.split()[0] for place in stored()}
    assert places == set(CASES)
    assert {item.operator for item in CASES.values()} <= set(flatbuffer.operator_names().values())


def test_what_the_writer_asks() -> None:
    assert kernels.takes("ELU", "int8")
    assert not kernels.takes("ELU", "int16")
    assert not kernels.takes("NEG", "int8") and kernels.takes("NEG", "int16")
    assert not kernels.takes("DIV", "int8")  # wrong where a quotient is below half a step
    assert not kernels.takes("STABLEHLO_ADD", "int8")
    assert kernels.takes("CONV_2D", "int4") and not kernels.takes("TRANSPOSE_CONV", "int4")
    assert kernels.rule("ADD", "int8") == "own"
    assert kernels.rule("MAX_POOL_2D", "int8") == "input"
    assert kernels.rule("MAXIMUM", "int16") == "all"
    assert kernels.rule("SOFTMAX", "int8") == "fixed"
    with pytest.raises(KeyError):
        kernels.rule("CEIL", "int8")
    with pytest.raises(KeyError):
        kernels.rule("Mystery", "int8")
    assert kernels.missing("EXP", "int8", "micro")
    assert not kernels.missing("EXP", "int8", "tflite-runtime")
    assert kernels.missing("FULLY_CONNECTED", "int4", "micro")
    assert not kernels.missing("FULLY_CONNECTED/tensor", "int4", "micro")
    with pytest.raises(KeyError):
        kernels.missing("EXP", "int8", "toaster")
    assert kernels.fuses("CONV_2D", "int8") == ("RELU", "RELU_N1_TO_1", "RELU6")
    assert kernels.fuses("CONCATENATION", "int8") == ()


def test_prescribed_results_are_those_of_the_table() -> None:
    fixed = {place for place, row in kernels.measured().items() if row.rule == "fixed"}
    assert fixed == set(kernels.FIXED)
    assert kernels.fixed_range("SOFTMAX", "int8") == (0, 255 / 256)
    assert kernels.fixed_range("TANH", "int8") == (-1, 127 / 128)
    assert kernels.fixed_range("LOG_SOFTMAX", "int8") == (-255 / 16, 0)
    with pytest.raises(KeyError):
        kernels.fixed_range("ADD", "int8")


def test_measured_operators_have_a_row_in_the_other_table() -> None:
    """First releases of all that edgeq may write are known."""
    taken = {name for name, form in kernels.measured() if "/" not in name}
    assert taken - OPERATORS.keys() == set()
