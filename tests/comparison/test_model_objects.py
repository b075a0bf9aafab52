"""`compare`, `debug` and `evaluate` take the model objects that `convert` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import edgeq
from edgeq.errors import LoweringError, UsageError
from edgeq.files import storage

# Keras 3.10 with NumPy 2, when it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, dict[str, Any]]:
    """A Keras model, its INT8 file, and labelled samples that the model is right about."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(3, name="scores")])
    folder = tmp_path_factory.mktemp("object")
    inputs = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    path = folder / "m.tflite"
    edgeq.convert(model, path, inputs, effort="fast")
    model.save(folder / "m.keras")
    fresh = np.random.default_rng(2).normal(size=(64, 8)).astype(np.float32)
    labels = model.predict(fresh, verbose=0).argmax(axis=1)
    return model, path, {"x": fresh, "y": labels}


def test_compare_takes_the_object(made: tuple[Any, Path, dict[str, Any]]) -> None:
    model, path, data = made
    found = edgeq.compare(model, path, data, latency=False)
    saved = edgeq.compare(path.with_name("m.keras"), path, data, latency=False)
    assert found.quality == saved.quality
    assert found.quality.baseline_accuracy_percent == 100
    assert found.baseline.path == f"<Sequential {model.name}> (lowered to .tflite)"
    assert found.baseline.size_bytes == saved.baseline.size_bytes
    assert found.issues == ()


def test_debug_takes_the_object(made: tuple[Any, Path, dict[str, Any]]) -> None:
    model, path, data = made
    report = edgeq.debug(model, path, data, samples=8, try_remedies=False)
    assert [layer.operator for layer in report.layers] == ["FULLY_CONNECTED"]
    assert report.baseline.path.startswith("<Sequential ")


def test_evaluate_takes_objects_and_paths(made: tuple[Any, Path, dict[str, Any]]) -> None:
    model, path, data = made
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 8), name="x"))
    found = edgeq.evaluate([model, function, path], data)
    assert [item.metrics[0].value for item in found[:2]] == [100, 100]
    assert found[2].metrics[0].value > 90
    assert found[0].model.path == f"<Sequential {model.name}>"
    (alone,) = edgeq.evaluate(model, data)
    assert alone.metrics == found[0].metrics


def test_where_an_object_cannot_work_the_error_says_what_to_type(
    made: tuple[Any, Path, dict[str, Any]],
) -> None:
    model, path, data = made
    for call in (
        lambda: edgeq.bench(model),
        lambda: edgeq.bench([path, model]),
        lambda: edgeq.compare(path, model, data),
        lambda: edgeq.debug(path, model, data),
        lambda: edgeq.profile(model),
        lambda: edgeq.parity(model, data),
        lambda: edgeq.fit_model(model),
        lambda: edgeq.inspect_model(model),
        lambda: edgeq.certify(model),
        lambda: edgeq.doctor(model=model),
        lambda: edgeq.make_package(model, "c"),
        lambda: edgeq.make_contract(model),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == (
            "A path is needed, not an object of type Sequential. Convert it first: "
            'edgeq.convert(model, "model.tflite", ...)'
        )
    with pytest.raises(UsageError, match=r"Sequential\. Save it first: model\.save"):
        edgeq.init(model)
    for other in (
        lambda: edgeq.compare(object(), path, data),
        lambda: edgeq.debug(object(), path, data),
        lambda: edgeq.evaluate([path, object()], data),
    ):
        with pytest.raises(LoweringError, match=r"^Cannot convert a builtins\.object\. Pass a"):
            other()


def test_results_are_taken_as_records(
    made: tuple[Any, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, path, data = made
    compared = edgeq.compare(path.with_name("m.keras"), path, data, latency=False)
    file, policy = tmp_path / "compare.json", tmp_path / "edgeq.toml"
    storage.write_record(file, "compare", compared)
    policy.write_text('[policy]\nmin_sqnr_db = 200\nmax_size = "1 MB"\n')

    judged = edgeq.gate([edgeq.read_record(path).value, compared], policy)
    assert [name for name, _ in judged.records] == ["<Conversion>", "<Comparison>"]
    from_files = edgeq.gate([path, str(file)], policy)
    verdicts = [rule.verdict for rule in judged.rules]
    assert verdicts == [rule.verdict for rule in from_files.rules] == ["fail", "pass"]
    assert edgeq.gate(compared, policy).verdict == edgeq.gate(str(file), policy).verdict == "fail"
    assert edgeq.make_report(compared).cards == edgeq.make_report(file).cards
    found = edgeq.evaluate([path.with_name("m.keras"), path], data)
    for given in (found, [found, edgeq.read_record(path)], found[1]):
        assert edgeq.make_report(given).candidate == path.as_posix()
    package = edgeq.make_package(path, "python", data=data, records=compared)
    assert {"records/00-convert.json", "records/01-compare.json"} <= {*package.files}
    with edgeq.open_history(tmp_path / "history.db") as history:
        history.add(compared, tags="v1.2")
        history.add(str(path.with_name("m.tflite.json")))
        assert [entry.tags for entry in history.list().entries] == ["v1.2", ""]
    with pytest.raises(UsageError, match=r"^A record is needed, not an object of type dict\."):
        edgeq.gate([{}], policy)
