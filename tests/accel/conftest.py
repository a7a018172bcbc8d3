"""The model that ships, lowered once for all tests of this folder."""

from __future__ import annotations

import pytest

from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.lowering.folder import lower
from dovetail.accel.lowering.lower import Scheme
from dovetail.model.find import SHIPPED
from dovetail.runtime.load import Loaded, load

CONTEXT = 192


@pytest.fixture(scope="session")
def embedded() -> Loaded:
    return load(SHIPPED["embedded"])


@pytest.fixture(scope="session", params=["w8a8", "w4a8"])
def lowered(request: pytest.FixtureRequest, embedded: Loaded) -> IntegerModel:
    return lower(embedded, Scheme(request.param), context=CONTEXT)
