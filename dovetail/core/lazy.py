"""Heavy libraries come in late, and a missing one is named with the extra that brings it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from dovetail.core.errors import DovetailError

CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"  # there only when this package runs from its checkout


def install_command(extra: str) -> str:
    """What installs an extra: by name, or from the folder of the checkout this package runs from."""
    return f"pip install -e '.[{extra}]'" if CHECKOUT.is_file() else f"pip install 'dovetail[{extra}]'"


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
        place = f" in {CHECKOUT.parent}" if CHECKOUT.is_file() else ""
        what = f"'{module}' is needed{purpose} and is not installed"
        raise DovetailError(what, hint=install_command(extra) + place) from None


def installed(module: str) -> bool:
    """Whether `module` can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
