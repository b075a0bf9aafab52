"""Samples: opening, fitting to the model, choosing and holding out."""

import hashlib
import re
import tracemalloc

import numpy as np
import pytest

from edgeq.converters.samples.open_samples import choose, hold_out, open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import TensorSpec

IMAGE = TensorSpec("image", (-1, 4, 5, 3), "float32")
VECTOR = TensorSpec("x_in", (1, 3), "float32")
TOKENS = TensorSpec("tokens", (1, 3), "int32")
ROWS = np.arange(12, dtype=np.float64).reshape(4, 3)


def raises(message):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def values(samples, indices=None):
    return [sample.inputs["x_in"].tolist() for sample in samples.iterate(indices)]


# ---------------------------------------------------------------- arrays from Python


def test_an_array_feeds_the_only_input_as_float32():
    samples = open_samples(ROWS, [VECTOR])
    first = next(samples.iterate())
    assert first.inputs["x_in"].dtype == np.float32
    assert not first.inputs["x_in"].flags.writeable
    assert (samples.count, samples.has_labels, first.label) == (4, False, None)
    assert samples.ref.kind == "arrays"


@pytest.mark.parametrize("source", [ROWS, {}, "data.npz"])
def test_a_model_without_inputs_takes_no_samples(source):
    with raises("The model has no inputs, so it takes no samples."):
        open_samples(source, [])


def test_arrays_are_matched_by_name_and_carry_labels():
    mask = TensorSpec("mask", (1, 2), "float32")
    data = {"mask": np.ones((4, 2)), "y": np.array([[3], [1], [2], [0]]), "x_in": ROWS}
    samples = open_samples(data, [VECTOR, mask])
    found = [(sample.index, sample.label, *sample.inputs) for sample in samples.iterate((1, 3))]
    assert found == [(1, 1, "x_in", "mask"), (3, 0, "x_in", "mask")]


def test_an_input_called_y_is_an_input():
    samples = open_samples({"y": ROWS}, [TensorSpec("y", (1, 3), "float32")])
    assert not samples.has_labels


def test_text_labels_are_numbered_in_sorted_order():
    samples = open_samples({"x": ROWS, "y": np.array(["up", "down", "up", "go"])}, [VECTOR])
    assert [sample.label for sample in samples.iterate()] == [2, 0, 2, 1]
    assert samples.class_names == ("down", "go", "up")


def test_digest_depends_on_values_only():
    digest = open_samples(ROWS, [VECTOR]).ref.sha256
    assert open_samples(np.asfortranarray(ROWS), [VECTOR]).ref.sha256 == digest
    assert open_samples(ROWS + 1, [VECTOR]).ref.sha256 != digest


@pytest.mark.parametrize(
    ("data", "inputs", "message"),
    [
        (
            {"a": ROWS},
            [VECTOR],
            "<arrays> holds 'a', but the model's input is 'x_in'. Name the array of samples 'x' or "
            "'x_in', labels 'y', and leave out others.",
        ),
        (
            {"x_in": ROWS, "extra": ROWS},
            [VECTOR, TOKENS],
            "<arrays> holds 'x_in', 'extra', but the model's inputs are 'x_in', 'tokens'. "
            "Name one array after each input, labels 'y', and leave out others.",
        ),
        (
            {"x_in": ROWS, "tokens": ROWS[:3]},
            [VECTOR, TOKENS],
            "The inputs in <arrays> differ in number of samples: 'x_in' has 4, 'tokens' has 3.",
        ),
        (
            {"x": ROWS, "y": np.arange(3)},
            [VECTOR],
            "<arrays> has 4 samples and 3 labels. Store one label per sample.",
        ),
        ({"x": ROWS[:0]}, [VECTOR], "<arrays> holds no samples."),
        (
            {"x": np.zeros((2, 12), np.uint8)},
            [TensorSpec("x", (1, 2, 2, 3), "float32")],
            "Input 'x' takes 2x2x3, but sample 0 of <arrays> is 12. Store the samples as "
            "x.reshape(-1, 2, 2, 3).",
        ),
        (
            ROWS,
            [VECTOR, TOKENS],
            "The data is one array, but the model's inputs are 'x_in', 'tokens'. "
            "Give a dict with one array per input, by name.",
        ),
        *(
            (
                (labels, np.zeros((4, 2, 2, 3), np.uint8)),
                [TensorSpec("x", (1, 2, 2, 3), "float32")],
                "The data is a pair whose second array has the samples: input 'x' takes 2x2x3. "
                "Exchange them: data=(x, y).",
            )
            for labels in (np.arange(4), np.eye(4))
        ),
        (
            7,
            [VECTOR],
            "<int> has the type int, which edgeq does not read as data. Give a path, an array, a "
            "dict of arrays, a list, a data set of a library, or a function that yields samples.",
        ),
    ],
)
def test_data_that_does_not_match_the_model_is_refused(data, inputs, message):
    with raises(message):
        open_samples(data, inputs)


