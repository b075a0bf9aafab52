"""Keras files as archives: what leads out of them, and what two readers would read differently."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgeq.converters.lowering.model_kinds import identify
from edgeq.converters.safe_reading import keras_file, plain_json
from edgeq.errors import SourceError

CONFIG = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}
METADATA = '{"keras_version": "3.15.1"}'

Fill = Callable[[Any], object]


TEXT = json.dumps(CONFIG)


def write_h5(path: Path, fill: Fill = lambda _: None, config: Any = TEXT) -> Path:
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = config
        file.attrs["keras_version"] = "2.15.0"
        file.create_group("model_weights").create_dataset("w", data=np.ones(3, np.float32))
        fill(file)
    return path


def write_zip(path: Path, *members: tuple[Any, Any], config: Any = None, fill: Any = None) -> Path:
    weights = write_h5(path.with_suffix(".weights"), fill or (lambda _: None), None)
    given = [("metadata.json", METADATA), ("config.json", config or json.dumps(CONFIG))]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (*given, ("model.weights.h5", weights.read_bytes()), *members):
            archive.writestr(name, content)
    weights.unlink()
    return path


def complaint(path: Path) -> str:
    """How the file is refused, without its path and the advice to save it again."""
    kind = identify(path)
    with pytest.raises(SourceError) as caught:
        keras_file.read(path, kind)
    assert caught.value.hint == f"Save it again with model.save('model.{kind}')."
    return caught.value.message.replace(str(path), "PATH")


def test_sound_files_are_read(tmp_path: Path) -> None:
    zipped = keras_file.read(write_zip(tmp_path / "m.keras"), "keras")
    assert (zipped.config, zipped.version) == (CONFIG, "3.15.1")
    for config in (json.dumps(CONFIG), json.dumps(CONFIG).encode(), np.bytes_(json.dumps(CONFIG))):
        stored = keras_file.read(write_h5(tmp_path / "m.h5", config=config), "h5")
        assert (stored.config, stored.version) == (CONFIG, "2.15.0")


# ---------------------------------------------------------------- zips


def link(name: str) -> zipfile.ZipInfo:
    item = zipfile.ZipInfo(name)
    item.external_attr = (stat.S_IFLNK | 0o777) << 16
    return item


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("member", "content", "what"),
    [
        ("config.json", json.dumps(CONFIG), "its member 'config.json' is there twice"),
        ("./config.json", json.dumps(CONFIG), "its member './config.json' is there twice"),
        ("CONFIG.JSON", "{}", "its member 'CONFIG.JSON' is there twice"),
        ("a/../config.json", "{}", "its member 'a/../config.json' is there twice"),
        ("../evil", "", "its member '../evil' has a path that leads out of the archive"),
        ("assets/../../evil", "", "its member 'assets/../../evil' has a path that leads out"),
        ("/tmp/evil", "", "its member '/tmp/evil' has a path that leads out of the archive"),
        ("..\\evil", "", "its member '..\\\\evil' has a path that leads out of the archive"),
        ("C:/evil", "", "its member 'C:/evil' has a path that leads out of the archive"),
        (link("assets/passwd"), "/etc/passwd", "its member 'assets/passwd' is a link or another"),
    ],
)
def test_members_that_would_not_stay_inside(
    tmp_path: Path, member: Any, content: str, what: str
) -> None:
    path = write_zip(tmp_path / "m.keras", (member, content))
    assert complaint(path).startswith(f"PATH is not a whole Keras file: {what}")


def test_a_member_that_unpacks_to_far_more_than_is_stored(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, \
            archive.open("assets/zeros", "w") as member:  # fmt: skip
        for _ in range(65):
            member.write(bytes(1 << 20))
    assert "its member 'assets/zeros' brings the stated size to 68157440 bytes" in complaint(path)


def test_two_names_of_one_member(tmp_path: Path) -> None:
    """The local header says one name, the directory another."""
    path = write_zip(tmp_path / "m.keras", ("confog.json", "{}"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"confog.json", b"config.json", 1))
    with pytest.raises(SourceError, match=r"is damaged: confog\.json fails its checksum"):
        keras_file.read(path, "keras")


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ('{"a": 1, "class_name": "Dense", "class_name": "Lambda"}', "'class_name' twice in one"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested more than 200 levels deep"),
        ("[" * 200_000, "nested too deep"),
        ("{'a': 1}", "Expecting property name"),
        (b"\xff\xfe\x00", "truncated data"),
    ],
)  # fmt: skip
def test_configurations_that_parsers_may_read_differently(
    tmp_path: Path, config: Any, what: str
) -> None:
    path = write_zip(tmp_path / "m.keras", config=config)
    assert what in complaint(path)


def test_a_configuration_of_any_size_is_not_read(tmp_path: Path) -> None:
    config = '{"a": "%s"}' % ("x" * plain_json.MAX_BYTES)
    path = write_zip(tmp_path / "m.keras", config=config)
    assert complaint(path).endswith(
        f"its config.json has {len(config)} bytes, and {plain_json.MAX_BYTES} are allowed."
    )


# ---------------------------------------------------------------- HDF5


def external_link(file: Any) -> None:
    file["model_weights"]["kernel"] = h5py.ExternalLink("/etc/other.h5", "/")


def external_storage(file: Any) -> None:
    storage = [("/etc/passwd", 0, 100)]
    file["model_weights"].create_dataset("kernel", (100,), "u1", external=storage)


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "w", (10,))
    file["model_weights"].create_virtual_dataset("kernel", layout)


def inflated(file: Any) -> None:
    file["model_weights"].create_dataset("kernel", (10**12,), "f4", chunks=(1 << 20,))


HOSTILE = {
    external_link: "its HDF5 group 'model_weights/kernel' is a link to another file",
    external_storage: "its HDF5 dataset 'model_weights/kernel' keeps its values in another file",
    virtual: "its HDF5 dataset 'model_weights/kernel' keeps its values in another file",
    inflated: "its HDF5 dataset 'model_weights/kernel' brings the stated size to 4000000000000",
}


@pytest.mark.parametrize("fill", HOSTILE)
def test_hdf5_that_leads_to_other_files_or_states_false_sizes(tmp_path: Path, fill: Fill) -> None:
    stored, zipped = write_h5(tmp_path / "m.h5", fill), write_zip(tmp_path / "m.keras", fill=fill)
    assert complaint(stored).startswith(f"PATH is not a whole HDF5 file: {HOSTILE[fill]}")
    assert complaint(zipped).startswith(f"PATH is not a whole Keras file: {HOSTILE[fill]}")


def test_links_inside_the_file_and_loops_are_normal(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["soft"] = h5py.SoftLink("/model_weights/w")
        file["model_weights"]["again"] = file["model_weights"]

    keras_file.read(write_h5(tmp_path / "m.h5", fill), "h5")


def test_a_configuration_that_is_no_text(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", config=np.array([1, 2]))
    assert complaint(path) == (
        "PATH is not a whole HDF5 file: its model_config is not text but ndarray."
    )
    assert "can't decode byte" in complaint(write_h5(tmp_path / "n.h5", config=np.bytes_(b"\xff")))


def test_weights_that_are_no_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    members = {"metadata.json": METADATA, "config.json": json.dumps(CONFIG)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "model.weights.h5": "text"}.items():
            archive.writestr(name, content)
    assert complaint(path).startswith("PATH is not a whole Keras file: Unable to")


# ---------------------------------------------------------------- what Keras is given


def test_keras_reads_the_kind_that_was_checked(tmp_path: Path) -> None:
    """Keras tells the kind by the name; edgeq, by the first bytes."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    zipped = write_zip(tmp_path / "zip.h5")
    assert identify(zipped) == "keras"
    given = keras_file.prepare(keras_file.read(zipped, "keras"), folder)
    assert given == folder / "model.keras"
    assert given.read_bytes() == zipped.read_bytes()
    assert not given.is_symlink()  # the sandbox of the child that does this allows none
    # HDF5 with a zip after it is a zip for a reader that starts at the end of the file.
    both = write_h5(tmp_path / "both.keras")
    both.write_bytes(both.read_bytes() + write_zip(tmp_path / "z.keras").read_bytes())
    assert zipfile.is_zipfile(both)
    assert identify(both) == "h5"
    assert keras_file.prepare(keras_file.read(both, "h5"), folder) == folder / "model.h5"
    plain = write_zip(tmp_path / "plain.keras")
    assert keras_file.prepare(keras_file.read(plain, "keras"), folder) == plain


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_change_goes_into_a_copy(tmp_path: Path, kind: str) -> None:
    """Also if the same folder already has a copy of the user's file."""
    source = tmp_path / "m.wrong"
    write_zip(source) if kind == "keras" else write_h5(source)
    before = source.read_bytes()
    file, folder = keras_file.read(source, kind), tmp_path / "prepared"
    folder.mkdir()
    assert keras_file.prepare(file, folder).read_bytes() == before
    assert keras_file.prepare(file, folder).read_bytes() == before
    changed = keras_file.prepare(file, folder, lambda config: {**config, "new": 1})
    assert keras_file.read(changed, kind).config == {**CONFIG, "new": 1}
    assert source.read_bytes() == before


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_the_training_configuration_of_inner_models_is_not_given(tmp_path: Path, kind: str) -> None:
    inner = {**CONFIG, "compile_config": {"loss": {"class_name": "function", "config": "x"}}}
    config = {**CONFIG, "config": {"layers": [inner]}, "compile_config": {"loss": "mse"}}
    text = json.dumps(config)
    source = tmp_path / f"m.{kind}"
    write_zip(source, config=text) if kind == "keras" else write_h5(source, config=text)
    source.chmod(0o400)
    file = keras_file.read(source, kind)
    keras_file.refuse_code(file, frozenset())
    folder = tmp_path / "prepared"
    folder.mkdir()
    copy = keras_file.read(keras_file.prepare(file, folder), kind)
    assert copy.config["config"]["layers"] == [CONFIG]
    # `compile=False` keeps Keras from the training configuration of a zip's outermost model.
    assert ("compile_config" in copy.config) == (kind == "keras")
    assert copy.version == file.version
    with h5py.File(copy.path) if kind == "h5" else zipfile.ZipFile(copy.path) as archive:
        assert "model_weights" in archive if kind == "h5" else len(archive.namelist()) == 3
