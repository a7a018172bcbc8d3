"""Choose: spaces, constraints, the exact Pareto front, and studies that survive anything."""

from dovetail.search.answer import Evaluator
from dovetail.search.exact import search
from dovetail.search.pareto import front
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space, Structure
from dovetail.search.study import Study

__all__ = ["Candidate", "Evaluator", "Result", "Space", "Structure", "Study", "front", "search"]
