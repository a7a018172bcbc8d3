"""Published tables agree with themselves, the fit is what mixed-model equations give, its forecasts hold."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.recipe.published.fit import (
    CENTRE,
    NOISE,
    SLOPES,
    VARIANCES,
    columns,
    fit,
    fitting,
    groups,
    learnt,
    scored,
    target,
)  # fmt: skip
from dovetail.recipe.published.forecast import SPREAD, SPREADS, Scheme, fitted, forecast, methods
from dovetail.recipe.published.held_out import HeldOut, held_out
from dovetail.recipe.published.rows import Row, known, models, rows

W4 = Scheme(4, group=128)


def test_the_tables_are_large_and_name_their_sources() -> None:
    everything = rows()
    assert len(everything) >= 150
    assert len({row.case.model for row in everything if fitting(row)}) >= 12
    for row in everything:
        assert "arXiv" in row.case.source or "/" in row.case.source
        assert row.read
        assert row.context in (2048, 4096)


def test_papers_agree_on_a_model_that_is_not_compressed() -> None:
    dense = defaultdict(set)
    for row in rows():
        dense[row.case.model, row.context].add((row.dense, row.error))
    for found in dense.values():
        values, error = [value for value, _ in found], max(error for _, error in found)
        assert max(values) / min(values) - 1 < 0.002 + 4 * error, found


def test_fewer_bits_are_never_better_in_one_table() -> None:
    ladders = defaultdict(list)
    for row in rows():
        case = row.case
        ladders[replace(case, weight=0)].append(row)
    assert sum(len(found) > 1 for found in ladders.values()) > 50
    for found in ladders.values():
        for few, many in zip(ordered := sorted(found, key=lambda r: r.case.weight), ordered[1:]):
            assert few.perplexity >= many.perplexity * (1 - 4 * many.error), (few, many)


def test_rows_in_doubt_are_those_that_groups_make_worse() -> None:
    """A scale of its own for each group can only fit the group's weights better."""
    whole = {replace(r.case, group=0, source=_paper(r)): r for r in rows() if not r.case.group}
    pairs = [(row, whole.get(replace(row.case, group=0, source=_paper(row)))) for row in rows() if row.case.group]
    worse = defaultdict(list)
    for row, one in pairs:
        if one is not None:
            worse[_paper(row), row.case.method, row.case.weight, row.case.group].append(
                (row.perplexity / one.perplexity, row.doubt)
            )
    assert len(worse) > 15
    for line, found in worse.items():
        assert bool(found[0][1]) == (np.median([ratio for ratio, _ in found]) > 1.0), line


def _paper(row: Row) -> str:
    return row.case.source.split(", table")[0]


def test_no_number_is_there_twice() -> None:
    seen = [(row.case, row.context) for row in rows()]
    assert len(seen) == len(set(seen))


def test_rounding_is_that_of_the_printed_digits() -> None:
    by_hand = {"decimals": 0.01 / math.sqrt(12), "digits": 0.1 / math.sqrt(12)}
    awq = next(r for r in rows() if r.case.method == "awq" and r.case.model == "llama-2-7b")
    assert awq.error == pytest.approx(by_hand["decimals"] * math.hypot(1 / awq.perplexity, 1 / 5.47))
    qwen = next(r for r in rows() if r.case.model == "qwen3-0.6b-base" and r.perplexity == 24.0)
    assert qwen.error == pytest.approx(by_hand["digits"] * math.hypot(1 / 24.0, 1 / 12.7))


def _equations(taught: list[Row], asked: Row, weight: np.ndarray) -> tuple[float, float]:
    """Mean and variance by Henderson's equations: one column for each level of each offset, all penalised by one."""
    levels = sorted({(name, repr(g)) for row in [*taught, asked] for name, g in groups(row.case).items()})
    place = {level: i for i, level in enumerate(levels)}

    def design(row: Row) -> np.ndarray:
        slopes = np.array(columns(row.case)) * np.sqrt(SLOPES)
        offsets = np.zeros(len(levels))
        for name, level in groups(row.case).items():
            offsets[place[name, repr(level)]] = math.sqrt(VARIANCES[name])
        return np.concatenate([slopes, offsets])

    x = np.array([design(row) for row in taught])
    y, rounding = np.array([target(row) for row in taught]).T
    w = weight / (NOISE + rounding)
    normal = x.T @ (w[:, None] * x) + np.eye(x.shape[1])
    new = design(asked)
    mean = CENTRE + new @ np.linalg.solve(normal, x.T @ (w * (y - CENTRE)))
    return float(mean), float(new @ np.linalg.solve(normal, new)) + NOISE


@pytest.mark.parametrize("model", ["llama-2-13b", "qwen3-4b-base", "mistral-7b"])
def test_the_fit_is_the_mixed_model_solution(model: str) -> None:
    taught = [row for row in rows() if fitting(row) and row.case.model != model]
    asked = next(row for row in rows() if scored(row) and row.case.model == model)
    made = fit(taught)
    mean, deviation = made.predict([asked.case])
    expected = _equations(taught, asked, made.weight)
    assert (mean[0], deviation[0] ** 2) == pytest.approx(expected, rel=1e-6)
    assert made.weight.min() < 0.9  # some rows are far off, and count less


def test_one_row_gone_wrong_changes_little() -> None:
    taught = [row for row in rows() if fitting(row)]
    at = next(i for i, row in enumerate(taught) if row.case.method == "awq" and scored(row))
    wrong = [replace(row, perplexity=row.dense * 2.5) if i == at else row for i, row in enumerate(taught)]
    case = [replace(taught[at].case, model="", source="")]
    before, after = (float(fit(part).predict(case)[0][0]) for part in (taught, wrong))
    assert abs(after - before) < 0.1


