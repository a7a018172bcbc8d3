"""Dovetail: co-design of large language models and the hardware they run on.

>>> import dovetail as dt
>>> est = dt.estimate("Qwen/Qwen3-8B", on="h200-sxm", workload=dt.Workload.chat(prompt=2048, output=256, batch=32))

Every name below comes in at its first use, so ``import dovetail`` alone costs nothing (PEP 562).
"""

from __future__ import annotations

from importlib import import_module

from dovetail.core.present import tell
from dovetail.core.version import __version__

TYPE_CHECKING = False  # type checkers read it as true; importing typing for it would be most of the import's cost
if TYPE_CHECKING:
    from dovetail.core.errors import DovetailError
    from dovetail.design.advise import advise
    from dovetail.design.build import build
    from dovetail.design.calibrate import calibrate_host as calibrate
    from dovetail.design.compress import compress
    from dovetail.design.estimate import estimate
    from dovetail.design.explain import explain
    from dovetail.design.measure import measure
    from dovetail.design.recall import recall
    from dovetail.hardware import load_machine
    from dovetail.model import Model
    from dovetail.recipe import Recipe
    from dovetail.search.codesign import search_space as search
    from dovetail.workload import Workload

_HOMES = {
    "DovetailError": "core.errors:DovetailError",
    "Model": "model:Model",
    "Recipe": "recipe:Recipe",
    "Workload": "workload:Workload",
    "advise": "design.advise:advise",
    "build": "design.build:build",
    "calibrate": "design.calibrate:calibrate_host",
    "compress": "design.compress:compress",
    "estimate": "design.estimate:estimate",
    "explain": "design.explain:explain",
    "load_machine": "hardware:load_machine",
    "measure": "design.measure:measure",
    "recall": "design.recall:recall",
    "search": "search:",  # the room itself, which can be called: its name and the verb's are one
}

__all__ = [
    "DovetailError",
    "Model",
    "Recipe",
    "Workload",
    "__version__",
    "advise",
    "build",
    "calibrate",
    "compress",
    "estimate",
    "explain",
    "load_machine",
    "measure",
    "recall",
    "search",
]


def _kernels() -> bool:
    from dovetail.runtime.kernels.library import expected

    return expected()


tell("packed kernels", _kernels)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dovetail' has no attribute '{name}'")
    module, _, attribute = _HOMES[name].partition(":")
    value: object = import_module(f"dovetail.{module}")
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
