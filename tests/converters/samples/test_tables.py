"""CSV files."""

import re

import pytest

from edgeq.converters.samples.open_samples import open_samples
from edgeq.errors import DataError
from edgeq.values import TensorSpec

PAIR = TensorSpec("x", (1, 2), "float32")
SCALAR = TensorSpec("t", (1, 1), "float32")
TOKENS = TensorSpec("ids", (1, 2), "int32")


def read(tmp_path, text, *inputs, indices=None):
    path = tmp_path / "d.csv"
    path.write_bytes(text.encode())
    samples = open_samples(path, inputs)
    return samples, [
        ({name: array.tolist() for name, array in sample.inputs.items()}, sample.label)
        for sample in samples.iterate(indices)
    ]


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("a,b\n1,2\n3,4e1\n", [PAIR], [({"x": [1, 2]}, None), ({"x": [3, 40]}, None)]),
        ("a,label,b\n1,7,2\n", [PAIR], [({"x": [1, 2]}, 7)]),
        ("\ufeffa,y,b\r\n\r\n1,0.5,2\r\n", [PAIR], [({"x": [1, 2]}, 0.5)]),
        ("x[1],x[0]\n1,2\n", [PAIR], [({"x": [2, 1]}, None)]),
        ("t,y,x[0],x[1]\n9,1,1,2\n", [PAIR, SCALAR], [({"x": [1, 2], "t": [9]}, 1)]),
        ("ids[0],ids[1]\n5,6\n", [TOKENS], [({"ids": [5, 6]}, None)]),
        (
            "a,b,c,d\n1,2,3,4\n",
            [TensorSpec("x", (1, 2, 2), "float32")],
            [({"x": [[1, 2], [3, 4]]}, None)],
        ),
        ("a,b,c\n1,2,3\n", [TensorSpec("x", (1, -1), "float32")], [({"x": [1, 2, 3]}, None)]),
    ],
)
def test_columns_become_inputs(tmp_path, text, inputs, expected):
    assert read(tmp_path, text, *inputs)[1] == expected


def test_rows_are_picked_by_index(tmp_path):
    samples, rows = read(tmp_path, "a,b,y\n1,2,up\n3,4,down\n5,6,up\n", PAIR, indices=(0, 2))
    assert rows == [({"x": [1, 2]}, 1), ({"x": [5, 6]}, 1)]
    assert (samples.count, samples.class_names, samples.ref.kind) == (3, ("down", "up"), "csv")


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        ("", [PAIR], "{} is empty. The first line must name the columns."),
        ("a,b\n", [PAIR], "{} holds no samples."),
        (
            "1,2\n3,4\n",
            [PAIR],
            "{} has no header: its first line is all numbers. "
            "The first line must name the columns.",
        ),
        (
            "a;b\n1;2\n",
            [PAIR],
            "{} has columns that are not separated by commas: 'a;b'. "
            "Export it with commas, and with points in numbers such as 0.5.",
        ),
        ("a,a\n1,2\n", [PAIR], "{} has 2 columns named 'a'."),
        ("a,b\n1,2\n1,2,3\n", [PAIR], "Line 3 of {} has 3 fields, the header has 2."),
        ("a,b\n1,2\n1,\n", [PAIR], "Column 'b' in line 3 of {} holds '', not a number."),
        (
            "ids[0],ids[1]\n1,2.5\n",
            [TOKENS],
            "Column 'ids[1]' in line 2 of {} holds '2.5', not an integer.",
        ),
        (
            "a,b,c\n1,2,3\n",
            [PAIR],
            "{} has 3 columns for input 'x', which takes 2 values.",
        ),
        ("y,label,a\n1,1,1\n", [PAIR], "{} has several labels, 'y' and 'label'. Keep one."),
        (
            "x[0],x[1]\n1,2\n",
            [PAIR, SCALAR],
            "{} has no column for input 't'; the model's inputs are 'x', 't'. "
            "Name columns NAME, or NAME[0], NAME[1]... after the inputs, labels 'y'.",
        ),
        (
            "x[0],x[1],z\n1,2,3\n",
            [PAIR],
            "{} has a column 'z' that belongs to no input; the model's inputs are 'x'. "
            "Name columns NAME, or NAME[0], NAME[1]... after the inputs, labels 'y'.",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, text, inputs, message):
    expected = re.escape(message.format(tmp_path / "d.csv"))
    with pytest.raises(DataError, match=f"^{expected}$"):
        read(tmp_path, text, *inputs)


def test_text_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes("größe,b\n1,2\n".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"d\.csv cannot be read as CSV: 'utf-8' codec can't decode"
    ):
        open_samples(path, [PAIR])
