"""Golden vectors: what a machine's outputs are held to, value by value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.packaging.golden import check_vector, find_wide_tolerances
from edgeq.packaging.values import Contract, Golden, OutputContract, Vector
from edgeq.values import FileRef, TensorSpec

NAN, INF = math.nan, math.inf


def vector(**outputs: Any) -> Vector:
    return Vector(7, None, {}, {}, outputs, {})


def faults(wanted: Any, given: Any, tolerance: float) -> list[str]:
    return check_vector(vector(y=wanted), {"y": given}, {"y": tolerance})


def reals(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def steps(*values: int) -> np.ndarray:
    return np.array([values], np.int8)


@pytest.mark.parametrize(
    ("given", "largest"),
    [
        (reals(1, 2), None),
        (reals(1, 2.25), None),  # the tolerance, exactly
        (reals(1, 1.75), None),
        (reals(1.25, 1.75), None),
        (reals(1, 2.2500002), 0.25),
        (reals(1, 1.7499999), 0.25),
        (reals(-1, 2), 2),
        (reals(NAN, 2), NAN),
        (reals(1, NAN), NAN),
        (reals(1.5, NAN), NAN),
        (reals(NAN, NAN), NAN),
        (reals(1, INF), INF),
        (reals(-INF, 2), INF),
    ],
)
def test_float_outputs_are_held_to_the_tolerance(given: np.ndarray, largest: float | None) -> None:
    found = faults(reals(1, 2), given, 0.25)
    assert bool(found) == (largest is not None)
    if found:
        assert found[0].startswith("sample 7, output 'y': ")
        assert found[0].endswith(" (0.25 are accepted)")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (steps(-128, 5), None),
        (steps(-126, 3), None),
        (steps(-125, 5), "1 of 2 values differ, by up to 3 steps (2 are accepted)"),
        (steps(-128, 2), "1 of 2 values differ, by up to 3 steps (2 are accepted)"),
        (steps(127, 6), "2 of 2 values differ, by up to 255 steps (2 are accepted)"),
    ],
)
def test_integer_outputs_are_held_to_the_tolerance(given: np.ndarray, said: str | None) -> None:
    wanted = [] if said is None else [f"sample 7, output 'y': {said}"]
    assert faults(steps(-128, 5), given, 2) == wanted


def test_a_tolerance_of_nothing_accepts_the_same_alone() -> None:
    assert faults(steps(1, 2), steps(1, 2), 0) == []
    assert faults(steps(1, 2), steps(1, 3), 0) != []
    assert faults(reals(1, 2), reals(1, 2), 0) == []
    assert faults(reals(1, 2), reals(1, 2.0000002), 0) != []


def test_each_output_has_its_own_tolerance() -> None:
    wanted, given = {"a": reals(1), "b": reals(1)}, {"a": reals(1.5), "b": reals(1.5)}
    found = check_vector(vector(**wanted), given, {"a": 1.0, "b": 0.1})
    assert [line.split(":")[0] for line in found] == ["sample 7, output 'b'"]
    found = check_vector(vector(**wanted), given, {"a": 0.1, "b": 1.0})
    assert [line.split(":")[0] for line in found] == ["sample 7, output 'a'"]


@pytest.mark.parametrize(
    "given",
    [{}, {"z": reals(1, 2)}, {"y": reals(1)}, {"y": reals(1, 2)[0]},
     {"y": reals(1, 2).astype(np.float64)}, {"y": steps(1, 2)}],
)  # fmt: skip
def test_another_output_cannot_be_held_against_it(given: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError) as caught:
        check_vector(vector(y=reals(1, 2)), given, {"y": 1e9})
    assert str(caught.value) == "Output 'y' is not the float32 array that was expected."


def contract(spec: TensorSpec) -> Contract:
    return Contract(
        "m", "1", FileRef("m", "", 1), (), (OutputContract("y", spec, ()),), None, ()
    )  # fmt: skip


INT8 = TensorSpec("y", (1, 2), "int8", (0.1,), (0,))
INT16 = TensorSpec("y", (1, 2), "int16", (0.1,), (0,))
FLOAT = TensorSpec("y", (1, 2), "float32")
TOKENS = TensorSpec("y", (1, 2), "int32")


@pytest.mark.parametrize(
    ("spec", "outputs", "most"),
    [
        # A step, and a quarter of what an output can be.
        (INT8, steps(0, 0), 1 + 255 / 4),
        (INT16, np.zeros((1, 2), np.int16), 1 + 65535 / 4),
        # A quarter of the largest value.
        (FLOAT, reals(-8, 2), 2),
        (TOKENS, np.array([[4, -12]], np.int32), 1 + 3),
    ],
)
def test_a_tolerance_beyond_a_quarter_of_the_values_is_too_wide(
    spec: TensorSpec, outputs: np.ndarray, most: float
) -> None:
    def faults_of(tolerance: float) -> list[str]:
        golden = Golden("d", "", (vector(y=outputs),), {"y": tolerance})
        return find_wide_tolerances(golden, contract(spec))

    assert faults_of(0.0) == faults_of(most) == []
    for tolerance in (most * 1.001, INF, NAN):
        (said,) = faults_of(tolerance)
        assert said.startswith(f"the tolerance {tolerance:g} of output 'y' would accept almost ")
        assert said.endswith(f": at most {most:g} tells something")


def test_the_largest_value_is_of_all_vectors() -> None:
    vectors = (vector(y=reals(1, 1)), vector(y=reals(0, 8)), vector(y=reals(2, 2)))
    assert find_wide_tolerances(Golden("d", "", vectors, {"y": 2.0}), contract(FLOAT)) == []
    assert find_wide_tolerances(Golden("d", "", vectors, {"y": 2.1}), contract(FLOAT)) != []


@pytest.mark.parametrize("tolerances", [{}, {"z": 1.0}, {"y": 1.0, "z": 1.0}])
def test_tolerances_are_of_the_models_outputs(tolerances: dict[str, float]) -> None:
    golden = Golden("d", "", (vector(y=reals(8, 8)),), tolerances)
    assert len(find_wide_tolerances(golden, contract(FLOAT))) == 1
