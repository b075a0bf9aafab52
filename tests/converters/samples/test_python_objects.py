"""Functions that yield samples."""

import itertools
import re
import sys
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from edgeq.converters.samples.open_samples import choose, hold_out, open_samples
from edgeq.converters.samples.references import load_reference
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import TensorSpec

VECTOR = TensorSpec("x_in", (1, 3), "float32")
MASK = TensorSpec("mask", (1, 2), "float32")


def raises(message):
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def numbers(count):
    """A source of `count` samples: [0, 0, 0], [1, 1, 1]..."""

    def source():
        return (np.full(3, value) for value in range(count))

    return source


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder; its name is returned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = (f"calibration_module_{number}" for number in itertools.count())

    def write(text):
        name = next(name for name in names if name not in sys.modules)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_samples_are_yielded_in_order():
    samples = open_samples(numbers(5), [VECTOR])
    assert [sample.inputs["x_in"][0] for sample in samples.iterate((1, 4))] == [1.0, 4.0]
    assert (samples.ref.kind, samples.has_labels, samples.count) == ("function", False, None)


def test_count_is_known_after_reading_to_the_end():
    samples = open_samples(numbers(5), [VECTOR])
    list(samples.iterate())
    assert samples.count == 5


def test_labels_come_as_pairs():
    samples = open_samples(lambda: [(np.zeros(3), 4), ([1, 2, 3], np.int64(5))], [VECTOR])
    assert [sample.label for sample in samples.iterate()] == [4, 5]


def test_several_inputs_come_by_name():
    samples = open_samples(lambda: [{"mask": np.ones(2), "x_in": np.zeros(3)}], [VECTOR, MASK])
    assert list(next(samples.iterate()).inputs) == ["x_in", "mask"]


def test_representative_dataset_convention_is_understood():
    samples = open_samples(lambda: ([np.zeros((1, 3), np.float32)] for _ in range(2)), [VECTOR])
    assert next(samples.iterate()).inputs["x_in"].shape == (3,)
    assert samples.issues == ()


def test_first_samples_calibrate_and_the_next_are_held_out():
    samples = open_samples(numbers(10), [VECTOR])
    assert choose(samples, 4, seed=7) == (0, 1, 2, 3)
    assert hold_out(samples, (0, 1, 2, 3), 3) == (4, 5, 6)
    assert [issue.code for issue in samples.issues] == ["data.cut"]
    assert hold_out(samples, (0, 1, 2, 3), None) == (4, 5, 6, 7, 8, 9)
    # Its end is known now, so that it is chosen from as from a file.
    assert choose(samples, 4, seed=7) == choose(open_samples(np.zeros((10, 3)), [VECTOR]), 4, 7)
    assert choose(samples, 99, seed=7) == tuple(range(10))
    assert hold_out(samples, range(10), 3) == ()
    assert samples.issues == ()


def test_endless_functions_are_read_only_as_far_as_needed():
    samples = open_samples(lambda: (np.full(3, value) for value in itertools.count()), [VECTOR])
    assert choose(samples, 3, seed=0) == (0, 1, 2)
    assert [sample.index for sample in samples.iterate((0, 2))] == [0, 2]


def test_digest_covers_what_was_consumed():
    first, second = (open_samples(numbers(count), [VECTOR]) for count in (5, 9))
    assert first.ref.sha256 == second.ref.sha256
    list(first.iterate(range(5)))
    list(second.iterate(range(5)))
    assert first.ref.sha256 == second.ref.sha256
    list(second.iterate())
    assert first.ref.sha256 != second.ref.sha256


def test_samples_that_change_between_calls_are_told():
    calls = itertools.count()

    def augmented():
        yield np.full(3, next(calls))

    samples = open_samples(augmented, [VECTOR])
    assert samples.issues == ()
    list(samples.iterate())
    name = "test_samples_that_change_between_calls_are_told.<locals>.augmented"
    message = (
        f"{name} yields other samples each time it is read, so results cannot be reproduced; "
        "switch off shuffling and augmentation, or fix the random seed."
    )
    assert samples.issues == (make_issue("data.not_repeatable", message),)


