"""Code that PyTorch would run from a file, found without PyTorch: zips written here."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.safe_reading.torch_archive import refuse_code
from edgeq.errors import SourceError


def write(path: Path, *members: tuple[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def program(**changes: Any) -> dict[str, Any]:
    """The places of a program that hold text, as torch 2.13 writes them."""
    plain: dict[str, Any] = {
        "sizes": [
            {"as_expr": {"expr_str": "Symbol('s40', positive=True, integer=True)"}},
            {"as_expr": {"expr_str": "Pow(Symbol('s40', positive=True), Integer(2))"}},
        ],
        "guards_code": [
            "2*L['x'].size()[0] > 7",
            "L['x'].size()[0]**2 < 10**6",
            "max(1, L['x'].size()[0] // 2) < 9",
        ],
        "target": "torch.ops.aten.einsum.default",
        "nodes": [
            {"target": "_operator.getitem"},
            {"target": "torch.sym_max"},
            {"target": "torch.ops.higher_order.wrap_with_set_grad_enabled"},
        ],
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
        ({"guards_code": ["9**9**9**9 > 1"]}, "9**9**9**9 > 1"),
        ({"guards_code": ["(9**64)**64 > 1"]}, "(9**64)**64 > 1"),
        ({"guards_code": ["9**(2*64) > 1"]}, "9**(2*64) > 1"),
        ({"guards_code": ["1 << 10**9 > 1"]}, "1 << 10**9 > 1"),
        ({"guards_code": ["'a' * 10**10 > 'b'"]}, "'a' * 10**10 > 'b'"),
        ({"sizes": [{"expr_str": "Pow(9, Pow(9, 9))"}]}, "Pow(9, Pow(9, 9))"),
        ({"sizes": [{"expr_str": "PowByNatural(9, 10**9)"}]}, "PowByNatural(9, 10**9)"),
        ({"forward_arg_names": ["x=open('f')"]}, "x=open('f')"),
        ({"in_spec": '[1, {"context": "[\\"f()\\"]"}]'}, "f()"),
        ({"in_spec": "f()"}, "f()"),
        ({"node\n": "x"}, "node\n"),
        ({"target": "torch.os.system"}, "torch.os.system"),
        ({"target": "torch.ops.load_library"}, "torch.ops.load_library"),
        ({"target": "torch.hub.load"}, "torch.hub.load"),
        ({"target": "torch.ops.aten.from_file.default"}, "torch.ops.aten.from_file.default"),
        ({"target": "torch.ops.aten.add.Tensor.__class__"}, "torch.ops.aten.add.Tensor.__class__"),
        ({"target": "_operator.attrgetter"}, "_operator.attrgetter"),
        ({"target": "#kernel:run"}, "#kernel:run"),
        ({"in_spec": '[1, {"type": "collections.defaultdict"}]'}, "collections.defaultdict"),
        (
            {"out_spec": '[1, {"context": "{\\"default_factory_module\\": \\"os\\"}"}]'},
            "default_factory_module",
        ),
        (
            {"in_spec": '[1, {"context": "{\\"__enum__\\": true, \\"fqn\\": \\"os:x\\"}"}]'},
            "__enum__",
        ),
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


@pytest.mark.parametrize(
    "member",
    [
        # Loaded with the program: a compiled library.
        "net/data/aotinductor/model/model.so",
        # A second program, of whatever name.
        "net/models/evil_json",
        "net/models/evil.json/x",
        "net/data/weights/sub/weight",
        "net/code/__torch__.py",
    ],
)
def test_members_that_no_program_needs(tmp_path: Path, member: str) -> None:
    path = write(tmp_path / "net.pt2", ("net/models/model.json", program()), (member, "x"))
    with pytest.raises(SourceError) as caught:
        refuse_code(path)
    assert str(caught.value).startswith(f"{path} holds {member!r}, which PyTorch could run as code")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("net/models/model.json", "is there twice"),
        ("net/models/MODEL.json", "is there twice"),
        ("net/../../evil", "has a path that leads out of the archive"),
    ],
)
def test_members_that_readers_take_for_another(tmp_path: Path, member: str, what: str) -> None:
    """The one that is checked might not be the one that is loaded."""
    members = (("net/models/model.json", program()), (member, program()))
    with pytest.raises(SourceError) as caught:
        refuse_code(write(tmp_path / "net.pt2", *members))
    assert str(caught.value) == (
        f"{tmp_path / 'net.pt2'} is damaged: its member {member!r} {what}. "
        "Save it again with torch.export.save."
    )


def test_a_second_directory_before_the_one_that_python_finds(tmp_path: Path) -> None:
    """PyTorch takes offsets from the start of the file, Python from its end."""
    hostile = write(
        tmp_path / "a.pt2", ("net/models/model.json", program(target="torch.os.system"))
    )
    sound = write(tmp_path / "b.pt2", ("net/models/model.json", program()))
    path = tmp_path / "net.pt2"
    path.write_bytes(hostile.read_bytes() + sound.read_bytes())
    with pytest.raises(SourceError, match="its directory is not where the archive states it"):
        refuse_code(path)
    commented = tmp_path / "c.pt2"
    with zipfile.ZipFile(commented, "w") as archive:
        archive.writestr("net/models/model.json", json.dumps(program()))
        archive.comment = b"a comment"
    with pytest.raises(SourceError, match="is damaged: its directory"):
        refuse_code(commented)


def test_a_directory_that_states_more_than_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "net.pt2", ("net/models/model.json", program()))
    end = path.read_bytes()[-22:]
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, path.stat().st_size + 10, 1)
    path.write_bytes(path.read_bytes()[:-22] + locator + end)
    with pytest.raises(SourceError, match="is damaged"):
        refuse_code(path)


def test_a_damaged_program(tmp_path: Path) -> None:
    path = write(tmp_path / "net.pt2", ("net/models/model.json", "{"))
    with pytest.raises(SourceError) as caught:
        refuse_code(path)
    assert str(caught.value).startswith(f"{path} is damaged: Expecting property name")
