"""Names to things, found by listing the modules of one package: adding a file is adding a name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dovetail.core.errors import DovetailError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Things by name, registered by a decorator in the modules of `package`, all imported at the first look-up."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._things: dict[str, T] = {}
        self._loaded = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorator: register the decorated thing under every name given. Raises `ValueError` on a name taken twice."""

        def add(thing: T) -> T:
            for name in names:
                if name in self._things:
                    raise ValueError(f"{self.kind} '{name}' is registered twice")
                self._things[name] = thing
            return thing

        return add

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._loaded = True

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._things))

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._things

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._things:
            raise DovetailError(f"unknown {self.kind} '{name}'", hint=did_you_mean(name, list(self._things)))
        return self._things[name]
