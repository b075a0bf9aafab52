"""Golden vectors of a model that is not there: two bytes in, two steps and a score out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeq.errors import DamagedPackageError, DataError
from edgeq.packaging import golden
from edgeq.packaging.golden import INDEX, MOST, check_vector, find_faults, read_golden
from edgeq.packaging.values import Contract, Golden, InputContract, OutputContract, Vector
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
    assert files[INDEX].endswith(b"}\n") and "größe.npz".encode() in files[INDEX]
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
        golden.golden_files(replace(GOLDEN, tolerances={"steps": float("nan")}))


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
            "golden/00-real-0.bin is not there with the 8 bytes that golden/golden.json says of "
            "'steps'."
        )
    with pytest.raises(DamagedPackageError, match=r"00-real-0\.bin is not there"):
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
        ("int8", [-8, -1], False),
    ],
)
def test_an_array_has_a_dtype_and_a_shape_that_numpy_knows(
    dtype: str, shape: list[int], is_known: bool
) -> None:
    files = golden.golden_files(GOLDEN)
    index = json.loads(files[INDEX])
    index["vectors"][0]["real"]["steps"] |= {"dtype": dtype, "shape": shape}
    files[INDEX] = json.dumps(index).encode()
    if not is_known:
        with pytest.raises(DamagedPackageError, match=r"golden\.json"):
            read_golden(files)
        return
    values = read_golden(files).vectors[0].real["steps"]
    assert (values.dtype.name, values.shape) == (dtype, tuple(shape))


# ---------------------------------------------------------------- of this model


def test_vectors_of_the_model_have_no_faults() -> None:
    assert find_faults(GOLDEN, CONTRACT) == []


NAN = float("nan")


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
         "'steps' in real units is not what its integers stand for"),
        ("real", "steps", array([[1.00001, -0.5]], "float32"),
         "'steps' in real units is not what its integers stand for"),
        ("real", "other", array([[1.0]], "float32"),
         "real are of 'steps', 'score', 'other', but the model has 'steps', 'score'"),
        ("raw", "other", array([1], "uint8"),
         "raw are of 'image', 'other', but the model has 'image'"),
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
        "sample 3: inputs are of nothing, but the model has 'image'",
        "sample 3: outputs are of nothing, but the model has 'steps', 'score'",
    ]


@pytest.mark.parametrize(
    ("tolerances", "fault"),
    [
        # A quarter of 255 steps and one more; a quarter of 2.0.
        ({"steps": 64.75, "score": 0.5}, None),
        ({"steps": 64.76, "score": 0.5},
         "the tolerance 64.76 of output 'steps' would accept almost anything: at most 64.75 tells "
         "something"),
        ({"steps": 1.0, "score": 0.51},
         "the tolerance 0.51 of output 'score' would accept almost anything: at most 0.5 tells "
         "something"),
        ({"steps": NAN, "score": 0.5},
         "the tolerance nan of output 'steps' would accept almost anything: at most 64.75 tells "
         "something"),
        ({"steps": 1.0}, "tolerances are of 'steps', not of 'steps', 'score'"),
        ({}, "tolerances are of nothing, not of 'steps', 'score'"),
    ],
)  # fmt: skip
def test_a_tolerance_is_below_what_an_output_can_differ_by(
    tolerances: dict[str, float], fault: str | None
) -> None:
    found = find_faults(replace(GOLDEN, tolerances=tolerances), CONTRACT)
    assert found == ([] if fault is None else [fault])


def test_integers_without_a_scale_reach_as_far_as_the_vectors_do() -> None:
    # The largest is 8 away from zero: 1 + 8 / 4 steps.
    spec = TensorSpec("steps", (1, 2), "int32")
    contract = replace(CONTRACT, outputs=(OutputContract("steps", spec, ()),))
    values = [array([[-8, 2]], "int32"), array([[4, 0]], "int32")]
    vectors = tuple(
        replace(VECTOR, outputs={"steps": one}, real={"steps": one.astype("float32")})
        for one in values
    )
    for tolerance, count in ((3.0, 0), (3.01, 1)):
        given = replace(GOLDEN, vectors=vectors, tolerances={"steps": tolerance})
        assert len(find_faults(given, contract)) == count


# ---------------------------------------------------------------- on a machine


def given(steps: object = ((8, 2),), score: object = ((2.0,),)) -> dict[str, Any]:
    return {"steps": array(steps, "int8"), "score": array(score, "float32")}


def test_outputs_within_tolerance_are_right() -> None:
    for steps in ([[8, 2]], [[10, 0]], [[6, 4]]):
        assert check_vector(VECTOR, given(steps), GOLDEN.tolerances) == []
    assert check_vector(VECTOR, given(score=[[2.5]]), GOLDEN.tolerances) == []


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        (given(steps=[[11, 2]]),
         "sample 7, output 'steps': 1 of 2 values differ, by up to 3 steps (2 are accepted)"),
        (given(steps=[[-128, 127]]),
         "sample 7, output 'steps': 2 of 2 values differ, by up to 136 steps (2 are accepted)"),
        (given(score=[[1.25]]),
         "sample 7, output 'score': 1 of 1 values differ, by up to 0.75 (0.5 are accepted)"),
        (given(score=[[NAN]]),
         "sample 7, output 'score': 1 of 1 values differ, by up to nan (0.5 are accepted)"),
        (given(score=[[np.inf]]),
         "sample 7, output 'score': 1 of 1 values differ, by up to inf (0.5 are accepted)"),
    ],
)  # fmt: skip
def test_what_differs_by_more_is_told(outputs: dict[str, Any], problem: str) -> None:
    assert check_vector(VECTOR, outputs, GOLDEN.tolerances) == [problem]


def test_no_tolerance_accepts_a_missing_number() -> None:
    two = replace(VECTOR, outputs={"score": array([[1.0, 2.0]], "float32")})
    found = {"score": array([[1.0, NAN]], "float32")}
    assert len(check_vector(two, found, {"score": 1e9})) == 1


@pytest.mark.parametrize(
    "steps", [None, array([8, 2], "int8"), array([[8, 2]], "uint8"), array([[8, 2]], "int16")]
)
def test_another_array_than_expected_is_no_output(steps: Any) -> None:
    outputs = {name: values for name, values in given().items() if name != "steps"}
    if steps is not None:
        outputs["steps"] = steps
    with pytest.raises(DataError) as caught:
        check_vector(VECTOR, outputs, GOLDEN.tolerances)
    assert caught.value.message == "Output 'steps' is not the int8 array that was expected."


def test_inputs_are_made_again_from_the_raw_sample() -> None:
    found = golden.prepare(CONTRACT, VECTOR)
    assert list(found) == ["image"]
    assert (found["image"].tolist(), found["image"].dtype.name) == ([[5, 15]], "int8")


def test_without_preprocessing_samples_go_in_as_they_are() -> None:
    (image,) = CONTRACT.inputs
    contract = replace(CONTRACT, inputs=(replace(image, preprocessing=None),))
    assert golden.prepare(contract, VECTOR)["image"].tolist() == [[11, 31]]
