"""How a search's answer looks in a terminal."""

from __future__ import annotations

from dovetail.app.output import table
from dovetail.search import Result
from dovetail.search.metrics import METRICS

MOST_ROWS = 12


def search_screen(found: Result, quiet: bool) -> None:
    """The winner or what binds, the counts, and the first designs of the front."""
    if found.winner:
        metrics = ", ".join(
            f"{o.metric} {METRICS[o.metric].show(float(found.winner[o.metric]))}" for o in found.objectives
        )
        print(f"winner      {found.winner}: {metrics}")
    else:
        print(f"no winner   {found.why}")
    if quiet:
        return
    print(
        f"searched    {found.points:,} points, {found.evaluated:,} evaluated, {found.feasible:,} feasible; front of {len(found.front):,}"
    )
    for what, points in sorted(found.infeasible.items(), key=lambda p: -p[1])[:4]:
        print(f"infeasible  {points:,} by {what}")
    rows = [
        [c.structure.recipe, c.structure.machine, f"{float(c['batch']):g}", f"{float(c['prompt']):g}",
         *(METRICS[o.metric].show(float(c[o.metric])) for o in found.objectives[:4])]
        for c in found.front[:MOST_ROWS]
    ]  # fmt: skip
    if rows:
        shown = f"the first {len(rows)} of {len(found.front):,}" if len(found.front) > len(rows) else "all"
        table(
            ["recipe", "machine", "batch", "prompt", *(o.metric for o in found.objectives[:4])],
            rows,
            f"Pareto front ({shown})",
        )
