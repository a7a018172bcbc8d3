"""Compile many cut-out sources at once, and give each the context that the compiler misses, round by round."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dovetail.hls.compile import Build, Diagnostic, compile_to
from dovetail.hls.inject.foreign.context import PREAMBLE, Context, improved, started
from dovetail.hls.inject.foreign.parts import kept
from dovetail.hls.inject.syntax import parse
from dovetail.hls.sandbox import Limits, workplace

ROUNDS, TOGETHER = 8, 24
BUILD = Build("-O0")
COMPILE = Limits(wall_s=120.0, cpu_s=120.0, memory=3 << 30, output=32 << 20)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a source: its context, whether it compiles, after how many rounds, the compiler's last word."""

    context: Context
    compiles: bool
    rounds: int
    said: str = ""


def rebuilt(
    sources: Mapping[str, str], tell: Callable[[str], None] = lambda line: None, keep: Path | None = None
) -> dict[str, Rebuilt]:
    """Each source with its context, `TOGETHER` at a time; `keep` is a folder for what was done."""
    out: dict[str, Rebuilt] = {}
    names = sorted(sources)
    for first in range(0, len(names), TOGETHER):
        part = {name: sources[name] for name in names[first : first + TOGETHER]}
        made = kept(keep, part, lambda: {n: asdict(r) for n, r in _rebuilt(_begun(part)).items()})  # noqa: B023
        out |= {name: Rebuilt(**row | {"context": Context(**row["context"])}) for name, row in made.items()}
        tell(f"{len(out)} of {len(names)} designs: {sum(r.compiles for r in out.values())} compile")
    return out


def _begun(sources: Mapping[str, str]) -> dict[str, Context]:
    return {name: started(source) for name, source in sources.items()}


def _rebuilt(contexts: dict[str, Context]) -> dict[str, Rebuilt]:
    out: dict[str, Rebuilt] = {}
    open_ = {}
    for name, context in contexts.items():
        if _balanced(context.source):
            open_[name] = context
        else:
            out[name] = Rebuilt(context, False, 0, "brackets do not match")
    for turn in range(1, ROUNDS + 1):
        if not open_:
            break
        errors = _errors(open_)
        for name in list(open_):
            mine = errors.get(name, [])
            if not mine:
                out[name] = Rebuilt(open_.pop(name), True, turn)
            elif turn == ROUNDS or not improved(open_[name], mine):
                out[name] = Rebuilt(open_.pop(name), False, turn, mine[0].message)
    return out


def _balanced(source: str) -> bool:
    depth = 0
    for node in parse(source).children:
        depth += node.type == "ERROR" and any(c in (node.text or b"") for c in (b"{", b"}"))
    return depth == 0


def _errors(contexts: Mapping[str, Context]) -> dict[str, list[Diagnostic]]:
    names = list(contexts)
    parts = [PREAMBLE]
    for number, name in enumerate(names):
        gone = "".join(f"#undef {d}\n" for d in dict.fromkeys(_DEFINE.findall(contexts[name].source)))
        parts.append(f'namespace d{number} {{\n#line 1 "d{number}"\n{contexts[name].rendered()}\n}}\n{gone}')
    with workplace() as work:
        (work / "d.cpp").write_text("\n".join(parts))
        done = compile_to(
            work / "d.cpp", work / "d.o", BUILD, limits=COMPILE, warnings=("-w", "-fmax-errors=0", "-fpermissive")
        )
    if done.output is None and not done.errors:
        return {name: [Diagnostic("", 0, 0, "error", "the compiler gave up")] for name in names}
    found: dict[str, list[Diagnostic]] = {}
    for error in done.errors:
        if re.fullmatch(r"d\d+", error.file):
            found.setdefault(names[int(error.file[1:])], []).append(error)
    if done.output is None and not found:
        return {name: [done.errors[0]] for name in names}
    return found
