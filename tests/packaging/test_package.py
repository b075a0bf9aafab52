"""What is common to all targets: the same bytes, and what `verify` finds."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import (
    EdgeqError,
    GateError,
    PackageError,
    RecordError,
    SourceError,
    UsageError,
)
from edgeq.packaging import targets
from edgeq.packaging.assembly import build
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container import archive, writing
from edgeq.packaging.container.manifest import KEY, MANIFEST, SIGNATURE, SUMS, list_files, seal
from edgeq.packaging.container.reading import open_package
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.evidence.records import Evidence, find_evidence
from edgeq.packaging.golden import vectors as golden
from edgeq.packaging.verification.verify import Verification, verify_package
from edgeq.records.reading import parse_record
from edgeq.tflite import flatbuffer, quantmath
from edgeq.tflite.model_file import parse_model
from tests.packaging.conftest import LABELS, verify_here

DATA = models.path("fashion_mnist_test.npz")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)


def verdicts(result: Verification) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}


def stored(files: Mapping[str, bytes], folder: Path) -> Path:
    """As a folder, whatever they are: `write_package` would leave a damaged one alone."""
    path = folder / "package"
    if path.exists():
        shutil.rmtree(path)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


# ---------------------------------------------------------------- what is in it


def test_a_package_is_what_was_measured(package: Package, tmp_path: Path) -> None:
    result = verify_package(stored(package.files, tmp_path))
    assert result.is_sound
    assert verdicts(result) == {
        "files": "pass", "signature": "skipped", "model": "pass", "measured": "pass",
        "contract": "pass", "gate": "skipped", "vectors": "pass", "inputs": "pass", "code": "pass",
        "golden vectors on local": "pass",
    }  # fmt: skip


def test_its_manifest_lists_every_file(package: Package) -> None:
    manifest = json.loads(package.files[MANIFEST])
    listed = {path: digest for path, (digest, _) in manifest["files"].items()}
    rest = {MANIFEST, SUMS}
    assert set(listed) == set(package.files) - rest
    for path, digest in listed.items():
        assert hashlib.sha256(package.files[path]).hexdigest() == digest
    assert manifest["name"] == "fashion" and manifest["version"] == "1.4.0"
    assert manifest["contract"]["outputs"][0]["labels"] == list(LABELS)


def test_sha256sum_reads_its_sums(package: Package, tmp_path: Path) -> None:
    path = stored(package.files, tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=path, check=False
    )
    assert done.returncode == 0


def test_its_bill_of_materials_is_one(package: Package) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_7)
    assert validator.validate_str(package.files["sbom.cdx.json"].decode()) is None


def test_its_model_card_says_how_good_it_is(package: Package, int8_mobilenet: Path) -> None:
    card = package.files["MODEL_CARD.md"].decode()
    quality = json.loads(Path(f"{int8_mobilenet}.json").read_text())["quality"]
    assert f"{quality['candidate_accuracy_percent']:.2f} %" in card
    assert "| licence | Apache-2.0 |" in card and "10 labels" in card
    assert "| runtime | TensorFlow Lite 1.14.0 or newer |" in card
    assert hashlib.sha256(int8_mobilenet.read_bytes()).hexdigest() in (
        package.manifest.measured_sha256
    )


def test_its_model_card_names_both_files(package: Package, int8_mobilenet: Path) -> None:
    card = package.files["MODEL_CARD.md"].decode()
    assert "| file | `fashion/fashion.tflite`, `fashion-1.4.0-py3-none-any.whl!" in card
    assert f"| SHA-256 | `{package.manifest.contract.model.sha256}` |" in card
    measured = hashlib.sha256(int8_mobilenet.read_bytes()).hexdigest()
    assert f"| measured | SHA-256 `{measured}`: this file before TensorFlow Lite metadata" in card
    bare = make_package(int8_mobilenet, "python", data=DATA, vectors=1, has_metadata=False)
    assert b"| measured | this file |" in bare.files["MODEL_CARD.md"]


def test_its_model_card_keeps_the_doubts_of_records(
    int8_mobilenet: Path, record_files: Mapping[str, Path], tmp_path: Path
) -> None:
    plain = json.loads(record_files["compare"].read_text())
    plain |= {"verdict": "check", "reasons": ["the data | are few"]}
    plain["issues"] = [
        {"code": "bench.load", "severity": "warning", "message": "The machine was busy."}
    ]
    doubtful = tmp_path / "compare.json"
    doubtful.write_text(json.dumps(plain))
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, records=[doubtful])
    card = made.files["MODEL_CARD.md"].decode()
    assert "- compare says **CHECK**: the data \\| are few" in card
    # Where the tests themselves keep the machine busy, the record has more doubts of its own.
    (line,) = [line for line in card.splitlines() if line.startswith("- compare is **degraded**")]
    assert "bench.load (the machine was busy)" in line


def test_its_readme_says_how_to_check_it(package: Package) -> None:
    readme = package.files["README.md"].decode()
    assert "sha256sum -c SHA256SUMS" in readme and "openssl" not in readme


def require_parts(target: str, request: pytest.FixtureRequest) -> None:
    """Skip where a target's packages cannot be made."""
    if target == "android" and shutil.which("javac") is None:
        pytest.skip("needs javac (Debian: default-jdk-headless)")
    if target == "c":
        request.getfixturevalue("tflite_micro")


