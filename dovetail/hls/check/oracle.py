"""Oracles that are not C++ functions: a Python function over arrays, and a test bench whose stdout is read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.hls.check.report import Finding
from dovetail.hls.check.shrink import Test
from dovetail.hls.compile import FAST, compile_to, compiler
from dovetail.hls.design import Contract, Design
from dovetail.hls.harness import Outcome
from dovetail.hls.sandbox import Limits, run

_RUNNER = """
import json, sys
sys.path[:0] = json.loads(sys.argv[3])
import numpy as np
space = {}
exec(compile(open(sys.argv[1]).read(), "oracle.py", "exec"), space)
given = json.load(open(sys.argv[2]))
out = []
for calls in given["tests"]:
    rows = []
    for call in calls:
        ports = {n: (np.asarray(v).reshape(given["shapes"][n]) if given["shapes"][n] is not None else v[0])
                 for n, v in call.items()}
        made = space[given["function"]](**{n: ports[n] for n in given["reads"]})
        rows.append({n: np.asarray(v).ravel().tolist() for n, v in (made or {}).items()})
    out.append(rows)
json.dump(out, open("oracle.json", "w"))
"""


def python_outcomes(design: Design, contract: Contract, tests: Sequence[Test], work: Path) -> dict[int, Outcome]:
    """What a Python function says of each test; it runs in the sandbox too.

    It gets the ports that are read, as NumPy arrays of their shapes (scalars as numbers), by name, and returns a
    dictionary of the written ports; the returned value is ``"return"``.

    Raises
    ------
    DovetailError
        There is no oracle, or it failed; the message carries its last line.
    """
    oracle = design.oracle
    if oracle is None:
        raise DovetailError("no oracle", hint="give one")
    (work / "oracle.py").write_text(oracle.source)
    (work / "runner.py").write_text(_RUNNER)
    shapes = {p.name: list(p.shape) if p.kind in ("array", "stream") else None for p in contract.ports}
    given = {"tests": [[dict(call) for call in test] for test in tests], "shapes": shapes,
             "function": oracle.function or contract.top,
             "reads": [p.name for p in contract.ports if p.read]}  # fmt: skip
    (work / "given.json").write_text(json.dumps(given))
    import numpy

    places = [str(Path(numpy.__file__).parents[1])]
    shown = [Path(sys.executable).resolve().parents[1], Path(sys.base_prefix), *map(Path, places)]
    command = [Path(sys.executable).resolve(), "-S", "runner.py", "oracle.py", "given.json", json.dumps(places)]
    ran = run([str(part) for part in command], work, Limits(wall_s=30.0, memory=2 << 30), show=shown,
              env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
    if not ran.ok or not (work / "oracle.json").is_file():
        why = (ran.err.strip().splitlines() or [ran.stopped or "it said nothing"])[-1]
        raise DovetailError("the oracle failed", where=str(oracle.path or "oracle"), why=why[:200],
                            hint="it takes the read ports by name and returns the written ones by name")  # fmt: skip
    try:
        said = json.loads((work / "oracle.json").read_text())
        return {index: _outcome(index, calls, contract) for index, calls in enumerate(said)}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"[:160]
        raise DovetailError("the oracle's answer cannot be read", where=str(oracle.path or "oracle"), why=why,
                            hint="it returns a dictionary of arrays of numbers by written port") from None  # fmt: skip


def _outcome(index: int, calls: Sequence[dict[str, list[float]]], contract: Contract) -> Outcome:
    places = {port.name: place for place, port in enumerate(contract.ports)} | {"return": -1}
    if calls and not any(name in places for call in calls for name in call):
        raise ValueError(f"it returns none of {', '.join(p.name for p in contract.ports if p.written) or 'return'}")
    for port in contract.ports:
        for got in (call[port.name] for call in calls if port.kind == "array" and port.name in call):
            if len(got) != port.elements:
                raise ValueError(f"'{port.name}' has {len(got)} elements, the port {port.elements}")
    outputs = tuple({places[n]: tuple(map(_text, v)) for n, v in call.items() if n in places} for call in calls)
    return Outcome(index, "done", outputs, steps=1)


def _text(value: float) -> str:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def testbench_finding(design: Design, work: Path, limits: list[str]) -> list[Finding]:
    """What a test bench says: its exit status, and words for failure on its stdout."""
    oracle = design.oracle
    if oracle is None:
        return []
    file = work / "bench.cpp"
    file.write_text(f'#line 1 "design.cpp"\n{design.source}\n#line 1 "testbench.cpp"\n{oracle.source}\n')
    made = compile_to(file, work / "bench.o", FAST)
    if made.output is None:
        first = next(iter(made.errors), None)
        limits.append(f"the test bench does not compile: {first.message if first else 'stopped'}")
        return []
    ran = run([compiler(), made.output, "-o", work / "bench"], work, Limits(wall_s=30.0))
    ran = run([work / "bench"], work, Limits(wall_s=10.0, cpu_s=10.0, memory=1 << 30)) if ran.ok else ran
    words = [line for line in ran.out.splitlines() if any(w in line.lower() for w in ("fail", "mismatch", "error"))]
    if ran.ok and not words:
        return []
    said = words[0].strip() if words else (f"stopped: {ran.stopped}" if ran.stopped else f"exit status {ran.code}")
    kind = {"time": "INF", "": "MISMATCH"}.get(ran.stopped, "FAULT")
    return [Finding(kind, 0, f"the test bench fails: {said[:160]}", f"exit status {ran.code}", None, (), "test bench")]
