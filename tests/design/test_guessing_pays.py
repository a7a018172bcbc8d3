"""When guessing pays: gains against what two estimates say, the crossover, the best number, times of passes."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dovetail.app.report.page import render
from dovetail.app.report.verb import report_of
from dovetail.design import estimate
from dovetail.design.resolve import Plan, as_machine, weights_of
from dovetail.design.speculation import MachinePass, batch_gain, best_guesses, predicted_gains, speculation
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decoding.passes import TimedPass
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sizing import PassTime
from dovetail.runtime.load import load
from dovetail.search.codesign import guessing, search_space
from dovetail.workload import Workload

NAME, CHIP = "meta-llama/Llama-3.1-8B", "h100-sxm"
WORK = Workload(prompt=1024, output=128, batch=4)


@pytest.fixture(scope="module")
def llama() -> Model:
    return Model.load(NAME)


@pytest.mark.parametrize("recipe", ["medusa", "lookup", [{"eagle": {}}], [{"rtn": {}}, {"medusa": {"nodes": 4}}]])
def test_the_gain_is_that_of_two_estimates(llama: Model, recipe: object) -> None:
    how = Recipe.load(recipe)  # type: ignore[arg-type]
    plain, guessed = estimate(llama, CHIP, WORK, how.of_weights()), estimate(llama, CHIP, WORK, how)
    found = guessed.speculation(full=False)
    assert found is not None
    assert found.gain is not None
    assert found.gain.value == pytest.approx(plain.tpot.value / guessed.tpot.value)
    steps = guessed.steps.decode.time_s / plain.steps.decode.time_s
    assert found.gain.value == pytest.approx(found.tokens_per_step / float(steps))
    assert found.gain.low < found.gain.value < found.gain.high
    assert plain.speculation() is None
    assert guessed.ttft.value == pytest.approx(plain.ttft.value, rel=0.2)


def test_it_stops_paying_where_plain_steps_are_as_fast(llama: Model) -> None:
    found = speculation(llama, as_machine(CHIP), Recipe.load("medusa"), Plan(), WORK, full=False)
    assert found is not None
    ((first, last),) = found.pays
    assert first == 1
    assert last < found.fits

    def gain(batch: int) -> float:
        context = int(WORK.mean_context)
        one, other = (
            estimate(llama, CHIP, Workload(prompt=context, output=2, batch=batch), r).tpot.value
            for r in ("none", "medusa")
        )
        return one / other

    assert gain(last) > 1
    assert gain(round(last * 1.1) + 1) <= 1


def test_less_arithmetic_stops_it_earlier(llama: Model) -> None:
    """Guesses use arithmetic that waits for memory: a roofline with less of it has less to give."""
    machine = as_machine("rtx-4090")
    slow = replace(machine, peak={name: value / 4 for name, value in machine.peak.items()})
    fast, weak = (
        speculation(llama, chip, Recipe.load("medusa"), Plan(), WORK, full=False) for chip in (machine, slow)
    )  # fmt: skip
    assert fast is not None
    assert weak is not None
    assert weak.pays[0][1] < fast.pays[0][1]
    assert weak.best <= fast.best


def test_the_best_number_is_the_best_of_all_tried(llama: Model) -> None:
    machine, how, batches, contexts = as_machine(CHIP), Recipe.load("medusa"), (1, 16, 128), (512, 2048)
    best, gain = best_guesses(llama, machine, how, Plan(), batches, contexts)
    guess = how.guess()
    assert guess is not None
    for row, context in enumerate(contexts):
        for column, batch in enumerate(batches):
            work = Workload(prompt=context, output=2, batch=batch)
            plain = estimate(llama, machine, work).tpot.value
            found = {n: plain / estimate(llama, machine, work, how.sized(n)).tpot.value for n in guess.sizes}
            assert gain[row, column] == pytest.approx(max(1.0, *found.values()))
            assert found.get(int(best[row, column]), 1.0) == pytest.approx(gain[row, column])
    assert best[0, 0] > best[0, 2]  # a busy machine has less to spare


def test_where_nothing_fits_there_is_no_gain(llama: Model) -> None:
    found = estimate(llama, CHIP, replace(WORK, batch=4096), "medusa")
    about = found.speculation()
    assert not found.feasible
    assert about is not None
    assert about.gain is None
    assert about.to_json()["gain"] is None
    assert about.to_json()["best_gain"] is None


def test_gains_of_a_measured_pass_by_hand() -> None:
    """A pass of 10 ms and 1 ms a token: 1.5 tokens of one guess for 12 ms instead of 11."""
    found = predicted_gains(PassTime(0.010, 0.001), [1.0, 1.5, 1.6], [1, 20])
    expected = [[1.0, 1.5 * 11 / 12, 1.6 * 11 / 13], [1.0, 1.5 * 30 / 50, 1.6 * 30 / 70]]
    np.testing.assert_allclose(found, expected)
    slower = predicted_gains(PassTime(0.010, 0.001), [1.0, 1.5], [1], guessing_s=0.003)
    np.testing.assert_allclose(slower, [[1.0, 1.5 * 11 / 15]])


def test_a_batch_lasts_as_long_as_its_slowest_text() -> None:
    """Closed forms, and every batch of a few paces counted out."""
    passes = PassTime(0.010, 0.001)
    alike = batch_gain(passes, [2.0] * 5, 4, 3, lambda k: 0.002 * k)
    assert alike == pytest.approx(2.0 * 0.014 / (0.026 + 0.008))
    assert batch_gain(passes, [1.0], 7, 0) == pytest.approx(1.0)
    seldom = batch_gain(passes, [1.0], 2, 3, guessed=0.4)  # none of two has a guess in 0.36 of the steps
    assert seldom == pytest.approx(0.012 / (0.64 * 0.018 + 0.36 * 0.012))
    paces, batch, guesses = [1.0, 1.6, 1.6, 3.0], 3, 2
    total = 0.0
    for rows in itertools.product(paces, repeat=batch):
        needs, done = sorted(1 / pace for pace in rows), 0.0
        for left, need in zip(range(batch, 0, -1), needs, strict=True):
            total += (need - done) * (passes.seconds(left, guesses) + 0.001 * left**2)
            done = need
    expected = passes.seconds(batch, 0) / (total / len(paces) ** batch)
    assert batch_gain(passes, paces, batch, guesses, lambda k: 0.001 * k**2) == pytest.approx(expected)


def test_gains_of_this_computer_are_those_of_passes_it_was_timed_at() -> None:
    runner = runner_of(load(weights_of(Model.load("embedded"))))
    passes = TimedPass(runner, context=16, repeats=2)
    found = predicted_gains(passes, [1.0, 1.5], [2])
    assert found[0, 1] == 1.5 * passes.seconds(2, 0) / passes.seconds(2, 1)  # the second time from memory
    assert found[0, 1] > 0


def test_gains_by_the_cost_model_are_those_of_an_estimate(llama: Model) -> None:
    """Prompt lookup costs nothing but its pass."""
    machine, none = as_machine(CHIP), Recipe.load("none")
    work = Workload(prompt=1000, output=2, batch=8)
    how = Recipe.load([{"lookup": {"length": 3}}])
    context = int(work.mean_context)
    tokens = [float(how.sized(n).rewrite(llama.graph(1, 1, context)).tokens_per_step) for n in (1, 2, 3)]
    found = predicted_gains(MachinePass(llama, machine, none, context), [1.0, *tokens], [8])
    plain, guessed = (estimate(llama, machine, work, r).tpot.value for r in (none, how))
    assert found[0, 3] == pytest.approx(plain / guessed)


def test_the_report_maps_it(llama: Model) -> None:
    page = render(report_of("estimate", estimate(llama, CHIP, WORK, "lookup").to_json(), {}))
    assert "When does guessing pay?" in page
    assert "Best number of guesses" in page
    assert "When does guessing pay?" not in render(report_of("estimate", estimate(llama, CHIP, WORK).to_json(), {}))


def test_a_search_says_it_of_its_winner(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        f"name: guess\nmodels: [{NAME}]\nrecipes: [none, lookup]\nmachines: [{CHIP}]\n"
        "workload: {batch: [1, 8], prompt: [1024], output: [128]}\nobjectives: [tpot]\npick: min tpot\n"
    )
    found = search_space(space)
    about = guessing(found)
    assert found.winner is not None
    assert found.winner.structure.recipe == "lookup"
    assert about is not None
    assert about[1].gain is not None
    assert about[1].gain.value > 1
    assert guessing(search_space(space, recipes=["none"])) is None


def test_a_mixture_pays_again_where_all_experts_are_read_anyway() -> None:
    """A few more tokens read more experts; at large batches they do not."""
    found = estimate("Qwen/Qwen3-30B-A3B", "h200-sxm", replace(WORK, prompt=512), "lookup").speculation(full=False)
    assert found is not None
    assert len(found.pays) == 2
    assert "up to batch" in found.words()
    assert " and from " in found.words()