def test_module_of_the_current_folder_is_found(module):
    name = module("import numpy as np\ndef calib():\n    yield np.ones(3), 2\n")
    samples = open_samples(f"{name}:calib", [VECTOR])
    assert [sample.label for sample in samples.iterate()] == [2]
    assert samples.ref.source == f"{name}:calib"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def calib():\n    yield from ()\n",
            "{0}:calib yields no samples.",
        ),
        (
            "def calib():\n    raise KeyError('a')\n",
            "{0}:calib failed at sample 0: KeyError: 'a'.",
        ),
        (
            "def calib():\n    return 3\n",
            "{0}:calib has the type int, which edgeq does not read as data. Give a path, an "
            "array, a dict of arrays, a list, a data set of a library, or a function that yields "
            "samples.",
        ),
        (
            "from pathlib import Path\nfrom os.path import join\n\ndef other():\n    pass\n",
            "Module '{0}' has no function 'calib'. It has other.",
        ),
        (
            "1 / 0\n",
            "Module '{0}' cannot be imported: ZeroDivisionError: division by zero.",
        ),
        (
            "def calib():\n    yield 1, 2, 3\n",
            "Sample 0 of {0}:calib is a tuple of 3. "
            "Yield a sample, or a (sample, label) pair; several inputs as a dict.",
        ),
        (
            "def calib():\n    yield [1, 2, 3], 'cat'\n",
            "The label of sample 0 of {0}:calib is 'cat', not a number. "
            "Yield the index of the class.",
        ),
        (
            "def calib():\n    yield {{'a': [1, 2, 3]}}\n",
            "Sample 0 of {0}:calib holds 'a', but the model's input is 'x_in'. "
            "Name the array of samples 'x' or 'x_in', labels 'y', and leave out others.",
        ),
        (
            "def calib():\n    yield None\n",
            "Sample 0 of {0}:calib is NoneType, not an array.",
        ),
    ],
)
def test_functions_that_fail_are_told(module, text, message):
    name = module(text.format())
    with raises(message.format(name)):
        open_samples(f"{name}:calib", [VECTOR])


def test_a_missing_module_and_a_file_name_are_told(module):
    name = module("def calib():\n    yield [1, 2, 3]\n")
    with raises(
        f"Module '{name}.py' cannot be imported: ModuleNotFoundError: No module named "
        f"'{name}.py'; '{name}' is not a package. Write {name}:calib"
    ):
        open_samples(f"{name}.py:calib", [VECTOR])


def test_failure_in_the_middle_names_the_sample():
    def breaking():
        yield np.zeros(3)
        raise ValueError("no more")

    samples = open_samples(breaking, [VECTOR])
    name = breaking.__qualname__
    with raises(f"{name} failed at sample 1: ValueError: no more.") as caught:
        list(samples.iterate())
    assert "Traceback" in caught.value.details


def test_labels_on_some_samples_only_are_told():
    samples = open_samples(lambda: [np.zeros(3), (np.zeros(3), 1)], [VECTOR])
    name = "test_labels_on_some_samples_only_are_told.<locals>.<lambda>"
    with raises(
        f"Sample 1 of {name} and sample 0 differ: only one of them has a label. "
        "Let all samples have none."
    ):
        list(samples.iterate())


def test_one_array_for_two_inputs_is_told():
    with raises(
        "Sample 0 of test_one_array_for_two_inputs_is_told.<locals>.<lambda> is one array, but the "
        "model's inputs are 'x_in', 'mask'. Yield a dict with one array per input, by name."
    ):
        open_samples(lambda: [np.zeros(3)], [VECTOR, MASK])


def test_a_module_here_hides_nothing_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two modules have one name, the installed one is taken, and the message says why."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wsgiref.py").write_text("def samples(): ...\n")
    with pytest.raises(DataError, match=r"Module 'wsgiref' has no function 'samples'\.") as caught:
        load_reference("wsgiref:samples")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("which hides your wsgiref.py: rename yours.")


# ---------------------------------------------------------------- sequences and streams


class Rows:
    """A map-style data set: `[value, value, value]` for each place, noisy if it augments."""

    def __init__(self, count, noise=0.0):
        self.count, self.noise, self.read = count, noise, []
        self._random = np.random.default_rng(0)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        return np.full(3, index) + self.noise * self._random.random(), index


def values(samples, indices=None):
    return [sample.inputs["x_in"].tolist()[0] for sample in samples.iterate(indices)]


def codes(samples):
    return [issue.code for issue in samples.issues]


