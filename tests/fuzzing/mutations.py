"""Ways to damage a file: by its bytes, and by what stands in it. All take the random generator."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Random = random.Random
Mutate = Callable[[bytes, Random], bytes]

WORDS = (
    0,
    1,
    2,
    3,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFFFFE,
    0x40000000,
    0x10000,
    1 << 20,
)
TEXTS = (
    "",
    " ",
    "\0",
    "a" * 5000,
    "../../../../etc/passwd",
    "/etc/passwd",
    "$(touch x)",
    "`id`",
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;x\x07",
    "%s%n",
    "\ud800",
    "\u202e",
    "NaN",
    "Infinity",
    "-1",
    "1e999",
    "nan",
    "__import__('os').system('id')",
    "{{7*7}}",
    "' OR 1=1 --",
    "A:\\x",
    "\r\n",
    "9" * 400,
    "none",
)
SCALARS = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    2**64,
    10**30,
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
)


# ---------------------------------------------------------------- bytes


def damage(content: bytes, random: Random) -> bytes:
    """Some bytes changed, moved, cut or put in."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        made = _damage_once(made, random) if made else bytearray(random.randbytes(4))
    return bytes(made)


def _damage_once(made: bytearray, random: Random) -> bytearray:
    place = random.randrange(len(made))
    length = min(random.choice((1, 2, 4, 16, 64, 1000)), len(made) - place)
    way = random.randrange(9)
    if way == 0:
        made[place] ^= 1 << random.randrange(8)
    elif way == 1:
        made[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x2F, 0x5C))
    elif way == 2:
        made[place : place + length] = random.randbytes(length)
    elif way == 3:
        del made[place : place + length]
    elif way == 4:
        made[place:place] = made[place : place + length] * random.choice((1, 2, 50))
    elif way == 5:
        del made[place:]
    elif way == 6:
        made[place : place + length] = bytes(length)
    elif way == 7:
        other = random.randrange(len(made))
        made[place : place + length], made[other : other + length] = (
            made[other : other + length],
            made[place : place + length],
        )
    else:
        _put_word(made, place, random)
    return made


def _put_word(made: bytearray, place: int, random: Random) -> None:
    size = random.choice((2, 4, 4, 8))
    word = random.choice(WORDS) & ((1 << 8 * size) - 1)
    place -= place % size
    made[place : place + size] = word.to_bytes(size, random.choice(("little", "little", "big")))


def damage_words(content: bytes, random: Random) -> bytes:
    """Aligned words replaced: in a flatbuffer, most are offsets, lengths and indices."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        place = 4 * random.randrange(max(len(made) // 4, 1))
        old = int.from_bytes(made[place : place + 4], "little")
        word = random.choice(
            (*WORDS, old + 4, old - 4, old + 1, 2 * old, -place, len(made) - place)
        )
        made[place : place + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(made)


def mixed(*ways: Mutate) -> Mutate:
    """One of several ways."""
    return lambda content, random: random.choice(ways)(content, random)


# ---------------------------------------------------------------- JSON


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value, without the value itself."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((*path, key))
        if isinstance(item, (dict, list)):
            found += places(item, (*path, key))
    return found


def change_plain(plain: Any, random: Random) -> Any:
    """A JSON value with something in it replaced, removed, renamed or repeated."""
    every = places(plain) if isinstance(plain, (dict, list)) else []
    if not every:
        return odd_value(plain, random)
    *above, key = random.choice(every)
    holder = plain
    for step in above:
        holder = holder[step]
    way = random.randrange(8)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[random.choice((*TEXTS, key.upper()))] = holder.pop(key)
    elif way == 2 and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 3, 1000)))
    elif way == 3:
        *others, last = random.choice(every)
        source = plain
        for step in others:
            if not isinstance(source, (dict, list)):
                break
            source = source[step]
        else:
            holder[key] = json.loads(json.dumps(source[last]))
    else:
        holder[key] = odd_value(holder[key], random)
    return plain


def odd_value(old: Any, random: Random) -> Any:
    """Something else in the place of a value; often of the same type."""
    way = random.randrange(6)
    if way == 0 and isinstance(old, (int, float)) and not isinstance(old, bool):
        return random.choice((-old, old + 1, old - 1, old * 1000, 1 << 62, 0, old + 0.5, str(old)))
    if way == 1 and isinstance(old, str):
        return old + random.choice(TEXTS)
    if way == 2:
        return random.choice(([], {}, [[]], {"": None}, [old], {"a": old}, nested(60)))
    if way < 4:
        return random.choice(TEXTS)
    return random.choice(SCALARS)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def change_json(content: bytes, random: Random) -> bytes:
    """A JSON text with other types, keys and values, or with what JSON does not know."""
    if random.random() < 0.06:
        return random.choice(
            (
                b"[" * 100_000,
                b'{"a":' * 50_000,
                b"null",
                b"[]",
                b"{}",
                b"",
                b"\xff\xfe{}",
                b"NaN",
                content.replace(b":", b": [[[[", 1),
                content + content,
                b"\xef\xbb\xbf" + content,
                content.decode(errors="replace").encode("utf-16"),
                b"1" * 10_000,
            )
        )
    plain = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        plain = change_plain(plain, random)
    return json.dumps(plain).encode()


# ---------------------------------------------------------------- texts

_TOKENS = (
    "0",
    "-1",
    "1e400",
    "nan",
    '"',
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    "\0",
    "\t",
    "#",
    "\n",
    "true",
    "1979-05-27T07:32:00Z",
    '""',
    "[]",
    "{}",
    "é",
    "\u2028",
    "0x1F",
    "1_000",
    "9" * 30,
    '"""',
    "\\",
    "..",
    "[[a]]",
    "a.b.c = 1",
    "inf",
    ";",
    "x" * 3000,
)


