"""Figures of layers as node data for Model Explorer, which colours the graph of the model with it.

The format is that of `node_data_builder.py` in ai-edge-model-explorer: graph name to results by
output tensor name, with a gradient.
"""

from __future__ import annotations

import json

from edgeq.values import DebugReport, ModelProfile

_GRAPH = "main"
_MOST_DB = 60.0  # errors beyond it do not matter
_GRADIENT = [{"stop": 0, "bgColor": "#c0392b"}, {"stop": 0.5, "bgColor": "#f5d76e"},
             {"stop": 1, "bgColor": "#ffffff"}]  # fmt: skip
_HEAT = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 0.5, "bgColor": "#f5d76e"},
         {"stop": 1, "bgColor": "#c0392b"}]  # fmt: skip
_TITLES = {
    "effect_sqnr_db": "effect on the outputs, SQNR in dB",
    "own_sqnr_db": "own error, SQNR in dB",
    "accumulated_sqnr_db": "accumulated error, SQNR in dB",
}


def node_data(report: DebugReport, field: str = "effect_sqnr_db") -> str:
    """JSON for `model-explorer MODEL.tflite --node_data_paths=FILE`.

    Args:
        field: the figure of the layers that colours the nodes, a key of `_TITLES`. Results carry
            the tensor names of both models, so that the file serves for either.
    """
    results = {
        name: {"value": round(min(value, _MOST_DB), 2)}
        for layer in report.layers
        for name in (layer.name, layer.quantized_name)
        if (value := getattr(layer, field)) is not None
    }
    graph = {"results": results, "name": _TITLES[field], "gradient": _GRADIENT}
    return json.dumps({_GRAPH: graph}, indent=2) + "\n"


def latency_node_data(profile: ModelProfile) -> str:
    """The same with the time of each operator, in milliseconds for one inference.

    An operator that ran as part of another has no separate time, and no colour.
    """
    results = {
        item.name: {"value": round(item.time_ms, 6)}
        for item in profile.operators
        if item.time_ms is not None
    }
    graph = {"results": results, "name": "time of an inference in ms", "gradient": _HEAT}
    return json.dumps({_GRAPH: graph}, indent=2) + "\n"
