"""The table of kinds: for each, the sound files, how they are damaged, and who reads them."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzzing import graphs, samples, truth
from tests.fuzzing import mutations as m
from tests.fuzzing.server import DIRECT

Files = Mapping[str, bytes]
Command = tuple[str, ...]
# Of the folder of a finished case and the folder of samples: what in it is not true.
Truth = Callable[[Path, Path], list[str]]
Make = Callable[[Files, m.Random], Files]

RECORDS = (
    "convert",
    "tune",
    "bench",
    "eval",
    "compare",
    "debug",
    "profile",
    "parity",
    "doctor",
    "gate",
    "inspect",
    "fit",
    "fleet-bench",
    "fleet-eval",
    "fleet-compare",
)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        files: the sound ones, by their names in a case's folder, from the folder of samples.
        damage: makes those of a case of them.
        commands: which read them; a case runs one, in turn. "direct:NAME" is a reader of
            `direct.py`.
        is_framework: a framework opens the file: the command is started anew, and there are fewer.
        then: a command that runs after each, to see that the harm does not last.
        truth: looks at what was written.
        needs: a framework whose Python has to be there.
        is_accepted: whether a command takes the sound file; else only its way to refuse is seen.
        is_lowered: it is a model that a framework's child lowers; a hundred of them are lowered in
            few children, and some go through the whole command.
        deadline_s: longer takes no command.
    """

    name: str
    files: Callable[[Path], Files]
    damage: Make
    commands: tuple[Command, ...]
    is_framework: bool = False
    then: Command | None = None
    truth: Truth | None = None
    needs: str | None = None
    is_accepted: bool = True
    is_lowered: bool = False
    deadline_s: float = 60.0

    @property
    def cases(self) -> int:
        """How many the script runs; fewer of those that start a framework anew."""
        return 12 if self.is_lowered else 100 if self.is_framework else 500


def only(name: str, mutate: m.Mutate) -> Make:
    """Damage one file of a case."""
    return lambda files, random: {**files, name: mutate(files[name], random)}


def taken(*names: str, **renamed: str) -> Callable[[Path], Files]:
    """Files of the samples, under their own names or others (`as_name="sample"`, _ for point)."""
    pairs = {name: name for name in names} | {
        new.replace("_", "."): old for new, old in renamed.items()
    }
    return lambda folder: {new: _read(folder / old) for new, old in pairs.items()}


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _read_folder(folder: Path) -> Mapping[str, bytes]:
    return samples.folder_files(folder)


def inside(*names: str, under: str | None = None) -> Callable[[Path], Files]:
    """Folders of the samples with all in them, under another name where one is given."""
    return lambda folder: {
        f"{under or name}/{path}": content
        for name in names
        for path, content in _read_folder(folder / name).items()
    }


def all_of(*parts: Callable[[Path], Files]) -> Callable[[Path], Files]:
    return lambda folder: {name: item for part in parts for name, item in part(folder).items()}


# ---------------------------------------------------------------- what is true


def _true_certificate(case: Path, _: Path) -> list[str]:
    record = case / "record.json"
    if not record.exists():
        return []
    told = json.loads(record.read_text())
    found = truth.check_certificate((case / "m.tflite").read_bytes(), told["certificate"])
    return found + truth.check_file(case / "m.tflite", told["model"])


def _true_conversion(case: Path, folder: Path) -> list[str]:
    source = case / "m.tflite"
    return truth.check_conversion(
        case, "out.tflite", folder / "test.npz", source if source.exists() else None
    )


def _true_graph(case: Path, _: Path) -> list[str]:
    return truth.check_conversion(case, "out.tflite", None)


def _true_npz(case: Path, folder: Path) -> list[str]:
    record = case / "record.json"
    if not record.exists():
        return []
    import numpy as np

    with zipfile.ZipFile(case / "d.npz") as archive:
        stored = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    with np.load(case / "d.npz") as arrays:
        (name,) = stored - {"y"}
        return truth.check_evaluation(record, folder / "int8.tflite", arrays[name] / 2, arrays["y"])