def test_a_list_is_chosen_from_like_an_array_and_counted():
    rows = [np.full(3, value) for value in range(1000)]
    samples = open_samples(rows, [VECTOR])
    chosen = choose(samples, 8, seed=0)
    assert chosen == choose(open_samples(np.stack(rows), [VECTOR]), 8, seed=0)
    assert values(samples, chosen) == list(chosen)
    assert (samples.ref.kind, samples.ref.source, samples.count) == ("object", "<list>", 1000)


def test_only_the_wanted_places_of_a_data_set_are_read():
    rows = Rows(1000)
    samples = open_samples(rows, [VECTOR])
    assert values(samples, (5, 700)) == values(samples, (5, 700)) == [5, 700]
    assert set(rows.read) == {0, 5, 700}
    assert codes(samples) == []


def test_random_augmentation_is_told_and_does_not_differ_between_passes():
    samples = open_samples(Rows(100, noise=0.5), [VECTOR])
    assert values(samples) == values(samples)
    assert codes(samples) == ["data.not_repeatable"]


def test_a_shuffled_source_is_told_and_does_not_differ_between_passes():
    order = np.random.default_rng(0)
    samples = open_samples(lambda: (np.full(3, x) for x in order.permutation(50)), [VECTOR])
    assert choose(samples, 50, seed=0) == tuple(range(50))
    first = values(samples)
    assert sorted(first) == list(range(50)) == sorted(set(first))
    assert values(samples) == first
    assert codes(samples) == ["data.not_repeatable"]


def test_a_source_that_ends_earlier_the_second_time_is_told():
    lengths = iter((9, 9, 5))  # to open it, to take samples, to compare

    def shrinking():
        yield from np.zeros((next(lengths), 3))

    samples = open_samples(shrinking, [VECTOR])
    choose(samples, 9, seed=0)
    assert codes(samples) == ["data.not_repeatable"]


def test_a_generator_is_read_once_and_repeated():
    read = []

    def numbered():
        for value in range(6):
            read.append(value)
            yield np.full(3, value)

    samples = open_samples(numbered(), [VECTOR])
    assert samples.ref.source == "<generator>"
    assert samples.count_up_to(100) == 6
    assert choose(samples, 4, seed=0) == choose(open_samples(np.zeros((6, 3)), [VECTOR]), 4, 0)
    assert values(samples) == values(samples) == [0, 1, 2, 3, 4, 5]
    assert read == [0, 1, 2, 3, 4, 5]
    assert codes(samples) == []


def test_a_function_that_hands_out_one_iterator_is_read_once():
    rows = iter([np.full(3, value) for value in range(6)])
    samples = open_samples(lambda: rows, [VECTOR])
    assert values(samples) == values(samples) == [0, 1, 2, 3, 4, 5]
    assert codes(samples) == []


def test_batches_of_any_length_give_the_samples_in_order():
    batches = [np.arange(12.0).reshape(4, 3), np.arange(12.0, 21.0).reshape(3, 3)]
    for data in (batches, iter(batches), lambda: iter(batches), lambda: batches):
        samples = open_samples(data, [VECTOR])
        assert values(samples) == [0, 3, 6, 9, 12, 15, 18]
        assert values(samples, (3, 4)) == [9, 12]


def test_an_endless_source_is_cut_and_that_is_said():
    samples = open_samples(lambda: (np.full(3, value) for value in itertools.count()), [VECTOR])
    assert choose(samples, 4, seed=0) == (0, 1, 2, 3)
    name = "test_an_endless_source_is_cut_and_that_is_said.<locals>.<lambda>"
    message = (
        f"{name} has more than 4 samples or no end: the first 4 were taken; --samples takes more."
    )
    assert samples.issues == (make_issue("data.cut", message),)


def test_all_samples_and_all_labels_are_a_pair():
    samples = open_samples((np.arange(6.0).reshape(2, 3), np.array([4, 5])), [VECTOR])
    assert [sample.label for sample in samples.iterate()] == [4, 5]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("data = [np.zeros(3)] * 4", 4),
        ("data = (np.zeros(3) for _ in range(4))", 4),
        ("def data():\n    return np.zeros((4, 3))", 4),
        ("def data():\n    return {'x': np.zeros((4, 3)), 'y': np.arange(4)}", 4),
        ("def data():\n    return [np.zeros((2, 3)), np.zeros((2, 3))]", 4),
        ("def data():\n    return lambda: (row for row in np.zeros((4, 3)))", 4),
        ("np.save('rows.npy', np.zeros((4, 3)))\ndef data():\n    return 'rows.npy'", 4),
    ],
)
def test_a_reference_may_name_or_return_data_of_any_kind(module, text, count):
    name = module(f"import numpy as np\n{text}\n")
    for _ in range(2):  # opened again by a second command of the same process
        assert sum(1 for _ in open_samples(f"{name}:data", [VECTOR]).iterate()) == count


