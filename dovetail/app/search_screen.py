"""How a search's answer looks in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.app.output import command, folded
from dovetail.app.question import Question, named, placed
from dovetail.app.table import table
from dovetail.core.units import show
from dovetail.design.speculation import Speculation
from dovetail.search import Candidate, Result
from dovetail.search.certainty import Comparison
from dovetail.search.measuring import HERE, Measured
from dovetail.search.metrics import find, is_parameter
from dovetail.search.replay import Replayed
from dovetail.search.sensitivity import Share
from dovetail.search.why_not import WhyNot

MOST_ROWS, MOST_COLUMNS = 12, 8
_TOLD = 0.01  # a share of variance that is worth a word


@dataclass(frozen=True, slots=True)
class More:
    """What is told beside the front: where guessing pays, what decides, which order is certain, what was measured."""

    guessed: tuple[Candidate, Speculation] | None = None
    shares: Sequence[Share] = ()
    pairs: Sequence[Comparison] = ()
    measured: Sequence[Measured] = ()


def search_screen(found: Result, quiet: bool, more: More = More()) -> None:
    """The winner or what binds, the counts, the first designs of the front, the confidence, the next command."""
    best = found.winner or found.nearest
    if found.winner:
        shown = ", ".join(f"{o.metric} {_shown(found.winner, o.metric)}" for o in found.objectives)
        print(folded(f"winner      {found.winner}: {shown}"))
    else:
        print(folded(f"no winner   {found.why}"))
    if quiet:
        return
    print(f"picked by   {found.rule}" + "".join(f", {c}" for c in found.constraints))
    counts = f"{found.points:,} points, {found.evaluated:,} evaluated, {found.feasible:,} feasible"
    kind = "exact front" if found.method.startswith("exact") else "front"
    print(f"searched    {counts}; {kind} of {len(found.front):,}")
    for what, points in sorted(found.pruned, key=lambda p: -p[1])[:4]:
        print(folded(f"pruned      {points:,}: {what}"))
    for what, points in sorted(found.infeasible.items(), key=lambda p: -p[1])[:4]:
        print(f"infeasible  {points:,} by {what}")
    for note in found.notes:
        print(folded(f"note        {note}"))
    if found.front:
        _front(found)
    for line in (*_certain(more.pairs), *_decides(more.shares), *_measured(more.measured)):
        print(folded(line))
    if more.guessed:
        print(folded(f"speculation {more.guessed[0]}: {more.guessed[1].words()}"))
    if best:
        kinds = ", ".join(f"{o.metric} {best.label.kinds.get(o.metric, 'modelled')}" for o in found.objectives)
        print(folded(f"confidence  {kinds}"))
        if not any(is_parameter(name) for name in best.point) and named(best.structure.machine):
            print(command(_next(best)))


def _certain(pairs: Sequence[Comparison]) -> Iterator[str]:
    """How many of the designs that stand beside the winner it beats for certain, or is beaten by, for each metric."""
    for metric in dict.fromkeys(pair.metric for pair in pairs):
        some = [pair for pair in pairs if pair.metric == metric]
        better, worse = sum(pair.low > 1 for pair in some), sum(pair.high < 1 for pair in some)
        rest = len(some) - better - worse
        yield f"certain     {metric}: better than {better}, worse than {worse}, undecided with {rest} of the front"


def _measured(rows: Sequence[Measured]) -> Iterator[str]:
    for row in rows:
        low, high = (show(v * 1e3) for v in (row.measured.low, row.measured.high))
        known = f"{show(row.measured.value * 1e3)} ms ({low} to {high}), predicted {show(row.predicted.value * 1e3)} ms"
        how = "measured    " if row.machine == HERE else "simulated   "
        yield f"{how}{row.candidate}: tpot {known}"


def _decides(shares: Sequence[Share]) -> Iterator[str]:
    """For each objective the choices that decide it, by the share of its variance with their interactions."""
    for objective in dict.fromkeys(share.objective for share in shares):
        most = [s for s in shares if s.objective == objective and s.total >= _TOLD][:4]
        yield f"{objective + ' by':<11} " + ", ".join(f"{s.choice} {s.total:.0%}" for s in most)


def why_not_screen(why: WhyNot, quiet: bool) -> None:
    """What a design breaks, what dominates it, and the single changes that help."""
    print(folded(f"{'on the front' if why.on_front else 'not on the front':<16} {why.design}", 4))
    for broken in why.broken:
        print(folded(f"breaks      {broken}"))
    for design, better in () if quiet else why.dominated:
        factors = ", ".join(f"{name} {factor:.3g}x" for name, factor in better.items())
        print(folded(f"beaten by   {design}: better by {factors}"))
    for change in () if quiet else why.changes:
        print(folded(f"change      {change}: {'on the front' if change.on_front else 'then it fits'}"))


def replay_screen(found: Replayed, quiet: bool) -> None:
    """Whether the answer is the same, what differs in it, and what differs around it."""
    count = len(found.answer)
    print(f"replayed    {found.values:,} values: " + (f"{count:,} differ" if count else "the same answer"))
    for difference in () if quiet else found.answer[:MOST_ROWS]:
        print(folded(f"differs     {difference}"))
    for difference in () if quiet else found.around[:MOST_ROWS]:
        print(folded(f"since then  {difference}"))


def _front(found: Result) -> None:
    drawn = found.front[:MOST_ROWS]
    free = dict.fromkeys(name for c in found.front for name in c.point if is_parameter(name))
    known = ("model", "recipe", "machine", "tp", "pp", "batch", "prompt", "output", *free)
    names = [name for name in known if _varies(name, found.front)]
    names = names[: MOST_COLUMNS - len(found.objectives)]
    columns = [*names, *(o.metric for o in found.objectives)][:MOST_COLUMNS]
    shown = f"the first {len(drawn)} of {len(found.front):,}" if len(found.front) > len(drawn) else "all of it"
    table(columns, [[_cell(c, name) for name in columns] for c in drawn], f"Pareto front ({shown})")


def _varies(name: str, front: Sequence[Candidate]) -> bool:
    cells = {_cell(c, name) for c in front}
    return len(cells) > 1 or (len(front) == 1 and not (name in ("tp", "pp") and cells == {"0"}))  # 0: nothing was said


def _cell(candidate: Candidate, name: str) -> str:
    if name in ("model", "recipe", "machine", "tp", "pp"):
        return str(getattr(candidate.structure, name))
    if is_parameter(name) and name not in candidate.point:
        return "–"
    plain = name in candidate.point and not is_parameter(name)
    return f"{float(candidate[name]):g}" if plain else _shown(candidate, name)


def _shown(candidate: Candidate, metric: str) -> str:
    return find(metric).show(float(candidate[metric]))


def _next(best: Candidate) -> list[str]:
    s = best.structure
    lengths: dict[str, Any] = {
        name: int(float(best[name])) for name in ("batch", "prompt", "output") if name in best.point
    }
    on = placed(s.machine, s.tp, s.pp)
    return Question(s.model, on, recipe=s.recipe, tp=s.tp, pp=s.pp or 1, **lengths).command("estimate")
