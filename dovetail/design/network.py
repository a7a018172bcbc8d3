"""`compile` for a saved network: an MLP or a small CNN as an accelerator that classifies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError
from dovetail.core.files import check_apart, whole_folder, write_text
from dovetail.core.quantity import exact
from dovetail.design.accelerator import Report, cpu_seconds, design, limits, machine, passes, simulation, timed
from dovetail.design.compile import MARK, Asked
from dovetail.hardware.target import load_target

if TYPE_CHECKING:
    from dovetail.accel.choose.candidates import Candidate
    from dovetail.accel.frontend.inputs import Inputs
    from dovetail.accel.frontend.saved import Saved
    from dovetail.accel.golden.model import IntegerModel

CALIBRATION = 512  # inputs at most
SHIPPED = 16  # inputs for `make sim` where none are simulated


def compile_network(
    path: str | Path,
    target: str,
    out: str | Path,
    inputs: str | Path | None,
    *,
    recipe: str = "w8a8",
    asked: Asked | None = None,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Write an accelerator for a network that `torch.export.save` wrote, and simulate it where asked.

    Formats are chosen on the first half of the inputs; accuracy is that of the other, with which simulation begins.

    Parameters
    ----------
    inputs : str or Path
        ``.npy`` (inputs, ...), or ``.npz`` of ``inputs`` and ``labels``.
    asked : Asked, optional
        `simulate` counts inputs, `context` those that memory holds at once.

    Returns
    -------
    dict
        As `compile`, with ``accuracy{inputs,agree,largest_error,float,integer}`` in place of perplexity.

    Raises
    ------
    DovetailError
        As `compile`; a file that is no such program, inputs of another shape.
    """
    from dovetail.accel.choose.budget import parse_budget
    from dovetail.accel.choose.choose import choose
    from dovetail.accel.frontend.saved import load_saved
    from dovetail.accel.lowering.lower import Scheme

    asked, path, out, where = asked or Asked(), Path(path), Path(out), load_target(target)
    budget, scheme = parse_budget(asked.budget, where), Scheme(recipe)
    check_apart(path, out)
    _check(asked, inputs)
    with whole_folder(out, MARK) as part:
        saved, reading = timed(lambda: load_saved(path))
        given = _given(inputs, saved, asked)
        report(f"integers ({recipe})")
        integers, lowering = timed(lambda: _lowered(saved, path.stem, given, scheme))
        report("choosing the array")
        chosen, choosing = timed(lambda: choose(integers, where, budget, asked.shape, asked.context))
        shown = _shown(given, asked)
        _, writing = timed(lambda: _write(integers, chosen, part, shown))
        write_text(part / "machine.yaml", machine(chosen, where, budget).text())
        answer = {
            "path": str(out), "model": path.stem, "target": target, "recipe": recipe, "context": asked.context,
            "budget": limits(budget),
            **design(chosen, where, budget.clock_hz, asked.synthesis, part, report),
            **_times(chosen, budget.clock_hz),
            **_simulated(integers, chosen, shown, asked, report),
            "accuracy": _accuracy(integers, saved, given) if asked.quality else None, "perplexity": None,
        }  # fmt: skip
    seconds = {"load": reading, "lower": lowering, "choose": choosing, "write": writing}
    return {**answer, "seconds": cpu_seconds(seconds)}


def _check(asked: Asked, inputs: str | Path | None) -> None:
    """Before anything takes long."""
    if inputs is None:
        hint = "--inputs FILE.npy, or .npz with labels: what it was trained on, or alike"
        raise DovetailError("no inputs to calibrate on", where="--inputs", why="a .pt2 file holds none", hint=hint)
    text = next((each for each in (asked.prompt, asked.text, asked.calibrate_on) if each is not None), None)
    if text is not None:
        raise DovetailError("a text", where=str(text), why="a .pt2 network reads numbers", hint="--inputs alone")
    if asked.simulate < 0 or asked.context < 1:
        raise DovetailError("no such run", where="compile", why="inputs from 0, room for 1", hint="--context 256")
    if asked.simulate:
        from dovetail.accel.simulate.verilator import verilator

        verilator()


