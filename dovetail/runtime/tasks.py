"""Accuracy on tasks of lm-eval (EleutherAI's harness), by name: its prompts and its scores, our loading."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.files import read_text
from dovetail.core.lazy import require
from dovetail.core.quantity import Quantity
from dovetail.runtime.load import load

_BATCH, _DRAWS = 8, 1000  # examples at once; draws of metrics whose standard error has no formula
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

    Parameters
    ----------
    names : sequence of str
        What lm-eval calls them, or YAML files in its form.

    Raises
    ------
    DovetailError
        lm-eval is not installed, or does not know a name (with the nearest).
    """
    manager, called = _found(names)
    known = manager.all_tasks
    for name in called:
        if name not in known:
            raise DovetailError(f"no task '{name}' in lm-eval", where="--task", hint=did_you_mean(name, list(known)))


def _harness() -> Any:
    """lm-eval with what it runs models of transformers by, told to be quiet."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = require("lm_eval", "eval", to="measure accuracy on tasks")
    for part in ("accelerate", "peft", "lm_eval.tasks", "lm_eval.models.huggingface"):
        require(part, "eval", to="measure accuracy on tasks")
    return harness


def _found(names: Sequence[str]) -> tuple[Any, list[str]]:
    """Lm-eval's index of tasks with those of YAML files among `names`, and what all of them are called."""
    files = [Path(name).expanduser() for name in names if name.endswith((".yaml", ".yml"))]
    called = [_name(Path(name).expanduser()) if name.endswith((".yaml", ".yml")) else name for name in names]
    folders = sorted({str(file.parent) for file in files})
    return _harness().tasks.TaskManager(include_path=folders or None), called


def _name(path: Path) -> str:
    """The ``task`` of a YAML file, read without the functions that it may name."""
    lines = read_text(path, "the task", "a task of lm-eval").splitlines()
    found = [line.partition(":")[2].strip().strip("'\"") for line in lines if line.startswith("task:")]
    if not found or not found[0]:
        raise DovetailError("is not a task", where=str(path), why="it has no field 'task'", hint="a task of lm-eval")
    return found[0]


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
    manager, called = _found(names)
    report(f"running {', '.join(called)} on {folder.name}")
    loaded, harness = load(folder), _harness()
    kind = harness.models.huggingface.HFLM
    model = kind(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=_BATCH)
    try:
        found = harness.simple_evaluate(
            model=model, tasks=called, limit=limit, log_samples=False, bootstrap_iters=_DRAWS, task_manager=manager
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
