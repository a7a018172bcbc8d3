"""The constraint language: what it reads, what it means, and how it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.search import expression
from dovetail.search.expression import Constraint, conflict, constraints, objective, pick


@pytest.mark.parametrize(
    ("text", "metric", "op", "bound", "relative"),
    [
        ("tpot < 0.05 s", "tpot", "<", 0.05, False),
        ("tpot<50ms", "tpot", "<", 0.05, False),
        ("tpot_s <= .05", "tpot", "<=", 0.05, False),
        ("memory < 24 GB", "memory", "<", 24e9, False),
        ("memory ≤ 24 GiB", "memory", "<=", 24 * 2**30, False),
        ("power<15W", "power", "<", 15, False),
        ("area<600mm2", "area", "<", 600, False),
        ("usd_per_mtok < 1", "usd_per_mtok", "<", 1, False),
        ("usd_per_mtok < 1 USD", "usd_per_mtok", "<", 1, False),
        ("usd_per_mtok < 0.000002 USD/tok", "usd_per_mtok", "<", 2, False),
        ("energy_per_token < 3 mJ", "energy_per_token", "<", 3e-3, False),
        ("energy_per_token < 3 mJ/token", "energy_per_token", "<", 3e-3, False),
        ("throughput > 1e3 tok/s", "throughput", ">", 1000, False),
        ("perplexity < 1.01x", "perplexity", "<", 1.01, True),
        ("quality < 101 %", "perplexity", "<", 1.01, True),
        ("quality < +1%", "perplexity", "<", 1.01, True),
        ("tpot < -20 %", "tpot", "<", 0.8, True),
        ("mfu > 40 %", "mfu", ">", 0.4, False),
        ("batch >= 8", "batch", ">=", 8, False),
    ],
)
def test_reads(text: str, metric: str, op: str, bound: float, relative: bool) -> None:
    (found,) = constraints(text)
    assert (found.metric, found.op, found.relative) == (metric, op, relative)
    assert found.bound == pytest.approx(bound)


def test_reads_and_chains() -> None:
    assert [c.metric for c in constraints("tpot<1 and power<15W and batch>2")] == ["tpot", "power", "batch"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("power<15GB", "power is in W, 'GB' is byte"),
        ("tpott < 1", "did you mean 'tpot'"),
        ("tpot < 1 parsec", "unknown unit 'parsec'"),
        ("memory < 24", "memory < 24 GB"),
        ("tpot", "there is no <"),
        ("tpot < 1 or power < 2", "only 'and'"),
        ("(tpot < 1)", "only 'and'"),
        ("1 < tpot < 2", "one comparison each"),
        ("0.05 > tpot", "a metric stands on the left"),
        ("tpot < fast", "a number"),
        ("tpot < nan", "a number"),
        ("tpot < 1e999", "no finite bound"),
        ("tpot < 1 and ", "is empty"),
        ("tpot < __import__('os')", "only 'and'"),
        ("batch < 2x", "has no reference"),
        ("", "is empty"),
    ],
)
def test_refuses_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(DovetailError) as caught:
        constraints(text)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for reader in (constraints, objective, pick):
        try:
            answer = str(reader(text) is not None)
        except DovetailError as error:  # anything else fails the test
            answer = str(error)
        assert answer not in ("", "False")


def test_finds_the_smallest_contradiction() -> None:
    rules = constraints("power < 15 W and tpot < 1 and tpot > 0.5 and tpot > 2 and batch > 1")
    assert sorted(map(str, conflict(rules))) == ["tpot < 1 s", "tpot > 2 s"]
    assert [str(c) for c in conflict(constraints("tpot > 2 and tpot < 1 and power < -1 W"))] == ["power < -1 W"]
    assert not conflict(constraints("tpot < 1 and tpot > 0.5 and tpot < 2x and perplexity < 1.01x"))


BOUNDS = st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 4))


@given(st.lists(BOUNDS, max_size=6))
def test_contradiction_agrees_with_trying_values(bounds: list[tuple[expression.Operator, int]]) -> None:
    rules = [Constraint("tpot", op, bound) for op, bound in bounds]
    values = np.arange(0, 6, 0.25)  # bounds are whole: quarters reach every interval between them
    possible = np.logical_and.reduce([np.ones(len(values), bool), *(r.holds(values) for r in rules)]).any()
    clash = conflict(rules)
    assert bool(clash) is not bool(possible)
    if clash:
        assert not np.logical_and.reduce([r.holds(values) for r in clash]).any()
        assert len(clash) == 1 or all(not conflict([c]) for c in clash)


def test_objectives_go_the_better_way_unless_told() -> None:
    shown = [str(objective(t)) for t in ("quality", "throughput", "min throughput", "-tpot", "max tpot", "- tpot")]
    assert shown == ["min perplexity", "max throughput", "min throughput", "max tpot", "max tpot", "max tpot"]
    with pytest.raises(DovetailError, match="cannot read the objective"):
        objective("tpot * 2")


def test_picks() -> None:
    assert str(pick("knee")) == "knee"
    assert str(pick("min usd_per_mtok where tpot < 30 ms and batch >= 2")) == (
        "min usd_per_mtok where tpot < 30 ms and batch >= 2"
    )
    assert str(pick("tpot<0.03")) == "knee where tpot < 30 ms"


def test_excess_is_the_factor_of_the_miss() -> None:
    (upper,), (lower,) = constraints("tpot < 2"), constraints("throughput >= 10")
    assert upper.excess(np.asarray([1.0, 2.0, 3.0, np.nan])).tolist() == [0, 1, 1.5, np.inf]
    assert lower.excess(np.asarray([10.0, 5.0, 0.0])).tolist() == [0, 2, np.inf]
