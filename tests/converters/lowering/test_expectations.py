"""The values that a Keras model expects, found in the order in which its layers run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, keras, numpy as np
from edgeq.converters.lowering import frameworks
from edgeq.converters.tracing import wrapping
layers = keras.layers

def nested(first, last, rescaling_inside):
    inner = keras.Input((8, 8, 3))
    h = layers.Rescaling(1 / 255)(inner) if rescaling_inside else inner
    h = layers.BatchNormalization(name="first")(h)
    h = layers.BatchNormalization(name="last")(layers.Conv2D(4, 3)(h))
    body = keras.Model(inner, h, name="body")
    body.get_layer("first").moving_variance.assign(np.full(3, first, "f4"))
    body.get_layer("last").moving_variance.assign(np.full(4, last, "f4"))
    image = keras.Input((8, 8, 3), name="image")
    h = image if rescaling_inside else layers.Rescaling(1 / 255)(image)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(body(h))))

values = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 3)).astype("f4")
true = float((values / 255).var())
found = {}
for name, model in {
    "sound": nested(true, 1e6, False), "shifted": nested(100 * true, 1e6, True),
}.items():
    loaded = wrapping.wrap_live(model)
    order = [layer.name for layer in loaded.layers if layer.name in ("first", "last")]
    found[name] = [frameworks.batch_statistics(loaded, {"image": values}),
                   frameworks.first_rescaling(loaded), order,
                   frameworks.batch_statistics(loaded, {"image": values})]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, list[object]]:
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )  # fmt: skip
    found: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_statistics_are_measured_where_the_first_normalization_runs(
    told: dict[str, list[object]],
) -> None:
    """The last one of the nested model was never fed such values; they do not come from data."""
    spread, shift = told["sound"][0]
    assert spread == pytest.approx(1.0, abs=0.02)
    assert shift == pytest.approx(0.5 / (1 / 12) ** 0.5, rel=0.03)  # its mean is still 0
    assert told["shifted"][0][0] == pytest.approx(0.1, abs=0.01)


def test_layers_are_in_the_order_in_which_they_run(told: dict[str, list[object]]) -> None:
    for found in told.values():
        assert found[1] == [pytest.approx(1 / 255), 0.0]
        assert found[2] == ["first", "last"]
        assert found[3] == found[0]  # the model is as it was
