"""The command that serves a checkpoint, and the reasons for none."""

import shlex
from pathlib import Path

import pytest

from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.system.engines import Served, vllm_serve


def served(recipe: str, on: str, folder: str = "out/checkpoint", ways: int = 1) -> Served:
    return vllm_serve(Path(folder), graph(recipe), load_machine(on), context=4096, batch=16, ways=ways)


def graph(recipe: str) -> Graph:
    return Recipe.load(recipe).rewrite(Model.load("meta-llama/Llama-3.2-1B").graph())


def test_the_command_carries_the_workload_and_the_machine() -> None:
    words = shlex.split(served("none", "h100-sxm", ways=4).command)
    assert words[:3] == ["vllm", "serve", "out/checkpoint"]
    flags = dict(zip(words[3::2], words[4::2]))
    assert flags == {
        "--host": "127.0.0.1", "--max-model-len": "4096", "--max-num-seqs": "16", "--gpu-memory-utilization": "0.9",
        "--tensor-parallel-size": "4",
    }  # fmt: skip


def test_one_chip_needs_no_parallel_flag_and_a_folder_with_spaces_stays_one_word() -> None:
    found = served("w4a16-rtn", "h100-sxm", "my designs/a b")
    assert "--tensor-parallel-size" not in found.command
    assert shlex.split(found.command)[2] == "my designs/a b"
    assert found.why == ""


@pytest.mark.parametrize(
    "recipe", ["none", "w8a16", "w4a16", "w4a16-awq", "w8a8", "w4a16-rtn", "w4a16-rtn:group=32", "w4a16-rtn:group=0"]
)
def test_formats_with_kernels_are_served(recipe: str) -> None:
    assert served(recipe, "h100-sxm").command


@pytest.mark.parametrize(
    ("recipe", "named"), [("w3a16-rtn", "int3"), ("w2a16-rtn", "int2"), ("w4a16-rtn:group=16", "g16")]
)
def test_formats_without_kernels_are_refused_by_name(recipe: str, named: str) -> None:
    found = served(recipe, "h100-sxm")
    assert found.command == ""
    assert named in found.why


def test_inputs_of_4_bits_are_served_as_floats_alone() -> None:
    assert "integer inputs" in served("w4a4", "h100-sxm").why
    assert served("nvfp4", "b200-sxm").command
    assert served("fp8", "h100-sxm").command


@pytest.mark.parametrize("on", ["mi300x", "tpu-v6e", "gaudi3"])
def test_a_chip_without_kernels_for_packed_weights_serves_plain_ones_only(on: str) -> None:
    assert served("none", on).command
    assert served("w4a16-rtn", on) == Served("", f"vLLM has no kernel for packed weights on {on}")


def test_a_machine_without_the_engine_is_refused() -> None:
    found = served("none", "host")
    assert found.command == ""
    assert "vLLM does not run on" in found.why
