"""The chips that ship, against figures typed in from vendors' tables and against physics."""

import itertools
import math

import numpy as np
import pytest
import yaml

from dovetail.core import units
from dovetail.core.errors import DovetailError
from dovetail.design.estimate import estimate
from dovetail.hardware import load_machine, machine_names, machines
from dovetail.hardware.build import load_stack, stack_names
from dovetail.hardware.summary import COLUMNS, summary
from dovetail.hardware.zoo import zoo_files

REQUIRED = {
    "a100-sxm",
    "a100-sxm-40gb",
    "h100-sxm",
    "h100-pcie",
    "h200-sxm",
    "b200-sxm",
    "l4",
    "l40s",
    "rtx-4090",
    "mi210",
    "mi300x",
    "tpu-v6e",
    "gaudi3",
    "u280",
    "arc-b60",
    *("v100-sxm", "a100-pcie", "a30", "a10", "rtx-3090", "rtx-5090", "rtx-pro-6000", "h100-nvl", "h200-nvl", "gh200"),
    *("b300-sxm", "gb200", "gb300", "mi250x", "mi355x", "tpu-v4", "tpu-v5p", "tpu-v7", "gaudi2", "groq-lpu", "wse-3"),
    *("trainium2", "jetson-orin", "jetson-thor", "m2-ultra", "m3-max", "m4-max", "raspberry-pi-5", "xeon-8592"),
    *("epyc-9654", "u55c", "v80", "gh200-96gb", "v100-sxm-16gb", "rtx-pro-6000-server"),
}

# Dense TFLOP/s (TOP/s), GB as sold, GB/s, W, link GB/s per direction: typed from vendors' specification tables.
PUBLISHED = {
    "a100-sxm": ({"bf16": 312, "tf32": 156, "int8": 624, "fp32": 19.5}, 80, 2039, 400, 300),
    "a100-sxm-40gb": ({"bf16": 312, "int8": 624}, 40, 1555, 400, 300),
    "h100-sxm": ({"bf16": 989.5, "fp8": 1979, "int8": 1979, "tf32": 494.5, "fp32": 67}, 80, 3350, 700, 450),
    "h100-pcie": ({"bf16": 756.5, "fp8": 1513, "int8": 1513, "fp32": 51.2}, 80, 2000, 350, 64),
    "h200-sxm": ({"bf16": 989.5, "fp8": 1979}, 141, 4800, 700, 450),
    "b200-sxm": ({"bf16": 2250, "fp8": 4500, "nvfp4": 9000}, 180, 7700, 1000, 900),
    "l4": ({"bf16": 121, "fp8": 242.5, "int8": 242.5, "fp32": 30.3}, 24, 300, 72, 32),
    "l40s": ({"bf16": 362, "fp8": 733, "fp32": 91.6}, 48, 864, 350, 32),
    "rtx-4090": ({"bf16": 165.2, "fp32": 82.6, "int8": 660.6}, 24, 1008, 450, 32),
    "mi210": ({"bf16": 181, "int8": 181}, 64, 1600, 300, 150),
    "mi300x": ({"bf16": 1307.4, "fp8": 2614.9, "fp32": 163.4}, 192, 5300, 750, 448),
    "tpu-v6e": ({"bf16": 918, "int8": 1836}, 32, 1638, None, 400),
    "gaudi3": ({"bf16": 1835, "fp8": 1835}, 128, 3700, 900, 600),
    "u280": ({"int8": 24.5}, 8, 460, 225, 16),
    "arc-b60": ({"bf16": 98.3, "int8": 197}, 24, 456, 200, 32),
}


def test_the_zoo_holds_what_it_promises():
    assert set(machine_names()) >= REQUIRED
    assert [m.name for m in machines()] == machine_names()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    peaks, capacity, bandwidth, tdp, link = PUBLISHED[name]
    machine = load_machine(name)
    for dtype, tflops in peaks.items():
        assert machine.peak[dtype] == pytest.approx(tflops * 1e12, rel=2e-3), dtype
    # Sold by a number of GB that means at most so many GiB; error correction takes a sixteenth of some.
    assert 0.93 * capacity * 2**30 < machine.memory.capacity <= capacity * 2**30
    assert machine.memory.bandwidth == pytest.approx(bandwidth * 1e9, rel=5e-3)
    assert machine.link == pytest.approx(link * 1e9)
    assert tdp is None or machine.tdp_w == tdp


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


