"""Golden vectors: as files, of a model that is not there (two bytes in, two steps and a score out),
and what a machine's outputs are held to, value by value."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeq.errors import DamagedPackageError, DataError
from edgeq.packaging.contract.values import Contract, Golden, InputContract, OutputContract, Vector
from edgeq.packaging.golden import vectors as golden
from edgeq.packaging.golden.vectors import (
    INDEX,
    MOST,
    check_vector,
    find_faults,
    find_wide_tolerances,
    read_golden,
)
from edgeq.values import FileRef, Preprocessing, TensorSpec

IMAGE = TensorSpec("image", (1, 2), "int8", (0.5,), (-1,))
STEPS = TensorSpec("steps", (1, 2), "int8", (0.25,), (4,))
SCORE = TensorSpec("score", (1, 1), "float32")
CONTRACT = Contract(
    "m", "1.0", FileRef("m.tflite", "0" * 64, 1),
    (InputContract("image", IMAGE, Preprocessing(scale=0.5), None),),
    (OutputContract("steps", STEPS, ()), OutputContract("score", SCORE, ())), None, (),
)  # fmt: skip


def array(values: object, dtype: str) -> Any:
    return np.array(values, dtype)


# The sample (6, 16) is (3, 8) after preprocessing: (3 / 0.5 - 1, 8 / 0.5 - 1). Of the outputs,
# 8 and 2 stand for (8 - 4) * 0.25 and (2 - 4) * 0.25.
VECTOR = Vector(
    index=7, label=None,
    raw={"image": array([6, 16], "uint8")},
    inputs={"image": array([[5, 15]], "int8")},
    outputs={"steps": array([[8, 2]], "int8"), "score": array([[2.0]], "float32")},
    real={"steps": array([[1.0, -0.5]], "float32"), "score": array([[2.0]], "float32")},
)  # fmt: skip
GOLDEN = Golden("größe.npz", "a" * 64, (VECTOR,), {"steps": 2.0, "score": 0.5})


def changed(part: str, name: str, values: Any) -> Golden:
    """With another array in a part of the vector."""
    arrays = {**getattr(VECTOR, part), name: values}
    return replace(GOLDEN, vectors=(replace(VECTOR, **{part: arrays}),))


# ---------------------------------------------------------------- as files


def test_vectors_are_an_index_and_little_endian_arrays() -> None:
    second = replace(VECTOR, index=9, label=0, raw={"image": array([1, 258], ">u2")})
    files = golden.golden_files(replace(GOLDEN, vectors=(VECTOR, second)))
    assert files[INDEX].startswith(b'{\n "schema"') and files[INDEX].endswith(b"}\n")
    assert "größe.npz".encode() in files[INDEX]
    index = json.loads(files[INDEX])
    assert index["schema"] == "edgeq.golden/1"
    assert (index["data"], index["data_sha256"]) == ("größe.npz", "a" * 64)
    assert index["tolerances"] == {"steps": 2.0, "score": 0.5}
    first, other = index["vectors"]
    assert (first["index"], first["label"], other["index"], other["label"]) == (7, None, 9, 0)
    assert other["raw"] == {"image": {"file": "01-raw-0.bin", "dtype": "uint16", "shape": [2]}}
    assert first["real"] == {
        "steps": {"file": "00-real-0.bin", "dtype": "float32", "shape": [1, 2]},
        "score": {"file": "00-real-1.bin", "dtype": "float32", "shape": [1, 1]},
    }
    assert files["golden/01-raw-0.bin"] == b"\x01\x00\x02\x01"
    assert files["golden/00-outputs-0.bin"] == b"\x08\x02"
    assert files["golden/00-real-1.bin"] == b"\x00\x00\x00\x40"
    assert len(files) == 1 + 2 * 6


def test_vectors_are_read_as_they_were_written() -> None:
    found = read_golden(golden.golden_files(GOLDEN))
    assert (found.data, found.data_sha256, found.tolerances) == (
        GOLDEN.data, GOLDEN.data_sha256, GOLDEN.tolerances)  # fmt: skip
    (vector,) = found.vectors
    assert (vector.index, vector.label) == (7, None)
    for part in ("raw", "inputs", "outputs", "real"):
        own, wanted = getattr(vector, part), getattr(VECTOR, part)
        assert list(own) == list(wanted)
        for name, values in own.items():
            assert values.dtype == wanted[name].dtype
            np.testing.assert_array_equal(values, wanted[name])
            assert values.shape == wanted[name].shape


def test_figures_that_are_no_numbers_are_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        golden.golden_files(replace(GOLDEN, tolerances={"steps": math.nan}))


def test_a_package_has_up_to_64_vectors() -> None:
    assert MOST == 64
    files = golden.golden_files(replace(GOLDEN, vectors=(VECTOR,) * 64))
    assert len(read_golden(files).vectors) == 64
    for count in (0, 65):
        files = golden.golden_files(replace(GOLDEN, vectors=(VECTOR,) * count))
        with pytest.raises(DamagedPackageError, match="vectors"):
            read_golden(files)


def test_files_that_are_missing_or_of_another_size_are_damage() -> None:
    files = golden.golden_files(GOLDEN)
    with pytest.raises(DamagedPackageError) as caught:
        read_golden({path: files[path] for path in files if path != INDEX})
    assert caught.value.message == "golden/golden.json is missing."
    name = "golden/00-real-0.bin"
    for size in (0, 7, 9):
        with pytest.raises(DamagedPackageError) as caught:
            read_golden({**files, name: bytes(size)})
        assert caught.value.message == (
            "golden/00-real-0.bin does not have the 8 bytes that golden/golden.json states for "
            "'steps'."
        )
    with pytest.raises(DamagedPackageError, match=r"00-real-0\.bin does not have the"):
        read_golden({path: files[path] for path in files if path != name})


@pytest.mark.parametrize(
    ("dtype", "shape", "is_known"),
    [
        ("bool", [8], True),
        ("float64", [1], True),
        ("float16", [4], True),
        ("uint64", [1], True),
        ("int16", [2, 2], True),
        ("int4", [8], False),
        ("object", [1], False),
        ("int8", [1] * 31 + [8], True),
        ("int8", [1] * 32 + [8], False),
        ("int8", [1 << 31], False),
        ("int8", [0, (1 << 31) - 1], None),
        ("int8", [-8, -1], False),
        ("int8", [-1, -1, 8], False),
    ],
)
def test_an_array_has_a_dtype_and_a_shape_that_numpy_knows(
    dtype: str, shape: list[int], is_known: bool | None
) -> None:
    files = golden.golden_files(GOLDEN)
    index = json.loads(files[INDEX])
    index["vectors"][0]["real"]["steps"] |= {"dtype": dtype, "shape": shape}
    files[INDEX] = json.dumps(index).encode()
    if is_known is None:  # but it has not 8 bytes
        with pytest.raises(DamagedPackageError, match="does not have the 0 bytes"):
            read_golden(files)
        return
    if not is_known:
        with pytest.raises(DamagedPackageError, match=r"at `\$\.vectors"):
            read_golden(files)
        return
    values = read_golden(files).vectors[0].real["steps"]
    assert (values.dtype.name, values.shape) == (dtype, tuple(shape))


# ---------------------------------------------------------------- of this model


def test_vectors_of_the_model_have_no_faults() -> None:
    assert find_faults(GOLDEN, CONTRACT) == []


NAN = math.nan


@pytest.mark.parametrize(
    ("part", "name", "values", "fault"),
    [
        ("outputs", "steps", array([[8, 2]], "uint8"),
         "'steps' of outputs is uint8 1x2, not int8 1x2"),
        ("outputs", "steps", array([8, 2], "int8"), "'steps' of outputs is int8 2, not int8 1x2"),
        ("inputs", "image", array([[5, 15, 0]], "int8"),
         "'image' of inputs is int8 1x3, not int8 1x2"),
        ("real", "steps", array([[8, 2]], "int8"), "'steps' of real is int8 1x2, not float32 1x2"),
        ("outputs", "score", array([[NAN]], "float32"),
         "'score' of outputs has values that are not finite"),
        ("real", "steps", array([[1.0, np.inf]], "float32"),
         "'steps' of real has values that are not finite"),
        ("real", "steps", array([[1.0, -0.75]], "float32"),
         "'steps' in real units differs from the dequantized output"),
        ("real", "steps", array([[1.00001, -0.5]], "float32"),
         "'steps' in real units differs from the dequantized output"),
        ("real", "other", array([[1.0]], "float32"),
         "real are for 'steps', 'score', 'other', but the model has 'steps', 'score'"),
        ("raw", "other", array([1], "uint8"),
         "raw are for 'image', 'other', but the model has 'image'"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_sample(part: str, name: str, values: Any, fault: str) -> None:
    assert find_faults(changed(part, name, values), CONTRACT) == [f"sample 7: {fault}"]


def test_raw_samples_may_be_anything_and_real_values_are_rounded() -> None:
    assert find_faults(changed("raw", "image", array([NAN], "float64")), CONTRACT) == []
    near = array([[1.0000005, -0.5]], "float32")
    assert find_faults(changed("real", "steps", near), CONTRACT) == []
    # Zero stands for zero, however near another value is.
    nothing = replace(VECTOR, outputs={**VECTOR.outputs, "steps": array([[4, 4]], "int8")},
                      real={**VECTOR.real, "steps": array([[1e-9, 0.0]], "float32")})  # fmt: skip
    assert len(find_faults(replace(GOLDEN, vectors=(nothing,)), CONTRACT)) == 1


def test_all_faults_of_all_vectors_are_told() -> None:
    none = replace(VECTOR, index=3, inputs={}, outputs={})
    found = find_faults(replace(GOLDEN, vectors=(VECTOR, none)), CONTRACT)
    assert found == [
        "sample 3: inputs are for nothing, but the model has 'image'",
        "sample 3: outputs are for nothing, but the model has 'steps', 'score'",
    ]


def test_vectors_without_fault_may_have_tolerances_that_are_too_wide() -> None:
    # A quarter of 255 steps and one more.
    wide = replace(GOLDEN, tolerances={"steps": 64.76, "score": 0.5})
    assert find_faults(wide, CONTRACT) == [
        "the tolerance 64.76 of output 'steps' would accept almost anything: at most 64.75 is "
        "useful"
    ]
    none = replace(GOLDEN, tolerances={})
    assert find_faults(none, CONTRACT) == ["tolerances are for nothing, not for 'steps', 'score'"]


# ---------------------------------------------------------------- made again


def test_inputs_are_made_again_from_the_raw_sample() -> None:
    found = golden.prepare(CONTRACT, VECTOR)
    assert list(found) == ["image"]
    assert (found["image"].tolist(), found["image"].dtype.name) == ([[5, 15]], "int8")


def test_without_preprocessing_samples_go_in_as_they_are() -> None:
    (image,) = CONTRACT.inputs
    contract = replace(CONTRACT, inputs=(replace(image, preprocessing=None),))
    assert golden.prepare(contract, VECTOR)["image"].tolist() == [[11, 31]]


# ---------------------------------------------------------------- on a machine, value by value

INF = math.inf


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
        (reals(NAN, 2), INF),
        (reals(1, NAN), INF),
        (reals(1.5, NAN), INF),
        (reals(NAN, NAN), INF),
        (reals(1, INF), INF),
        (reals(-INF, 2), INF),
    ],
)
def test_float_outputs_are_held_to_the_tolerance(given: np.ndarray, largest: float | None) -> None:
    found = faults(reals(1, 2), given, 0.25)
    assert bool(found) == (largest is not None)
    if found:
        assert found[0].startswith("sample 7, output 'y': ")
        assert found[0].endswith(f"values differ, by up to {largest:g} (0.25 are accepted)")


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
        (FLOAT, reals(-0.5, 0.25), 0.125),
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
        assert said.endswith(f": at most {most:g} is useful")


def test_the_largest_value_is_of_all_vectors() -> None:
    vectors = (vector(y=reals(1, 1)), vector(y=reals(0, 8)), vector(y=reals(2, 2)))
    assert find_wide_tolerances(Golden("d", "", vectors, {"y": 2.0}), contract(FLOAT)) == []
    assert find_wide_tolerances(Golden("d", "", vectors, {"y": 2.1}), contract(FLOAT)) != []
    empty = Golden("d", "", (vector(y=reals()),), {"y": 0.0})
    assert find_wide_tolerances(empty, contract(FLOAT)) == []


@pytest.mark.parametrize("tolerances", [{}, {"z": 1.0}, {"y": 1.0, "z": 1.0}])
def test_tolerances_are_of_the_models_outputs(tolerances: dict[str, float]) -> None:
    golden = Golden("d", "", (vector(y=reals(8, 8)),), tolerances)
    assert len(find_wide_tolerances(golden, contract(FLOAT))) == 1
