"""Choose: spaces, constraints, the exact Pareto front, and studies that survive anything."""

import sys
from types import ModuleType
from typing import Any

from dovetail.search.answer import Evaluator
from dovetail.search.exact import search
from dovetail.search.pareto import front
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space, Structure
from dovetail.search.study import Study

__all__ = ["Candidate", "Evaluator", "Result", "Space", "Structure", "Study", "front", "search"]


class _Room(ModuleType):
    """A package that is also the verb: ``dovetail.search("space.yaml")`` works whoever imported the room first."""

    def __call__(self, *arguments: Any, **named: Any) -> Result:
        from dovetail.search.codesign import search_space

        return search_space(*arguments, **named)


sys.modules[__name__].__class__ = _Room