def _given(inputs: str | Path | None, saved: Saved, asked: Asked) -> Inputs:
    """The inputs to calibrate, judge and simulate with. Raises `DovetailError` where they are too few, or others."""
    from dovetail.accel.frontend.inputs import load_inputs

    given = load_inputs(Path(str(inputs)), saved.sizes)
    _fits(asked, len(given.values))
    return given


def _fits(asked: Asked, count: int) -> None:
    if asked.simulate > min(count, asked.context):
        why = f"--inputs holds {count}, memory {asked.context} (--context)"
        raise DovetailError(
            f"{asked.simulate} inputs to simulate", where="--simulate", why=why, hint="fewer, or more inputs"
        )


def _lowered(saved: Saved, name: str, given: Inputs, scheme: Any) -> IntegerModel:
    from dovetail.accel.lowering.lower import lower_graph

    seen, _ = given.halves()
    return lower_graph(saved.graph(name), [_flat(seen.values[:CALIBRATION])], scheme)


def _flat(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return values.reshape(len(values), -1)


def _shown(given: Inputs, asked: Asked) -> npt.NDArray[np.float32]:
    """What is simulated and lies in the folder: inputs that calibration did not see, as far as there are."""
    seen, held_out = given.halves()
    values = np.concatenate([held_out.values, seen.values]) if len(given.values) > 1 else given.values
    return values[: asked.simulate or min(SHIPPED, asked.context)]


def _write(integers: IntegerModel, chosen: Candidate, part: Path, shown: npt.NDArray[np.float32]) -> None:
    from dovetail.accel.deliver.folder import write_classifier

    write_classifier(integers, chosen.program, part, chosen.memory, shown)


def _times(chosen: Candidate, clock_hz: float) -> dict[str, Any]:
    cycles, source = chosen.decode_cycles(0), "cycle model, one input"
    return {
        "inputs_per_s": exact(clock_hz / cycles, "1/s", "modelled", source).to_json(),
        "latency": exact(cycles / clock_hz, "s", "modelled", source).to_json(),
        **passes(chosen, {"input": (0, 1)}),
    }  # fmt: skip


def _simulated(
    integers: IntegerModel, chosen: Candidate, shown: npt.NDArray[np.float32], asked: Asked, report: Report
) -> dict[str, Any]:
    """Inputs classified in simulation, every tensor compared bit for bit."""
    if not asked.simulate:
        both = {"predicted": chosen.decode_cycles(0), "simulated": None}
        return {"cycles_per_token": both, "bits_different": None, "simulation": None, "classes": None}
    from dovetail.accel.choose.simulated import simulate

    numbers = integers.integers(_flat(shown))
    with tempfile.TemporaryDirectory(prefix="dovetail-rtl-") as scratch:
        found = simulate(integers, chosen, [0], len(shown), Path(scratch), report, inputs=numbers)
    return {**simulation(found, 1), "classes": list(found.tokens[1:])}


def _accuracy(integers: IntegerModel, saved: Saved, given: Inputs) -> dict[str, Any]:
    """Integers beside fp32, on inputs that calibration did not see: same class, and right ones where labels say."""
    _, held_out = given.halves()
    real, whole = saved.run(held_out.values), integers.infer(_flat(held_out.values))
    classes, labels = [each.argmax(axis=-1) for each in (real, whole)], held_out.labels
    right = [None if labels is None else float((each == labels).mean()) for each in classes]
    return {
        "inputs": len(real), "agree": float((classes[0] == classes[1]).mean()),
        "largest_error": float(np.abs(whole - real).max() / max(np.abs(real).max(), 1e-30)),
        "float": right[0], "integer": right[1],
    }  # fmt: skip