def change_text(content: bytes, random: Random) -> bytes:
    """Lines and words of a text exchanged, repeated or replaced."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        words = lines[place].split(" ")
        way = random.randrange(6)
        if way == 0:
            lines.insert(random.randrange(len(lines)), lines[place])
        elif way == 1 and len(lines) > 1:
            del lines[place]
        elif way == 2:
            lines[place] = lines[place].replace(",", random.choice(_TOKENS), 1)
        elif way == 3:
            words[random.randrange(len(words))] = random.choice((*_TOKENS, *TEXTS))
            lines[place] = " ".join(words)
        elif way == 4:
            head, sign, tail = lines[place].partition(random.choice("=,"))
            lines[place] = f"{head}{sign} {random.choice((*_TOKENS, *TEXTS))}" if sign else tail
        else:
            at = random.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + random.choice(_TOKENS) + lines[place][at:]
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    return random.choice(
        (text,) * 12
        + (
            b"\xef\xbb\xbf" + text,
            text.replace(b"\n", b"\r\n"),
            text.decode("utf-8", "replace").encode("utf-16"),
        )
    )


# ---------------------------------------------------------------- archives

BAD_NAMES = (
    "../escape",
    "/escape",
    "a/../../escape",
    "C:\\escape",
    "a\\..\\..\\escape",
    "",
    ".",
    "con",
    "a" * 300,
    "\x1b[31m",
    "\u202e",
    "folder/",
)


def read_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # two members of one name are wanted
        for name, content in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, content)
    return target.getvalue()


def change_zip(**members: Mutate) -> Mutate:
    """A zip whose members change by the ends of their names, or its directory.

    Args:
        members: end of a name, with _ for its point, to how such a member changes.
    """

    def change(content: bytes, random: Random) -> bytes:
        files = list(read_zip(content).items())
        place = random.randrange(len(files))
        name, inside = files[place]
        way = random.randrange(9)
        if way < 4:
            ways = [own for end, own in members.items() if name.endswith(end.replace("_", "."))]
            files[place] = name, (ways or [damage])[0](inside, random)
        elif way == 4:
            del files[place]
        elif way == 5:
            files.append((random.choice((*BAD_NAMES, name)), random.choice((inside, b"x"))))
        elif way == 6:
            files[place] = random.choice((*BAD_NAMES, name.upper())), inside
        method = random.choice(
            (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
            if way == 7
            else (zipfile.ZIP_STORED,)
        )
        return change_zip_headers(content, random) if way == 8 else write_zip(files, method)

    return change


def change_zip_headers(content: bytes, random: Random) -> bytes:
    """Other sizes, methods, flags, checksums or offsets in a zip's directory or local headers."""
    made = bytearray(content)
    starts = [
        i for sign in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") for i in _find(content, sign)
    ]
    start = random.choice(starts)
    sizes = {b"PK\x01\x02": 46, b"PK\x03\x04": 30, b"PK\x05\x06": 22}
    at = start + 4 + 2 * random.randrange((sizes[bytes(made[start : start + 4])] - 4) // 2)
    size = random.choice((2, 4))
    word = random.choice(WORDS) & ((1 << 8 * size) - 1)
    made[at : at + size] = word.to_bytes(size, "little")
    return bytes(made)


def _find(content: bytes, sign: bytes) -> list[int]:
    found, at = [], content.find(sign)
    while at >= 0:
        found.append(at)
        at = content.find(sign, at + 1)
    return found


def change_tar(content: bytes, random: Random, own: Mutate = change_json) -> bytes:
    """A tar archive with other members, names, kinds or sizes."""
    target = io.BytesIO()
    mode = random.choice(("w", "w:gz", "w:xz", "w:bz2"))
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as source,
        tarfile.open(fileobj=target, mode=mode) as made,
    ):
        members = source.getmembers()
        chosen = random.choice([member for member in members if member.isreg()]).name
        for member in members:
            inside = source.extractfile(member)
            data = inside.read() if inside else b""
            if member.name == chosen:
                way = random.randrange(5)
                if way == 0:
                    data = own(data, random) if data else data
                elif way == 1:
                    member.name = random.choice(BAD_NAMES) + random.choice(("", ".json"))
                elif way == 2:
                    member.type = random.choice(
                        (
                            tarfile.SYMTYPE,
                            tarfile.LNKTYPE,
                            tarfile.CHRTYPE,
                            tarfile.FIFOTYPE,
                            tarfile.DIRTYPE,
                            b"Z",
                        )
                    )
                    member.linkname = random.choice(("../../x", "/etc/passwd", member.name))
                elif way == 3:
                    continue
                else:
                    member.mtime = random.choice((-1, 2**40, 0))
            member.size = len(data) if member.isreg() else 0
            made.addfile(member, io.BytesIO(data) if member.isreg() else None)
    whole = target.getvalue()
    return damage(whole, random) if random.random() < 0.3 else whole


