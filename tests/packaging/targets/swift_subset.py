"""Not a test: runs the plain part of Swift that `Numerics.swift` is written in.

There is no Swift compiler for the machines that test edgeq, and code that never ran is no proof.
This reads functions, structs and enums, statements and expressions, and computes as Swift does:
types never mix (a literal takes the type of its neighbour), `Float` is rounded after every
operation, integers and indices that leave their range trap, arrays are values. Anything else is an
error. What a compiler checks without running (access, unused names, types of lines that are not
reached) stays unchecked.
"""

# ruff: noqa: PLR0911  (a case, a return)
from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
    |(?P<real>0x[0-9a-f]+(?:\.[0-9a-f]+)?p[+-]?\d+|\d+\.\d+)
    |(?P<int>\d+)
    |(?P<text>"(?:\\.|[^"\\])*")
    |(?P<name>[A-Za-z_]\w*|\$\d)
    |(?P<mark>\.\.<|->|&&|\|\||==|!=|<=|>=|>>|\?\?|[-+*/%<>=?:,.(){}\[\]!&@])""",
    re.VERBOSE,
)
POWERS = {"?": 1, "||": 2, "&&": 3, "==": 4, "!=": 4, "<": 4, ">": 4, "<=": 4, ">=": 4, "..<": 5,
          "+": 6, "-": 6, "*": 7, "/": 7, "%": 7, ">>": 8}  # fmt: skip
MODIFIERS = {"public", "private", "static", "final"}
INTEGERS = {"Int8": np.int8, "UInt8": np.uint8, "Int16": np.int16, "Int32": np.int32}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le,
    ">=": operator.ge, "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": operator.truediv, "%": operator.mod, ">>": operator.rshift,
}  # fmt: skip


class LiteralInt(int):
    """A number in the text that has no type yet."""


class LiteralReal(float):
    """The same with a point."""


class SwiftError(Exception):
    """What `throw` throws."""


class TrapError(Exception):
    """What ends a Swift program."""


class _Return(Exception):  # noqa: N818
    pass


# ---------------------------------------------------------------- reading


class Reader:
    """Tokens to nested tuples."""

    def __init__(self, source: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(source):
            found = TOKEN.match(source, place)
            if found is None:
                raise SyntaxError(f"Not of the subset: {source[place : place + 40]!r}")
            if found.lastgroup != "skip":
                self.tokens.append((str(found.lastgroup), found.group()))
            place = found.end()
        self.place = 0

    def peek(self, ahead: int = 0) -> str:
        at = self.place + ahead
        return self.tokens[at][1] if at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        found = self.peek()
        if wanted is not None and found != wanted:
            near = " ".join(text for _, text in self.tokens[self.place - 5 : self.place + 5])
            raise SyntaxError(f"{wanted!r} is missing near {near}")
        self.place += 1
        return found

    def skip(self, wanted: str) -> bool:
        if self.peek() == wanted:
            self.place += 1
            return True
        return False

    def type_name(self) -> str:
        if self.skip("["):
            found = f"[{self.type_name()}]"
            self.take("]")
            return found
        if self.skip("("):
            while not self.skip(")"):
                self.take()
            return "tuple"
        found = self.take()
        while self.peek() == ".":
            found += self.take() + self.take()
        return found

    def declarations(self, end: str = "") -> list[Any]:
        found = []
        while self.peek() != end:
            while self.peek() in MODIFIERS:
                self.take()
            kind = self.take()
            if kind == "import":
                self.take()
            elif kind in ("struct", "enum"):
                name = self.take()
                while self.take() != "{":
                    pass
                found.append((kind, name, self.declarations("}")))
                self.take("}")
            elif kind == "case":
                found.append(("case", self.take()))
                if self.skip("("):
                    self.type_name()
                    self.take(")")
            elif kind in ("let", "var"):
                name = self.take()
                self.take(":")
                found.append(("field", name, self.type_name()))
            elif kind in ("func", "init"):
                found.append(self.function("init" if kind == "init" else self.take()))
            else:
                raise SyntaxError(f"Not of the subset: {kind}")
        return found

    def function(self, name: str) -> Any:
        generic = None
        if self.skip("<"):
            generic = self.take()
            self.take(":")
            self.take()
            self.take(">")
        self.take("(")
        parameters = []
        while not self.skip(")"):
            label = self.take()
            own = label if self.peek() == ":" else self.take()
            self.take(":")
            kind = self.type_name()
            default = self.expression() if self.skip("=") else None
            parameters.append((label, own, kind, default))
            self.skip(",")
        self.skip("throws")
        result = self.type_name() if self.skip("->") else None
        return ("func", name, generic, parameters, result, self.block())

    def block(self) -> list[Any]:
        self.take("{")
        found = []
        while not self.skip("}"):
            found.append(self.statement())
        return found

    def statement(self) -> Any:
        first = self.peek()
        if first in ("let", "var"):
            self.take()
            name = self.take()
            kind = self.type_name() if self.skip(":") else None
            self.take("=")
            return ("declare", name, kind, self.expression())
        if first == "for":
            self.take()
            name = self.take()
            self.take("in")
            return ("for", name, self.expression(closures=False), self.block())
        if first in ("if", "guard"):
            self.take()
            conditions = [self.expression(closures=False)]
            while self.skip(","):
                conditions.append(self.expression(closures=False))
            if first == "guard":
                self.take("else")
            return (first, conditions, self.block())
        if first in ("return", "throw"):
            self.take()
            return (first, self.expression())
        left = self.expression()
        return ("assign", left, self.expression()) if self.skip("=") else ("do", left)

    def expression(self, least: int = 0, closures: bool = True) -> Any:
        left = self.postfix(self.primary(closures), closures)
        while (power := POWERS.get(self.peek(), -1)) > least:
            mark = self.take()
            if mark == "?":
                yes = self.expression(0, closures)
                self.take(":")
                left = ("choose", left, yes, self.expression(0, closures))
            else:
                left = ("binary", mark, left, self.expression(power, closures))
        return left

    def primary(self, closures: bool) -> Any:
        kind, token = self.tokens[self.place]
        self.place += 1
        if token == "try":
            return self.expression(8, closures)
        if token == "-":
            _, value = self.primary(closures)
            if not is_literal(value):
                raise SyntaxError("Not of the subset: - before what is no number")
            return ("value", type(value)(-value))
        if kind == "real":
            return ("value", LiteralReal(float.fromhex(token) if "x" in token else float(token)))
        if kind == "int":
            return ("value", LiteralInt(token))
        if kind == "text":
            return ("value", token[1:-1])
        if token == ".":
            return ("value", self.take())
        if token in "([":
            end = {"(": ")", "[": "]"}[token]
            items = [item for _, item in self.arguments(end)]
            return items[0] if token == "(" and len(items) == 1 else (token, items)
        if kind == "name":
            return ("name", token)
        raise SyntaxError(f"Not of the subset: {token}")

    def postfix(self, left: Any, closures: bool) -> Any:
        while True:
            if self.peek() == "." and self.tokens[self.place + 1][0] == "name":
                self.take()
                left = ("member", left, self.take())
            elif self.skip("("):
                left = ("call", left, self.arguments(")"))
            elif self.skip("["):
                (pair,) = self.arguments("]")
                left = ("index", left, pair[1])
            elif closures and self.peek() == "{":
                left = ("call", left, [(None, self.closure())])
            else:
                return left

    def arguments(self, end: str) -> list[tuple[str | None, Any]]:
        found = []
        while not self.skip(end):
            label = None
            if self.peek(1) == ":":
                label = self.take()
                self.take(":")
            found.append((label, self.expression()))
            self.skip(",")
        return found

    def closure(self) -> Any:
        self.take("{")
        names = []
        at = self.place
        while self.tokens[self.place][0] == "name" and self.peek(1) in (",", "in"):
            names.append(self.take())
            if self.take() == "in":
                break
        else:
            self.place, names = at, []
        body = self.expression()
        self.take("}")
        return ("closure", names, body)


# ---------------------------------------------------------------- computing


def is_literal(value: Any) -> bool:
    return isinstance(value, (LiteralInt, LiteralReal))


def settle(value: Any) -> Any:
    """A literal that met no type: `Int` or `Double`."""
    if isinstance(value, LiteralInt):
        return int(value)
    return float(value) if isinstance(value, LiteralReal) else value


def typed(value: Any, kind: str | None) -> Any:
    """A value where a type is written; a value of another type is an error, as in Swift."""
    if kind in ("Float", "Double") and is_literal(value):
        return np.float32(value) if kind == "Float" else float(value)
    value = list(value) if isinstance(value, (list, range)) else settle(value)
    if kind is not None and kind.startswith("[") and isinstance(value, list):
        return [typed(item, kind[1:-1]) for item in value]
    wanted = {"Float": np.float32, "Double": float, "Int": int, "String": str, **INTEGERS}.get(
        str(kind)
    )
    if wanted is not None and type(value) is not wanted:
        raise TypeError(f"{value!r} is no {kind}")
    return value


def together(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values of one type; a literal takes that of the other."""
    if is_literal(one) and is_literal(other):
        return settle(one), settle(other)
    if is_literal(one):
        return type(other)(one), other
    if is_literal(other):
        return one, type(one)(other)
    if type(one) is not type(other):
        raise TypeError(f"{one!r} and {other!r} are of different types")
    return one, other


