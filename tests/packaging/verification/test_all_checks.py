"""What the child of `verify` finds in a package of a model of one operator, asked without a child
and without an interpreter; tests/packaging/test_verify.py has both, and forges packages of a real
model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeq.errors import DeviceError, EdgeqError, MissingExtraError, SourceError
from edgeq.files import storage
from edgeq.packaging.assembly import build
from edgeq.packaging.assembly.tools import LOCAL_TOOLS
from edgeq.packaging.container import signing, writing
from edgeq.packaging.container.manifest import KEY, SIGNATURE, SUMS, seal
from edgeq.packaging.contract.contract import make_contract
from edgeq.packaging.contract.values import Golden, Vector
from edgeq.packaging.evidence.inputs import PackageInputs
from edgeq.packaging.evidence.records import find_evidence
from edgeq.packaging.verification import all_checks, contents
from edgeq.packaging.verification.checks import Check
from edgeq.packaging.verification.requests import Asker, Job
from edgeq.packaging.verification.verify import Verification
from edgeq.tflite.model_file import read_model
from tests import tiny_models
from tests.packaging.test_verify import find, sealed

Files = dict[str, bytes]


def vector(index: int, *values: int) -> Vector:
    """Of `y = x + x`, whose scale doubles: the integers stay."""
    steps = np.array([values], np.int8)
    real = steps.astype(np.float32)
    return Vector(index, None, {"x": real[0] / 2}, {"x": steps}, {"y": steps}, {"y": real})


VECTORS = (vector(0, 1, 2, 3, 4), vector(3, -8, 9, 100, -128), vector(4, 0, 0, 5, 6))
GOLDEN = Golden("d.npz", "a" * 64, VECTORS, {"y": 1.0})


def make_files(folder: Path, *, is_signed: bool) -> Files:
    path = folder / "tiny.tflite"
    path.write_bytes(tiny_models.double_int8())
    contract = make_contract(path, name="tiny", version="1.0", labels=None, preprocess=None)
    shipped = replace(contract, model=storage.refer_bytes(path.read_bytes(), "tiny.tflite"))
    inputs = PackageInputs(
        shipped, read_model(path), GOLDEN, None, contract.model.sha256,
        find_evidence(path, (), [contract.model.sha256]), is_signed=is_signed,
    )  # fmt: skip
    made = build.make_files("python", inputs, LOCAL_TOOLS)
    return seal(build.describe("python", inputs, made), made)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A sound package, unsigned."""
    return make_files(tmp_path_factory.mktemp("tiny"), is_signed=False)


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A sound package, about to be signed: its pages say that it is."""
    return make_files(tmp_path_factory.mktemp("tiny"), is_signed=True)


class Device(Asker):
    """A parent that has one device, which answers so, or fails."""

    def __init__(self, answer: Any = None):
        self.answer = answer
        self.asked: list[tuple[bytes, Any, int]] = []

    def infer(self, model: bytes, inputs: Any, device: int) -> dict[str, Any]:
        self.asked.append((model, inputs["x"].tolist(), device))
        if isinstance(self.answer, EdgeqError):
            raise self.answer
        return {"y": inputs["x"] if self.answer is None else self.answer}


@pytest.fixture
def verify(tmp_path: Path) -> Callable[..., Verification]:
    def run(
        files: Files, devices: tuple[str, ...] | None = None, key: str | None = None,
        asker: Asker | None = None,
    ) -> Verification:  # fmt: skip
        path = tmp_path / "package"
        writing.write_package(files, path)
        judged = all_checks.prove(Job(str(path), key, devices), asker or Device())
        return Verification(str(path), judged.manifest, judged.checks)

    return run


def words(result: Verification) -> list[tuple[str, str]]:
    return [(check.name, check.verdict) for check in result.checks]


REST = Check("the rest", "skipped", ("not checked, because of the failure above",))
SOUND = [
    ("files", "pass"), ("signature", "skipped"), ("model", "pass"), ("contract", "pass"),
    ("measured", "skipped"), ("gate", "skipped"), ("vectors", "pass"), ("inputs", "pass"),
    ("code", "pass"),
]  # fmt: skip


def test_a_sound_package_is_run_on_each_device(verify: Any, files: Files) -> None:
    device = Device()
    result = verify(files, ("local", "pi4"), asker=device)
    assert words(result) == [
        *SOUND, ("golden vectors on local", "pass"), ("golden vectors on pi4", "pass")
    ]  # fmt: skip
    assert find(result, "files").detail == ("41 files agree with the manifest",)
    assert find(result, "signature").detail == ("not signed",)
    assert result.checks[-1].detail == ("3 of 3 within tolerance, 3 exact",)
    rows = [[1, 2, 3, 4], [-8, 9, 100, -128], [0, 0, 5, 6]]
    model = tiny_models.double_int8()
    assert device.asked == [(model, rows, 0), (model, rows, 1)]


@pytest.mark.parametrize("devices", [None, ()])
def test_what_is_not_run_is_not_proven(verify: Any, files: Files, devices: Any) -> None:
    result = verify(files, devices)
    assert words(result) == [*SOUND, ("golden vectors", "skipped")]
    assert result.checks[-1].detail == ("not run, as requested",)
    assert result.conclusion.endswith(" Skipped: measured, gate, golden vectors.")


@pytest.mark.parametrize(("devices", "runs"), [((), True), (None, False)])
def test_code_that_needs_a_run_to_be_made_again_has_one_when_asked(
    verify: Any, files: Files, monkeypatch: pytest.MonkeyPatch, devices: Any, runs: bool
) -> None:
    asked = []

    def check_code(*given: Any, runs: bool) -> Check:
        asked.append(runs)
        return Check("code", "pass", ())

    monkeypatch.setattr(all_checks, "check_code", check_code)
    verify(files, devices)
    assert asked == [runs]


# ---------------------------------------------------------------- what failed comes first


def test_what_was_damaged_is_not_looked_into(verify: Any, files: Files) -> None:
    result = verify({**files, "README.md": b"other"})
    assert words(result)[:2] == [("files", "fail"), ("signature", "skipped")]
    assert result.checks[2:] == (REST,)


def test_a_package_without_its_model_ends_there(verify: Any, files: Files) -> None:
    left = {path: files[path] for path in files if not path.endswith((".tflite", ".whl"))}
    result = verify(sealed(left))
    assert words(result)[2:] == [("model", "fail"), ("the rest", "skipped")]
    assert result.checks[-1] == REST


def test_a_package_of_another_contract_ends_there(verify: Any, files: Files) -> None:
    result = verify(sealed(files, lambda manifest: manifest.update(version="\x1b[2J")))
    assert words(result)[2:] == [("model", "pass"), ("contract", "fail"), ("the rest", "skipped")]


def test_records_that_are_none_leave_gate_and_code_unjudged(verify: Any, files: Files) -> None:
    path = "records/00-convert.json"
    result = verify(
        sealed({**files, path: b"{}"}, lambda manifest: manifest.update(records=[path]))
    )
    assert words(result)[4:] == [("measured", "fail"), ("vectors", "pass"), ("the rest", "skipped")]


def test_vectors_that_prove_nothing_leave_code_unjudged(verify: Any, files: Files) -> None:
    result = verify(sealed({**files, "golden/golden.json": b"{}"}))
    assert words(result)[4:] == [
        ("measured", "skipped"), ("gate", "skipped"), ("vectors", "fail"), ("the rest", "skipped")
    ]  # fmt: skip


# ---------------------------------------------------------------- signatures

KEYS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PRINTS = [signing.fingerprint(key.public_key()) for key in KEYS]


def signed(files: Files, by: int = 0, inside: int = 0, over: bytes | None = None) -> Files:
    """Signed by one key, with one inside."""
    content = files[SUMS] if over is None else over
    return {**files, SIGNATURE: KEYS[by].sign(content),
            KEY: signing.public_pem(KEYS[inside])}  # fmt: skip


PUBLIC_KEY = signing.public_pem(KEYS[0]).decode()  # as the one who ships has it


def test_a_signature_proves_who_made_it(verify: Any, unsigned: Files) -> None:
    result = verify(signed(unsigned), key=PUBLIC_KEY)
    found = find(result, "signature")
    assert (found.verdict, found.detail) == ("pass", (f"by the key {PRINTS[0]}",))
    assert result.conclusion == (
        f"{result.path} is what its signer packaged. Skipped: measured, gate, golden vectors."
    )


def test_a_gate_is_believed_where_a_signature_proves_who_says_so(
    verify: Any, unsigned: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    believed = []

    def check_gate(manifest: Any, records: Any, is_vouched_for: bool) -> Check:
        believed.append(is_vouched_for)
        return Check("gate", "pass", ())

    monkeypatch.setattr(contents, "check_gate", check_gate)
    verify(unsigned)
    verify(signed(unsigned))
    verify(signed(unsigned), key=PUBLIC_KEY)
    assert believed == [False, False, True]


def without(files: Files, path: str) -> Files:
    return {own: content for own, content in files.items() if own != path}


OTHER_KEY = f"{KEY} is not the key {PRINTS[0]}"
NOT_BY = f"{SIGNATURE} is not by the key {PRINTS[0]} over {SUMS}"


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda files: signed(files, by=1), (NOT_BY,)),
        (lambda files: signed(files, inside=1), (OTHER_KEY,)),
        (lambda files: signed(files, by=1, inside=1), (NOT_BY, OTHER_KEY)),
        (lambda files: signed(files, over=b"other sums"), (NOT_BY,)),
        (lambda files: without(signed(files), KEY), (OTHER_KEY,)),
        (lambda files: without(signed(files), SIGNATURE),
         (f"{KEY} is inside, but no {SIGNATURE}: the signature was removed",)),
        (lambda files: files, (f"not signed; a signature by the key {PRINTS[0]} is required",)),
    ],
)  # fmt: skip
def test_what_is_not_signed_by_the_key_that_is_asked_for_fails(
    verify: Any, unsigned: Files, change: Any, problems: tuple[str, ...]
) -> None:
    result = verify(change(unsigned), key=PUBLIC_KEY)
    found = find(result, "signature")
    assert (found.verdict, found.detail) == ("fail", problems)
    assert result.checks[-1] == REST


def test_without_a_key_a_signature_is_mentioned_and_held_against_its_own(
    verify: Any, unsigned: Files
) -> None:
    result = verify(signed(unsigned))
    found = find(result, "signature")
    assert (found.verdict, found.detail) == (
        "skipped", (f"it claims to be by {PRINTS[0]}; --public-key KEY.pem proves by whom",)
    )  # fmt: skip
    assert "; its signature was not checked with a --public-key, so anybody can have made it." in (
        result.conclusion
    )
    found = find(verify({**signed(unsigned), KEY: b"junk"}), "signature")
    assert (found.verdict, found.detail) == ("fail", (f"{KEY} is not a public key in PEM.",))
    changed = f"{SIGNATURE} or {KEY} was changed"
    for forged in (signed(unsigned, by=1), signed(unsigned, inside=1), signed(unsigned, over=b"")):
        found = find(verify(forged), "signature")
        assert (found.verdict, found.detail) == ("fail", (changed,))


# ---------------------------------------------------------------- golden vectors


def run_on(answer: Any, golden: Golden = GOLDEN) -> Check:
    """The check of a device that computes this, or fails so."""
    return all_checks._run_golden(b"the model", golden, Device(answer), 0, "golden vectors on pi4")


def test_vectors_within_tolerance_are_counted() -> None:
    given = np.concatenate([vector.outputs["y"] for vector in VECTORS])
    told = "golden vectors on pi4", "pass"
    assert run_on(given) == Check(*told, ("3 of 3 within tolerance, 3 exact",))
    one = replace(GOLDEN, vectors=VECTORS[:1])
    assert run_on(given[:1], one) == Check(*told, ("1 of 1 within tolerance, 1 exact",))
    given[1, 0] += 1  # the tolerance is 1
    assert run_on(given) == Check(*told, ("3 of 3 within tolerance, 2 exact",))
    given[1, 0] += 1
    given[2, 3] -= 5
    assert run_on(given) == Check(
        "golden vectors on pi4",
        "fail",
        (
            "sample 3, output 'y': 1 of 4 values differ, by up to 2 steps (1 are accepted)",
            "sample 4, output 'y': 1 of 4 values differ, by up to 5 steps (1 are accepted)",
        ),
    )


def test_another_output_than_the_packages_fails() -> None:
    found = run_on(np.zeros((3, 4), np.float32))
    assert (found.verdict, found.detail) == (
        "fail", ("Output 'y' is not the int8 array that was expected.",)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (DeviceError("It is gone."), "cannot-tell"),
        (MissingExtraError("It is gone."), "cannot-tell"),
        (SourceError("It is gone."), "fail"),
    ],
)
def test_a_device_that_is_gone_says_nothing_and_a_model_that_does_not_load_fails(
    error: EdgeqError, verdict: str
) -> None:
    assert run_on(error) == Check("golden vectors on pi4", verdict, ("It is gone.",))