# ---------------------------------------------------------------- fitting


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [((28, 28), (28, 28, 1)), ((1, 28, 28), (28, 28, 1)), ((1, 5, 3), (5, 3)), ((1,), ())],
)
def test_dimensions_of_one_are_added_and_removed_with_a_note(stored, wanted):
    samples = open_samples(np.zeros((2, *stored)), [TensorSpec("x_in", (1, *wanted), "float32")])
    assert next(samples.iterate()).inputs["x_in"].shape == wanted
    assert [issue.code for issue in samples.issues] == ["data.reshaped"]


def test_the_note_says_both_shapes():
    samples = open_samples(np.zeros((2, 28, 28)), [TensorSpec("x_in", (1, 28, 28, 1), "float32")])
    message = (
        "Samples for input 'x_in' are 28x28 and were taken as 28x28x1, "
        "which has the same elements in the same order."
    )
    assert samples.issues == (make_issue("data.reshaped", message),)


def test_dynamic_dimensions_fit_any_size():
    samples = open_samples(np.zeros((2, 7, 3)), [TensorSpec("x_in", (1, -1, 3), "float32")])
    assert next(samples.iterate()).inputs["x_in"].shape == (7, 3)


def test_a_quantized_input_is_fed_as_float():
    spec = TensorSpec("x_in", (1, 3), "int8", (0.5,), (0,))
    assert next(open_samples(ROWS, [spec]).iterate()).inputs["x_in"].dtype == np.float32


@pytest.mark.parametrize(
    ("array", "spec", "message"),
    [
        (
            np.zeros((2, 3, 4, 5)),
            IMAGE,
            "Input 'image' takes 4x5x3 (channels last), but sample 0 of <arrays> is 3x4x5 "
            "(channels first). Store the samples as x.transpose(0, 2, 3, 1), or one PyTorch "
            "sample as x.permute(1, 2, 0).",
        ),
        (
            np.zeros((2, 4, 5, 3)),
            TensorSpec("image", (1, 3, 4, 5), "float32"),
            "Input 'image' takes 3x4x5 (channels first), but sample 0 of <arrays> is 4x5x3 "
            "(channels last). Store the samples as x.transpose(0, 3, 1, 2), or one PyTorch "
            "sample as x.permute(2, 0, 1). "
            "If the model came from .pt2 or .onnx, convert it again with --layout nhwc: channels "
            "last.",
        ),
        (
            np.zeros((4, 5, 3)),
            IMAGE,
            "Input 'image' takes 4x5x3, but sample 0 of <arrays> is 5x3. "
            "The first dimension must count samples: store one sample as x[None].",
        ),
        *(
            (
                np.zeros((28, 28, *last), np.uint8),
                TensorSpec("image", (1, 28, 28, 1), "float32"),
                f"Input 'image' takes 28x28x1, but sample 0 of <arrays> is {shown}. "
                "The first dimension must count samples: store one sample as x[None].",
            )
            for last, shown in (((1,), "28x1"), ((), "28"))
        ),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            IMAGE,
            "Input 'image' takes 4x5x3, but sample 0 of <arrays> is 8x8x3. "
            "Declare it: --preprocess resize=4x5",
        ),
        (
            np.zeros((2, 8, 8, 3)),
            IMAGE,
            "Input 'image' takes 4x5x3, but sample 0 of <arrays> is 8x8x3.",
        ),
        (
            ROWS + 0.5,
            TOKENS,
            "Input 'tokens' takes int32 from -2147483648 to 2147483647, "
            "but sample 0 of <arrays> holds 0.5.",
        ),
        (
            ROWS + 2.0**31,
            TOKENS,
            "Input 'tokens' takes int32 from -2147483648 to 2147483647, "
            "but sample 0 of <arrays> holds 2147483648.0.",
        ),
        (
            ROWS.astype(str),
            VECTOR,
            "Input 'x_in' takes float32, but sample 0 of <arrays> holds <U32 values. "
            "Store numbers.",
        ),
    ],
)
def test_samples_that_do_not_fit_say_why(array, spec, message):
    with raises(message):
        open_samples(array, [spec])


