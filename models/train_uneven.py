"""Train fmnist_uneven.keras, a depthwise network that plain INT8 ruins.

python -m edgeq.models.train_uneven --fashion-mnist DIR

It is the network of `train_mobilenet` with plain ReLU, whose expanded channels start at scales
drawn between 1/40 and 40. The batch normalization behind each depthwise convolution cancels such a
scale, so training never evens it out; folded into the kernels it remains, and in an activation with
one scale for all channels the small ones have no step left. ImageNet's MobileNets come out of
training like that (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, figure 2); here it is done on purpose.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from edgeq.models import train_mobilenet
from edgeq.models.training import run

_SPREAD = 40.0
_WIDTH = 2  # so that arithmetic, not calling operators, takes the time, and INT8 is faster


def build_uneven(spread: float, width: int = 1) -> keras.Model:
    """The network of `train_mobilenet`, its expanded channels scaled by 1/spread to spread."""

    def unbounded(layer: Any) -> Any:
        if isinstance(layer, layers.ReLU):
            return layers.ReLU(name=layer.name)
        return type(layer).from_config(layer.get_config())

    model = keras.models.clone_model(train_mobilenet.build(width), clone_function=unbounded)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            relu = layer.input._keras_history.operation
            gamma = relu.input._keras_history.operation.gamma
            limit = math.log(spread)
            gamma.assign(np.exp(random.uniform(-limit, limit, gamma.shape)))
    return model


RECIPE = replace(
    train_mobilenet.RECIPE,
    file="fmnist_uneven.keras",
    build=partial(build_uneven, _SPREAD, _WIDTH),
    epochs=4,
)

if __name__ == "__main__":
    run(RECIPE)
