"""Heavy libraries come in late, and a missing one is named with the extra that brings it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from dovetail.core.errors import DovetailError


def require(module: str, extra: str, *, to: str = "") -> ModuleType:
    """Import `module`, or say which extra of dovetail installs it.

    Raises
    ------
    DovetailError
        The module is not installed; the hint is the install command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name.split(".")[0]):
            raise
        purpose = f" to {to}" if to else ""
        raise DovetailError(
            f"'{module}' is needed{purpose} and is not installed", hint=f"pip install 'dovetail[{extra}]'"
        ) from None


def installed(module: str) -> bool:
    """Whether `module` can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
