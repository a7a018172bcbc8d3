"""`compile`: a checkpoint as an accelerator: RTL, weights, test bench; and whether a simulation of it is right."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import check_apart, read_text, whole_folder, write_text
from dovetail.design.accelerator import cpu_seconds, design, limits, machine, simulation, timed, times
from dovetail.design.resolve import as_model, weights_of
from dovetail.hardware.target import Target, load_target
from dovetail.model import Model

if TYPE_CHECKING:
    from dovetail.accel.choose.candidates import Candidate
    from dovetail.accel.compile.shape import Shape
    from dovetail.accel.golden.model import IntegerModel
    from dovetail.runtime.load import Loaded

MARK = "memory.map"  # by which our folders are known
CONTEXT, TOKENS = 256, 32
QUALITY_BYTES = 16_000  # of the text that perplexity is measured on, where none is given
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the run is the user's choice.

    Parameters
    ----------
    budget : str
        ``dsp<=256,bram<=100,bw=10GB/s``; what it leaves out is the target's.
    context : int
        Most tokens of a sequence.
    simulate : int
        Tokens to decode in simulation and compare; 0 for none.
    prompt : Path, optional
        Text that simulation continues.
    text, calibrate_on : Path, optional
        Text that perplexity is measured on, and that formats are chosen on.
    quality, synthesis : bool
        Whether to measure perplexity, and to count resources with Yosys.
    shape : Shape, optional
        The array to take instead of the fastest that the budget allows.
    """

    budget: str = ""
    context: int = CONTEXT
    simulate: int = 0
    prompt: Path | None = None
    text: Path | None = None
    calibrate_on: Path | None = None
    quality: bool = True
    synthesis: bool = True
    shape: Shape | None = None