@pytest.mark.parametrize(
    ("target", "purl"),
    [("ios", "pkg:swift/github.com/kewlbear/TensorFlowLiteC@"),
     ("android", "pkg:maven/com.google.ai.edge.litert/litert@"),
     ("c", "pkg:github/tensorflow/tflite-micro"), ("python", "pkg:pypi/ai-edge-litert")],
)  # fmt: skip
def test_its_bill_of_materials_names_what_the_code_needs_and_what_the_model_came_from(
    int8_mobilenet: Path, target: str, purl: str, request: pytest.FixtureRequest
) -> None:
    require_parts(target, request)
    made = make_package(int8_mobilenet, target, data=DATA, vectors=1)
    text = made.files["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    found = json.loads(text)
    assert any(item.get("purl", "").startswith(purl) for item in found["components"])
    if target == "c":
        assert re.match(r"0\.dev\d", found["components"][0]["version"])
    record = json.loads(Path(f"{int8_mobilenet}.json").read_text())
    (source,) = found["metadata"]["component"]["pedigree"]["ancestors"]
    assert source["name"] == "fmnist_mobilenet.keras"
    assert source["hashes"][0]["content"] == record["source"]["source"]["sha256"]
    data = {item["hashes"][0]["content"]: item["description"]
            for item in found["components"] if item["type"] == "data"}  # fmt: skip
    assert data[record["data"]["sha256"]] == "calibration"
    assert "golden vectors" in data.values()


def test_records_that_are_left_out_are_named_by_digest(
    int8_mobilenet: Path, tmp_path: Path
) -> None:
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, has_records=False)
    assert not any(path.startswith("records/") for path in made.files)
    digest = hashlib.sha256(Path(f"{int8_mobilenet}.json").read_bytes()).hexdigest()
    manifest = json.loads(made.files[MANIFEST])
    assert manifest["records"] == []
    assert manifest["records_left_out"] == {"records/00-convert.json": digest}
    assert b"from the records whose digests manifest.json has" in made.files["MODEL_CARD.md"]
    result = verify_package(stored(made.files, tmp_path))
    assert result.is_sound
    found = verdicts(result)
    assert (found["measured"], found["code"]) == ("skipped", "skipped")
    (code,) = [check for check in result.checks if check.name == "code"]
    assert [line.split(":")[0] for line in code.detail[1:]] == ["MODEL_CARD.md", "sbom.cdx.json"]


def test_golden_vectors_are_of_different_classes(package: Package) -> None:
    index = json.loads(package.files["golden/golden.json"])
    labels = [vector["label"] for vector in index["vectors"]]
    assert len(labels) == len(set(labels)) == 4
    with np.load(DATA) as data:
        for number, vector in enumerate(index["vectors"]):
            raw = np.frombuffer(package.files[f"golden/{number:02d}-raw-0.bin"], np.uint8)
            assert np.array_equal(raw, data["x"][vector["index"]].ravel())
            assert vector["label"] == data["y"][vector["index"]]


