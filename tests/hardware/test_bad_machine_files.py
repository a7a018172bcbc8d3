"""What a user gets wrong in a machine's YAML: one clear error each, with file, dotted path and what to write."""

import pytest
import yaml

from dovetail.core.errors import DovetailError
from dovetail.hardware import load_machine

GOOD = {
    "name": "mine",
    "peak": {"bf16": "100 TFLOP/s"},
    "memory": {"capacity": "24 GB", "bandwidth": "1 TB/s"},
    "power": {"tdp": "300 W"},
    "source": {"peak": "datasheet 2024", "memory": "datasheet 2024", "power": "datasheet 2024"},
}


def load(tmp_path, change=(), text=None):
    data = {key: dict(value) if isinstance(value, dict) else value for key, value in GOOD.items()}
    for path, value in dict(change).items():
        *above, last = path.split("/")
        section = data
        for step in above:
            section = section[step]
        if value is None:
            del section[last]
        else:
            section[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(text if text is not None else yaml.safe_dump(data))
    return load_machine(str(file))


def test_the_good_file_loads(tmp_path):
    machine = load(tmp_path)
    assert machine.name == "mine"
    assert machine.peak == {"bf16": 1e14}
    assert machine.memory.capacity == 24e9
    assert machine.stack.name == "vllm"
    assert machine.source("peak.bf16").text == "datasheet 2024"
    assert machine.source("power.idle").kind == "modelled"


BAD = {
    "no source for a section": ({"source/peak": None}, ["peak.bf16", "no source", "source: {peak"]),
    "no sources at all": ({"source": None}, ["source", "missing"]),
    "new number without source": ({"link": "32 GB/s"}, ["link", "no source"]),
    "source of nothing": ({"source/peek": "datasheet"}, ["source.peek", "belongs to no number", "'peak'"]),
    "unknown system": ({"system": "dgx-h10"}, ["unknown system 'dgx-h10'", "dgx-h100"]),
    "empty source": ({"source/peak": ""}, ["source.peak"]),
    "unknown source kind": ({"source/peak": {"kind": "guessed", "text": "a guess"}}, ["source.peak.kind"]),
    "unknown field": ({"memroy": "24 GB"}, ["memroy", "unknown field", "'memory'"]),
    "unknown nested field": ({"memory/bandwith": "1 TB/s"}, ["memory.bandwith", "unknown field", "'bandwidth'"]),
    "unknown field beside stack": ({"stack": {"nam": "vllm"}}, ["stack.nam", "unknown field", "'name'"]),
    "unknown dtype": ({"peak": {"bf61": "1 TFLOP/s"}}, ["peak", "bf61", "'bf16'"]),
    "no dtype": ({"peak": {}}, ["peak", "no dtype"]),
    "no unit": ({"peak/bf16": "100e12"}, ["peak.bf16", "wrong unit", "989 TFLOP/s"]),
    "a bare number": ({"memory/capacity": 24}, ["memory.capacity", "wrong unit", "80 GB"]),
    "wrong unit": ({"memory/bandwidth": "1 TB"}, ["memory.bandwidth", "wrong unit", "3.35 TB/s"]),
    "unknown unit": ({"power/tdp": "300 Watt"}, ["power.tdp", "Watt", "700 W"]),
    "not a number": ({"power/tdp": "lots"}, ["power.tdp", "lots"]),
    "true": ({"power/tdp": True}, ["power.tdp", "True"]),
    "a list": ({"power/tdp": ["300 W"]}, ["power.tdp"]),
    "negative": ({"memory/capacity": "-24 GB"}, ["memory.capacity", "not above zero"]),
    "half a core": ({"cores": 13.5, "source/cores": "datasheet"}, ["cores", "'13.5' is not a whole number"]),
    "cores without source": ({"cores": 132}, ["cores", "no source"]),
    "cores with a unit": ({"cores": "132 GB", "source/cores": "datasheet"}, ["cores", "wrong unit"]),
    "no core": ({"cores": 0, "source/cores": "datasheet"}, ["cores", "not above zero"]),
    "clock without unit": ({"clock": 1.83, "source/clock": "datasheet"}, ["clock", "wrong unit", "1.98 GHz"]),
    "zero": ({"peak/bf16": "0 TFLOP/s"}, ["peak.bf16", "not above zero"]),
    "infinite": ({"peak/bf16": "1e999 TFLOP/s"}, ["peak.bf16", "finite"]),
    "missing field": ({"power": {}}, ["power.tdp", "missing", "700 W"]),
    "missing section": ({"memory": None}, ["memory", "missing", "80 GB"]),
    "a section that is a number": ({"memory": "24 GB"}, ["memory", "80 GB"]),
    "efficiency above one": (
        {"efficiency": {"compute": 1.2, "memory": 0.8}, "source/efficiency": "me"},
        ["efficiency.compute", "1.2", "above 1"],
    ),
    "unknown stack": ({"stack": "vlm"}, ["stack", "vlm", "'vllm'"]),
    "unknown kind": ({"kind": "toaster"}, ["kind", "gpu"]),
    "sparse peak in the source": ({"source/peak": "datasheet 2024, with sparsity"}, ["source.peak", "dense only"]),
    "sparse peak of one dtype": (
        {"source/peak.bf16": {"kind": "datasheet", "text": "2:4 structured"}},
        ["source.peak.bf16", "dense only"],
    ),
    "sparse peak in the value": ({"peak/bf16": "200 TFLOP/s with sparsity"}, ["peak.bf16", "dense only", "halve"]),
    "sparse peak by its name": ({"peak/bf16_sparse": "200 TFLOP/s"}, ["peak", "dense only", "bf16_sparse"]),
    "sparse peaks apart": ({"peak_sparse": {"bf16": "200 TFLOP/s"}}, ["peak_sparse", "dense only", "halve"]),
    "sparse peak in the note": ({"note": "peaks are with sparsity"}, ["note", "dense only"]),
}


@pytest.mark.parametrize("case", BAD)
def test_one_clear_error(tmp_path, case):
    change, said = BAD[case]
    with pytest.raises(DovetailError) as caught:
        load(tmp_path, change)
    text = str(caught.value)
    assert all(word in text for word in said), text
    assert caught.value.exit_code == 2
    assert "\n" not in text
    assert "pydantic" not in text
    if case not in ("unknown stack", "unknown system"):
        assert "mine.yaml" in text


@pytest.mark.parametrize(
    "text", ["peak: {bf16: 1 TFLOP/s}\npeak: {bf16: 2 TFLOP/s}\n", "memory:\n  bandwidth: 1\n  bandwidth: 2\n"]
)
def test_a_key_given_twice_is_an_error_with_its_line(tmp_path, text):
    with pytest.raises(DovetailError, match=r"mine\.yaml, line \d.*given twice"):
        load(tmp_path, text=text)


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "just text", "7", "a: [1, 2\n", "\tname: x", "{? [a] : 1}", "a: !!python/object:os.system x"],
)
def test_what_is_not_a_mapping_is_refused(tmp_path, text):
    with pytest.raises(DovetailError, match=r"mine\.yaml"):
        load(tmp_path, text=text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DovetailError, match="No such file"):
        load_machine(str(tmp_path / "absent.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(DovetailError, match="UTF-8"):
        load_machine(str(tmp_path / "bytes.yaml"))
    with pytest.raises(DovetailError, match="cannot read"):
        load_machine(str(tmp_path) + "/")


def test_halved_figures_may_say_so(tmp_path):
    machine = load(tmp_path, {"source/peak": "datasheet 2024, figures with 2:4 sparsity halved"})
    assert machine.peak["bf16"] == 1e14


def test_a_source_may_cover_one_number_or_its_section(tmp_path):
    change = {
        "source/memory": None,
        "source/memory.capacity": "label",
        "source/memory.bandwidth": {"kind": "measured", "text": "STREAM"},
    }
    machine = load(tmp_path, change)
    assert machine.source("memory.capacity").kind == "datasheet"
    assert machine.source("memory.bandwidth").kind == "measured"


def test_the_form_shown_to_users_loads(tmp_path):
    """A datasheet's few lines are enough; a path and a count work together."""
    load(tmp_path, {"name": "NVIDIA H100 SXM5 80 GB"})
    machine = load_machine(f"4 x {tmp_path / 'mine.yaml'}")
    assert (machine.count, machine.title) == (4, "NVIDIA H100 SXM5 80 GB")


def test_a_stack_can_be_changed_in_place(tmp_path):
    change = {
        "stack": {"name": "transformers", "launch": "7 us"},
        "source/stack.launch": {"kind": "measured", "text": "timed"},
    }
    machine = load(tmp_path, change)
    assert machine.stack.launch_s == pytest.approx(7e-6)
    assert machine.stack.packed_weights is False
    assert machine.source("stack.launch").kind == "measured"
    assert machine.source("stack.step").kind == "modelled"
