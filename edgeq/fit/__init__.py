"""`edgeq fit`: whether a model fits a microcontroller, and what an accelerator would run of it."""

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """Once imported, it hides that edgeq has no function `fit`."""

    def __call__(self, *given: Any, **named: Any) -> None:
        """Name the function.

        Raises:
            TypeError: always.
        """
        raise TypeError("edgeq.fit is a module. Did you mean 'edgeq.fit_model'?")


sys.modules[__name__].__class__ = _Package
