"""Names of tensors as identifiers that Kotlin, Java, Swift, C, C++ and Python all accept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Reserved in at least one of: Kotlin 2 (hard and soft keywords), Java 21, Swift 6, C23, C++23,
# Python 3.13. One set for all, so that a name is the same in every package.
_RESERVED = """
abstract actor and and_eq any as asm assert associatedtype async atomic auto await bitand bitor
bool boolean break by byte case catch char class co_await co_return co_yield compl concept const
const_cast consteval constexpr constinit constructor continue convenience data decltype def
default defer deinit del delegate delete didset do double dynamic dynamic_cast elif else enum
except exec explicit export exports extension extern external fallthrough false field file
fileprivate final finally float for foreach friend from fun func get global goto guard if
implements import in infix init inline inner inout instanceof int interface internal is it
lambda lateinit lazy left let long match module mutable mutating namespace native new nil
noexcept none nonlocal nonmutating not not_eq null nullptr object open opens operator optional
or or_eq out override package param pass permits postfix precedence prefix print private
property protected protocol provides public raise receiver record register reified
reinterpret_cast repeat required requires rethrows return right sealed self set setparam short
signed sizeof static static_assert static_cast strictfp string struct subscript super suspend
switch synchronized tailrec template this thread_local throw throws to transient transitive true
try type typealias typedef typeid typename typeof union unowned unsigned uses using val value
var vararg virtual void volatile wchar_t weak when where while willset with xor xor_eq yield
"""
RESERVED = frozenset(_RESERVED.split())


def is_device(name: str) -> bool:
    """Whether Windows opens a device for every file with this name, whatever its ending is."""
    return re.fullmatch(r"(?i)con|prn|aux|nul|(com|lpt)[0-9]", name) is not None


def words(name: str) -> list[str]:
    """The ASCII words of a name: "serving_default_Image:0" is serving, default, Image, 0."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain)
    return re.findall(r"[A-Za-z]+[0-9]*|[0-9]+", spaced)


def snake(name: str, fallback: str) -> str:
    """Lower case with underscores; never reserved, never empty, never beginning with a digit."""
    found = "_".join(word.lower() for word in words(name))
    if not found:
        found = fallback
    if found[0].isdigit():
        found = f"{fallback}_{found}"
    return f"{found}_" if found in RESERVED or found.replace("_", "") in RESERVED else found


def camel(identifier: str) -> str:
    """An identifier of `snake` as `lowerCamelCase`."""
    first, *rest = identifier.rstrip("_").split("_")
    found = first + "".join(word.capitalize() for word in rest)
    return f"{found}_" if identifier.endswith("_") else found


def pascal(identifier: str) -> str:
    """An identifier of `snake` as `PascalCase`, for a class."""
    return "".join(word.capitalize() for word in identifier.rstrip("_").split("_"))


def unique(names: Iterable[str], fallback: str) -> tuple[str, ...]:
    """`snake` of each; those that come out the same, in any spelling, get a number."""
    found: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names):
        base = own = snake(name, f"{fallback}_{number}")
        count = 2
        while own.replace("_", "") in taken:
            own, count = f"{base.rstrip('_')}_{count}", count + 1
        taken.add(own.replace("_", ""))
        found.append(own)
    return tuple(found)
