"""``hls import``: Chrysalis as JSON lines, or a checkout of anybody's HLS sources."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import write_text
from dovetail.hls.inject.foreign.audit import Patch, audited, table_of
from dovetail.hls.inject.foreign.checkouts import designs_of
from dovetail.hls.inject.foreign.parts import PARTS, kept
from dovetail.hls.inject.foreign.rebuild import Rebuilt, rebuilt

Tell = Callable[[str], None]


def import_from(
    kind: str,
    path: Path,
    out: Path | None = None,
    *,
    most: int = 0,
    execute: bool = True,
    tell: Tell = lambda line: None,
) -> dict[str, Any]:
    """Rebuild, run and audit.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    path : Path
        The file or folder.
    out : Path, optional
        Where ``designs.jsonl`` and ``patches.jsonl`` go; an import that was stopped goes on from what is there.
    most : int
        Stop after so many designs; 0 for all.
    execute : bool
        Whether designs that compile are run and their patches labelled anew.

    Raises
    ------
    DovetailError
        Nothing there, or not in the form expected.
    """
    sources, patches, standalone, tops = KINDS[kind](path)
    chosen = sorted(sources)[:: max(1, -(-len(sources) // most))] if most else sorted(sources)
    keep = out / PARTS if out is not None else None
    done = rebuilt({name: sources[name] for name in chosen}, tell, keep)
    rows: list[dict[str, Any]] = []
    counts: Counter[tuple[str, str]] = Counter()
    ran = 0
    for name in chosen if execute else ():
        if not done[name].compiles or done[name].context.functions:
            continue
        found, more, why = _audited(keep, name, done[name], sources[name], patches.get(name, []), tops.get(name, ""))
        tell(f"{name}: {why[:100] or f'{len(found)} patches looked at'}")
        ran += not why
        rows += found
        counts += more
    if out is not None:
        _write(out, done, rows)
    return _summary(
        done, ran, {n: patches.get(n, []) for n in chosen}, counts, sum(standalone.get(n, False) for n in chosen)
    )


def _audited(
    keep: Path | None, name: str, done: Rebuilt, source: str, patches: list[Patch], top: str
) -> tuple[list[dict[str, Any]], Counter[tuple[str, str]], str]:
    """The rows and counts of one design, and why there are none where it could not be run."""

    def make() -> list[Any]:
        try:
            rows, counts = audited(name, done.context, source, patches, top)
        except DovetailError as error:
            return [[], [], str(error) or "it could not be run"]
        return [rows, [[*key, n] for key, n in counts.items()], ""]

    asked = [name, top, done.context.rendered(), [asdict(patch) for patch in patches]]
    rows, counts, why = kept(keep, asked, make)
    return rows, Counter({(label, column): n for label, column, n in counts}), why


def _summary(
    done: dict[str, Rebuilt],
    ran: int,
    patches: dict[str, list[Patch]],
    counts: Counter[tuple[str, str]],
    standalone: int,
) -> dict[str, Any]:
    labels = Counter(p.label for mine in patches.values() for p in mine)
    compiled = {
        label: sum(n for (one, column), n in counts.items() if one == label and column != "broken") for label in labels
    }
    shared = Counter((name, p.original, p.faulty) for name, mine in patches.items() for p in mine)
    return {
        "designs": len(done),
        "compiled": sum(r.compiles for r in done.values()),
        "standalone": standalone,
        "stubbed": sum(r.compiles and bool(r.context.functions) for r in done.values()),
        "executed": ran,
        "patches": sum(labels.values()),
        "same_patch_several_labels": sum(n for n in shared.values() if n > 1),
        "initialisers_added": sum(_adds(p) for mine in patches.values() for p in mine if p.label == "INIT"),
        "audit": table_of(labels, compiled, counts) if counts else {},
    }


def _adds(patch: Patch) -> bool:
    """Whether an INIT patch sets more than its original does."""
    return len(re.findall(r"(?<![=!<>+\-*/|&^])=(?!=)", patch.faulty)) > len(
        re.findall(r"(?<![=!<>+\-*/|&^])=(?!=)", patch.original)
    )


def _write(out: Path, done: dict[str, Rebuilt], rows: list[dict[str, Any]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    designs = (
        {
            "design": name,
            "compiles": r.compiles,
            "guesses": r.context.guesses,
            "stubs": sorted(r.context.functions),
            "said": r.said,
            "source": r.context.rendered(),
        }
        for name, r in sorted(done.items())
    )
    write_text(out / "designs.jsonl", "".join(json.dumps(row) + "\n" for row in designs))
    write_text(out / "patches.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    shutil.rmtree(out / PARTS, ignore_errors=True)


Read = tuple[dict[str, str], dict[str, list[Patch]], dict[str, bool], dict[str, str]]  # …, tops where they are known


def chrysalis(path: Path) -> Read:
    """Designs, patches and which compile as they are, from JSON lines (gzip or plain)."""
    sources: dict[str, str] = {}
    patches: dict[str, list[Patch]] = {}
    standalone: dict[str, bool] = {}
    for row in _json_lines(path):
        name = f"{row['suite']}/{row['design']}"
        if "source" in row:
            sources[name], standalone[name] = row["source"], bool(row.get("compiles_standalone"))
        patches.setdefault(name, []).append(Patch(row["class"], row["original"], row["faulty"]))
    if not sources:
        raise DovetailError(
            "no designs here", where=str(path), hint="JSON lines with suite, design, class, original, faulty, source"
        )
    return sources, patches, standalone, {}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not {"suite", "design", "class", "original", "faulty"} <= row.keys():
                    raise DovetailError(
                        "not a bug patch", where=f"{path}:{number}", hint="keys suite, design, class, original, faulty"
                    )
                yield row
    except (OSError, ValueError) as error:
        raise DovetailError("could not be read as JSON lines", where=str(path), why=str(error)[:120]) from None


def folder(path: Path) -> Read:
    """Every design of a checkout, its own headers written into it."""
    found = designs_of(path)
    return {name: text for name, (text, _) in found.items()}, {}, {}, {name: top for name, (_, top) in found.items()}


KINDS: dict[str, Callable[[Path], Read]] = {"chrysalis": chrysalis, "folder": folder}