# ---------------------------------------------------------------- arrays, tables, pictures

_DESCRIPTIONS = (
    "|O",
    "<f8",
    "<f4",
    ">f4",
    "<U100000000",
    "|S0",
    "<M8[ns]",
    "|V8",
    "<c16",
    "|b1",
    "<i8",
    "[('a', '<f4')]",
    "<f16",
    "|u1",
    "x",
)
_SHAPES = (
    "()",
    "(0,)",
    "(-1,)",
    "(10**12,)",
    "(1000000000000,)",
    "(4294967296, 4294967296)",
    "(1,)*40",
    "(2, 8, 8)",
    "(16, 8, 8, 1, 1)",
    "16",
    "(16.0,)",
    "(True,)",
    "None",
    "(16, 64)",
    "(9223372036854775807,)",
    "(100000, 8, 8, 1)",
)


def change_npy(content: bytes, random: Random) -> bytes:
    """An array file whose header tells of another dtype, shape or order than its bytes have."""
    if random.random() < 0.3:
        return damage(content, random)
    length = int.from_bytes(content[8:10], "little")
    header, data = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    way = random.randrange(5)
    if way == 0:
        header = header.replace(
            header.split("'descr': ")[1].split(",")[0], repr(random.choice(_DESCRIPTIONS)), 1
        )
    elif way == 1:
        shape = header[header.index("(") : header.index(")") + 1]
        header = header.replace(shape, random.choice(_SHAPES), 1)
    elif way == 2:
        header = header.replace("False", random.choice(("True", "None", "1", "'x'")), 1)
    elif way == 3:
        header = random.choice(
            (
                "",
                "{}",
                "{" * 5000,
                "[" * 5000 + "]" * 5000,
                "__import__('os')",
                "{'descr': '<f4'}",
                header * 2,
                "\0" * 64,
            )
        )
    else:
        data = random.choice(
            (
                b"",
                data[: len(data) // 2],
                data * 3,
                np.full(
                    len(data) // 4, random.choice((np.nan, np.inf, 1e38, 0)), np.float32
                ).tobytes(),
            )
        )
    packed = header.encode("latin-1")
    size = random.choice((len(packed),) * 8 + (0, 0xFFFF, len(packed) // 2))
    version = random.choice((b"\x01\x00",) * 8 + (b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    return b"\x93NUMPY" + version + size.to_bytes(2, "little") + packed + data


def change_wav(content: bytes, random: Random) -> bytes:
    """A sound whose header states another format, another size, or parts of other lengths."""
    place, size = random.choice(
        ((16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2), (40, 4), (4, 4))
    )
    value = random.choice((0, 1, 2, 3, 8, 24, 32, 64, 255, 8000, 0xFFFE, 0xFFFF, 2**31, 2**32 - 1))
    made = content[:place] + (value % 256**size).to_bytes(size, "little") + content[place + size :]
    return made if random.random() < 0.7 else made[: random.randrange(len(made))]


def change_png(content: bytes, random: Random) -> bytes:
    """A picture that says it is larger, of other colours, or is followed by other chunks."""
    if random.random() < 0.5:
        return damage(content, random)
    width, height = random.choice(
        ((0, 0), (1, 1), (30_000, 30_000), (2**31 - 1, 1), (12_000, 12_000))
    )
    header = struct.pack(
        ">IIBBBBB",
        width,
        height,
        random.choice((8, 16, 1, 3)),
        random.choice((0, 2, 3, 6, 7)),
        0,
        0,
        random.choice((0, 1)),
    )
    chunk = b"IHDR" + header
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


# ---------------------------------------------------------------- .tflite


def change_tflite(content: bytes, random: Random) -> bytes:
    """A model with something in its tree replaced, packed anew."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for _ in range(random.choice((1, 1, 2, 4))):
        _change_tree(model, random)
    builder = flatbuffers.Builder(4096)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # noqa: BLE001 - the writer does not take such a value: by bytes then
        return damage_words(content, random)
    return bytes(builder.Output())


def _change_tree(model: Any, random: Random) -> None:
    holder = model
    while True:
        inner = [value for value in vars(holder).values() if _has_fields(value)]
        inner += [
            item
            for value in vars(holder).values()
            if isinstance(value, list)
            for item in value
            if _has_fields(item)
        ]
        if not inner or random.random() < 0.2:
            break
        holder = random.choice(inner)
    name = random.choice(list(vars(holder)))
    old = getattr(holder, name)
    if isinstance(old, (list, np.ndarray)) and len(old) and random.random() < 0.8:
        setattr(holder, name, _change_vector(old, random))
    elif isinstance(old, (bytes, str)):
        setattr(holder, name, random.choice(("", "a" * 3000, "\x1b[2J", "<b>", b"\xff\xfe", None)))
    else:
        setattr(holder, name, random.choice((None, 0, 1, -1, 127, 2**31 - 1, -(2**31), 5)))


def _has_fields(value: Any) -> bool:
    return type(value).__module__.endswith("schema_py_generated")


def _change_vector(old: Any, random: Random) -> Any:
    way = random.randrange(4)
    if way == 0:
        return old[: len(old) // 2]
    if way == 1:
        return [*old, *list(old)[-1:]]
    if isinstance(old, list) and _has_fields(old[0]):
        return old[::-1] if way == 2 else [*old, random.choice(old)]
    made = np.array(old)
    odd = (0, -1, 1, 2**31 - 1, -(2**31), 2**62)
    if made.dtype.kind == "f":
        odd = (0, -1, np.nan, np.inf, 1e-45, 1e38)  # type: ignore[assignment]
    with np.errstate(all="ignore"):
        made[random.randrange(len(made))] = np.array(random.choice(odd)).astype(made.dtype)
    return made


# ---------------------------------------------------------------- protobuf, SQLite, HDF5


def change_protobuf(content: bytes, random: Random) -> bytes:
    """A message with a field dropped, repeated or of another length, at any depth."""
    fields = _fields(content)
    if not fields or random.random() < 0.1:
        return damage(content, random)
    start, body, end, kind = random.choice(fields)
    whole = content[start:end]
    way = random.randrange(4)
    if kind == 2 and way < 3 and end > body:
        inner = change_protobuf(content[body:end], random)
        tag = content[start : start + 1 + (content[start] > 0x7F)]
        return content[:start] + tag + _varint(len(inner)) + inner + content[end:]
    if kind == 0 and way < 3:
        number = random.choice((0, 1, 127, 2**31 - 1, 2**32, 2**63, 2**64 - 1))
        tag = content[start : start + 1 + (content[start] > 0x7F)]
        return content[:start] + tag + _varint(number) + content[end:]
    return content[:start] + random.choice((b"", whole * 2, whole * 50)) + content[end:]


def _fields(content: bytes) -> list[tuple[int, int, int, int]]:
    """Start, body, end and wire type of each field; empty when it is no message."""
    found, at = [], 0
    try:
        while at < len(content):
            start = at
            tag, at = _read_varint(content, at)
            body, kind = at, tag & 7
            if kind == 0:
                _, at = _read_varint(content, at)
            elif kind == 2:
                length, body = _read_varint(content, at)
                at = body + length
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return []
            if at > len(content) or tag >> 3 == 0:
                return []
            found.append((start, body, at, kind))
    except IndexError:
        return []
    return found


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def change_sqlite(content: bytes, random: Random) -> bytes:
    """A database with other values, versions or tables, or with damaged pages."""
    if random.random() < 0.4:
        return damage(content, random)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, "file.sqlite")
        path.write_bytes(content)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        table = random.choice(tables)
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        statements = [
            (f'UPDATE "{table}" SET "{random.choice(columns)}" = ?', (_sql_value(random),)),
            (f'UPDATE "{table}" SET "{random.choice(columns)}" = ?', (_sql_value(random),)),
            (f'UPDATE "{table}" SET "{random.choice(columns)}" = ?', (_sql_value(random),)),
            (f'DROP TABLE "{table}"', ()),
            (f'DELETE FROM "{table}"', ()),
            (f'ALTER TABLE "{table}" RENAME TO other', ()),
            (f"PRAGMA user_version = {random.choice((0, 1, 2, 99, -5))}", ()),
            (f"PRAGMA application_id = {random.choice((0, 7))}", ()),
        ]
        try:
            connection.execute(*random.choice(statements))
        except sqlite3.Error:
            connection.execute("PRAGMA user_version = 3000")
        connection.close()
        return path.read_bytes()


def _sql_value(random: Random) -> Any:
    numbers = (
        None,
        0,
        -1,
        2**62,
        1e308,
        -0.5,
        b"",
        b"\xff\x00",
        zlib.compress(b"{}"),
        zlib.compress(bytes(1 << 20)),
    )
    return random.choice((*numbers, *(text for text in TEXTS if text != "\ud800"), "[[1]]", "{}"))


def change_h5(content: bytes, random: Random) -> bytes:
    """A Keras HDF5 file with another configuration, other arrays, or damaged bytes."""
    import h5py

    if random.random() < 0.4:
        return damage(content, random)
    target = io.BytesIO(content)
    with h5py.File(target, "r+") as file:
        attributes = [name for name in ("model_config", "training_config") if name in file.attrs]
        if attributes and random.random() < 0.7:
            name = random.choice(attributes)
            own = file.attrs[name]
            text = own if isinstance(own, bytes) else own.encode()
            made = change_json(text, random)
            if len(made) < 60_000:
                file.attrs[name] = np.bytes_(made) if made else np.bytes_(b" ")
        else:
            names: list[str] = []
            file.visit(names.append)
            name = random.choice(names)
            if isinstance(file[name], h5py.Dataset) and random.random() < 0.6:
                values = np.asarray(file[name])
                del file[name]
                file[name] = random.choice(
                    (
                        values * np.nan,
                        values[:1],
                        values.T,
                        values[None],
                        values.astype("f8"),
                        values.astype("S8"),
                    )
                )
            else:
                del file[name]
    return target.getvalue()
