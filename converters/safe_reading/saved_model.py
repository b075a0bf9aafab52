"""Checks the operators of a SavedModel that run when it is loaded and a signature is called.

It takes TensorFlow's parsed message, not the file, so that both see the same content. Reading a
message runs nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeq.converters.safe_reading import graphs, keras_config, plain_json
from edgeq.converters.safe_reading.findings import Finding, refusal
from edgeq.converters.safe_reading.graphs import Call, Function, Node
from edgeq.converters.safe_reading.keras_names import CLASSES, REFUSED
from edgeq.errors import SourceError

DEFAULT_SIGNATURE = "serving_default"
# The loader calls these methods of a table or another resource.
_RESOURCE_METHODS = ("_create_resource", "_initialize", "_destroy_resource")
_INIT_SIGNATURE = "__saved_model_init_op"
# Collections whose nodes the loader of TensorFlow 1 runs.
_INIT_COLLECTIONS = (
    "saved_model_main_op", "legacy_init_op", "table_initializer", "local_variables"
)  # fmt: skip
_TRAINING = ("training_config", "metrics")


def refuse_code(path: Path, message: Any, signature: str | None) -> None:
    """Check what `tf.saved_model.load` and the call of one signature run.

    Args:
        path: of the folder.
        message: the parsed `SavedModel`.
        signature: its name; None for the one that edgeq chooses.

    Raises:
        SourceError: an operator is not on the list, or a file is outside the folder.
    """
    _refuse(path, message, lambda graph: [*_loading(graph), *_signature(graph, signature)])


def refuse_all_code(path: Path, message: Any) -> None:
    """Check all functions of the objects in a SavedModel, because tf_keras may run any of them."""

    def calls(graph: _Graph) -> Iterator[Call]:
        yield from _loading(graph)
        for node_id in range(len(graph.objects.nodes)):
            yield from graph.calls_of(node_id, "its graph")

    _refuse(path, message, calls)


def refuse_metadata(path: Path, texts: Iterable[str], known: frozenset[str]) -> None:
    """Check the configurations of the Keras objects in a SavedModel.

    A class that tf_keras does not know is allowed, because tf_keras then takes the object's
    functions from the graph.

    Args:
        path: of the folder.
        texts: the JSON of each object.
        known: names of the user's own objects.

    Raises:
        SourceError: a part of them is not on the list.
    """
    try:
        nodes = [plain_json.parse(text) for text in texts if text]
    except ValueError as error:
        raise SourceError(f"{path} has Keras metadata that cannot be read: {error}.") from error
    names = (node.get("class_name") for node in nodes if isinstance(node, dict))
    known |= {
        name for name in names
        if isinstance(name, str) and name.rpartition(">")[2][:1].isupper()
        and name not in REFUSED and name not in CLASSES
    }  # fmt: skip
    for node in nodes:
        items = node.items() if isinstance(node, dict) else ()
        kept = {name: item for name, item in items if name not in _TRAINING}
        if (finding := keras_config.find(kept, known)) is not None:
            raise refusal(path, finding)


def _refuse(path: Path, message: Any, calls: Any) -> None:
    if len(message.meta_graphs) != 1:
        raise SourceError(
            f"{path} holds {len(message.meta_graphs)} graphs, and edgeq reads one.",
            hint="Export it again with the tag 'serve' alone.",
        )
    try:
        graph = _Graph(message.meta_graphs[0])
        finding = graph.outside_asset() or graphs.find(graph.library, calls(graph))
    except IndexError as error:
        raise SourceError(
            f"{path} is not a whole SavedModel: {error}.", hint="Export or copy the model again."
        ) from error
    if finding is not None:
        raise refusal(path, finding)


# ---------------------------------------------------------------- from messages to plain values


class _Graph:
    """A MetaGraphDef as plain values."""

    def __init__(self, message: Any):
        self.message = message
        self.objects = message.object_graph_def
        self.is_object_based = message.HasField("object_graph_def")
        self.library: dict[str, Function] = {
            item.signature.name: Function(
                tuple(argument.name for argument in item.signature.input_arg),
                tuple(map(_node, item.node_def)),
            )
            for item in message.graph_def.library.function
        }
        self.nodes = {node.name: node for node in map(_node, message.graph_def.node)}

    def assets(self) -> list[Any]:
        """The messages of assets, from either place where TensorFlow keeps them."""
        found = list(self.message.asset_file_def)
        packed = self.message.collection_def["saved_model_assets"].any_list.value
        for item in packed if not found else ():
            found.append(type(self.message)().asset_file_def.add())
            item.Unpack(found[-1])
        return found

    def outside_asset(self) -> Finding | None:
        """An asset whose name leads out of the folder's `assets`."""
        for asset in self.assets():
            name = posixpath.normpath(asset.filename)
            if name.startswith(("/", "..")) or "://" in asset.filename or not asset.filename:
                return Finding(f"its asset {asset.filename!r}", "is outside its folder 'assets'")
        return None

    def calls_of(self, node_id: int, where: str) -> Iterator[Call]:
        """Calls of the functions that belong to an object of the object graph."""
        node = self.objects.nodes[node_id]
        names = [node.bare_concrete_function.concrete_function_name]
        for name in filter(None, [*node.function.concrete_functions, *names]):
            arguments = self.library[name].arguments if name in self.library else ()
            bound = self.objects.concrete_functions[name].bound_inputs
            first = len(arguments) - len(bound)
            files = frozenset(
                first + i
                for i, bound_id in enumerate(bound)
                if self.objects.nodes[bound_id].WhichOneof("kind") == "asset"
            )
            yield Call(where, name, files)

    def part(self, ends: Iterable[str], given: Sequence[str] = ()) -> Function:
        """The nodes that some tensors or operators need, as a function of given tensors."""
        pending = [_base(name) for name in ends]
        found: dict[str, Node] = {}
        while pending:
            name = pending.pop()
            if name in found or name in given or name not in self.nodes:
                continue
            found[name] = self.nodes[name]
            pending += map(_base, self.nodes[name].inputs)
        return Function(tuple(given), tuple(found.values()))