def test_integral_floats_become_integers():
    sample = next(open_samples(ROWS, [TOKENS]).iterate())
    assert sample.inputs["tokens"].dtype == np.int32


def test_preprocessing_is_applied_and_recorded():
    spec = TensorSpec("image", (1, 2, 2, 3), "float32")
    declared = parse_preprocessing(["scale=1/255,resize=2x2"], [spec])
    samples = open_samples(np.full((1, 8, 8, 3), 255, np.uint8), [spec], declared)
    np.testing.assert_allclose(next(samples.iterate()).inputs["image"], np.ones((2, 2, 3)))
    assert samples.ref.preprocessing == declared


# ---------------------------------------------------------------- .npz and .npy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_rows_are_read_in_order(tmp_path, save, order):
    path = tmp_path / "calib.npz"
    save(path, x=np.array(ROWS, order=order), y=np.array([5, 6, 7, 8]))
    samples = open_samples(path, [VECTOR])
    assert values(samples) == ROWS.tolist()
    assert values(samples, (1, 3)) == ROWS[[1, 3]].tolist()
    assert [sample.label for sample in samples.iterate((1, 3))] == [6, 8]
    assert samples.ref.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (samples.ref.source, samples.ref.kind) == (str(path), "npz")


def test_npy_rows_are_read_by_index(tmp_path):
    path = tmp_path / "calib.npy"
    np.save(path, np.asfortranarray(ROWS))
    samples = open_samples(str(path), [VECTOR])
    assert values(samples, (0, 2)) == ROWS[[0, 2]].tolist()
    assert (samples.ref.kind, samples.count) == ("npy", 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_npz_is_never_held(tmp_path, save):
    path = tmp_path / "large.npz"
    save(path, x=np.zeros((5_000, 100, 100), np.uint8))  # 50 MB
    samples = open_samples(path, [TensorSpec("x_in", (1, 100, 100), "float32")])
    tracemalloc.start()
    try:
        assert sum(1 for _ in samples.iterate(range(0, 5_000, 7))) == 715
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_python_objects_are_not_unpickled(tmp_path, suffix):
    path = tmp_path / f"calib{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, np.array([{}, []], object))
    if suffix == ".npz":
        np.savez(path, x=np.array([{}, []], object))
    where = f"'x' in {path}" if suffix == ".npz" else path
    message = (
        f"{where} holds Python objects, which edgeq does not unpickle. Store arrays of numbers."
    )
    with raises(message):
        open_samples(path, [VECTOR])


def test_python_objects_as_labels_are_not_unpickled(tmp_path):
    path = tmp_path / "calib.npz"
    np.savez(path, x=ROWS, y=np.array([1, 2, 3, None], object))
    message = (
        f"'y' in {path} holds Python objects, which edgeq does not unpickle. "
        "Store arrays of numbers."
    )
    with raises(message):
        open_samples(path, [VECTOR])


def test_a_truncated_npz_is_told(tmp_path):
    path = tmp_path / "calib.npz"
    np.savez(path, x=ROWS)
    path.write_bytes(path.read_bytes()[:200])
    with raises(
        f"{path} is damaged or truncated: File is not a zip file. "
        "Save the arrays again with numpy.savez or numpy.savez_compressed."
    ):
        open_samples(path, [VECTOR])


def test_a_damaged_npz_member_is_told(tmp_path):
    path = tmp_path / "calib.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(100, 3)))
    content = bytearray(path.read_bytes())
    content[700:720] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} is damaged or truncated: "):
        list(open_samples(path, [VECTOR]).iterate())


