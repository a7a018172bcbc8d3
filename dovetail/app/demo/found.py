"""What the demo finds on its way, and what its report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dovetail.design.estimate import Estimate
from dovetail.design.measure import Row
from dovetail.hardware import Machine
from dovetail.model import Model
from dovetail.runtime.perplexity import Quality
from dovetail.runtime.speed import Speed
from dovetail.search import Result

HOST = "host.yaml"  # this computer, calibrated: kept beside the report, so that the user's own calibration stays
WINNER = "winner"  # the folder that is built


@dataclass(frozen=True, slots=True)
class Tried:
    """One recipe, applied and measured on this computer."""

    recipe: str
    bytes: int
    quality: Quality
    prefill: Speed
    decode: Speed


@dataclass(frozen=True, slots=True)
class Found:
    """Everything the demo found, for the report."""

    model: Model
    host: Machine
    tried: Mapping[str, Tried]
    rows: tuple[Row, ...]
    predictions: tuple[Estimate, ...]
    result: Result
    around: Mapping[str, Any]  # of the front: `dovetail.app.landscape`
    built: Mapping[str, Any]
    winner: Estimate
    seconds: float