def test_two_data_sets_are_told_apart_by_the_object():
    rows, other = [np.zeros(3)] * 4, [np.ones(3)] * 4
    samples = open_samples(rows, [VECTOR])
    assert samples.is_same_as(open_samples(rows, [VECTOR]))
    assert not samples.is_same_as(open_samples(other, [VECTOR]))


def test_a_reference_that_makes_a_list_again_is_one_data_set(module):
    name = module("import numpy as np\ndef data():\n    return [np.zeros(3)]\n")
    first, second = (open_samples(f"{name}:data", [VECTOR]) for _ in range(2))
    assert first.is_same_as(second)


def test_single_samples_and_batches_are_not_mixed():
    samples = open_samples([np.zeros(3), np.zeros((2, 3))], [VECTOR])
    with raises(
        "Sample 1 of <list> is a batch of 2, but sample 0 is a single sample. "
        "Yield single samples or batches, not both."
    ):
        list(samples.iterate())


@pytest.mark.parametrize(
    "data",
    [
        (np.arange(6.0).reshape(2, 3), [4, 5]),
        {"x_in": np.arange(6.0).reshape(2, 3), "label": np.array([4, 5])},
        {"x": [[0, 1, 2], [3, 4, 5]], "labels": [4, 5]},
        ({"x_in": np.arange(6.0).reshape(2, 3)}, [4, 5]),
    ],
)
def test_whole_arrays_have_labels_by_any_usual_name_or_beside_them(data):
    rows = [*open_samples(data, [VECTOR]).iterate()]
    assert [(row.inputs["x_in"].tolist(), row.label) for row in rows] == [
        ([0.0, 1.0, 2.0], 4),
        ([3.0, 4.0, 5.0], 5),
    ]


def test_labels_are_given_once():
    x, y = np.zeros((2, 3)), np.array([4, 5])
    with raises("The data has two labels: 'label', and those beside it. Keep one."):
        open_samples(({"x": x, "label": y}, y), [VECTOR])
    with raises("<arrays> has several labels, 'y' and 'label'. Keep one."):
        open_samples({"x": x, "label": y, "y": y}, [VECTOR])


def test_a_pair_of_arrays_is_not_two_inputs():
    with raises(
        "The data is a tuple of 2, but the model's inputs are 'x_in', 'mask'. "
        "Give a dict with one array per input, by name."
    ):
        open_samples((np.zeros((4, 3)), np.zeros((4, 2))), [VECTOR, MASK])


def test_a_slice_with_pictures_is_a_batch_of_them():
    spec = TensorSpec("image", (1, 4, 5, 3), "float32")
    palette = Image.new("P", (5, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    samples = open_samples({"image": [palette] * 2, "label": [7, 8]}, [spec])
    rows = [*samples.iterate()]
    assert [row.label for row in rows] == [7, 8]
    assert rows[1].inputs["image"][0, 0].tolist() == [10, 20, 30]


_FILE = "Give the folder of the files, or yield their arrays, of images PIL.Image.open(path)."


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (PurePosixPath("a.png"), f"Sample 0 of <list> is PurePosixPath, not an array. {_FILE}"),
        ("a.png", f"Sample 0 of <list> is the text 'a.png', not an array. {_FILE}"),
        (b"\x89PNG", f"Sample 0 of <list> is the text b'\\x89PNG', not an array. {_FILE}"),
        (np.array([None, 1]), "Sample 0 of <list> is an array of Python objects, not of numbers."),
        (
            {"x": {"bytes": b"1", "path": None}},
            "Sample 0 of <list> is dict, not an array. Decode images first: "
            'dataset.cast_column("image", datasets.Image()).',
        ),
    ],
)
def test_what_is_not_an_array_is_named(element, message):
    with raises(message):
        open_samples([element], [VECTOR])


@pytest.mark.parametrize("data", [[], iter(())])
def test_nothing_is_no_data(data):
    name = f"<{type(data).__name__}>"
    with raises(f"{name} {'holds' if data == [] else 'yields'} no samples."):
        open_samples(data, [VECTOR])
