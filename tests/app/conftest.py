"""What tests of several verbs need."""

from __future__ import annotations

import pytest

from dovetail.accel.simulate.verilator import verilator
from dovetail.core.errors import DovetailError


@pytest.fixture(scope="session")
def tools() -> dict[str, str]:
    """The environment in which Verilator runs. Skips where it does not."""
    try:
        command, environment = verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    return {**environment, "VERILATOR": " ".join(command)}
