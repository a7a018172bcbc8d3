"""Images in a workload: their tokens join the prompt, their encoder runs before the prefill, both are accounted for."""

from dataclasses import replace

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.cost import evaluate
from dovetail.cost.memory import activation_bytes
from dovetail.design import Estimate, Plan, estimate
from dovetail.design.build import build
from dovetail.design.explain import explain
from dovetail.design.headroom import headroom
from dovetail.design.points import table
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Images, Workload

MODELS = ("Qwen/Qwen2.5-VL-3B-Instruct", "google/gemma-3-4b-pt", "google/gemma-4-26B-A4B", "llava-hf/llava-1.5-7b-hf")
SEEN = Images(3, 720, 1000)


def asked(model: str, batch: int = 2, on: str = "h100-sxm", images: Images | None = SEEN) -> Estimate:
    return estimate(model, on, Workload(prompt=200, output=50, batch=batch, images=images))


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_with_images_is_a_longer_prompt_after_their_encoder(name: str) -> None:
    model, chip = Model.load(name), load_machine("h100-sxm")
    longer = 200 + 3 * model.image_tokens(720, 1000)
    text = estimate(model, chip, Workload(prompt=longer, output=50, batch=2))
    encoder = evaluate(model.vision_graph(6, 720, 1000), chip)
    found = asked(name)
    assert found.ttft.value == pytest.approx(text.ttft.value + float(encoder.time_s), rel=1e-12)
    assert found.tpot.value == text.tpot.value
    e2e = float(text.metrics.e2e_s + encoder.time_s)
    assert found.throughput.value == pytest.approx(2 * 50 / e2e, rel=1e-12)
    joules = text.energy_per_token.value * 100 + float(encoder.energy_j)
    assert found.energy_per_token.value * 100 == pytest.approx(joules, rel=1e-12)
    alone = estimate(model, chip, Workload(prompt=longer, output=1, batch=1)).ttft.value
    alone += float(evaluate(model.vision_graph(3, 720, 1000), chip).time_s)
    assert found.ttft_alone.value == pytest.approx(alone, rel=1e-12)


def test_memory_holds_the_images_tokens_and_the_larger_of_both_passes() -> None:
    model, chip = Model.load(MODELS[0]), load_machine("h100-sxm")
    chip = replace(chip, stack=replace(chip.stack, chunk=0))
    text = estimate(model, chip, Workload(200 + 3 * model.image_tokens(720, 1000), 50, 2)).metrics.memory
    held = estimate(model, chip, Workload(200, 50, 2, SEEN)).metrics.memory
    assert (held.weights, held.kv_cache) == (text.weights, text.kv_cache)
    passes = (activation_bytes(model.vision_graph(6, 720, 1000), chip), text.activations)
    assert float(held.activations) == pytest.approx(max(map(float, passes)))
    many = estimate(model, chip, Workload(1, 2, 1, Images(1, 4000, 3000))).metrics.memory
    assert float(many.activations) == pytest.approx(
        float(activation_bytes(model.vision_graph(1, 4000, 3000), chip))
    )  # an image alone is 4 patches for each of its tokens


def test_chips_that_share_a_layer_share_the_images() -> None:
    model, two = Model.load(MODELS[1]), load_machine("2 x h100-sxm")
    longer = estimate(model, two, Workload(prompt=200 + 3 * 256, output=50, batch=1))
    found = asked(MODELS[1], batch=1, on="2 x h100-sxm")
    encoder = evaluate(model.vision_graph(2, 720, 1000), two)  # 2 of 3 on the busier chip
    assert found.ttft.value == pytest.approx(longer.ttft.value + float(encoder.time_s), rel=1e-12)
    replicas = estimate(model, two, Workload(200, 50, 2, SEEN), plan=Plan(tp=1))
    assert replicas.ttft.value == pytest.approx(asked(MODELS[1], batch=1).ttft.value, rel=1e-12)


def test_recipes_leave_the_encoder_as_it_is() -> None:
    """Its 4304 channels do not divide into groups of 128, and no recipe looks at them."""
    plain, packed = (estimate(MODELS[1], "h100-sxm", Workload(200, 50, 2, SEEN), r) for r in ("none", "w4a16-rtn"))
    assert packed.steps.image_graph == plain.steps.image_graph
    assert float(packed.metrics.memory.weights) < float(plain.metrics.memory.weights)


def test_the_context_holds_the_images() -> None:
    found = estimate(MODELS[3], "h100-sxm", Workload(prompt=200, output=50, images=Images(7, 100, 100)))
    assert not found.feasible
    assert f"need {200 + 7 * 576 + 50:,} tokens" in found.why[0]
    room = headroom(estimate(MODELS[3], "h100-sxm", Workload(prompt=200, output=50, images=Images(6, 100, 100))))
    assert room.context == room.limit == 4096


def test_arrays_are_scalars_side_by_side() -> None:
    model, chip, batches = Model.load(MODELS[0]), load_machine("h100-sxm"), np.array([1, 4, 9])
    seen = replace(SEEN, tokens=model.image_tokens(720, 1000))
    columns = table(model, chip, Recipe.load("none"), Plan(), Workload(200, 50, batches, seen))
    for row, batch in enumerate(batches.tolist()):
        assert columns["ttft"][row] == pytest.approx(asked(MODELS[0], batch).ttft.value, rel=1e-12)


def test_the_tree_and_the_json_name_the_images() -> None:
    found = asked(MODELS[0])
    tree = explain(found, "ttft")
    assert [name for name, _ in tree.parts] == ["images", "prefill"]
    assert sum(part.value for _, part in tree.parts) == pytest.approx(tree.value)
    shown = found.to_json()
    assert shown["workload"]["images"] == 3
    assert shown["workload"]["image_tokens"] == found.model.image_tokens(720, 1000)
    assert list(shown["bottleneck"]) == ["images", "prefill", "decode"]
    assert list(asked(MODELS[0], images=None).to_json()["workload"]) == ["prompt", "output", "batch"]


def test_images_are_images() -> None:
    with pytest.raises(DovetailError, match=r"workload: images must be Images .got int"):
        Workload(images=3)  # type: ignore[arg-type]


def test_what_cannot_be_seen_is_refused(tmp_path: object) -> None:
    with pytest.raises(DovetailError, match="Qwen/Qwen3-8B has no image encoder"):
        asked("Qwen/Qwen3-8B")
    with pytest.raises(DovetailError, match="a design is built for text"):
        build(MODELS[0], "h100-sxm", Workload(images=SEEN), "none", tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "numbers", [(0, 10, 10), (1, 0, 10), (1, 10, -1), (1, 10, 10.5), (True, 10, 10), (1, 9, 9, -1)]
)
def test_a_size_is_of_whole_numbers(numbers: tuple[int, ...]) -> None:
    with pytest.raises(DovetailError, match="must be a whole number"):
        Images(*numbers)
