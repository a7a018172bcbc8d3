"""Accuracy on tasks of lm-eval (EleutherAI's harness), by name: its prompts and its scores, our loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require
from dovetail.core.quantity import Quantity
from dovetail.runtime.load import load

_Z = 1.96  # standard errors to either side of a 95 % interval


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one task: its mean over the examples, and the standard error that lm-eval gives (NaN without)."""

    task: str
    metric: str
    value: float
    error: float
    examples: int

    def to_json(self) -> dict[str, Any]:
        """The score as a JSON quantity."""
        width = _Z * self.error if self.error == self.error else 0.0
        source = f"lm-eval, {self.examples:,} examples, 1.96 standard errors either way"
        return Quantity(self.value, self.value - width, self.value + width, "", "measured", source).to_json()


def check_tasks(names: Sequence[str]) -> None:
    """Refuse, before any work, tasks that cannot be run here.

    Raises
    ------
    DovetailError
        lm-eval is not installed, or does not know a name (with the nearest).
    """
    known = _harness().tasks.TaskManager().all_tasks
    for name in names:
        if name not in known:
            raise DovetailError(f"no task '{name}' in lm-eval", where="--task", hint=did_you_mean(name, list(known)))


def _harness() -> Any:
    harness = require("lm_eval", "eval", to="measure accuracy on tasks")
    require("lm_eval.tasks", "eval")
    return harness


def evaluate(
    folder: Path, names: Sequence[str], *, limit: int | None = None, report: Callable[[str], None] = lambda line: None
) -> list[Score]:
    """Run tasks on a checkpoint, offline.

    Parameters
    ----------
    limit : int or None
        Examples of each task, the first ones; None for all.

    Raises
    ------
    DovetailError
        As `check_tasks`; the data of a task is not on this computer.
    """
    harness, kind = _harness(), require("lm_eval.models.huggingface", "eval").HFLM
    report(f"running {', '.join(names)} on {folder.name}")
    loaded = load(folder)
    model = kind(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=8)
    try:
        found = harness.simple_evaluate(
            model=model, tasks=list(names), limit=limit, log_samples=False, bootstrap_iters=1000, verbosity="ERROR"
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        hint = "fetch the data once where there is a network (it is kept in the cache of `datasets`), or another task"
        raise DovetailError("the task cannot be run", where=", ".join(names), why=why, hint=hint) from error
    counts = {name: int(n["effective"]) for name, n in found["n-samples"].items()}
    return [score for name, row in found["results"].items() for score in _scores(name, row, counts.get(name, 0))]


def _scores(task: str, row: Mapping[str, Any], examples: int) -> Iterator[Score]:
    """``acc,none: 0.5`` and ``acc_stderr,none: 0.01`` as one score."""
    for key, value in row.items():
        metric, _, rule = key.partition(",")
        if not rule or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = row.get(f"{metric}_stderr,{rule}")
        named = metric if rule == "none" else f"{metric} ({rule})"
        yield Score(
            task, named, float(value), float(error) if isinstance(error, int | float) else float("nan"), examples
        )