def test_variances_are_those_of_largest_likelihood() -> None:
    found, noise = learnt([row for row in rows() if fitting(row)], rounds=1)
    assert found == pytest.approx(VARIANCES, rel=0.01)  # the search's first step is a factor of two
    assert noise == NOISE


@pytest.fixture(scope="module")
def left_out() -> HeldOut:
    return held_out(rows())


def test_models_left_out_are_forecast(left_out: HeldOut) -> None:
    assert len(set(left_out.parts)) >= 12
    assert np.median(np.abs(left_out.error)) <= 0.25
    assert 0.80 <= left_out.covered().mean() <= 0.95
    assert left_out.spread() == pytest.approx(SPREAD, rel=0.02)
    wider = {m: s for m in methods() if (s := left_out.spread(m)) > left_out.spread()}
    assert wider == pytest.approx(SPREADS, rel=0.02)


def test_forecasts_beat_the_mean_of_the_method(left_out: HeldOut) -> None:
    """The rise itself, as a number of its method and bits that is the same for every model, is further off."""
    naive = []
    for row, part, seen in zip(left_out.rows, left_out.parts, left_out.observed):
        same = [
            target(r)[0] for r in rows()
            if scored(r) and r.case.model != part and groups(r.case)["bits"] == groups(row.case)["bits"]
        ]  # fmt: skip
        naive.append(abs(math.expm1(np.median(same) - seen)) if same else 1.0)
    assert np.median(np.abs(left_out.error)) < 0.7 * np.median(naive)


@given(st.floats(1e9, 60e9), st.integers(3, 8), st.sampled_from([0, 128, 64, 32]))
def test_more_bits_smaller_groups_and_larger_models_cost_less(parameters: float, bits: int, group: int) -> None:
    here = forecast("rtn", Scheme(bits, group=group), parameters)
    assert 1.0 < here.low < here.value < here.high
    assert forecast("rtn", Scheme(bits - 1, group=group), parameters).value > here.value
    assert forecast("rtn", Scheme(bits, group=group), parameters * 1.2).value < here.value
    finer = forecast("rtn", Scheme(bits, group=16), parameters)
    assert bits > 6 or finer.value < here.value


def test_models_trained_longer_cost_more() -> None:
    few, many = (forecast("gptq", W4, 8e9, tokens=tokens).value for tokens in (2e12, 30e12))
    assert many > 1.5 * (few - 1) + 1


def test_parts_add_up_by_their_shares() -> None:
    four, eight = Scheme(4, group=128, share=0.25), Scheme(8, group=128, share=0.75)
    alone = [forecast("rtn", replace(s, share=1.0), 8e9).value - 1 for s in (four, eight)]
    assert forecast("rtn", [four, eight], 8e9).value - 1 == pytest.approx(0.25 * alone[0] + 0.75 * alone[1])


def test_a_name_brings_what_is_known_of_the_model() -> None:
    assert known("meta-llama/Llama-2-7b-hf").model == "llama-2-7b"
    assert known("Qwen/Qwen3-235B-A22B").tokens == 36e12
    assert known("meta-llama/Llama-3.2-1B").tokens == 9e12  # the longest beginning, not that of all Llama 3
    assert known("nobody/nothing").tokens is None
    assert {m["family"] for m in models().values()} >= {"llama-1", "llama-2", "llama-3", "qwen-3", "mistral"}
    old, new = (forecast("gptq", W4, 7e9, name=name) for name in ("meta-llama/Llama-2-7b-hf", "nobody/nothing"))
    assert "assumed" in new.source
    assert "assumed" not in old.source
    assert math.log((old.high - 1) / (old.low - 1)) < math.log((new.high - 1) / (new.low - 1))


def test_outside_the_tables_is_wider_and_says_so() -> None:
    inside, outside = (forecast("gptq", W4, parameters) for parameters in (70e9, 1000e9))
    width = [math.log((q.high - 1) / (q.low - 1)) for q in (inside, outside)]
    assert width[1] > 1.5 * width[0]
    assert "beyond" in outside.source
    assert "beyond" not in inside.source
    assert "hardly works" in forecast("rtn", Scheme(2), 1e9).source


def test_the_kind_is_literature() -> None:
    found = forecast("awq", W4, 8e9)
    assert (found.kind, found.unit) == ("literature", "")
    assert f"{len(fitted().cases)} published" in found.source


@pytest.mark.parametrize(
    ("method", "schemes", "parameters", "says"),
    [
        ("gptqq", W4, 8e9, "did you mean 'gptq'"),
        ("fp8", W4, 8e9, "no published"),
        ("gptq", [], 8e9, "nothing is compressed"),
        ("gptq", W4, 0.0, "positive"),
        ("gptq", W4, math.nan, "positive"),
        ("gptq", Scheme(0), 8e9, "bits from 1 to 16"),
        ("gptq", Scheme(4, group=-1), 8e9, "a group of 0"),
        ("gptq", Scheme(4, share=0.0), 8e9, "share=0.0"),
    ],
)
def test_what_cannot_be_forecast(method: str, schemes: Scheme | list[Scheme], parameters: float, says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        forecast(method, schemes, parameters)


def test_the_usual_methods_are_known() -> None:
    assert {"rtn", "gptq", "gptq-r", "awq", "smoothquant", "quarot", "spinquant", "aqlm"} <= set(methods())
