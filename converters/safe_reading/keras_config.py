"""Checks a Keras configuration: every object and function in it must be on the list.

All of the value is checked, not only the places that some release of Keras reads: an object of a
class that is not on the list is refused at any place. Only the training configuration is left out,
because `without_training` removes it before loading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

from edgeq.converters.safe_reading.findings import Finding, listed
from edgeq.converters.safe_reading.functions import (
    TENSOR_ATTRIBUTES,
    TENSOR_CLASSES,
    is_tensor_function,
)
from edgeq.converters.safe_reading.keras_names import (
    ACTIVATIONS,
    CLASSES,
    MODULES,
    QAT_LAYERS,
    REFUSED,
    SHORT_NAMES,
)
from edgeq.converters.safe_reading.operators import OPERATORS

TRAINING = "compile_config"
# The modules of edgeq's layers for quantization-aware training, now and in edgeq 0.1.
QAT_MODULES = ("edgeq.converters.training.qat_layers", "edgeq.converters.qat_layers")

# Keras writes values that JSON does not have as these objects, which are only data.
_VALUES = listed(
    """
    __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__
    CompositeTensor TensorShape
    """
)
_SPECS = frozenset(("TensorSpec", "RaggedTensorSpec", "SparseTensorSpec"))
_SPEC_MODULES = re.compile(r"tensorflow\.python(\.[a-z_]+)*")
# "activation": "relu", "kernel_initializer": "zeros": with or without a prefix.
_NAMED_FUNCTION = re.compile(r"(?:\w+_)?(activation|initializer|regularizer|constraint)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def find(config: Any, known: frozenset[str]) -> Finding | None:
    """The first part of a configuration that is not on the list.

    Args:
        config: from `plain_json.parse`, which limits its depth.
        known: names of the user's own objects, from `--custom-objects`.
    """
    return next(_Judge(known).walk(config, "its configuration"), None)


def without_training(config: Any, *, keep_first: bool = False) -> Any:
    """A copy without the training configuration of the model and of the models inside it.

    Args:
        config: plain.
        keep_first: leave that of the outermost model, which `compile=False` turns off.
    """
    if isinstance(config, dict):
        return {
            name: item if name == TRAINING else without_training(item)
            for name, item in config.items()
            if name != TRAINING or keep_first
        }
    return [without_training(item) for item in config] if isinstance(config, list) else config


@dataclass(frozen=True)
class _Judge:
    known: frozenset[str]

    def walk(self, value: Any, where: str) -> Iterator[Finding]:
        if isinstance(value, dict):
            if "class_name" in value:
                # The layer that the object is, or is a part of.
                config = value.get("config")
                inner = config.get("name") if isinstance(config, dict) else None
                name = inner if isinstance(inner, str) else value.get("name")
                where = f"layer {name!r}" if isinstance(name, str) else where
                yield from self._object(value, where)
            for key, item in value.items():
                if key != TRAINING:
                    yield from self.walk(item, where)
        elif isinstance(value, list):
            for item in value:
                yield from self.walk(item, where)
        elif isinstance(value, str) and _holds_model(value):
            yield Finding(where, "holds a text that is itself the JSON of a model")

    def _object(self, value: dict[str, Any], where: str) -> Iterator[Finding]:
        name = value["class_name"]
        if not isinstance(name, str):
            yield Finding(where, f"has the class name {name!r}, which is not text")
        elif name == "__lambda__":
            yield Finding(where, "holds Python code")
        elif name == "function":
            yield from self._function(value, where)
        elif name in ("__typespec__", "TypeSpec"):
            yield from _spec(value, where)
        elif name not in _VALUES:
            yield from self._class(name, value, where)

    def _function(self, value: dict[str, Any], where: str) -> Iterator[Finding]:
        name, module = value.get("config"), value.get("module")
        registered = value.get("registered_name")
        if _is_in(name, self.known):
            return
        is_listed = _is_in(name, ACTIVATIONS) and _is_keras(module, "builtins")
        if not is_listed or registered not in (None, "function", name):
            shown = f"{module}.{name}" if registered in (None, "function", name) else registered
            yield Finding(where, f"names the function {shown!r}, {_UNLISTED}", _own(name))

    def _class(self, name: str, value: dict[str, Any], where: str) -> Iterator[Finding]:
        registered = value.get("registered_name", name)
        module = value.get("module")
        # The user may have registered a class under a name that is not its name in Python.
        is_free = name[:1].isupper() and name not in REFUSED
        if _is_in(registered, self.known) and (name in self.known or is_free):
            return
        if registered is None and name in self.known and _is_keras(module):
            return  # a class of Keras that the user names
        if name in REFUSED:
            yield Finding(where, f"has the class {name!r}, which {REFUSED[name]}")
        elif _is_qat_layer(name, registered, module):
            return
        elif name not in CLASSES or registered not in (None, name, f"Custom>{name}"):
            shown = registered if isinstance(registered, str) and registered != name else name
            yield Finding(where, f"has the class {shown!r}, {_UNLISTED}", _own(name))
        elif not _is_keras(module):
            yield Finding(where, f"has the class {f'{module}.{name}'!r}, {_UNLISTED}", _own(name))
        else:
            config = value.get("config")
            yield from self._names(config, where)
            if name in _CONFIGS and (what := _CONFIGS[name](config)):
                yield Finding(where, what)

    def _names(self, config: Any, where: str) -> Iterator[Finding]:
        """Check activations, initializers and so on that are given by name."""
        for key, text in config.items() if isinstance(config, dict) else ():
            kind = _NAMED_FUNCTION.fullmatch(key)
            if kind is None or not isinstance(text, str) or text in self.known:
                continue
            if text not in (ACTIVATIONS if kind[1] == "activation" else SHORT_NAMES) | CLASSES:
                yield Finding(where, f"names the {kind[1]} {text!r}, {_UNLISTED}", _own(text))


def _is_in(name: Any, names: Container[str]) -> bool:
    return isinstance(name, str) and name in names


_UNLISTED = "which is not on the list of what edgeq loads"


def _own(text: Any) -> str | None:
    """The Python name that a class or function of the user would have."""
    name = text.rpartition(">")[2] if isinstance(text, str) else ""
    return name if _IDENTIFIER.fullmatch(name) else None


def _is_keras(module: Any, *others: str) -> bool:
    if module is None or module in others:
        return True
    return isinstance(module, str) and MODULES.fullmatch(module) is not None


def _is_qat_layer(name: str, registered: Any, module: Any) -> bool:
    """Whether it is a layer of edgeq, in the form of `.keras` or, with one name, of `.h5`."""
    own = name.removeprefix("edgeq>")
    return (
        own in QAT_LAYERS
        and registered == f"edgeq>{own}"
        and module in (None, *QAT_MODULES, *(f"{place}.{own}" for place in QAT_MODULES))
    )


def _holds_model(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        pending = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    while pending:
        item = pending.pop()
        if isinstance(item, dict) and "class_name" in item:
            return True
        if isinstance(item, (dict, list)):
            pending += item.values() if isinstance(item, dict) else item
    return False


def _spec(value: dict[str, Any], where: str) -> Iterator[Finding]:
    """Check the type of a tensor, in both formats of Keras 2."""
    name: Any
    if value["class_name"] == "TypeSpec":
        name = value.get("type_spec")
        is_listed = isinstance(name, str) and name.removeprefix("tf.") in _SPECS
    else:
        name, module = value.get("spec_name"), value.get("module")
        is_listed = (
            _is_in(name, _SPECS)
            and value.get("registered_name") is None
            and isinstance(module, str)
            and _SPEC_MODULES.fullmatch(module) is not None
        )
    if not is_listed:
        yield Finding(where, f"has an input of the type {name!r}, {_UNLISTED}")


# ---------------------------------------------------------------- classes with more to check


def _vocabulary(config: Any) -> str | None:
    for name in ("vocabulary", "idf_weights"):
        given = config.get(name) if isinstance(config, dict) else None
        is_data = isinstance(given, dict) and given.get("class_name") in ("__numpy__", "__tensor__")
        if given is not None and not isinstance(given, list) and not is_data:
            return f"would read its {name} from {given!r}"
    return None


def _tensor_function(config: Any) -> str | None:
    symbol = config.get("function") if isinstance(config, dict) else None
    if isinstance(symbol, str) and is_tensor_function(symbol):
        return None
    return f"calls {symbol!r}, which is not on the list of functions of tensors"


def _attribute(config: Any) -> str | None:
    name = config.get("attr_name") if isinstance(config, dict) else None
    return None if _is_in(name, TENSOR_ATTRIBUTES) else f"reads {name!r} of a tensor, {_UNLISTED}"


def _class_method(config: Any) -> str | None:
    given = config if isinstance(config, dict) else {}
    symbol, method = given.get("cls_symbol"), given.get("method_name")
    if isinstance(symbol, str) and _is_in(method, TENSOR_CLASSES.get(symbol, ())):
        return None
    return f"calls {f'{symbol}.{method}'!r}, which is not on the list of functions of tensors"


def _operator(config: Any) -> str | None:
    node = config.get("node_def") if isinstance(config, dict) else None
    if not isinstance(node, dict):
        return "holds an operator in a form that cannot be checked"
    if not _is_in(node.get("op"), OPERATORS):
        return f"is the operator {node.get('op')!r}, {_UNLISTED}"
    attributes = node.get("attr")
    for attribute in attributes.values() if isinstance(attributes, dict) else ():
        if not isinstance(attribute, dict) or "func" in attribute:
            return f"is the operator {node['op']!r} with its own function"
    return None


_CONFIGS: dict[str, Callable[[Any], str | None]] = {
    **dict.fromkeys(("StringLookup", "IntegerLookup", "TextVectorization"), _vocabulary),
    **dict.fromkeys(("TFOpLambda", "SlicingOpLambda"), _tensor_function),
    **dict.fromkeys(("InstanceProperty", "InstanceMethod"), _attribute),
    "ClassMethod": _class_method,
    "TensorFlowOpLayer": _operator,
}
