"""Change the graph of a traced function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants


def rebuild(concrete: Any, change: Callable[[Any], None]) -> Any:
    """Return the function with a changed graph, and constants in the place of its variables.

    Args:
        concrete: the traced function.
        change: changes the GraphDef in place; operators keep their names.

    Raises:
        ValueError: TensorFlow refuses the changed graph.
    """
    with tf.init_scope():  # the values of variables are read, also while another model is traced
        frozen, graph = convert_to_constants.convert_variables_to_constants_v2_as_graph(
            concrete, lower_control_flow=False
        )
    change(graph)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    inputs, outputs = (
        [wrapped.graph.as_graph_element(tensor.name) for tensor in tensors]
        for tensors in (frozen.inputs, frozen.outputs)
    )
    return wrapped.prune(inputs, outputs)