NUMBERLESS = {
    "name",
    "title",
    "vendor",
    "kind",
    "year",
    "note",
    "memory.type",
    "caches.name",
    "stack",
    "stack.name",
    "stack.compute",
    "stack.packed_weights",
    "system",
    "fabric.library",
    "fabric.algorithm",
    "fabric.stack",
}
PURE = {
    "efficiency.compute",
    "efficiency.memory",
    "efficiency.spread",
    "stack.reserve",
    "fabric.reached",
    "fabric.own",
    "fabric.fill",
}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_every_number_has_a_unit_and_a_source(name):
    """Read the YAML without the schema: the schema is what is tested."""
    data = yaml.safe_load(zoo_files("chips")[name].read_text())
    sources = data.pop("source")
    for path, value in leaves(data):
        if path in NUMBERLESS or path.startswith(("engines", "kernels")):  # constants of kernels are held elsewhere
            continue
        assert path in PURE or path == "cores" or units.unit(str(value).partition(" ")[2])[0], path
        assert any(path == p or path.startswith(p + ".") for p in sources), path


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_sources_say_where_and_when(name):
    machine = load_machine(name)
    for path in ("peak", "memory.bandwidth", "power.tdp"):
        source = machine.source(path)
        assert source.kind in ("datasheet", "literature")
        assert any(year in source.text for year in map(str, range(2018, 2027))), source
    assert machine.source("efficiency").kind in ("calibrated", "modelled")
    assert machine.source("energy.per_byte").text
    if not math.isnan(machine.usd_per_hour):
        assert machine.source("price").kind == "literature"
        assert "202" in machine.source("price").text


# MiB as drivers print them (nvidia-smi, rocm-smi, hl-smi): typed from public logs, not from the files.
REPORTED = {
    "h100-sxm": 81559, "h200-sxm": 143771, "b200-sxm": 183359, "b300-sxm": 275040, "gb200": 189471, "gb300": 284208,
    "h100-nvl": 95830, "gh200-96gb": 97871, "l4": 23034, "l40s": 46068, "a10": 23028, "rtx-4090": 24564,
    "rtx-5090": 32607, "rtx-pro-6000": 97887, "mi300x": 196592, "mi355x": 294896, "gaudi2": 98304, "gaudi3": 131072,
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_capacity_is_what_the_driver_reports(name):
    machine = load_machine(name)
    assert machine.memory.capacity == REPORTED[name] * 2**20
    assert "smi" in machine.source("memory.capacity").text


@pytest.mark.parametrize("machine", machines(), ids=lambda m: m.name)
def test_no_capacity_is_the_number_on_the_box(machine):
    """A round number of 10^9 bytes is what a card is sold by; WSE-3's on-chip memory has no other figure."""
    assert machine.memory.capacity % 1e9 != 0 or machine.name == "wse-3"
    assert machine.source("memory.capacity").kind in ("literature", "modelled", "datasheet")


NARROWER_IS_SLOWER = {("b300-sxm", "int8"), ("gb300", "int8")}  # Blackwell Ultra gave up int8 tensor units for fp4


@pytest.mark.parametrize("machine", machines(), ids=lambda m: m.name)
def test_physics(machine):
    """Narrower numbers are never slower, caches are faster and smaller than memory, power and energy are consistent."""
    for wide, narrow in (
        ("fp32", "bf16"),
        ("tf32", "bf16"),
        ("bf16", "fp8"),
        ("bf16", "int8"),
        ("int8", "int4"),
        ("fp8", "nvfp4"),
    ):
        if wide in machine.peak and narrow in machine.peak and (machine.name, narrow) not in NARROWER_IS_SLOWER:
            assert machine.peak[narrow] >= machine.peak[wide]
            assert machine.j_per_flop[narrow] <= machine.j_per_flop[wide]
    outer = machine.memory
    for level in machine.caches:
        assert level.bandwidth > outer.bandwidth
        assert level.capacity < outer.capacity
        outer = level
    assert 0 < machine.idle_w < 0.4 * machine.tdp_w
    assert set(machine.j_per_flop) == set(machine.peak)
    assert machine.j_per_byte * machine.memory.bandwidth + machine.idle_w < machine.tdp_w
    assert machine.memory.bandwidth > machine.link
    assert 0 < machine.efficiency.spread < 1


@pytest.mark.parametrize("name", machine_names())
def test_an_8b_model_runs_or_says_why_not(name):
    """A time not below that of reading the weights once, or a refusal that names what is missing."""
    machine = load_machine(name)
    if "bf16" not in machine.peak and not machine.stack.compute:
        with pytest.raises(DovetailError, match=r"no bf16 arithmetic.*Try: the nearest it has: int8"):
            estimate("meta-llama/Llama-3.1-8B", on=name)
        return
    result = estimate("meta-llama/Llama-3.1-8B", on=name)
    weights = 2 * 8_030_261_248
    if result.feasible:
        assert weights < machine.memory.capacity * (1 - machine.stack.reserve)
    else:
        assert machine.memory.capacity < 1.5 * weights
        assert result.why
    assert result.tpot.value > 0.9 * weights / machine.memory.bandwidth


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("H200-SXM", "h200-sxm", 1),
        ("8 x h100-sxm", "h100-sxm", 8),
        ("8xh100-sxm", "h100-sxm", 8),
        ("2×a100", "a100-sxm", 2),
        ("4 * l4", "l4", 4),
        ("1 x rtx-4090", "rtx-4090", 1),
        ("  16  X  mi300x ", "mi300x", 16),
        ("a100-sxm-80gb", "a100-sxm", 1),
    ],
)
def test_names_and_counts(text, name, count):
    machine = load_machine(text)
    assert (machine.name, machine.count) == (name, count)


