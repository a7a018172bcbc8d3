"""Build a data set of proven bugs: JSON lines by split, the designs beside them, a card; the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import write_text
from dovetail.hls.classes import PRAGMA
from dovetail.hls.design import Design, plain
from dovetail.hls.inject.card import card
from dovetail.hls.inject.inputs import read_ports
from dovetail.hls.inject.labels import PROVEN, UNCOMPILED, UNTRIED
from dovetail.hls.inject.mutant import all_of
from dovetail.hls.inject.proof import Proven, balanced, pairs, prove, witness
from dovetail.hls.inject.shelf import names, shipped
from dovetail.hls.inject.splits import SHARES, grouped, split_of
from dovetail.hls.inject.syntax import read
from dovetail.hls.inject.testbench import bench_of

MARK = "designs.jsonl"  # by which our folders are known
PARTS = ".parts"  # of a build that is not finished
SPLITS = ("train", "valid", "test")
LEAST = 16  # mutants tried of a design, however small the data set
PAIRS = 0.25  # of the bugs of a design, added as pairs


@dataclass(slots=True)
class Built:
    """What a build made.

    Parameters
    ----------
    rows : list of dict
        Proven bugs.
    designs : list of str
        Names of the designs used.
    fates : Counter
        By (class, fate): proven, equivalent, off-class, uncompiled.
    failed : dict
        Designs that could not be used, and why.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    designs: list[str] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def by_class(self) -> dict[str, int]:
        """Proven bugs by class; pairs count once for each of their classes."""
        return dict(Counter(bug for row in self.rows for bug in row["classes"]))

    @property
    def equivalent(self) -> float:
        """Share of the compiled mutants that misbehave nowhere."""
        total = sum(n for (_, fate), n in self.fates.items() if fate not in (UNCOMPILED, UNTRIED))
        return sum(n for (_, fate), n in self.fates.items() if fate == "equivalent") / max(1, total)


