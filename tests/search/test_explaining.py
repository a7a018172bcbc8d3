"""Why-not and sensitivity against what is known of a small space."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Space, Structure, search
from dovetail.search.certainty import order
from dovetail.search.codesign import evaluator
from dovetail.search.sensitivity import sensitivity
from dovetail.search.why_not import why_not

KEYS = {
    "models": ["m"], "recipes": ["none", "int4"], "objectives": ["tpot", "area"], "constraints": ["area < 300 mm2"],
    "machines": [{"template": "gpu-like", "sms": [8, 16, 32, 64, 128], "l2": ["10 MB", "20 MB"]}],
    "workload": {"batch": [1, 2, 4], "prompt": 1, "output": 1},
}  # fmt: skip


def evaluate(structure, columns):  # type: ignore[no-untyped-def]
    worse = {"none": 4.0, "int4": 1.0}[structure.recipe]
    return {"tpot": worse * columns["batch"] / columns["sms"], "area": 4 * columns["sms"] + columns["l2"] / 1e6}


def test_a_dominated_design_is_told_by_what_and_what_would_help() -> None:
    space = Space.of(**KEYS)
    found = search(space, evaluate)
    why = why_not(space, evaluate, found, "recipe=none, batch=1 sms=16 l2=10 MB")
    assert not why.on_front
    assert why.broken == ()
    nearest, better = why.dominated[0]
    assert nearest.structure.recipe == "int4"
    assert all(factor >= 1 for factor in better.values())
    assert any(factor > 1 for factor in better.values())
    helps = {c.name: c for c in why.changes}
    assert helps["recipe"].new == "int4"
    assert helps["recipe"].on_front
    assert str(helps["recipe"]) == "recipe int4 instead of none"


def test_an_infeasible_design_is_told_what_it_breaks() -> None:
    space = Space.of(**KEYS)
    found = search(space, evaluate)
    why = why_not(space, evaluate, found, "recipe=int4 batch=1 sms=128 l2=20 MB")
    assert why.broken == ("area < 300 mm2: it has 532 mm2",)
    assert {c.name: c.new for c in why.changes}["sms"] == "64"
    assert why.to_json()["changes"][0]["from"]


def test_a_design_of_the_front_is_said_to_be_on_it() -> None:
    space = Space.of(**KEYS)
    found = search(space, evaluate)
    why = why_not(space, evaluate, found, "recipe=int4 batch=1 sms=64 l2=1e7 B")
    assert why.on_front
    assert why.changes == why.dominated == why.broken == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "names no design"), ("recipe=int", "did you mean 'int4'"), ("smz=3", "did you mean 'sms'"),
     ("sms=many", "no value of sms"), ("l2=3 GB/s", "wrong unit")],
)  # fmt: skip
def test_a_design_that_is_not_in_the_space(text: str, said: str) -> None:
    space = Space.of(**KEYS)
    with pytest.raises(DovetailError, match=said):
        why_not(space, evaluate, search(space, evaluate), text)


class Made:
    """A function of three choices as the logarithm of an objective: ``recipe`` (0, 1), ``batch`` and ``prompt``."""

    def __init__(self, log: Any) -> None:
        self.log, self.asked = log, 0

    def __call__(self, structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        self.asked += len(columns["batch"])
        recipe = float(structure.recipe == "int4")
        return {"tpot": np.exp(self.log(recipe, columns["batch"] / 4, columns["prompt"] / 16))}


def made(function: Any, objectives: Sequence[str] = ("tpot",), **changes: Any) -> tuple[Space, Made]:
    """A space of 2 x 4 x 16 points: quarters and sixteenths from 1 upwards."""
    keys: dict[str, Any] = {
        "models": ["m"], "recipes": ["none", "int4"], "machines": ["x"], "objectives": list(objectives),
        "workload": {"batch": [1, 2, 3, 4], "prompt": {"from": 1, "to": 16, "by": 1}, "output": 1},
    }  # fmt: skip
    return Space.of(**(keys | changes)), Made(function)


R, B, P = np.asarray([0.0, 1.0]), np.arange(1, 5) / 4, np.arange(1, 17) / 16


def closed_sum() -> dict[str, tuple[float, float]]:
    """Sobol's indices of a + 2 b + 3 c: no interactions."""
    parts = {"recipe": np.var(R), "batch": np.var(2 * B), "prompt": np.var(3 * P)}
    return {name: (part / sum(parts.values()),) * 2 for name, part in parts.items()}