def bounded(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise TrapError("Int overflows")
    return value


def binary(mark: str, one: Any, other: Any) -> Any:
    if mark == "..<":
        if settle(one) > settle(other):
            raise TrapError("a range ends before it begins")
        return range(settle(one), settle(other))
    both_literal = is_literal(one) and is_literal(other)
    one, other = together(one, other)
    if mark in ("+", "-", "*", "/", "%", ">>") and isinstance(one, np.integer):
        raise TypeError(f"{mark} of integers is not of the subset")
    if mark == "/" and isinstance(one, int):
        if other <= 0 or one < 0:
            raise TypeError("/ of integers below 0 is not of the subset")
        return LiteralInt(one // other) if both_literal else one // other
    with np.errstate(all="ignore"):
        found = OPERATORS[mark](one, other)
    if isinstance(found, bool | np.bool_):
        return bool(found)
    if type(found) is int:
        return LiteralInt(found) if both_literal else bounded(found)
    return found


def convert(name: str, value: Any) -> Any:
    """`Int(x)`, `Float(x)`..."""
    if name == "Float":
        return np.float32(value)
    if name == "Double":
        return float(value)
    if not np.isfinite(value):
        raise TrapError(f"{name}({value})")
    whole = int(value)
    if name == "Int":
        return bounded(whole)
    limits = np.iinfo(INTEGERS[name])
    if not limits.min <= whole <= limits.max:
        raise TrapError(f"{name}({value})")
    return INTEGERS[name](whole)


class Program:
    """Functions and types of a source text, to be called from Python."""

    def __init__(self, source: str) -> None:
        self.functions: dict[str, list[Any]] = {}
        self.structs: dict[str, list[Any]] = {}
        self.enums: dict[str, set[str]] = {}
        for entry in Reader(source).declarations():
            if entry[0] == "func":
                self.functions.setdefault(entry[1], []).append(entry)
            elif entry[0] == "struct":
                self.structs[entry[1]] = entry[2]
            else:
                self.enums[entry[1]] = {case[1] for case in entry[2]}

    def call(self, name: str, *values: Any, **labelled: Any) -> Any:
        """A function or the initialiser of a struct."""
        arguments = [*((None, value) for value in values), *labelled.items()]
        if name in self.structs:
            return self._make(name, arguments)
        for entry in self.functions[name]:
            if self._fits(entry, arguments):
                return self._run(entry, arguments, {})
        raise TypeError(f"No {name} takes these arguments")

    def _fits(self, entry: Any, arguments: Sequence[tuple[str | None, Any]]) -> bool:
        parameters = entry[3]
        if [label for label, *_ in parameters] != [label or "_" for label, _ in arguments]:
            return False
        return all(
            (kind in self.structs) == isinstance(value, SimpleNamespace)
            for (_, _, kind, _), (_, value) in zip(parameters, arguments, strict=True)
        )

    def _make(self, name: str, arguments: Sequence[tuple[str | None, Any]]) -> Any:
        members = self.structs[name]
        fields = {member[1]: member[2] for member in members if member[0] == "field"}
        made = SimpleNamespace(swift=name)
        init = next((member for member in members if member[1] == "init"), None)
        if init is not None:
            self._run(init, arguments, {"self": made})
        else:
            if [label for label, _ in arguments] != list(fields):
                raise TypeError(f"{name} has {', '.join(fields)}")
            vars(made).update({str(label): value for label, value in arguments})
        for field, kind in fields.items():
            setattr(made, field, typed(getattr(made, field), kind))
        return made

    def _run(
        self, entry: Any, arguments: Sequence[tuple[str | None, Any]], known: dict[str, Any]
    ) -> Any:
        _, _, generic, parameters, result, body = entry
        names = dict(known)
        left = list(arguments)
        for label, own, kind, default in parameters:
            if left and (left[0][0] or "_") == label:
                value = left.pop(0)[1]
            elif default is not None:
                value = self._value(default, names)
            else:
                raise TypeError(f"{label}: is missing")
            if generic is not None and kind == f"{generic}.Type":
                names[generic] = value
            names[own] = typed(value, kind)
        if left:
            raise TypeError(f"Nothing takes {left[0][0]}:")
        try:
            self._block(body, names)
        except _Return as found:
            return typed(found.args[0], None if generic else result)
        return None

    def _block(self, body: Sequence[Any], names: dict[str, Any]) -> None:
        for statement in body:
            self._statement(statement, names)

    def _statement(self, statement: Any, names: dict[str, Any]) -> None:
        kind = statement[0]
        if kind == "declare":
            names[statement[1]] = typed(self._value(statement[3], names), statement[2])
        elif kind == "for":
            for item in self._value(statement[2], names):
                names[statement[1]] = item
                self._block(statement[3], names)
        elif kind in ("if", "guard"):
            holds = all(self._truth(condition, names) for condition in statement[1])
            if holds == (kind == "if"):
                self._block(statement[2], names)
        elif kind == "return":
            raise _Return(self._value(statement[1], names))
        elif kind == "throw":
            raise SwiftError(self._value(statement[1], names))
        elif kind == "assign":
            self._assign(statement[1], self._value(statement[2], names), names)
        else:
            self._value(statement[1], names)

    def _assign(self, target: Any, value: Any, names: dict[str, Any]) -> None:
        if target[0] == "name":
            names[target[1]] = together(names[target[1]], value)[1]
        elif target[0] == "member":
            setattr(self._value(target[1], names), target[2], value)
        else:
            array, place = self._value(target[1], names), self._value(target[2], names)
            array[self._inside(array, place)] = together(array[place], value)[1]

    def _inside(self, array: Sequence[Any], place: int) -> int:
        if not 0 <= place < len(array):
            raise TrapError(f"index {place} of {len(array)}")
        return place

    def _truth(self, node: Any, names: dict[str, Any]) -> bool:
        found = self._value(node, names)
        if not isinstance(found, bool):
            raise TypeError(f"{found!r} is no Bool")
        return found

    def _value(self, node: Any, names: dict[str, Any]) -> Any:
        kind = node[0]
        if kind == "value":
            return node[1]
        if kind == "name":
            return names[node[1]] if node[1] in names else node[1]
        if kind == "[":
            return [self._value(item, names) for item in node[1]]
        if kind == "(":
            return tuple(self._value(item, names) for item in node[1])
        if kind == "choose":
            return self._value(node[2 if self._truth(node[1], names) else 3], names)
        if kind == "index":
            array = self._value(node[1], names)
            return array[self._inside(array, self._value(node[2], names))]
        if kind == "binary":
            if node[1] in ("&&", "||"):
                first = self._truth(node[2], names)
                return first if first == (node[1] == "||") else self._truth(node[3], names)
            return binary(node[1], self._value(node[2], names), self._value(node[3], names))
        if kind == "member":
            return self._member(self._value(node[1], names), node[2])
        if kind == "closure":
            return self._closure(node, names)
        return self._call(node, names)

    def _closure(self, node: Any, names: dict[str, Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            own = node[1] or [f"${place}" for place in range(len(values))]
            return self._value(node[2], {**names, **dict(zip(own, values, strict=True))})

        return run

    def _member(self, value: Any, name: str) -> Any:
        if name == "self":
            return value
        if isinstance(value, SimpleNamespace):
            return getattr(value, name)
        if isinstance(value, list):
            return {"count": len, "indices": lambda array: range(len(array))}[name](value)
        if name == "isFinite":
            return bool(np.isfinite(value))
        if value in INTEGERS:
            return INTEGERS[value](getattr(np.iinfo(INTEGERS[value]), name))
        if value in self.enums and name in self.enums[value]:
            return name
        raise TypeError(f".{name} of {value!r} is not of the subset")

    def _call(self, node: Any, names: dict[str, Any]) -> Any:
        _, target, pairs = node
        arguments = [(label, self._value(item, names)) for label, item in pairs]
        values = [value for _, value in arguments]
        if target[0] == "[":  # [UInt8](repeating: 0, count: 3)
            item = convert(self._value(target[1][0], names), values[0])
            return [item] * values[1]
        if target[0] == "member":
            return self._method(self._value(target[1], names), target[2], values)
        name = self._value(target, names)
        if callable(name):
            return name(*values)
        if name in ("min", "max"):
            one, other = together(*values)
            return min(one, other) if name == "min" else max(one, other)
        if name == "abs":
            return abs(values[0])
        if name in ("exp", "tanh", "log", "sqrt") and type(values[0]) is float:
            return getattr(math, name)(values[0])
        if name in ("Array", "String"):
            return list(values[0]) if name == "Array" else str(values[0])
        if name in INTEGERS or name in ("Int", "Float", "Double"):
            return convert(name, values[0])
        return self.call(name, *(v for label, v in arguments if label is None),
                         **{label: v for label, v in arguments if label is not None})  # fmt: skip

    def _method(self, value: Any, name: str, values: Sequence[Any]) -> Any:
        if isinstance(value, str) and value in self.enums:
            return (value, name, *values)
        if name == "rounded" and list(values) == ["toNearestOrAwayFromZero"]:
            # As the standard says it: the nearest integer, and of two the one further from zero.
            exact = float(value)
            if not np.isfinite(exact):
                return value
            return type(value)(np.copysign(np.floor(abs(exact) + 0.5), exact))
        if name == "rounded" and list(values) == ["toNearestOrEven"]:
            return type(value)(np.rint(value))
        if name == "append":
            return value.append(values[0])
        if name == "reserveCapacity":
            return None
        if name == "map":
            return [values[0](item) for item in value]
        if name == "prefix":
            return value[: values[0]]
        if name == "sorted":
            return self._sorted(value, values[0])
        if isinstance(value, SimpleNamespace):
            entry = next(member for member in self.structs[value.swift] if member[1] == name)
            return self._run(entry, [(None, item) for item in values], vars(value))
        raise TypeError(f".{name}() is not of the subset")

    def _sorted(self, items: Sequence[Any], before: Callable[..., bool]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            place = len(found)
            while place > 0 and before(item, found[place - 1]):
                place -= 1
            found.insert(place, item)
        return found