def test_a_truncated_npy_is_told(tmp_path):
    path = tmp_path / "calib.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:150])
    with raises(
        f"{path} states 96 bytes of values, but 22 follow. "
        "Save the array again, with numpy.save or numpy.savez."
    ):
        open_samples(path, [VECTOR])


def test_npy_cannot_feed_two_inputs(tmp_path):
    path = tmp_path / "calib.npy"
    np.save(path, ROWS)
    with raises(
        f"{path} holds one array and feeds one input, but the model has 2: 'x_in', 'tokens'. "
        "Give an .npz file with one array per input, named after it."
    ):
        open_samples(path, [VECTOR, TOKENS])


# ---------------------------------------------------------------- names of sources

KNOWN = (
    "Known: .npz, .npy and .csv files, a folder of images, .npy or .wav files, "
    "package.module:function."
)


def test_missing_and_unknown_files_list_what_is_known(tmp_path):
    with raises(f"There is no file or folder {tmp_path}/no.npz. {KNOWN}"):
        open_samples(tmp_path / "no.npz", [VECTOR])
    (tmp_path / "a.txt").touch()
    with raises(f"{tmp_path}/a.txt is not a kind of data edgeq reads. {KNOWN}"):
        open_samples(tmp_path / "a.txt", [VECTOR])


# ---------------------------------------------------------------- choosing


def thousand():
    return open_samples(np.arange(3000.0).reshape(1000, 3), [VECTOR])


def test_choice_is_the_same_everywhere_and_depends_on_the_seed():
    assert choose(thousand(), 8, seed=0) == (62, 405, 765, 856, 875, 897, 904, 913)
    assert choose(thousand(), 8, seed=1) != choose(thousand(), 8, seed=0)


def test_a_larger_choice_keeps_the_smaller_one():
    assert set(choose(thousand(), 50, seed=3)) < set(choose(thousand(), 100, seed=3))


def test_held_out_samples_were_not_chosen():
    chosen = choose(thousand(), 900, seed=0)
    held_out = hold_out(thousand(), chosen, 60)
    assert len(held_out) == 60
    assert not set(held_out) & set(chosen)
    assert held_out == tuple(sorted(held_out)) == hold_out(thousand(), chosen, 60)
    assert len(hold_out(thousand(), chosen, None)) == 100


def test_nothing_is_held_out_when_all_are_chosen():
    chosen = choose(thousand(), 5000, seed=0)
    assert chosen == tuple(range(1000))
    assert hold_out(thousand(), chosen, 10) == ()


def test_an_index_past_the_end_is_told():
    with raises("<arrays> has 4 samples, so there is no sample 4."):
        list(open_samples(ROWS, [VECTOR]).iterate((0, 4)))


def test_masks_of_the_input_s_size_are_labels():
    """The samples are images that preprocessing makes as large, or are in a dict."""
    spec = TensorSpec("x", (1, 2, 2, 1), "float32")
    masks = np.zeros((3, 2, 2, 1), np.int64)
    images = np.zeros((3, 8, 8, 1), np.uint8)
    resized = parse_preprocessing(["resize=2x2"], [spec])
    assert open_samples((images, masks), [spec], resized).has_labels
    assert open_samples(({"x": masks.astype(np.float32)}, masks), [spec]).has_labels
