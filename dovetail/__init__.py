"""Dovetail: co-design of large language models and the hardware they run on.

>>> import dovetail as dt
>>> est = dt.estimate("Qwen/Qwen3-8B", on="h200-sxm", workload=dt.Workload.chat(prompt=2048, output=256, batch=32))

Every name below comes in at its first use, so ``import dovetail`` alone costs nothing (PEP 562).
"""

from __future__ import annotations

from importlib import import_module

from dovetail.core.version import __version__

TYPE_CHECKING = False  # type checkers read it as true; importing typing for it would be most of the import's cost
if TYPE_CHECKING:
    from dovetail.core.errors import DovetailError
    from dovetail.design import build, calibrate, estimate, explain, measure
    from dovetail.hardware import load_machine
    from dovetail.model import Model
    from dovetail.recipe import Recipe, compress
    from dovetail.search import search
    from dovetail.workload import Workload

_HOMES = {
    "DovetailError": "core.errors",
    "Model": "model",
    "Recipe": "recipe",
    "Workload": "workload",
    "build": "design",
    "calibrate": "design",
    "compress": "recipe",
    "estimate": "design",
    "explain": "design",
    "load_machine": "hardware",
    "measure": "design",
    "search": "search",
}

__all__ = [
    "DovetailError",
    "Model",
    "Recipe",
    "Workload",
    "__version__",
    "build",
    "calibrate",
    "compress",
    "estimate",
    "explain",
    "load_machine",
    "measure",
    "search",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dovetail' has no attribute '{name}'")
    value = getattr(import_module(f"dovetail.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
