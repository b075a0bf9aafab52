"""What PyTorch would run of a file, found without PyTorch: zips written here."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.torch_archive import refuse_code
from edgeq.errors import SourceError


def write(path: Path, *members: tuple[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def program(**changes: Any) -> dict[str, Any]:
    """The places of a program that hold text, as torch 2.13 writes them."""
    plain: dict[str, Any] = {
        "sizes": [{"as_expr": {"expr_str": "Symbol('s40', positive=True, integer=True)"}}],
        "guards_code": ["2*L['x'].size()[0] > 7", "max(1, L['x'].size()[0] // 2) < 9"],
        "target": "torch.ops.aten.einsum.default",
        "inputs": [{"name": "equation", "arg": {"as_string": "bij,bjk->bik"}}],
        "in_spec": '[1, {"type": "builtins.dict", "context": "[\\"k\\"]", "children_spec": []}]',
        "metadata": {"stack_trace": 'File "net.py", line 6, in forward\n  return f("x")'},
        "forward_arg_names": ["image"],
        "custom_obj_values": {},
        "constants": {"path_name": "tensor_0"},
    }
    return {**plain, **changes}


def test_a_program_as_pytorch_writes_it(tmp_path: Path) -> None:
    refuse_code(write(tmp_path / "net.pt2", ("net/models/model.json", program())))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"sizes": [{"expr_str": "open('f', 'w')"}]}, "open('f', 'w')"),
        ({"sizes": [{"expr_str": "Integer('open(1)')"}]}, "Integer('open(1)')"),
        ({"sizes": [{"expr_str": "Integer(1).__class__"}]}, "Integer(1).__class__"),
        ({"sizes": [{"expr_str": "(lambda: 1)()"}]}, "(lambda: 1)()"),
        ({"sizes": [{"expr_str": "[f() for f in x]"}]}, "[f() for f in x]"),
        ({"sizes": [{"expr_str": "not an expression"}]}, "not an expression"),
        ({"guards_code": ["L['x'].tofile('f')"]}, "L['x'].tofile('f')"),
        ({"forward_arg_names": ["x=open('f')"]}, "x=open('f')"),
        ({"in_spec": '[1, {"context": "[\\"f()\\"]"}]'}, "f()"),
        ({"in_spec": "f()"}, "f()"),
        ({"node\n": "x"}, "node\n"),
        ({"constants": {"path_name": "opaque_obj_0"}}, "opaque_obj_0"),
        ({"constants": {"path_name": "custom_obj_0"}}, "custom_obj_0"),
    ],
)
def test_text_that_would_be_run(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    path = write(tmp_path / "net.pt2", ("net/models/model.json", program(**changes)))
    with pytest.raises(SourceError) as caught:
        refuse_code(path)
    assert str(caught.value) == (
        f"{path} holds {found!r}, which PyTorch could run as code. "
        "Pass --unsafe-deserialization if you trust where the file comes from."
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_with_one_name(tmp_path: Path) -> None:
    """The one that is checked might not be the one that is loaded."""
    member = ("net/models/model.json", program())
    with pytest.raises(SourceError, match=r"holds 'net/models/model\.json', which PyTorch could"):
        refuse_code(write(tmp_path / "net.pt2", member, member))


def test_a_damaged_program(tmp_path: Path) -> None:
    path = write(tmp_path / "net.pt2", ("net/models/model.json", "{"))
    with pytest.raises(SourceError) as caught:
        refuse_code(path)
    assert str(caught.value).startswith(f"{path} is damaged: Expecting property name")
