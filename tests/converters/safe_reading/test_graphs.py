"""The operators that a TensorFlow graph may run: graphs as plain values, without TensorFlow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from edgeq.converters.safe_reading.graphs import Call, Function, Node, find
from edgeq.converters.safe_reading.operators import FILE_TABLES, OPERATORS, PRINT, RESTORE

SIGNATURE = "signature 'serving_default'"
UNLISTED = "which is not on the list of operators without access to files, Python and the network"


def function(*nodes: Node, arguments: tuple[str, ...] = ("x",)) -> Function:
    return Function(arguments, nodes)


def what(library: dict[str, Function], **call: Any) -> str | None:
    found = find(library, [Call(SIGNATURE, "f", **call)])
    assert found is None or found.where == SIGNATURE
    return None if found is None else found.what


READ = function(Node("read", "ReadFile", ("x",)))
REFUSED = f"runs the operator 'ReadFile' ('read'), {UNLISTED}"


@pytest.mark.parametrize(
    "caller",
    [
        Node("c", "PartitionedCall", ("x",), ("g",)),
        Node("c", "StatefulPartitionedCall", ("x",), ("g",)),
        Node("c", "StatelessIf", ("x", "x"), ("h", "g")),
        Node("c", "While", ("x",), ("h", "g")),
        Node("c", "Case", ("x", "x"), ("h", "h", "g")),
        Node("c", "MapDefun", ("x",), ("g",)),
        Node("c", "g", ("x",)),  # a function as an operator, as in TensorFlow 1
    ],
)
def test_functions_and_branches_are_followed(caller: Node) -> None:
    harmless = function(Node("i", "Identity", ("x",)))
    library = {"f": function(Node("a", "AddV2", ("x", "x")), caller), "g": READ, "h": harmless}
    assert what(library) == REFUSED
    assert what({**library, "g": harmless}) is None


def test_functions_that_call_each_other_end() -> None:
    call = Node("c", "PartitionedCall", ("x",), ("f",))
    assert what({"f": function(call)}) is None
    assert what({"f": function(call, *READ.nodes)}) == REFUSED


def test_what_is_not_called_does_not_count() -> None:
    assert what({"f": function(Node("i", "Identity", ("x",))), "g": READ}) is None


@pytest.mark.parametrize(
    "op",
    [
        "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc",
        "SaveV2", "RestoreV2", "MergeV2Checkpoints", "TFRecordReaderV2", "TextLineDataset",
        "FixedLengthRecordDatasetV2", "SqlDataset", "DebugIdentityV2", "CreateSummaryFileWriter",
        "ImmutableConst", "FixedUnigramCandidateSampler", "GenerateVocabRemapping", "DecodeProtoV2",
        "RecordInput", "LoadAndRemapMatrix", "DataServiceDatasetV2", "RpcCall", "RemoteCall",
        "_Send", "CollectiveReduceV2", "XlaCustomCallV2", "XlaCallModule", "DumpTensor",
        "CalibrationStatisticsSaver", "Abort", "AnOperatorOfTomorrow",
    ],
)  # fmt: skip
def test_operators_that_reach_outside(op: str) -> None:
    assert what({"f": function(Node("n", op, ("x",)))}) == (
        f"runs the operator {op!r} ('n'), {UNLISTED}"
    )


def test_printing_is_normal_to_the_terminal_only() -> None:
    for stream in ("", "stderr", "log(info)"):
        assert what({"f": function(Node("n", "PrintV2", ("x",), stream=stream))}) is None
    assert what({"f": function(Node("n", "PrintV2", ("x",), stream="file:///tmp/x"))}) == (
        f"runs the operator 'PrintV2' to 'file:///tmp/x' ('n'), {UNLISTED}"
    )


# ---------------------------------------------------------------- tables

FILL = Node("t", "InitializeTableFromTextFileV2", ("table", "x"))
FOREIGN = "fills the table 't' from a file outside the folder's assets"


def test_a_table_is_filled_from_an_asset() -> None:
    assert what({"f": function(FILL)}, files=frozenset({0})) is None
    assert what({"f": function(FILL)}) == FOREIGN
    copied = Node("t", FILL.op, ("table", "i:output:0"))
    library = {"f": function(Node("i", "Identity", ("x",)), copied)}
    assert what(library, files=frozenset({0})) is None


def test_a_table_is_not_filled_from_a_name_in_the_graph() -> None:
    named = Node("t", FILL.op, ("table", "name:output:0"))
    for op in ("Const", "StringJoin"):
        library = {"f": function(Node("name", op, ("x",)), named)}
        assert what(library, files=frozenset({0})) == FOREIGN


def test_an_asset_is_followed_through_calls() -> None:
    call = Node("c", "StatefulPartitionedCall", ("y", "x"), ("g",))
    library = {
        "f": function(call, arguments=("x", "y")),
        "g": Function(("table", "file"), (Node("t", FILL.op, ("table", "file")),)),
    }
    assert what(library, files=frozenset({0})) is None
    assert what(library, files=frozenset({1})) == FOREIGN
    branch = Node("c", "If", ("y", "x"), ("g",))
    assert what({**library, "f": function(branch)}, files=frozenset({0})) == FOREIGN


def test_variables_are_read_by_the_saver_from_where_the_loader_says() -> None:
    restore = function(Node("r", "RestoreV2", ("file", "names", "slices")), arguments=("file",))
    assert what({"f": restore}, files=frozenset({0}), restores=True) is None
    assert what({"f": restore}, files=frozenset({0})) is not None
    elsewhere = function(Node("c", "Const"), Node("r", "RestoreV2", ("c:output:0",)))
    assert what({"f": elsewhere}, files=frozenset({0}), restores=True) is not None


def test_the_lists_of_operators_do_not_overlap() -> None:
    assert not OPERATORS & ({"PrintV2", *FILE_TABLES} | RESTORE)


INSTALLED = """
import json
from tensorflow.core.framework.op_def_pb2 import OpList
from tensorflow.python.client import pywrap_tf_session as session
known = OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
print(json.dumps({op.name: op.is_stateful for op in known.op}))
"""
# What a listed operator may keep or do beside its result: memory of this process, and its log.
KEEPS = re.compile(
    r"Table|TensorArray|Variable|VarHandle|VarIs|Resource|Stack|Rng|Random|Stateful|Normal|Ints"
    r"|Multinomial|Distorted|^(Assert|CheckNumerics(V2)?|DisableCopyOnRead|GuaranteeConst)$"
    r"|^(Case|If|While|Print(V2)?|Restore(Slice|V2)?)$"
)


def test_the_lists_are_of_operators_that_tensorflow_has() -> None:
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED], capture_output=True, text=True, check=True
    )
    is_stateful: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
    listed = {*OPERATORS, *FILE_TABLES, *RESTORE, PRINT}
    assert len(is_stateful) > 1500
    assert sorted(listed - is_stateful.keys()) == []
    assert [name for name in sorted(listed) if is_stateful[name] and not KEEPS.search(name)] == []
    outside = ["WriteFile", "ReadFile", "PyFunc", "EagerPyFunc", "SaveV2", "TextLineReaderV2"]
    assert {*outside} <= is_stateful.keys()
    assert not {*outside} & listed