def _true_csv(case: Path, folder: Path) -> list[str]:
    record = case / "record.json"
    if not record.exists():
        return []
    import csv

    import numpy as np

    with (case / "d.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row][1:]
    values = np.array([[float(text) for text in row] for row in rows])
    found = values[:, :64].astype(np.float32) / 2
    return truth.check_evaluation(record, folder / "int8.tflite", found, values[:, 64])


def _true_arrays(case: Path, folder: Path) -> list[str]:
    record = case / "record.json"
    if not record.exists():
        return []
    import numpy as np

    files = sorted((case / "d").rglob("*.npy"))
    found = np.stack([np.load(path).reshape(8, 8, 1) for path in files]) / 2
    labels = np.array(["abc".index(path.parent.name) for path in files])
    return truth.check_evaluation(record, folder / "int8.tflite", found.astype("f4"), labels)


def _true_sounds(case: Path, _: Path) -> list[str]:
    """Of a clip that was used, none is shorter than its file states."""
    if not (case / "record.json").exists():
        return []
    found = []
    for path in sorted((case / "d").rglob("*.wav")):
        content = path.read_bytes()
        place = content.find(b"data")
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if len(content) - place - 8 < size < 2**32 - 1:
            found.append(f"{path.name} is cut off, and was used")
    return found


def _true_package(case: Path, folder: Path) -> list[str]:
    """Nothing that was changed passes with the signer's key."""
    output = case.parent / "stdout"
    if 'is_sound": true' not in output.read_text(errors="replace"):
        return []
    original = samples.folder_files(folder / "signed")
    same = samples.folder_files(case / "package") == original
    return [] if same else ["a package that was changed is said to be what was measured"]


def _true_store(case: Path, folder: Path) -> list[str]:
    """A record that comes out of a damaged history is one that went in."""
    own = case / "out"
    if not own.is_dir():
        return []
    known = {(folder / "export" / path.name).read_bytes() for path in (folder / "export").iterdir()}
    found = [path for path in own.iterdir() if path.name != "history.json"]
    return [
        f"{path.name} is not as it was added" for path in found if path.read_bytes() not in known
    ]


# ---------------------------------------------------------------- how some are damaged


def _damage_carried(files: Files, random: m.Random) -> Files:
    """What edgeq itself wrote into a model's metadata, changed."""
    content = files["m.tflite"]
    old = b'["scale=0.5"]'
    assert old in content, "the sample carries no such preprocessing"
    made = m.change_json(old, random)[:200] if random.random() < 0.5 else m.damage(old, random)
    made = made.ljust(len(old))[: len(old)]
    return {**files, "m.tflite": content.replace(old, made)}


def _damage_graph(files: Files, random: m.Random) -> Files:
    """Another model, of any operator, with faults in its graph, and samples for its inputs."""
    return _with_samples(graphs.change_graph(random), random)


def _with_samples(content: bytes, random: m.Random) -> Files:
    return {"m.tflite": content, "data.npz": graphs.data_for(content, random) or b""}


def _damage_keras(content: bytes, random: m.Random) -> bytes:
    return m.mixed(
        m.damage,
        m.change_zip(
            config_json=m.change_json, metadata_json=m.change_json, weights_h5=m.change_h5
        ),
    )(content, random)


def _damage_pictures(files: Files, random: m.Random) -> Files:
    name = random.choice([name for name in files if name.startswith("d/")])
    ways = (m.change_png,) if name.endswith("png") else (m.damage,)
    made = dict(files)
    content = random.choice(ways)(made.pop(name), random)
    stem, _, ending = name.rpartition(".")
    if random.random() < 0.2:
        ending = random.choice(("png", "jpeg", "txt", "gif", "PNG"))
    return {**made, f"{stem}.{ending}": content}


def _damage_one(mutate: m.Mutate) -> Make:
    """One of the files in `d`."""

    def damage(files: Files, random: m.Random) -> Files:
        name = random.choice(sorted(name for name in files if name.startswith("d/")))
        return {**files, name: mutate(files[name], random)}

    return damage


def _damage_folder(files: Files, random: m.Random, name: str | None = None) -> Files:
    """One file of a package; often with manifest and sums made for it, so that more is read."""
    inner = {
        path.partition("/")[2]: content
        for path, content in files.items()
        if path.startswith("package/")
    }
    rest = {path: content for path, content in files.items() if not path.startswith("package/")}
    chosen = name or random.choice(sorted(inner))
    is_json = chosen.endswith(".json")
    mutate = random.choice(
        (m.change_json, m.change_json, m.damage) if is_json else (m.damage, m.change_text)
    )
    content = mutate(inner[chosen], random)
    whole = {**inner, chosen: content}
    if random.random() < 0.7:
        # A manifest that is damaged itself may have no place for it.
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            whole = samples.with_member(inner, chosen, content)
    return {**rest, **{f"package/{path}": item for path, item in whole.items()}}


def _damage_named(name: str) -> Make:
    return lambda files, random: _damage_folder(files, random, name)


def _damage_saved(files: Files, random: m.Random) -> Files:
    name = random.choice(("m/saved_model.pb",) * 3 + tuple(sorted(files)))
    if not name.startswith("m/"):
        name = "m/saved_model.pb"
    mutate = m.change_protobuf if name.endswith(".pb") and random.random() < 0.6 else m.damage
    return {**files, name: mutate(files[name], random)}


def _damage_journal(content: bytes, random: m.Random) -> bytes:
    """A line behind the first, which tells whose journal it is."""
    lines = content.split(b"\n")
    place = random.choice([number for number, line in enumerate(lines) if number and line] or [0])
    mutate = random.choice((m.change_json, m.change_json, m.damage))
    lines[place] = mutate(lines[place], random).replace(b"\n", b" ")
    return b"\n".join(lines)


# ---------------------------------------------------------------- the table

_SHOW = (
    ("show", "{}.json"),
    ("report", "{}.json", "-o", "page.html"),
    ("report", "{}.json", "--format", "md"),
    ("gate", "{}.json", "--policy", "policy.toml"),
    ("history", "add", "{}.json", "--database", "h.sqlite"),
    ("gate", "convert.json", "--baseline", "{}.json", "--policy", "policy.toml"),
)
_EVAL = "eval", "int8.tflite", "-o", "record.json", "--data"
_CONVERT = "--data", "data.npz", "--test-data", "test.npz", "--effort", "fast", "-o", "out.tflite"
_GRAPH = "--effort", "fast", "--allow-float", "-o", "out.tflite"
_SOUND = "sound=log-mel,rate=8000,window=128,hop=80,bands=8"
_VERIFY = "verify", "package", "--no-run", "--json"
_WITH_DATA = taken("data.npz", "test.npz")
_CHANNELS_FIRST = taken(data_npz="data-channels.npz", test_npz="test-channels.npz")


def _record_kind(kind: str) -> Kind:
    return Kind(
        f"record-{kind}",
        taken(f"{kind}.json", "policy.toml", **{"convert_json": "convert.json"}),
        only(f"{kind}.json", m.mixed(m.change_json, m.change_json, m.change_json, m.damage)),
        tuple(tuple(word.format(kind) for word in command) for command in _SHOW),
    )


def _framework(name: str, sample: str, mutate: m.Mutate, needs: str | None = None) -> Kind:
    """A model file that `convert` takes; PyTorch's and ONNX's have their channels first."""
    ending = sample.rpartition(".")[2]
    data = _WITH_DATA if needs is None else _CHANNELS_FIRST
    return Kind(
        name,
        all_of(data, taken(**{f"m_{ending}": sample})),
        only(f"m.{ending}", mutate),
        (("convert", f"m.{ending}", *_CONVERT),),
        is_framework=True,
        is_lowered=ending != "tflite",
        truth=_true_conversion,
        needs=needs,
        deadline_s=240,
    )


def _in_classes(name: str) -> Callable[[Path], Files]:
    """Six files of the samples in three folders of classes."""
    return lambda folder: {
        f"d/{label}/{name.format(number)}": _read(folder / name.format(number))
        for number, label in enumerate("aabbcc")
    }


def _label_kind(name: str, file: str, sample: str, mutate: m.Mutate) -> Kind:
    """Labels beside pictures."""
    pictures = {f"d/image{number}.png": f"image{number}.png" for number in range(6)}
    path = file.partition("/")[0]
    return Kind(
        f"label-{name}",
        lambda folder: {
            new: _read(folder / old) for new, old in {**pictures, file: sample}.items()
        },
        only(file, mutate),
        ((f"{DIRECT}labels", path),),
    )


_OWN = (
    Kind(
        "tflite",
        taken(m_tflite="int8.tflite"),
        only(
            "m.tflite",
            m.mixed(m.damage, m.damage_words, m.damage_words, m.change_tflite, m.change_tflite),
        ),
        (("inspect", "m.tflite", "-o", "record.json"), ("fit", "m.tflite", "--coral")),
        truth=_true_certificate,
    ),
    Kind(
        "carried",
        all_of(taken("test.npz", m_tflite="int8.tflite")),
        _damage_carried,
        (
            ("package", "m.tflite", "--target", "ios", "--data", "test.npz", "-o", "p"),
            ("inspect", "m.tflite", "-o", "record.json"),
        ),
        truth=_true_certificate,
    ),
    Kind(
        "npz",
        taken("int8.tflite", d_npz="test.npz"),
        only(
            "d.npz",
            m.mixed(m.damage, m.change_zip(npy=m.change_npy), m.change_zip(npy=m.change_npy)),
        ),
        ((*_EVAL, "d.npz"),),
        truth=_true_npz,
    ),
    Kind(
        "npy",
        taken("int8.tflite", d_npy="data.npy"),
        only("d.npy", m.change_npy),
        (("parity", "int8.tflite", "--samples", "2", "--data", "d.npy"),),
    ),
    Kind(
        "csv",
        taken("int8.tflite", d_csv="data.csv"),
        only("d.csv", m.mixed(m.change_text, m.change_text, m.damage)),
        ((*_EVAL, "d.csv"),),
        truth=_true_csv,
    ),
    Kind(
        "images",
        all_of(
            taken("int8.tflite"),
            lambda folder: {
                f"d/{label}/{number}.{ending}": _read(folder / f"image{number}.{ending}")
                for number, (label, ending) in enumerate(
                    zip("aabbcc", ("png", "jpeg", "bmp", "gif", "webp", "tiff"), strict=True)
                )
            },
        ),
        _damage_pictures,
        ((*_EVAL, "d", "--preprocess", "channels=gray,scale=1/510"),),
    ),
    Kind(
        "arrays",
        all_of(taken("int8.tflite"), _in_classes("array{}.npy")),
        _damage_one(m.change_npy),
        ((*_EVAL, "d"),),
        truth=_true_arrays,
    ),
    Kind(
        "sounds",
        all_of(taken("int8.tflite"), _in_classes("clip{}.wav")),
        _damage_one(m.mixed(m.damage, m.change_wav, m.change_wav)),
        ((*_EVAL, "d", "--preprocess", _SOUND),),
        truth=_true_sounds,
    ),
    Kind(
        "label-array",
        taken("int8.tflite", "test.npz", l_npy="labels.npy"),
        only("l.npy", m.change_npy),
        (("eval", "int8.tflite", "--data", "test.npz", "--labels", "l.npy"),),
        is_accepted=False,  # the data has labels of its own
    ),
    _label_kind("table", "l.csv", "labels.csv", m.mixed(m.change_text, m.damage)),
    _label_kind("coco", "l.json", "labels.json", m.mixed(m.change_json, m.change_json, m.damage)),
    _label_kind("yolo", "l/image0.txt", "boxes.txt", m.mixed(m.change_text, m.damage)),
    Kind(
        "project",
        all_of(
            taken("data.npz", "test.npz", "convert.json", edgeq_toml="project.toml"),
            lambda _: {"tiny.tflite": b"not a model"},
        ),
        only("edgeq.toml", m.mixed(m.change_text, m.change_text, m.damage)),
        (("run",), ("devices", "list"), ("gate", "convert.json"), ("history", "list")),
    ),
    Kind(
        "policy",
        taken("policy.toml", "convert.json", "compare.json"),
        only("policy.toml", m.mixed(m.change_text, m.change_text, m.damage)),
        (("gate", "convert.json", "compare.json", "--policy", "policy.toml", "-o", "gate.json"),),
        is_accepted=False,  # its figures are doubted: of few samples, on a machine that others use
    ),
    Kind(
        "devices",
        lambda folder: {"../home/.config/edgeq/devices.toml": _read(folder / "devices.toml")},
        only("../home/.config/edgeq/devices.toml", m.mixed(m.change_text, m.damage)),
        (
            ("devices", "list"),
            ("devices", "remove", "pi4"),
            ("devices", "add", "x", "ssh://a@192.0.2.1"),
        ),
    ),
    Kind(
        "ssh-config",
        all_of(
            taken("int8.tflite"),
            lambda folder: {"../home/.ssh/config": _read(folder / "ssh_config")},
        ),
        only("../home/.ssh/config", m.mixed(m.change_text, m.damage)),
        (("bench", "int8.tflite", "--device", "nobody"),),
        is_accepted=False,
    ),
    *map(_record_kind, RECORDS),
    Kind(
        "package-zip",
        taken("key.pub.pem", p_zip="python.zip"),
        only("p.zip", m.mixed(m.damage, m.change_zip(json=m.change_json))),
        (
            ("verify", "p.zip", "--no-run"),
            ("verify", "p.zip", "--public-key", "key.pub.pem", "--no-run"),
        ),
    ),
    Kind(
        "package-folder",
        all_of(taken("key.pub.pem"), inside("signed", under="package")),
        _damage_folder,
        ((*_VERIFY, "--public-key", "key.pub.pem"),),
        truth=_true_package,
    ),
    Kind(
        "package-manifest",
        inside("signed", under="package"),
        _damage_named("manifest.json"),
        (_VERIFY,),
    ),
    Kind(
        "package-golden",
        inside("signed", under="package"),
        _damage_named("golden/golden.json"),
        (_VERIFY,),
    ),
    Kind(
        "package-aar",
        taken(p_zip="android.zip"),
        only(
            "p.zip",
            m.mixed(
                m.damage, m.change_zip(json=m.change_json, aar=m.change_zip(xml=m.change_text))
            ),
        ),
        (("verify", "p.zip", "--no-run"),),
    ),
    Kind(
        "package-c",
        taken(p_zip="c.zip"),
        only("p.zip", m.mixed(m.damage, m.change_zip(json=m.change_json, h=m.change_text))),
        (("verify", "p.zip", "--no-run"),),
    ),
    Kind(
        "package-before",
        taken("int8.tflite", "test.npz", p_zip="ios.zip"),
        only("p.zip", m.mixed(m.damage, m.change_zip(json=m.change_json))),
        (
            (
                "package",
                "int8.tflite",
                "--target",
                "ios",
                "--data",
                "test.npz",
                "-o",
                "new.zip",
                "--previous",
                "p.zip",
            ),
        ),
    ),
    Kind(
        "labels",
        taken("int8.tflite", "test.npz", "labels.txt"),
        only("labels.txt", m.mixed(m.change_text, m.damage)),
        (
            (
                "package",
                "int8.tflite",
                "--target",
                "ios",
                "--data",
                "test.npz",
                "--labels",
                "labels.txt",
                "-o",
                "new",
            ),
        ),
    ),
    Kind(
        "public-key",
        all_of(taken("key.pub.pem"), inside("signed", under="package")),
        only("key.pub.pem", m.mixed(m.change_text, m.damage)),
        ((*_VERIFY, "--public-key", "key.pub.pem"),),
    ),
    Kind(
        "private-key",
        taken("int8.tflite", "test.npz", "key.pem"),
        only("key.pem", m.mixed(m.change_text, m.damage)),
        (
            (
                "package",
                "int8.tflite",
                "--target",
                "ios",
                "--data",
                "test.npz",
                "--sign-with",
                "key.pem",
                "-o",
                "new",
            ),
        ),
    ),
    Kind(
        "history-zip",
        taken(a_zip="export.zip"),
        only("a.zip", m.mixed(m.damage, m.change_zip(json=m.change_json))),
        (("history", "import", "a.zip", "--database", "h.sqlite"),),
        then=("history", "list", "--database", "h.sqlite"),
    ),
    Kind(
        "history-tar",
        taken(a_tar="export.tar"),
        only("a.tar", m.mixed(m.damage, m.change_tar)),
        (("history", "import", "a.tar", "--database", "h.sqlite"),),
    ),
    Kind(
        "history-index",
        inside("export"),
        only("export/history.json", m.mixed(m.change_json, m.damage)),
        (("history", "import", "export", "--database", "h.sqlite"),),
        then=("history", "list", "--database", "h.sqlite"),
    ),
    Kind(
        "history-store",
        taken(h_sqlite="history.sqlite"),
        only("h.sqlite", m.change_sqlite),
        (
            ("history", "export", "out", "--database", "h.sqlite"),
            ("history", "list", "--database", "h.sqlite"),
            ("history", "show", "1", "--database", "h.sqlite"),
            ("history", "diff", "1", "2", "--database", "h.sqlite"),
            ("history", "trend", "p50", "--database", "h.sqlite"),
            ("history", "check", "--database", "h.sqlite"),
            ("history", "remove", "1", "--database", "h.sqlite"),
            ("history", "trend", "accuracy", "--json", "--database", "h.sqlite"),
        ),
        truth=_true_store,
    ),
    Kind(
        "journal",
        taken(j_tuning="searched.tflite.tuning"),
        only("j.tuning", m.mixed(_damage_journal, m.damage)),
        ((f"{DIRECT}journal", "j.tuning"),),
    ),
    Kind(
        "run-state",
        inside("project/build", under="build"),
        only("build/tiny.run-state", m.mixed(m.change_json, m.change_json, m.damage)),
        ((f"{DIRECT}state", "build/tiny.run-state"),),
    ),
    Kind(
        "run-lock",
        inside("project"),
        only("project/build/tiny.run.lock", m.damage),
        (("run", "--file", "project/edgeq.toml"),),
    ),
    Kind(
        "pt2-archive",
        taken(m_pt2="dynamic.pt2"),
        only("m.pt2", m.mixed(m.damage, m.change_zip(json=m.change_json))),
        ((f"{DIRECT}torch_archive", "m.pt2"),),
        needs="torch",
    ),
    Kind(
        "keras-config",
        taken(m_keras="tiny.keras"),
        only("m.keras", _damage_keras),
        ((f"{DIRECT}learned_ranges", "m.keras"),),
    ),
    Kind(
        "board",
        lambda _: {"running": b"2222 1\n"},
        only("running", m.mixed(m.change_text, m.damage)),
        ((f"{DIRECT}board", "running"),),
    ),
)

_FRAMEWORKS = (
    Kind(
        "graph",
        lambda _: _with_samples(graphs.normalization(), random.Random(0)),
        _damage_graph,
        tuple(
            ("convert", "m.tflite", "--data", "data.npz", *_GRAPH, "--scheme", scheme)
            for scheme in ("int8", "int8", "int16x8", "dynamic", "weight-only-int4", "fp16")
        ),
        truth=_true_graph,
        deadline_s=120,
    ),
    Kind(
        "graph-run",
        lambda _: _with_samples(graphs.normalization(), random.Random(0)),
        _damage_graph,
        (
            ("compare", "m.tflite", "m.tflite", "--data", "data.npz", "--no-latency"),
            ("debug", "m.tflite", "m.tflite", "--data", "data.npz"),
            ("bench", "m.tflite", "--runs", "3", "--rounds", "2"),
            ("profile", "m.tflite", "--runs", "3"),
            ("parity", "m.tflite", "--data", "data.npz"),
            ("package", "m.tflite", "--target", "ios", "--data", "data.npz", "-o", "p"),
        ),
        deadline_s=120,
    ),
    _framework("foreign-tflite", "tiny.tflite", m.mixed(m.damage, m.damage_words, m.change_tflite)),
    Kind(
        "run-tflite",
        all_of(_WITH_DATA, taken(m_tflite="int8.tflite")),
        only("m.tflite", m.mixed(m.damage, m.damage_words, m.change_tflite, m.change_tflite)),
        (
            ("bench", "m.tflite", "--runs", "30", "--rounds", "3", "-o", "record.json"),
            ("profile", "m.tflite", "--runs", "20"),
            ("eval", "m.tflite", "--data", "test.npz"),
            ("debug", "m.tflite", "m.tflite", "--data", "test.npz"),
        ),
        is_framework=True,
        deadline_s=120,
    ),
    Kind(
        "journal-tune",
        all_of(
            _WITH_DATA, taken("tiny.tflite", **{"searched_tflite_tuning": "searched.tflite.tuning"})
        ),
        only("searched.tflite.tuning", _damage_journal),
        (samples.tune_arguments(),),
        is_framework=True,
        deadline_s=240,
    ),
    _framework("keras", "tiny.keras", _damage_keras),
    _framework("h5", "tiny.h5", m.change_h5),
    _framework("legacy-h5", "legacy.h5", m.change_h5),
    Kind(
        "saved-model",
        all_of(_WITH_DATA, inside("saved", under="m")),
        _damage_saved,
        (("convert", "m", *_CONVERT),),
        is_framework=True,
        is_lowered=True,
        truth=_true_conversion,
        deadline_s=240,
    ),
    _framework(
        "onnx", "tiny.onnx", m.mixed(m.damage, m.change_protobuf, m.change_protobuf), "onnx"
    ),
    _framework("pt2", "tiny.pt2", m.mixed(m.damage, m.change_zip(json=m.change_json)), "torch"),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*_OWN, *_FRAMEWORKS)}


def damaged(kind: Kind, folder: Path, seed: int, number: int) -> tuple[dict[str, bytes], Command]:
    """The files of a case and the command that reads them; the same for the same numbers."""
    generator = random.Random(f"{seed}/{kind.name}/{number}")
    files: dict[str, Any] = dict(kind.damage(kind.files(folder), generator))
    return files, kind.commands[number % len(kind.commands)]