# ---------------------------------------------------------------- the same bytes


def test_the_same_inputs_give_the_same_bytes(
    package: Package, int8_mobilenet: Path, tmp_path: Path
) -> None:
    """In another process, folder, time zone and locale."""
    arguments = [
        "package", int8_mobilenet, "--target", "python", "--data", DATA, "--name", "fashion",
        "--release", "1.4.0", "--license", "Apache-2.0", "--labels", tmp_path / "labels.txt",
    ]  # fmt: skip
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    assert run(*arguments, "-o", tmp_path / "a").exception is None
    program = "import sys; from edgeq.cli import main; main(sys.argv[1:])"
    environment = {"TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "3", "PATH": "/usr/bin"}
    subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments), "-o", "b.zip"], cwd=tmp_path,
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    folder, zipped = (open_package(tmp_path / name) for name in ("a", "b.zip"))
    assert folder.files == zipped.files == package.files
    assert folder.damage == zipped.damage == ()


# ---------------------------------------------------------------- what verify finds


def test_one_flipped_byte_in_any_file_is_named(package: Package, tmp_path: Path) -> None:
    for number, (path, content) in enumerate(sorted(package.files.items())):
        place = (number * 7919) % len(content) if content else 0
        flipped = bytearray(content or b"\0")
        if content:
            flipped[place] ^= 1
        try:
            result = verify_here(stored({**package.files, path: bytes(flipped)}, tmp_path))
        except PackageError as error:  # a manifest that is no JSON any more
            assert path == MANIFEST and MANIFEST in error.message
            continue
        assert not result.is_sound, path
        assert any(path in line for check in result.checks for line in check.detail), path