def closed_product() -> dict[str, tuple[float, float]]:
    """Of the product of three: the variance is the product of 1 + v less 1, v the squared variation of each."""
    v = {"recipe": np.var(1 + R) / np.mean(1 + R) ** 2, "batch": np.var(B) / np.mean(B) ** 2,
         "prompt": np.var(P) / np.mean(P) ** 2}  # fmt: skip
    every = np.prod([1 + one for one in v.values()])
    return {n: (one / (every - 1), one * every / (1 + one) / (every - 1)) for n, one in v.items()}


FUNCTIONS = {"sum": (lambda r, b, p: r + 2 * b + 3 * p, closed_sum()),
             "product": (lambda r, b, p: (1 + r) * b * p, closed_product())}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shares_of_a_full_product_are_sobols_indices(name: str) -> None:
    function, closed = FUNCTIONS[name]
    space, ask = made(function)
    shares = {s.choice: s for s in sensitivity(space, ask)}
    assert ask.asked == space.size == 128
    assert set(shares) == {"recipe", "batch", "prompt"}
    for choice, (alone, total) in closed.items():
        assert shares[choice].alone == pytest.approx(alone, rel=1e-9)
        assert shares[choice].total == pytest.approx(total, rel=1e-9)
        assert shares[choice].alone <= shares[choice].total


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_draw_comes_near_them_and_never_puts_a_part_above_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, closed = FUNCTIONS[name]
    monkeypatch.setattr("dovetail.search.sensitivity._exact", lambda *_: None)
    space, ask = made(function)
    found = [sensitivity(space, ask, draws, seed) for seed, draws in enumerate([20] * 10 + [2000] * 3)]
    assert all(share.alone <= share.total <= 1 for each in found for share in each)
    for choice, (alone, total) in closed.items():
        mine = [share for each in found[10:] for share in each if share.choice == choice]
        assert np.mean([s.alone for s in mine]) == pytest.approx(alone, abs=0.03)
        assert np.mean([s.total for s in mine]) == pytest.approx(total, abs=0.03)


def test_designs_without_a_value_are_left_out_and_do_not_change_the_scale() -> None:
    """One machine has no value for some rows; the logarithm holds for all or for none, so the shares stay theirs."""
    space, whole = made(FUNCTIONS["sum"][0])
    shares = {s.choice: s for s in sensitivity(space, whole)}

    def holes(structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        tpot = whole(structure, columns)["tpot"]
        return {"tpot": np.where((columns["prompt"] == 16) & (structure.recipe == "int4"), np.nan, tpot)}

    for share in sensitivity(space, holes, 4000):
        assert share.total == pytest.approx(shares[share.choice].total, abs=0.06)


def test_shares_of_a_product_are_those_of_its_logarithm() -> None:
    space = Space.of(**{**KEYS, "constraints": []})
    shares = {(s.objective, s.choice): s for s in sensitivity(space, evaluate, 4000)}
    batch, sms = np.var(np.log([1, 2, 4])), np.var(np.log([8, 16, 32, 64, 128]))
    recipe = np.var(np.log([4.0, 1.0]))
    whole = batch + sms + recipe  # log tpot is a sum: no interactions
    for name, part in (("batch", batch), ("sms", sms), ("recipe", recipe)):
        assert shares["tpot", name].alone == pytest.approx(part / whole, abs=0.05)
        assert shares["tpot", name].total == pytest.approx(part / whole, abs=0.05)
    assert shares["tpot", "l2"].total == 0.0
    assert shares["area", "sms"].total > 0.9
    assert shares["area", "batch"].total == 0.0


def test_the_order_of_a_front_is_certain_where_the_interval_of_the_ratio_says_so() -> None:
    space = Space.of(
        models=["Qwen/Qwen3-8B"], recipes=["none", "w4a16-rtn"], machines=["h100-sxm"],
        objectives=["tpot", "usd_per_mtok"],
        workload={"batch": [1, 2, 256], "prompt": 1000, "output": 100}, pick="min usd_per_mtok",
    )  # fmt: skip
    found = search(space, evaluator(space))
    pairs = order(found)
    assert {p.metric for p in pairs} == {"tpot", "usd_per_mtok"}
    for p in pairs:
        mine, other = (float(c[p.metric]) for c in (found.winner, p.other))  # type: ignore[index]
        assert p.value == pytest.approx(other / mine, rel=1e-6)
        assert p.low <= p.value <= p.high
        assert p.certain == (p.low > 1 or p.high < 1)
    assert any(p.certain for p in pairs if p.metric == "usd_per_mtok")
