"""Model Explorer on a real file, served for real where it is installed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import UsageError
from edgeq.files import storage
from edgeq.inspection.explorer import HOST, node_data_of, serve
from edgeq.records.reading import read_record

TEST = models.path("fashion_mnist_test.npz")
PYTHON = os.environ.get("EDGEQ_EXPLORER_PYTHON")
needs_explorer = pytest.mark.skipif(
    PYTHON is None, reason="EDGEQ_EXPLORER_PYTHON is not set: EDGEQ_TEST_EXTRAS=explorer"
)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, int8_mobilenet: Path, float_file: Path
) -> tuple[Path, Path]:
    """Records of debug and of profile of the INT8 file."""
    folder = tmp_path_factory.mktemp("explorer")
    debug, profile = folder / "debug.json", folder / "profile.json"
    both = float_file, int8_mobilenet
    given = "--data", TEST, "--samples", 8, "--preprocess", "scale=1/255"
    assert run("debug", *both, *given, "-o", debug).exception is None
    assert run("profile", *both, "--runs", 20, "-o", profile).exception is None
    return debug, profile


def test_node_data_of_records(measured: tuple[Path, Path], int8_mobilenet: Path) -> None:
    records = [read_record(path) for path in measured]
    found = [
        json.loads(text)["main"] for text in node_data_of(records, storage.refer(int8_mobilenet))
    ]
    assert [item["name"] for item in found] == [
        "accumulated error, SQNR in dB",
        "own error, SQNR in dB",
        "effect on the outputs, SQNR in dB",
        "time of an inference in ms",
    ]
    (profiled,) = (m for m in records[1].value.models if m.model.path == str(int8_mobilenet))
    times = {op.name: op.time_ms for op in profiled.operators if op.time_ms is not None}
    assert {name: item["value"] for name, item in found[3]["results"].items()} == {
        name: round(time, 6) for name, time in times.items()
    }
    layer = records[0].value.layers[0]
    assert found[2]["results"][layer.quantized_name]["value"] == round(layer.effect_sqnr_db, 2)


def test_the_float_model_has_its_own_times(measured: tuple[Path, Path], float_file: Path) -> None:
    record = read_record(measured[1])
    (text,) = node_data_of([record], storage.refer(float_file))
    (profiled,) = (m for m in record.value.models if m.model.path == str(float_file))
    assert set(json.loads(text)["main"]["results"]) == {
        op.name for op in profiled.operators if op.time_ms is not None
    }


def test_records_that_do_not_fit(
    measured: tuple[Path, Path], int8_mobilenet: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(int8_mobilenet.read_bytes() + b"\0")
    file = storage.refer(other)
    with pytest.raises(UsageError) as caught:
        node_data_of([read_record(measured[1])], file)
    assert str(caught.value).startswith(
        f"{measured[1]} is the record of a different model than {other} ({file.sha256[:7]}): "
    )
    record = tmp_path / "inspect.json"
    run("inspect", int8_mobilenet, "-o", record)
    with pytest.raises(UsageError) as caught:
        node_data_of([read_record(record)], storage.refer(int8_mobilenet))
    assert str(caught.value) == (
        f"{record} is a record of inspect, which has no figures of layers. --with takes what "
        "edgeq debug -o and edgeq profile -o wrote."
    )


def test_wrong_usage(int8_mobilenet: Path) -> None:
    assert str(run("inspect", int8_mobilenet, "--port", 8000).exception) == (
        "--with, --port and --no-browser are for Model Explorer. Add --explorer."
    )


def test_without_model_explorer_the_command_that_installs_it_is_told(int8_mobilenet: Path) -> None:
    if sys.executable == PYTHON:
        pytest.skip("it is installed here")
    done = run("inspect", int8_mobilenet, "--explorer")
    assert str(done.exception) == (
        "--explorer needs Model Explorer, which is not installed here. Install it with: "
        'pip install "edgeq[explorer]"'
    )
    assert done.stdout == ""


# ---------------------------------------------------------------- served


def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
    """`edgeq inspect --explorer`, and the address that it prints."""
    assert PYTHON is not None
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from edgeq.cli import main; main()"
    )
    command = [PYTHON, "-c", code, "inspect", *map(str, arguments), "--explorer", "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("Model Explorer is at http://"):
            return process, line.split()[-1]
    raise AssertionError("".join(said))


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    parts = urllib.parse.urlsplit(address)
    request = urllib.request.Request(
        f"http://{parts.netloc}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def tensor_names(graphs: Any) -> set[str]:
    """Names of all nodes' outputs, as Model Explorer matches node data with them."""
    return {
        attribute["value"]
        for collection in graphs["graphCollections"]
        for graph in collection["graphs"]
        for node in graph["nodes"]
        for output in node.get("outputsMetadata", ())
        for attribute in output["attrs"]
        if attribute["key"] == "tensor_name"
    }


@needs_explorer
def test_model_explorer_serves_the_graph_and_the_figures(
    measured: tuple[Path, Path], int8_mobilenet: Path
) -> None:
    process, address = start(int8_mobilenet, "--with", measured[1], "--with", measured[0])
    try:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
        (given,) = map(json.loads, query["data"])
        (model,) = (item["url"] for item in given["models"])
        assert Path(model) == int8_mobilenet.absolute()
        graphs = ask(address, "/apipost/v1/send_command", {
            "cmdId": "convert", "extensionId": "builtin_tflite_flatbuffer", "modelPath": model,
            "settings": {}, "deleteAfterConversion": False,
        })  # fmt: skip
        names = tensor_names(graphs)
        assert len(given["nodeData"]) == 4
        texts = [
            ask(address, f"/api/v1/read_text_file?path={urllib.parse.quote(path)}")["content"]
            for path in given["nodeData"]
        ]
        times = json.loads(texts[0])["main"]["results"]
        assert len(times) > 10 and set(times) <= names
        errors = json.loads(texts[-1])["main"]["results"]
        assert len(set(errors) & names) > 10  # the names of the float model are in it, too
        assert ask(address, "/api/v1/check_new_version")["version"] == ""
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert said.endswith("Model Explorer is ended.\n")
    assert process.returncode == 0
    assert not any(Path(path).exists() for path in given["nodeData"])


def test_a_port_that_is_taken(int8_mobilenet: Path) -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            serve(int8_mobilenet, (), port=port, opens_browser=False, on_ready=lambda a, b: None)
    assert str(caught.value) == (
        f"Port {port} cannot be used: Address already in use. Choose another --port, or leave it "
        "out."
    )
