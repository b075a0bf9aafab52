"""Checks a TensorFlow graph: every operator that can run must be on the list.

Functions call functions, also in branches and loops, so every function that can be reached counts.
An operator that fills a table from a file is allowed if the loader gives the file's name, which it
takes from the folder's `assets`, and the graph does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edgeq.converters.safe_reading.findings import Finding
from edgeq.converters.safe_reading.operators import (
    FILE_TABLES,
    OPERATORS,
    PRINT,
    RESTORE,
    STREAMS,
)

# These pass their arguments in order; other operators with functions add some before them.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@dataclass(frozen=True)
class Node:
    """One operator of a graph.

    Attributes:
        name: in its graph.
        op: the operator's type, or the name of a function.
        inputs: in TensorFlow's form: "node", "node:out:0", "^control".
        functions: names of the functions among its attributes.
        stream: where it prints to, "" for operators that do not print.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    stream: str = ""


@dataclass(frozen=True)
class Function:
    """A function of a graph's library, or the part of a graph that a call runs.

    Attributes:
        arguments: names, in order.
        nodes: its operators.
    """

    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Call:
    """A function of a file that a loader or edgeq runs.

    Attributes:
        where: its name as the subject of a sentence, e.g. "signature 'predict'".
        function: its name in the library.
        files: positions of the arguments that name files of the folder's `assets`.
        restores: whether it is the saver's, which reads the variables.
    """

    where: str
    function: str
    files: frozenset[int] = frozenset()
    restores: bool = False


def find(library: Mapping[str, Function], calls: Iterable[Call]) -> Finding | None:
    """The first operator that the calls run and that is not on the list."""
    return next((found for call in calls for found in _Walk(library, call).visit()), None)


@dataclass
class _Walk:
    library: Mapping[str, Function]
    call: Call
    seen: set[tuple[str, frozenset[int]]] = field(default_factory=set)

    def visit(self) -> Iterator[Finding]:
        pending = [(self.call.function, self.call.files)]
        while pending:
            name, files = pending.pop()
            if (name, files) in self.seen or name not in self.library:
                continue
            self.seen.add((name, files))
            function = self.library[name]
            origins = _Origins(function, files)
            for node in function.nodes:
                if (what := self._judge(node, origins)) is not None:
                    yield Finding(self.call.where, what)
                is_call = node.op in _CALLS or node.op in self.library
                given = origins.files_among(node) if is_call else frozenset[int]()
                passed = given if node.op in _CALLS else frozenset[int]()
                pending += [(inner, passed) for inner in node.functions]
                if node.op in self.library:
                    pending.append((node.op, given))

    def _judge(self, node: Node, origins: _Origins) -> str | None:
        if node.op in OPERATORS or node.op in self.library:
            return None
        if node.op in FILE_TABLES:
            if origins.is_file(node, FILE_TABLES[node.op]):
                return None
            return f"fills the table {node.name!r} from a file outside the folder's assets"
        if node.op == PRINT and node.stream in STREAMS:
            return None
        if node.op in RESTORE and self.call.restores and origins.is_file(node, 0):
            return None
        shown = f"{node.op!r}" + (f" to {node.stream!r}" if node.stream else "")
        return (
            f"runs the operator {shown} ({node.name!r}), which is not on the list of operators "
            "without access to files, Python and the network"
        )


class _Origins:
    """The values in a function that are names of files from the loader."""

    def __init__(self, function: Function, files: frozenset[int]):
        self._given = {function.arguments[i] for i in files if i < len(function.arguments)}
        self._nodes = {node.name: node for node in function.nodes}

    def is_file(self, node: Node, position: int) -> bool:
        """Whether an input is the unchanged name of such a file."""
        data = [name for name in node.inputs if not name.startswith("^")]
        if position >= len(data):
            return False
        name = data[position].partition(":")[0]
        seen = set()
        while name in self._nodes and name not in seen and name not in self._given:
            seen.add(name)
            before = self._nodes[name]
            if before.op != "Identity" or not before.inputs:
                return False
            name = before.inputs[0].partition(":")[0]
        return name in self._given

    def files_among(self, node: Node) -> frozenset[int]:
        """Positions of the inputs that are such files."""
        return frozenset(i for i in range(len(node.inputs)) if self.is_file(node, i))