@pytest.mark.parametrize(
    "text", ["h1000-sxm", "", "8 x", "x h100", "8 x 8 x h100-sxm", "0 x h100-sxm", "-2 x h100-sxm"]
)
def test_bad_names(text):
    with pytest.raises(DovetailError) as caught:
        load_machine(text)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(DovetailError, match=r"did you mean.*'h100-sxm'"):
        load_machine("h100-smx")


def test_a_machine_passes_through():
    machine = load_machine("l4")
    assert load_machine(machine) is machine


def test_the_generations_keep_their_order():
    family = [load_machine(name) for name in ("a100-sxm", "h100-sxm", "h200-sxm", "b200-sxm")]
    for older, newer in itertools.pairwise(family):
        assert newer.peak["bf16"] >= older.peak["bf16"]
        assert newer.memory.bandwidth > older.memory.bandwidth
        assert newer.memory.capacity >= 0.99 * older.memory.capacity  # both "80 GB": 81920 and 81559 MiB
        assert newer.j_per_flop["bf16"] <= older.j_per_flop["bf16"]


def test_stacks():
    assert set(stack_names()) >= {"vllm", "transformers", "bare"}
    for name in stack_names():
        stack, sources = load_stack(name)
        assert {"launch", "step", "reserve"} <= set(sources)
        assert stack.launch_s >= 0
    assert load_stack("vllm")[0].packed_weights
    assert not load_stack("transformers")[0].packed_weights
    assert load_stack("transformers")[0].launch_s > load_stack("vllm")[0].launch_s > load_stack("bare")[0].launch_s == 0


def test_summary_rows_and_filters():
    rows = summary()
    assert [row["name"] for row in rows] == machine_names()
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["name"] for row in summary(vendor="amd")} >= {"mi210", "mi300x", "u280"}
    large = summary(min_memory="100 GB")
    assert large
    assert all(row["memory"] >= 100e9 for row in large)
    assert summary(vendor="AMD", min_memory="64 GB") == [r for r in summary(vendor="AMD") if r["memory"] >= 64e9]
    assert math.isnan(next(r for r in rows if r["name"] == "u280")["bf16"])
    with pytest.raises(DovetailError, match="wrong unit"):
        summary(min_memory="80 W")


def test_against_a_table_made_by_others(data_folder):
    """Capacity, bandwidth, dense peaks, link and power of the system files of aiconfigurator."""
    folder = data_folder / "hardware" / "aiconfigurator"
    files = {
        "a100-sxm": "a100_sxm",
        "h100-sxm": "h100_sxm",
        "h100-pcie": "h100_pcie",
        "h200-sxm": "h200_sxm",
        "b200-sxm": "b200_sxm",
        "l4": "l4",
        "l40s": "l40s",
    }
    for name, file in files.items():
        theirs, machine = yaml.safe_load((folder / f"{file}.yaml").read_text()), load_machine(name)
        gpu, node = theirs["gpu"], theirs["node"]
        assert machine.peak["bf16"] == pytest.approx(gpu["bfloat16_tc_flops"], rel=2e-3)
        assert machine.peak["int8"] == pytest.approx(gpu["int8_tc_flops"], rel=3e-3)
        assert machine.memory.bandwidth == pytest.approx(gpu["mem_bw"], rel=1e-3)
        # They read the number it is sold by as GiB where they have no report of a driver.
        assert 0.93 < machine.memory.capacity / gpu["mem_capacity"] < 1.001
        assert machine.link == pytest.approx(node["intra_node_bw"])
        assert machine.tdp_w == gpu["power"]


def test_arrays_are_welcome():
    """A machine of many design points keeps its arrays and hashes by content."""
    from dataclasses import replace

    base = load_machine("h100-sxm")
    many = replace(base, tdp_w=np.linspace(300, 700, 5))
    assert many == replace(base, tdp_w=np.linspace(300, 700, 5))
    assert hash(many) != hash(base)