def test_one_flipped_byte_anywhere_in_an_archive_is_found(package: Package, tmp_path: Path) -> None:
    content = archive.write_zip(package.files)
    path = tmp_path / "p.zip"
    for place in range(11, len(content), len(content) // 60):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        path.write_bytes(bytes(flipped))
        try:
            assert not verify_here(path).is_sound, place
        except PackageError:
            continue


def test_files_that_are_missing_or_too_many_are_named(package: Package, tmp_path: Path) -> None:
    files = {path: content for path, content in package.files.items() if path != "MODEL_CARD.md"}
    result = verify_package(stored({**files, "evil.sh": b"#!/bin/sh\n"}, tmp_path), runs=False)
    (check,) = [check for check in result.checks if check.verdict == "fail"]
    assert check.detail == (
        "MODEL_CARD.md is missing.",
        "evil.sh does not belong to the package.",
    )


def test_a_swapped_model_is_found_though_all_digests_fit(
    package: Package, float_file: Path, int8_mobilenet: Path, tmp_path: Path
) -> None:
    """Somebody packaged another file under this one's records."""
    other = tmp_path / "other.tflite"
    other.write_bytes(float_file.read_bytes())
    Path(f"{other}.json").write_bytes(Path(f"{int8_mobilenet}.json").read_bytes())
    with pytest.raises(RecordError, match="is about another file than"):
        make_package(other, "python", data=DATA)


def test_a_device_that_computes_otherwise_is_found(package: Package, tmp_path: Path) -> None:
    """The expected outputs were changed, and everything made and sealed anew from them."""
    manifest = package.manifest
    vectors = golden.read_golden(package.files)
    (output,) = manifest.contract.outputs
    shifted = np.clip(vectors.vectors[0].outputs["class"].astype(int) + 40, -128, 127)
    integers = {"class": shifted.astype(np.int8)}
    real = {"class": quantmath.dequantize(integers["class"], output.spec)}
    changed = replace(vectors.vectors[0], outputs=integers, real=real)
    contents = tuple(package.files[path] for path in manifest.records)
    records = tuple(map(parse_record, contents, manifest.records))
    files = build.make_files(
        "python",
        PackageInputs(
            manifest.contract, parse_model(package.files["fashion/fashion.tflite"], "m"),
            replace(vectors, vectors=(changed, *vectors.vectors[1:])), manifest.license,
            manifest.measured_sha256, Evidence(records, contents, manifest.gate),
            manifest.warnings, manifest.description,
        ),
        LOCAL_TOOLS,
    )  # fmt: skip
    result = verify_package(stored(seal(replace(manifest, files=list_files(files)), files),
                                   tmp_path))  # fmt: skip
    found = verdicts(result)
    assert found.pop("golden vectors on local") == "fail"
    assert "fail" not in found.values()
    assert "values differ, by up to" in result.checks[-1].detail[0]


def test_a_device_that_is_not_there_cannot_tell(package: Package, tmp_path: Path) -> None:
    result = verify_package(
        stored(package.files, tmp_path), devices=["local", "ssh://nobody@127.0.0.1:9"]
    )
    assert verdicts(result)["golden vectors on local"] == "pass"
    assert verdicts(result)["golden vectors on ssh://nobody@127.0.0.1:9"] == "cannot-tell"
    assert (result.verdict, result.is_sound) == ("cannot-tell", False)


@pytest.mark.parametrize("kind", ["link", "nothing", "empty", "newer"])
def test_what_is_no_package_is_refused(package: Package, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "package"
    if kind == "link":
        stored(package.files, tmp_path)
        (path / "x").symlink_to("/etc/passwd")
    elif kind == "empty":
        path.mkdir()
    elif kind == "newer":
        text = package.files[MANIFEST].replace(b"edgeq.package/1", b"edgeq.package/9")
        stored({**package.files, MANIFEST: text}, tmp_path)
    with pytest.raises(PackageError):
        verify_package(path)


# ---------------------------------------------------------------- signatures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Key pairs, made by OpenSSL."""

    def make(name: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(name)
        private, public = folder / "key.pem", folder / "key.pub.pem"
        command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)]
        subprocess.run(command, check=True, capture_output=True)
        command = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
        subprocess.run(command, check=True, capture_output=True)
        return private, public

    return make


def test_a_signature_proves_who_made_it(
    keys: Callable[[str], tuple[Path, Path]], int8_mobilenet: Path, tmp_path: Path
) -> None:
    private, public = keys("ours")
    _, theirs = keys("theirs")
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, key=private)
    path = stored(made.files, tmp_path)

    def signature(**given: Any) -> str:
        return verdicts(verify_package(path, runs=False, **given))["signature"]

    assert signature(public_key=public) == "pass"
    assert signature(public_key=theirs) == "fail"
    assert signature() == "skipped"
    proven = verify_package(path, public_key=public)
    assert proven.conclusion == f"{path} is what was measured. Skipped: gate."
    assert verify_package(path).is_sound
    good = (path / KEY).read_bytes()
    (path / KEY).write_bytes(good.replace(b"A", b"B", 1))
    for result in (verify_package(path, public_key=public, runs=False),
                   verify_package(path, runs=False)):  # fmt: skip
        assert any(KEY in line for check in result.checks for line in check.detail
                   if check.verdict == "fail")  # fmt: skip
    (path / KEY).write_bytes(good)
    (path / SIGNATURE).write_bytes(bytes(64))
    assert signature(public_key=public) == signature() == "fail"
    (path / SIGNATURE).unlink()
    assert signature(public_key=public) == signature() == "fail"
    (path / KEY).unlink()
    assert signature(public_key=public) == "fail"
    assert signature() == "skipped"