def compile(
    model: Model | str,
    target: Target | str,
    out: str | Path,
    *,
    recipe: str = "w8a8",
    asked: Asked | None = None,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Write an accelerator for a language model, whole or not at all, and simulate it where asked.

    Parameters
    ----------
    target : Target or str
        ``ecp5-85``, ``u280`` or ``asic``, or one of your own.
    recipe : str
        ``w8a8``, or ``w4a8`` (groups of 32 inputs).
    out : str or Path
        The folder; ``make -C OUT sim`` decodes text there.

    Returns
    -------
    dict
        ``path, cycles_per_token{predicted,simulated}, bits_different, resources{dsp,lut,ff,bram},
        perplexity{float,integer}`` and what the report shows. What was not asked for is None.

    Raises
    ------
    DovetailError
        An operator outside the set, a sum that may overflow, a budget that no design meets (exit code 3), no Verilator
        where simulation is asked for, a simulation that fails (4).
    """
    from dovetail.accel.choose.budget import parse_budget
    from dovetail.accel.choose.choose import choose

    asked = asked or Asked()
    found, out = as_model(model), Path(out)
    where = target if isinstance(target, Target) else load_target(target)
    budget, source = parse_budget(asked.budget, where), weights_of(found)
    check_apart(source, out)
    _check(asked)
    _check_budget(found, asked, recipe, where)
    with whole_folder(out, MARK) as part:
        loaded, integers, seconds = _lowered(found, source, recipe, asked, report)
        report("choosing the array")
        chosen, seconds["choose"] = timed(lambda: choose(integers, where, budget, asked.shape))
        ids = _prompt(loaded, asked)
        _fits(ids, asked)
        _, seconds["write"] = timed(lambda: _write(chosen, part, loaded, ids, asked))
        write_text(part / "machine.yaml", machine(chosen, where, budget).text())
        answer = {
            "path": str(out), "model": found.name, "target": where.name, "recipe": recipe, "context": asked.context,
            "budget": limits(budget),
            **design(chosen, where, budget.clock_hz, asked.synthesis, part, report),
            **times(chosen, budget.clock_hz, asked.context),
            **_simulated(integers, chosen, ids, loaded, asked, report),
            "perplexity": _perplexity(integers, loaded, asked, report),
        }  # fmt: skip
    answer["seconds"] = cpu_seconds(seconds)
    return answer


def _check(asked: Asked) -> None:
    """Before anything takes long. Raises `DovetailError`."""
    if asked.simulate < 0 or asked.context < 8:
        raise DovetailError(
            "no such run", where="compile", why="tokens from 0, a context of at least 8", hint="--context 256"
        )
    if asked.simulate >= asked.context:
        raise _too_long(1, asked)
    if asked.simulate:
        from dovetail.accel.simulate.verilator import verilator

        verilator()


def _check_budget(model: Model, asked: Asked, recipe: str, target: Target) -> None:
    """Raise `DovetailError` for a budget that no design meets, as far as a model's configuration tells."""
    from dovetail.accel.choose.budget import parse_budget
    from dovetail.accel.choose.choose import check
    from dovetail.accel.choose.outline import outline
    from dovetail.accel.lowering.lower import Scheme

    known = outline(model, asked.context, Scheme(recipe))
    if known is not None:
        check(known, target, parse_budget(asked.budget, target), asked.shape)


def _fits(ids: list[int], asked: Asked) -> None:
    made = asked.simulate or 1
    if len(ids) + made > asked.context:
        raise _too_long(len(ids), asked)


def _too_long(prompt: int, asked: Asked) -> DovetailError:
    why = f"{prompt} of the prompt and {asked.simulate or 1} to make, the context is {asked.context}"
    return DovetailError("more tokens than the context", where="--simulate", why=why, hint="a longer --context")


def _lowered(
    model: Model, source: Path, recipe: str, asked: Asked, report: Report
) -> tuple[Loaded, IntegerModel, dict[str, float]]:
    from dovetail.accel.lowering.folder import lower
    from dovetail.accel.lowering.lower import Scheme
    from dovetail.core.lazy import require

    scheme = Scheme(recipe)
    require("torch", "torch", to="read a checkpoint")
    from dovetail.runtime.load import load

    report(f"loading {model.name}")
    loaded, reading = timed(lambda: load(source))
    if asked.context > loaded.max_context:
        why = f"{model.name} holds {loaded.max_context}"
        raise DovetailError(f"a context of {asked.context} tokens", where="--context", why=why, hint="that at most")
    text = None if asked.calibrate_on is None else read_text(asked.calibrate_on, "the text to calibrate on")
    report(f"integers ({recipe})")
    integers, lowering = timed(lambda: lower(loaded, scheme, context=asked.context, text=text))
    return loaded, integers, {"load": reading, "lower": lowering}


def _prompt(loaded: Loaded, asked: Asked) -> list[int]:
    """Ids that simulation starts from: the user's text, or the begin token, or a few words."""
    tokenizer = loaded.tokenizer
    if asked.prompt is not None:
        text = read_text(asked.prompt, "the prompt")
        return list(tokenizer(text).input_ids)
    return list(tokenizer("The ").input_ids) or [0]


def _write(chosen: Candidate, part: Path, loaded: Loaded, ids: list[int], asked: Asked) -> None:
    from dovetail.accel.deliver.folder import write_folder

    tokens = asked.simulate or min(TOKENS, asked.context - len(ids))
    write_folder(chosen.program, part, chosen.memory, loaded.tokenizer, ids, tokens, asked.context)


def _simulated(
    integers: IntegerModel, chosen: Candidate, ids: list[int], loaded: Loaded, asked: Asked, report: Report
) -> dict[str, Any]:
    """Tokens decoded in simulation, compared bit for bit, their cycles beside the predicted."""
    if not asked.simulate:
        at = max(1, asked.context // 2)
        return {"cycles_per_token": {"predicted": chosen.decode_cycles(at), "simulated": None}, "bits_different": None,
                "simulation": None, "text": None}  # fmt: skip
    from dovetail.accel.choose.simulated import simulate

    with tempfile.TemporaryDirectory(prefix="dovetail-rtl-") as scratch:
        found = simulate(integers, chosen, ids, asked.simulate, Path(scratch), report)
    return {**simulation(found, len(ids)), "text": loaded.tokenizer.decode(found.tokens)}


def _perplexity(integers: IntegerModel, loaded: Loaded, asked: Asked, report: Report) -> dict[str, float] | None:
    if not asked.quality:
        return None
    from dovetail.accel.golden.quality import quality
    from dovetail.runtime.corpus import held_out_text
    from dovetail.runtime.perplexity import perplexity

    report("perplexity (--no-quality leaves it out)")
    text = held_out_text(QUALITY_BYTES) if asked.text is None else read_text(asked.text, "the text")
    window = min(asked.context, 256)
    real, whole = perplexity(loaded, text, window), quality(integers, loaded, text, window)
    return {"float": real.perplexity, "integer": whole.perplexity}
