"""Other people's patches run beside the clean design, to see whether their labels hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.hls.classes import LOGICAL
from dovetail.hls.design import Design
from dovetail.hls.inject.foreign.context import PREAMBLE, Context, started
from dovetail.hls.inject.foreign.contracts import guessed_contract
from dovetail.hls.inject.inputs import drawn_for
from dovetail.hls.inject.judge import RUN, judge
from dovetail.hls.inject.labels import EQUIVALENT, OFF_CLASS, PROVEN, UNCOMPILED, UNTRIED, seen, settled
from dovetail.hls.inject.mutant import Mutant
from dovetail.hls.inject.performance.evidence import evidence
from dovetail.hls.inject.syntax import Edit

DRAWN = 4
LIMITS = replace(RUN, wall_s=90.0, cpu_s=90.0)  # of up to 40 patches of one design
COLUMNS = {PROVEN: "shown", OFF_CLASS: "other", EQUIVALENT: "none", UNCOMPILED: "broken", UNTRIED: "untried"}
_PRAGMA = re.compile(r"#\s*pragma\s+HLS[^\n]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Patch:
    """One foreign bug: the label, and what it puts for what."""

    label: str
    original: str
    faulty: str


def patched(source: str, patch: Patch) -> str | None:
    """The source with the patch applied once; None when its text is not there."""
    return source.replace(patch.original, patch.faulty, 1) if patch.original and patch.original in source else None


def design_of(name: str, context: Context, top: str = "") -> Design:
    """A design with a guessed contract and no oracle. Raises `DovetailError` when it cannot be called."""
    source = f"{PREAMBLE}\n{context.rendered()}"
    return Design(source, guessed_contract(source, top), name=name)


def variant(context: Context, source: str) -> str:
    """Another source in the context that was rebuilt for the clean one."""
    body = started(source).source
    return f"{PREAMBLE}\n{Context(body, context.types, context.values, context.functions, context.members).rendered()}"


def audited(
    name: str, context: Context, source: str, patches: Sequence[Patch], top: str = ""
) -> tuple[list[dict[str, Any]], Counter[tuple[str, str]]]:
    """What became of each patch, and counts by (label, column).

    Raises
    ------
    DovetailError
        The clean design cannot be called, or faults on the guessed inputs.
    """
    design = design_of(name, context, top)
    applied = [(patch, text) for patch in patches if (text := patched(source, patch)) is not None]
    logical = [(p, variant(context, t)) for p, t in applied if p.label in LOGICAL]
    tests = drawn_for(design.contract, name, DRAWN)
    verdicts = judge(design, [t for _, t in logical], tests, [True] * len(logical), limits=LIMITS)
    rows, counts = [], Counter[tuple[str, str]]()
    for (patch, text), verdict in zip(logical, verdicts):
        fate, bug = settled(Mutant(patch.label, "import", (), "", 0), verdict)
        counts[patch.label, COLUMNS[fate]] += 1
        shown = {"end": verdict.end, "detail": verdict.detail, "line": verdict.line, "unset": verdict.unset}
        rows.append(
            {
                "design": name,
                "label": patch.label,
                "fate": fate,
                "class": bug if fate == PROVEN else seen(verdict),
                "seen": shown,
                "source": text,
            }
        )
    for patch, text in applied:
        if patch.label not in LOGICAL:
            found = _pragma(design, context, patch, text)
            counts[patch.label, "shown" if found else "none"] += 1
            rows.append(
                {
                    "design": name,
                    "label": patch.label,
                    "fate": PROVEN if found else EQUIVALENT,
                    "class": patch.label if found else "",
                    "seen": found or {},
                    "source": variant(context, text),
                }
            )
    return rows, counts


def _pragma(design: Design, context: Context, patch: Patch, source: str) -> dict[str, Any] | None:
    """What the analytic model says about the pragmas that a patch adds or changes."""
    before = set(_PRAGMA.findall(patch.original))
    new = next((line for line in _PRAGMA.findall(patch.faulty) if line not in before), "")
    target = re.search(r"(?:variable|port)\s*=\s*(\w+)", new)
    text = variant(context, source)
    mutant = Mutant(
        patch.label, "import", (Edit(0, len(design.source.encode()), text),), new, 0, target[1] if target else ""
    )
    try:
        found = evidence(design, mutant, "analytic")
    except (DovetailError, ValueError, KeyError, IndexError):
        return None
    return found.plain() if found else None


def table_of(
    patches: Mapping[str, int], compiled: Mapping[str, int], counts: Counter[tuple[str, str]]
) -> dict[str, dict[str, int]]:
    """The audit by label."""
    return {
        label: {
            "patches": n,
            "compile": compiled.get(label, 0),
            **{c: counts[label, c] for c in ("shown", "other", "none", "untried")},
        }
        for label, n in sorted(patches.items())
    }
