"""Tell what a PyTorch file other than `.pt2` holds, without unpickling it, and how to export it.

A pickle is a list of instructions. `pickletools` lists them without running them, and the first one
that makes an object tells the kind of the whole.
"""

from __future__ import annotations

import itertools
import pickletools
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from edgeq.errors import SourceError

_MOST_BYTES = 1 << 22  # of a pickle; the names of some 10,000 weights
_MOST_NAMES = 1 << 16
_OLD_MAGIC = 0x1950A86A20F9469CFC6C  # begins the files of torch 1.5 and before
_OLD_HEADERS = 3  # pickles before the one of the object
# What holds numbers, not a network.
_DATA = re.compile(
    r"collections\.|torch\._utils\._rebuild|torch\.\w+$|torch\._tensor\.|torch\.nn\.parameter\.|numpy"
)
_LIGHTNING = "pytorch-lightning_version"
# Where training scripts keep the weights, beside the optimizer and the epoch.
_KEYS = ("state_dict", "model_state_dict", "model", "net")
_SHOWN = 80  # characters of a name from the file
_NET = "where Net is the class of your network"


def refuse_zip(path: Path, archive: zipfile.ZipFile) -> SourceError:
    """The error for a zip file of torch.save, torch.jit.save or Lightning."""
    names = archive.namelist()
    if any(name.partition("/")[2].startswith("code/") for name in names):
        stored = f"torch.jit.load({str(path)!r}).state_dict()"
        return _lacks_network(path, "a TorchScript file", stored)
    member = next(name for name in names if name.endswith("data.pkl"))
    with archive.open(member) as stream:
        return _refuse(path, [_list_instructions(BytesIO(stream.read(_MOST_BYTES)))])


def refuse_pickle(path: Path) -> SourceError:
    """The error for a pickle: torch.save wrote it so before version 1.6."""
    with path.open("rb") as stream:
        content = BytesIO(stream.read(_MOST_BYTES))
    return _refuse(path, [_list_instructions(content) for _ in range(_OLD_HEADERS + 1)])


def refuse_safetensors(path: Path) -> SourceError:
    """The error for a file of safetensors."""
    stored = f"safetensors.torch.load_file({str(path)!r})"
    return _lacks_network(path, "a file of safetensors: weights without their network", stored)


def _list_instructions(stream: BytesIO) -> list[tuple[str, str]]:
    """List what the next pickle makes, and its texts, in order and as far as it is whole.

    Returns:
        ("dict", ""), ("class", module and name of a class or function), and ("text", a string).
    """

    def walk() -> Iterator[tuple[str, str]]:
        texts: list[str | None] = ["", ""]  # the last two values, if they are texts
        memo: dict[int, str | None] = {}
        try:
            for code, argument, _ in pickletools.genops(stream):
                if code.name == "MEMOIZE":
                    memo[len(memo)] = texts[-1]
                    continue
                place = argument if code.name in ("BINGET", "LONG_BINGET") else None
                value = argument if place is None else memo.get(place)
                if code.name == "EMPTY_DICT":
                    yield "dict", ""
                elif code.name == "GLOBAL":
                    yield "class", str(argument)
                elif code.name == "STACK_GLOBAL":
                    yield "class", " ".join(map(str, texts))
                elif value == _OLD_MAGIC:
                    yield "old", ""
                elif isinstance(value, str):
                    yield "text", value[:_SHOWN]
                texts = [texts[-1], value[:_SHOWN] if isinstance(value, str) else None]
        except ValueError:  # the pickle is cut off or damaged; its beginning is enough
            return

    return list(itertools.islice(walk(), _MOST_NAMES))


def _refuse(path: Path, pickles: list[list[tuple[str, str]]]) -> SourceError:
    is_old = pickles[0][:1] == [("old", "")]
    parts = pickles[_OLD_HEADERS if is_old else 0]
    texts = [text for kind, text in parts if kind == "text"]
    classes = [name[:_SHOWN].replace(" ", ".") for kind, name in parts if kind == "class"]
    is_dict = next((kind == "dict" for kind, _ in parts if kind != "text"), False)
    if not is_dict and not classes:
        return SourceError(f"{path} is a damaged pickle.", hint="Save or copy the model again.")
    if _LIGHTNING in texts:
        load = f"Net.load_from_checkpoint({str(path)!r})"
        return _explain(path, "a checkpoint of Lightning", load, _NET)
    key = next((key for key in _KEYS if is_dict and key in texts), None)
    at = "" if key is None else f"[{key!r}]"
    own = next((name for name in classes if not _DATA.match(name)), None)
    if own is not None:
        where = "where its class can be imported, if you trust the file, whose code torch.load runs"
        load = f"torch.load({str(path)!r}, weights_only=False){at}"
        return _explain(path, f"a pickled object of class {own!r}", load, where)
    if not is_dict and classes[0] != "collections.OrderedDict":
        return SourceError(f"{path} is a tensor of torch.save.", hint="Pass the file of the model.")
    what = "a state_dict" if key is None else f"a checkpoint with a state_dict at {key!r}"
    first = next((f", {text!r} first" for text in texts if "." in text), "")
    read = f"torch.load({str(path)!r}, weights_only=True){at}"
    return _lacks_network(path, f"{what}: weights without their network{first}", read)


def _lacks_network(path: Path, what: str, weights: str) -> SourceError:
    """The error for weights, which a Python expression reads."""
    return _explain(path, what, f"Net(); model.load_state_dict({weights})", _NET)


def _explain(path: Path, what: str, model: str, where: str) -> SourceError:
    """The error with the Python that makes a `.pt2`: how to get the model, and where that works."""
    target = str(path.with_suffix(".pt2"))
    return SourceError(
        f"{path} is {what}; edgeq reads programs of torch.export.save.",
        hint=f"Export it in Python, {where}: model = {model}; torch.export.save(torch.export."
        f"export(model.eval(), (torch.randn(1, 3, 224, 224),)), {target!r}). Give it an input "
        "of the model's shape.",
    )