def build(
    count: int,
    seed: int = 0,
    designs: Mapping[str, Design] | None = None,
    tell: Callable[[str], None] = lambda line: None,
    keep: Path | None = None,
) -> Built:
    """Prove bugs until there are `count`, designs in an order drawn by the seed.

    Parameters
    ----------
    count : int
        Bugs asked for; all that can be proven when there are fewer.
    seed : int
        Draws designs, mutants and pairs.
    designs : mapping, optional
        Name → design; the shelf's when None.
    tell : callable
        Called with a line for each design.
    keep : Path, optional
        A folder that holds what each design gave, so that a build that was stopped goes on where it was.

    Raises
    ------
    DovetailError
        `count` is not positive, or there is no compiler.
    """
    if count < 1:
        raise DovetailError(f"{count} bugs is nothing to build", where="--count", hint="--count 200")
    shelf = dict(designs) if designs is not None else {name: shipped(name) for name in names()}
    groups = grouped({name: design.source for name, design in shelf.items()})
    order = _order(groups, seed)
    share = max(LEAST, -(-count * 3 // (2 * len(shelf))))
    built = Built()
    for place, name in enumerate(order):
        if len(built.rows) >= count:
            break
        left = len(order) - place
        most = max(share, -(-2 * (count - len(built.rows)) // left))
        try:
            rows, fates = _kept(keep, shelf[name], name, groups[name], seed, most)
        except DovetailError as error:
            built.failed[name] = str(error)
            continue
        built.rows += rows
        built.designs.append(name)
        built.fates += fates
        tell(f"{name}: {len(rows)} bugs, {len(built.rows)} of {count}")
    built.rows = built.rows[:count]
    return built


def _kept(
    keep: Path | None, design: Design, name: str, group: str, seed: int, most: int
) -> tuple[list[dict[str, Any]], Counter[tuple[str, str]]]:
    """`rows_of`, or what it gave before for the same text, seed and number."""
    stamp = hashlib.sha256(
        json.dumps([design.source, plain(design.contract), group, seed, most, _code()]).encode()
    ).hexdigest()[:16]
    path = keep / f"{name.replace('/', '-')}-{stamp}.json" if keep else None
    if path is not None and path.is_file():
        held = json.loads(path.read_text())
        return held["rows"], Counter({(bug, fate): n for bug, fate, n in held["fates"]})
    rows, fates = rows_of(design, name, group, seed, most)
    if path is not None and keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"rows": rows, "fates": [[*key, n] for key, n in fates.items()]}))
    return rows, fates


@cache
def _code() -> str:
    """A hash of everything here that decides what a bug is."""
    files = [p for p in sorted(Path(__file__).parent.rglob("*")) if p.suffix in (".py", ".h")]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


def _order(groups: Mapping[str, str], seed: int) -> list[str]:
    """Designs drawn by the seed, the splits taking turns so that a small data set has all three."""
    drawn = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    shares, seen, place = dict(SHARES), Counter[str](), {}
    for name in drawn:
        split = split_of(groups[name], seed)
        place[name] = ((seen[split] + 0.5) / shares[split], name)
        seen[split] += 1
    return sorted(drawn, key=place.__getitem__)


def rows_of(
    design: Design, name: str, group: str, seed: int, most: int
) -> tuple[list[dict[str, Any]], Counter[tuple[str, str]]]:
    """The proven bugs of one design, at most about `most`, and what became of all that were tried."""
    tried = balanced(all_of(read(design.source)), most, f"{seed}/{name}")
    single = prove(design, tried)
    double = pairs(design, single.proven, round(PAIRS * len(single.proven)), f"{seed}/{name}")
    ports = [port.name for port in read_ports(design.contract)]
    rows = [row_of(p, design, name, group, seed, ports) for p in (*single.proven, *double.proven)]
    return rows, single.fates + double.fates


def row_of(proven: Proven, design: Design, name: str, group: str, seed: int, ports: Sequence[str]) -> dict[str, Any]:
    """One line of the data set."""
    mutant = proven.mutant
    source = mutant.of(design.source)
    raw = design.source.encode()
    patch = [{"start": e.start, "end": e.end, "old": raw[e.start : e.end].decode(), "new": e.new} for e in mutant.edits]
    return {
        "id": hashlib.sha256(f"{name}\n{source}".encode()).hexdigest()[:16],
        "design": name,
        "group": group,
        "split": split_of(group, seed),
        "classes": list(proven.classes),
        "kind": "+".join(sorted({"pragma" if bug in PRAGMA else "logical" for bug in proven.classes})),
        "operator": mutant.operator,
        "lines": sorted({part.line for part in (mutant.parts or (mutant,))}),
        "target": mutant.target,
        "note": mutant.note,
        "patch": patch,
        "source": source,
        "witness": witness(proven, ports),
    }


def write(
    built: Built, folder: Path, count: int, seed: int, shelf: Mapping[str, Design] | None = None
) -> dict[str, Any]:
    """Write ``train.jsonl``, ``valid.jsonl``, ``test.jsonl``, ``designs.jsonl`` and the card; returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        _lines(folder / f"{split}.jsonl", (row for row in built.rows if row["split"] == split))
    known = shelf or {}
    _lines(folder / MARK, (design_row(known.get(name) or shipped(name), name) for name in sorted(built.designs)))
    summary = summary_of(built, count, seed)
    write_text(folder / "README.md", card(summary))
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    write_text(folder / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return summary


def design_row(design: Design, name: str) -> dict[str, Any]:
    """A clean design as the data set holds it."""
    return {
        "design": name,
        "top": design.contract.top,
        "source": design.source,
        "contract": plain(design.contract),
        "reference": design.oracle.source if design.oracle else "",
        "testbench": bench_of(design),
    }


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def summary_of(built: Built, count: int, seed: int) -> dict[str, Any]:
    """What the card and ``--json`` say."""
    fates = {
        bug: {fate: n for (b, fate), n in sorted(built.fates.items()) if b == bug} for bug, _ in sorted(built.fates)
    }
    return {
        "asked": count,
        "seed": seed,
        "bugs": len(built.rows),
        "designs": len(built.designs),
        "classes": dict(sorted(built.by_class.items())),
        "pairs": sum(len(row["classes"]) > 1 for row in built.rows),
        "splits": dict(Counter(row["split"] for row in built.rows)),
        "groups": len({row["group"] for row in built.rows}),
        "tried": sum(built.fates.values()),
        "proven": sum(n for (_, fate), n in built.fates.items() if fate == PROVEN),
        "equivalent": round(built.equivalent, 4),
        "fates": fates,
        "models": dict(Counter(row["witness"]["model"]["model"] for row in built.rows if "model" in row["witness"])),
        "failed": built.failed,
    }