def _node(message: Any) -> Node:
    functions: list[str] = []
    for value in message.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            functions.append(value.func.name)
        elif kind == "list":
            functions += [item.name for item in value.list.func]
    stream = message.attr["output_stream"].s.decode("utf-8", "replace") \
        if "output_stream" in message.attr else ""  # fmt: skip
    return Node(message.name, message.op, tuple(message.input), tuple(functions), stream)


def _base(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


# ---------------------------------------------------------------- what is run


def _loading(graph: _Graph) -> Iterator[Call]:
    """Calls of the loader, which makes and fills tables and reads variables."""
    where = "its loading"
    if not graph.is_object_based:
        yield from _loading_of_version_1(graph, where)
        return
    for node in graph.objects.nodes:
        for child in node.children:
            if child.local_name in _RESOURCE_METHODS:
                yield from graph.calls_of(child.node_id, where)
        for saveable in node.saveable_objects.values():
            yield from graph.calls_of(saveable.save_function, where)
            yield from graph.calls_of(saveable.restore_function, where)


def _loading_of_version_1(graph: _Graph, where: str) -> Iterator[Call]:
    message, nodes = graph.message, graph.nodes
    ends = [info.name for info in message.signature_def[_INIT_SIGNATURE].outputs.values()]
    for name in _INIT_COLLECTIONS:
        collection = message.collection_def[name]
        ends += collection.node_list.value
        # Messages of variables hold the names of their initializers as text.
        for content in collection.bytes_list.value:
            ends += [node for node in nodes if node.encode() in content]
    assets = tuple(_base(asset.tensor_info.name) for asset in graph.assets())
    graph.library[".init"] = graph.part(ends, assets)
    yield Call(where, ".init", frozenset(range(len(assets))))
    saver = message.saver_def
    given = (_base(saver.filename_tensor_name),)
    graph.library[".restore"] = graph.part([saver.restore_op_name], given)
    yield Call(where, ".restore", frozenset({0}), restores=True)


def _signature(graph: _Graph, wanted: str | None) -> Iterator[Call]:
    """Calls of the signature that `frameworks` chooses."""
    if not graph.is_object_based:
        found: Mapping[str, Any] = graph.message.signature_def
        name = choose_signature([key for key in found if key != _INIT_SIGNATURE], wanted)
        if name is not None:
            ends = [text for info in found[name].outputs.values() for text in _tensors(info)]
            given = [text for info in found[name].inputs.values() for text in _tensors(info)]
            graph.library[".signature"] = graph.part(ends, tuple(map(_base, given)))
            yield Call(f"signature {name!r}", ".signature")
        return
    roots = graph.objects.nodes[0].children if graph.objects.nodes else ()
    signatures = [
        child
        for root in roots
        if root.local_name == "signatures"
        for child in graph.objects.nodes[root.node_id].children
    ]
    name = choose_signature([child.local_name for child in signatures], wanted)
    for child in signatures:
        if child.local_name == name:
            yield from graph.calls_of(child.node_id, f"signature {name!r}")


def _tensors(info: Any) -> Iterator[str]:
    """The names in a TensorInfo, also of a sparse or composite tensor."""
    sparse = info.coo_sparse
    for name in (info.name, sparse.values_tensor_name, sparse.indices_tensor_name,
                 sparse.dense_shape_tensor_name):  # fmt: skip
        if name:
            yield name
    for component in info.composite_tensor.components:
        yield from _tensors(component)


def choose_signature(names: Sequence[str], wanted: str | None) -> str | None:
    """The requested signature, the default one, or the only one."""
    if wanted is not None or DEFAULT_SIGNATURE in names:
        return wanted or DEFAULT_SIGNATURE
    return names[0] if len(set(names)) == 1 else None