def test_openssl_checks_the_signature_too(
    keys: Callable[[str], tuple[Path, Path]], int8_mobilenet: Path, tmp_path: Path
) -> None:
    private, public = keys("ours")
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, key=private)
    path = stored(made.files, tmp_path)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in",
               SUMS, "-sigfile", SIGNATURE]  # fmt: skip
    done = subprocess.run(command, cwd=path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_key_with_a_password_needs_it(
    keys: Callable[[str], tuple[Path, Path]], int8_mobilenet: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    private, public = keys("ours")
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", str(private), "-aes256", "-passout", "pass:hush", "-out",
               str(locked)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.delenv("EDGEQ_SIGNING_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="has a password, and EDGEQ_SIGNING_PASSWORD is not set"):
        make_package(int8_mobilenet, "python", data=DATA, key=locked)
    monkeypatch.setenv("EDGEQ_SIGNING_PASSWORD", "wrong")
    with pytest.raises(UsageError, match="cannot be opened with the password in EDGEQ_SIGNING"):
        make_package(int8_mobilenet, "python", data=DATA, key=locked)
    monkeypatch.setenv("EDGEQ_SIGNING_PASSWORD", "hush")
    made = make_package(int8_mobilenet, "python", data=DATA, vectors=1, key=locked)
    assert made.files[KEY] == public.read_bytes()
    # One without a password is read as before.
    same = make_package(int8_mobilenet, "python", data=DATA, vectors=1, key=private)
    assert same.files == made.files
    assert b"openssl pkeyutl -verify -pubin -inkey signing-key.pub.pem" in made.files["README.md"]


@pytest.mark.parametrize("content", ["", "no key", "rsa"])
def test_what_is_no_key_is_refused(int8_mobilenet: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.pem"
    if content == "rsa":
        subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], check=True,
                       capture_output=True)  # fmt: skip
    else:
        path.write_text(content)
    with pytest.raises(UsageError, match="key"):
        make_package(int8_mobilenet, "python", data=DATA, key=path)


# ---------------------------------------------------------------- gates


@pytest.fixture
def missed_gate(int8_mobilenet: Path, tmp_path: Path) -> Path:
    """The record of a gate that said no."""
    policy = tmp_path / "edgeq.toml"
    policy.write_text("[policy]\nmax_size = '1 kB'\n")
    record = tmp_path / "gate.json"
    run("gate", f"{int8_mobilenet}.json", "--policy", policy, "-o", record)
    return record


def test_a_package_whose_gate_failed_is_refused_unless_forced(
    int8_mobilenet: Path, missed_gate: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"says fail: max_size \(at most 1 kB\)") as caught:
        make_package(int8_mobilenet, "python", data=DATA, records=[missed_gate])
    assert caught.value.exit_code == 3
    made = make_package(
        int8_mobilenet, "python", data=DATA, records=[missed_gate], is_forced=True, vectors=1
    )
    assert b"packaged with --force" in made.files["MODEL_CARD.md"]
    result = verify_package(stored(made.files, tmp_path), runs=False)
    assert verdicts(result)["gate"] == "fail"
    bare = make_package(
        int8_mobilenet, "python", data=DATA, records=[missed_gate], is_forced=True, vectors=1,
        has_records=False,
    )  # fmt: skip
    result = verify_package(stored(bare.files, tmp_path), runs=False)
    assert verdicts(result)["gate"] == "fail"
    assert any("FORCED" in note for note in made.notes)


def test_a_gate_that_the_manifest_invents_is_found(package: Package, tmp_path: Path) -> None:
    """Everything is sealed anew; the record of the gate is not there."""
    files = {path: content for path, content in package.files.items()
             if path not in (MANIFEST, SUMS)}  # fmt: skip
    passed = replace(package.manifest.gate, word="pass", policy="edgeq.toml")
    path = stored(seal(replace(package.manifest, gate=passed), files), tmp_path)
    gate = next(c for c in verify_package(path, runs=False).checks if c.name == "gate")
    assert (gate.verdict, gate.detail) == ("fail", ("the manifest says pass, its record none",))


# ---------------------------------------------------------------- wrong ways


def test_data_that_was_changed_since_is_not_taken_for_the_records(
    float_file: Path, tmp_path: Path
) -> None:
    data, model = tmp_path / "samples.npz", tmp_path / "m.tflite"
    with np.load(models.path("fashion_mnist_calibration.npz")) as found:
        x, y = found["x"], found["y"]
    np.savez(data, x=x, y=y)
    run("convert", float_file, "--data", data, "--preprocess", "scale=1/255", "--effort", "fast",
        "-o", model)  # fmt: skip
    assert make_package(model, "python", vectors=1).manifest.name == "m"
    np.savez(data, x=x[::-1], y=y[::-1])
    with pytest.raises(UsageError, match=r"samples\.npz was changed since the model's record"):
        make_package(model, "python", vectors=1)


def test_a_wrong_number_of_labels_is_refused(int8_mobilenet: Path) -> None:
    with pytest.raises(UsageError, match="There are 3 labels, but output 'class' has 10 classes"):
        make_package(int8_mobilenet, "python", data=DATA, labels={"": ("a", "b", "c")})
    with pytest.raises(
        UsageError, match="--labels names the output 'x'; the model's outputs are class"
    ):
        make_package(int8_mobilenet, "python", data=DATA, labels={"x": LABELS})


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3" + bytes(99)])
def test_a_damaged_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        make_package(path, "python", data=DATA)


def test_two_gigabytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with path.open("wb") as stream:
        stream.truncate(2**31 + 5)  # a sparse file
    with pytest.raises(SourceError):
        make_package(path, "python", data=DATA)


def test_a_dynamic_batch_is_one(lower: Any, tmp_path: Path) -> None:
    model = lower(models.path("fmnist_cnn.keras"), batch=0)
    made = make_package(model.file.path, "python", data=DATA, vectors=2, name="cnn")
    assert made.manifest.contract.inputs[0].spec.shape == (1, 28, 28, 1)
    assert verify_package(stored(made.files, tmp_path)).is_sound


def test_another_dynamic_size_is_refused(float_file: Path, tmp_path: Path) -> None:
    tree = flatbuffer.read(float_file)
    graph = tree.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = np.array([1, -1, 28, 1], np.int32)
    path = tmp_path / "m.tflite"
    path.write_bytes(flatbuffer.serialize(tree))
    with pytest.raises(SourceError, match="has the dynamic shape 1x\\?x28x1"):
        make_package(path, "python", data=DATA)


def test_data_is_asked_for_when_nobody_knows_any(float_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(float_file.read_bytes())
    with pytest.raises(UsageError, match="There are no samples for golden vectors"):
        make_package(path, "python")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--release", "one", "is not a version"), ("--release", "v1.4.0", "Write it as 1.4.0."),
     ("--release", "01.2.3", "Write it as 1.2.3."), ("--release", "1.4.0-", "is not a version"),
     ("--release", "1.4.0-rc.1+b5", "Write it as 1.4.0-rc.1."), ("--name", "!?", "has no letter"),
     ("--name", "a" * 300, "has 300 characters; at most 100 are possible"),
     ("--name", "Golden", "The name 'golden' is reserved"),
     ("--labels", "none.txt", "cannot be read"),
     ("--license", 'My "Lic" */', "is not an SPDX expression"),
     ("--license", "Proprietary", "LicenseRef-Proprietary"),
     ("--preprocess", "scale=1/127.5,offset=-1", "contradicts scale=1/255, which"),
     ("--preprocess", "resize=28x28", "Write --preprocess resize=28x28,scale=1/255")],
)  # fmt: skip
def test_options_that_mean_nothing(
    int8_mobilenet: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    done = run("package", int8_mobilenet, "--target", "python", "--data", DATA, option, value,
               "-o", tmp_path / "p")  # fmt: skip
    assert isinstance(done.exception, EdgeqError) and words in str(done.exception)
    assert done.exception.exit_code == 2
    assert not (tmp_path / "p").exists()


# ---------------------------------------------------------------- the commands


def test_the_size_of_a_release_is_told_against_the_one_before(
    int8_mobilenet: Path, float_file: Path, tmp_path: Path
) -> None:
    common = ("--target", "python", "--data", DATA, "--vectors", 1)
    assert run("package", float_file, *common, "--name", "m", "-o", tmp_path / "a.zip").exception \
        is None  # fmt: skip
    done = run("package", int8_mobilenet, *common, "--name", "m", "--release", "2.0.0",
               "--previous", tmp_path / "a.zip", "-o", tmp_path / "b")  # fmt: skip
    assert done.exception is None
    text = " ".join(done.stdout.split())
    assert re.search(r"compressed, -[\d.]+ kB since 1\.0\.0, a patch of [\d.]+ kB", text)
    assert f"Wrote {tmp_path / 'b'}" in done.stdout and "Replaced" not in done.stdout
    done = run("package", float_file, *common, "--name", "m", "-o", tmp_path / "b")
    assert "Replaced the package m 2.0.0." in done.stdout


def test_the_size_of_a_wheel_is_told_against_that_of_another_version(
    package: Package, int8_mobilenet: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    writing.write_package(package.files, before)
    arguments = ("package", int8_mobilenet, "--target", "python", "--data", DATA, "--vectors", 1,
                 "--previous", before, "-o", tmp_path / "next")  # fmt: skip
    done = run(*arguments, "--name", "fashion", "--release", "1.4.1")
    assert done.exception is None
    text = " ".join(done.stdout.split())
    assert text.count("since 1.4.0, a patch of") == 2
    assert "new since" not in text and "is gone" not in text
    for option, words in ((("--name", "other"), "the package of fashion for python, not of other"),
                          (("--name", "fashion"), "README.md was changed")):  # fmt: skip
        if "changed" in words:
            (before / "README.md").write_text("x")
        done = run(*arguments, *option, "-o", tmp_path / "third")
        assert words in str(done.exception)
        assert not (tmp_path / "third").exists()


def test_fewer_vectors_than_asked_for_are_told(int8_mobilenet: Path) -> None:
    with np.load(DATA) as data:
        few = {name: data[name][:5] for name in data}
    made = make_package(int8_mobilenet, "python", data=few, vectors=9)
    fewer = "5 golden vectors instead of the requested 9: "
    assert any(note.startswith(fewer) for note in made.notes)
    one = {name: array[:1] for name, array in few.items()}
    made = make_package(int8_mobilenet, "python", data=one, vectors=2)
    assert any(note.startswith("1 golden vector instead of") for note in made.notes)


def test_a_model_to_convert_is_told_to_be_converted() -> None:
    done = run("package", models.path("fmnist_cnn.keras"), "--target", "python")
    assert isinstance(done.exception, SourceError)
    assert "edgeq convert" in str(done.exception)


def test_verify_ends_in_a_word_and_a_status(package: Package, tmp_path: Path) -> None:
    path = stored(package.files, tmp_path)
    done = run("verify", path)
    assert done.return_value == 0
    assert " ".join(done.stdout.split()).endswith(
        f"PASS: {path} is consistent; it is unsigned, so anybody can have made it. Skipped: gate."
    )
    (path / "MODEL_CARD.md").write_text("better")
    done = run("verify", path, "--json")
    assert done.return_value == 3
    assert json.loads(done.stdout)["is_sound"] is False
    done = run("verify", path)
    assert "MODEL_CARD.md was changed" in done.stdout
    assert f"FAIL: do not ship {path}: files failed." in " ".join(done.stdout.split())


# ---------------------------------------------------------------- all targets


@pytest.mark.parametrize("target", targets.NAMES)
def test_a_package_for_each_target_is_what_was_measured_and_always_the_same(
    int8_mobilenet: Path, tmp_path: Path, target: str, request: pytest.FixtureRequest
) -> None:
    require_parts(target, request)
    given: dict[str, Any] = {"data": DATA, "labels": {"": LABELS}, "vectors": 2}
    made = make_package(int8_mobilenet, target, **given)
    path = tmp_path / f"{target}.zip"
    writing.write_package(made.files, path)
    assert verify_package(path).is_sound
    copy = tmp_path / "elsewhere" / "renamed folder"
    copy.mkdir(parents=True)
    for source in (int8_mobilenet, Path(f"{int8_mobilenet}.json")):
        (copy / source.name).write_bytes(source.read_bytes())
    assert make_package(copy / int8_mobilenet.name, target, **given).files == made.files


def test_a_record_that_its_model_names_is_in_the_package_once(int8_mobilenet: Path) -> None:
    digest = hashlib.sha256(int8_mobilenet.read_bytes()).hexdigest()
    beside = Path(f"{int8_mobilenet}.json")
    for given in ((), (int8_mobilenet,), (str(beside),)):
        found = find_evidence(int8_mobilenet, given, [digest])
        assert [record.path for record in found.records] == [str(beside)]
        assert found.contents == (beside.read_bytes(),)
