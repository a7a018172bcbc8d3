"""What the tests of the search share: the bench's brute force, which is their oracle, and a toy evaluator."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def brute(root: Path) -> ModuleType:
    """bench/search.py: random questions and an independent brute force."""
    return _load(root / "bench" / "search.py")


@pytest.fixture(scope="session")
def toy(root: Path) -> ModuleType:
    """The toy evaluator, which a subprocess runs as well."""
    return _load(root / "tests" / "search" / "toy.py")
