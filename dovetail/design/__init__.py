"""A design is a model, a recipe, a plan and a machine together: estimated, explained, calibrated, measured, built."""

from dovetail.design.estimate import Estimate, estimate
from dovetail.design.resolve import Plan

__all__ = ["Estimate", "Plan", "estimate"]
