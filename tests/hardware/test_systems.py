"""Systems: what ships is what the schema makes of it and fits its chip; what users write is refused in one sentence."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dovetail.core.errors import DovetailError
from dovetail.hardware import load_machine, machine_to_yaml, machines, system_names, systems
from dovetail.hardware.checked import check
from dovetail.hardware.schema import SystemFile
from dovetail.hardware.summary import summary
from dovetail.hardware.systems import system
from dovetail.hardware.yamlfile import parse_yaml
from dovetail.hardware.zoo import zoo_files

GOOD: dict[str, Any] = {
    "name": "box", "of": "h100-sxm",
    "levels": [{"name": "NVLink", "ways": 4, "topology": "switch", "bandwidth": "450 GB/s"}],
    "network": {"name": "Ethernet", "topology": "switch", "bandwidth": "25 GB/s", "latency": "5 us"},
    "system_power": "5 kW",
    "source": {"levels": "a datasheet, 2026", "network": "a datasheet, 2026", "system_power": "a datasheet, 2026"},
}  # fmt: skip


def load(folder: Path, **changes: Any) -> Any:
    data = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / "box.yaml").write_text(yaml.safe_dump(data))
    return load_machine(folder / "box.yaml")


@pytest.mark.parametrize("name", system_names())
def test_a_shipped_system_is_what_the_schema_makes_of_it(name: str) -> None:
    text = zoo_files("systems")[name].read_text(encoding="utf-8")
    file = check(parse_yaml(text, name), SystemFile, name).model_dump(exclude_none=True)
    strict, quick = system(file, load_machine(file["of"]), name), load_machine(name)
    assert (file["name"], repr(strict)) == (name, repr(quick))


@pytest.mark.parametrize("name", system_names())
def test_the_innermost_level_is_the_link_of_its_chip(name: str) -> None:
    found = load_machine(name)
    chip = load_machine(found.chip)
    assert math.isclose(float(found.levels[0].bandwidth), float(chip.link))
    assert found.count == found.unit == math.prod(x.ways for x in found.levels if x.ways < 1 << 20)
    assert (found.peak, found.memory, found.stack) == (chip.peak, chip.memory, chip.stack)
    assert found.source("levels").text != "derived"


def test_chips_name_systems_made_of_their_like() -> None:
    for chip in machines():
        if chip.system:
            assert load_machine(chip.system).levels == chip.levels
            assert load_machine(chip.system).vendor == chip.vendor


@pytest.mark.parametrize(
    ("text", "label", "count", "node"),
    [
        ("dgx-h100", "dgx-h100", 8, 8), ("2 x dgx-h100", "2 x dgx-h100", 16, 8), ("DGX-A100", "dgx-a100", 8, 8),
        ("gb200-nvl72", "gb200-nvl72", 72, 72), ("dgx-h100-superpod", "dgx-h100-superpod", 256, 8),
        ("16 x h100-sxm", "16 x h100-sxm", 16, 8), ("4 x h100-sxm", "4 x h100-sxm", 4, 4), ("h100", "h100-sxm", 1, 1),
        ("6 x l4", "6 x l4", 6, 6), ("tpu-v5e-256", "tpu-v5e-256", 256, 256),
    ],
)  # fmt: skip
def test_names_labels_and_nodes(text: str, label: str, count: int, node: int) -> None:
    found = load_machine(text)
    assert (found.label, found.count, found.node) == (label, count, node)


def test_a_system_of_systems_has_the_levels_of_both() -> None:
    pod = load_machine("dgx-h100-superpod")
    assert [(level.ways, level.in_network) for level in pod.levels[:2]] == [(8, True), (32, False)]
    assert (pod.chip, pod.link) == ("h100-sxm", 450e9)


def test_a_users_system_loads(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert (found.name, found.count, found.chip, found.node) == ("box", 4, "h100-sxm", 4)
    assert [level.name for level in found.levels] == ["NVLink", "Ethernet"]
    assert (found.levels[1].bandwidth, found.system_w) == (25e9, 5e3)
    assert found.levels[1].latency_s == pytest.approx(5e-6)
    two = load_machine(f"2 x {tmp_path / 'box.yaml'}")
    assert (two.label, two.count) == ("2 x box", 8)
    assert two == replace(found, count=8)
    assert hash(two) != hash(found)


def test_a_system_around_a_users_chip(tmp_path: Path) -> None:
    chip = {
        "name": "mine", "peak": {"bf16": "1 TFLOP/s"}, "memory": {"capacity": "1 GB", "bandwidth": "1 GB/s"},
        "power": {"tdp": "1 W"}, "link": "10 GB/s",
        "source": dict.fromkeys(("peak", "memory", "power", "link"), "a datasheet, 2026"),
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(chip))
    level = {"name": "bus", "ways": 3, "topology": "pcie", "bandwidth": "10 GB/s"}
    found = load(tmp_path, of=str(tmp_path / "mine.yaml"), levels=[level])
    assert (found.count, found.chip, found.source("fabric").kind) == (3, "mine", "modelled")


LEVEL = GOOD["levels"][0]
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "level without source": ({"source": {"network": "a datasheet", "system_power": "one"}}, ["levels", "no source"]),
    "source of nothing": ({"source": GOOD["source"] | {"lvels": "a datasheet"}}, ["source.lvels", "'levels'"]),
    "unknown field": ({"levles": []}, ["levles", "unknown field", "'levels'"]),
    "unknown field of a level": ({"levels": [LEVEL | {"bandwith": "1 GB/s"}]}, ["bandwith", "'bandwidth'"]),
    "no levels": ({"levels": []}, ["levels"]),
    "levels missing": ({"levels": None}, ["levels", "missing", "NVLink"]),
    "no chip": ({"of": None}, ["of", "missing", "h100-sxm"]),
    "unknown chip": ({"of": "h1000-sxm"}, ["h1000-sxm", "h100-sxm"]),
    "one way": ({"levels": [LEVEL | {"ways": 1}]}, ["levels.0.ways"]),
    "unknown topology": ({"levels": [LEVEL | {"topology": "star"}]}, ["levels.0.topology"]),
    "wrong unit": ({"levels": [LEVEL | {"bandwidth": "450 GB"}]}, ["bandwidth", "wrong unit"]),
    "another link": ({"levels": [LEVEL | {"bandwidth": "900 GB/s"}]}, ["900 GB/s", "450 GB/s", "one direction"]),
    "no unit": ({"system_power": 5}, ["system_power", "unit"]),
    "more chips than there are": ({"levels": [LEVEL | {"ways": 10**20}]}, ["too many", "1,048,576"]),
}


@pytest.mark.parametrize("case", BAD)
def test_one_clear_error(tmp_path: Path, case: str) -> None:
    changes, said = BAD[case]
    with pytest.raises(DovetailError) as caught:
        load(tmp_path, **changes)
    text = str(caught.value)
    assert all(word in text for word in said), text
    assert caught.value.exit_code == 2
    assert "\n" not in text


def test_a_system_of_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"box\.yaml: of: a system cannot be made of itself"):
        load(tmp_path, of=str(tmp_path / "box.yaml"))
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    for file, of in ((first, second), (second, first)):
        file.write_text(yaml.safe_dump(GOOD | {"of": str(of)}))
    with pytest.raises(DovetailError, match=r"second\.yaml: of: a system cannot be made of itself"):
        load_machine(first)


def test_a_count_is_of_chips_that_could_be_built() -> None:
    assert load_machine("1024 x dgx-h100").count == 8192
    with pytest.raises(DovetailError, match="800,000,000,000 chips are too many"):
        load_machine("100000000000 x dgx-h100")


def test_constants_of_a_library_are_held_to_units_and_sources(tmp_path: Path) -> None:
    chip = yaml.safe_load(machine_to_yaml(load_machine("h100-sxm")))
    for change, said in (
        ({"launch": "4 GB"}, "wrong unit"), ({"reached": 1.2}, "above 1"), ({"algorithm": "tree"}, "fabric"),
    ):  # fmt: skip
        bad = chip | {"fabric": [chip["fabric"][0] | change]}
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
        with pytest.raises(DovetailError, match=said):
            load_machine(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text(
        yaml.safe_dump(chip | {"source": {k: v for k, v in chip["source"].items() if k != "fabric"}})
    )
    with pytest.raises(DovetailError, match=r"fabric.*: this number has no source"):
        load_machine(tmp_path / "bad.yaml")


def test_a_system_is_not_written_as_a_chip() -> None:
    with pytest.raises(DovetailError, match="dgx-h100 is a system"):
        machine_to_yaml(load_machine("dgx-h100"))


@pytest.mark.parametrize(
    ("name", "relative", "engine"),
    [("v100-sxm", "a100-sxm", True), ("b200-sxm", "h100-sxm", True), ("mi300x", "h100-sxm", True),
     ("tpu-v5e", "h100-sxm", False), ("l4", "h100-sxm", True)],
)  # fmt: skip
def test_chips_nobody_measured_take_a_relatives_constants(name: str, relative: str, engine: bool) -> None:
    chip, known = load_machine(name), load_machine(relative)
    assert known.source("fabric").kind == "calibrated"
    assert (chip.source("fabric").kind, relative in chip.source("fabric").text) == ("modelled", True)
    assert (chip.fabric[0].launch_s, chip.fabric[0].reached) == (known.fabric[0].launch_s, known.fabric[0].reached)
    assert any(t.stack for t in chip.fabric) == engine


def test_summary_by_kind() -> None:
    assert {row["kind"] for row in summary(kind="tpu")} == {"tpu"}
    found = {row["name"]: row for row in summary(kind="system", vendor="nvidia", min_memory="1 TB")}
    assert "gb200-nvl72" in found
    assert "dgx-h100" not in found
    assert found["gb200-nvl72"]["memory"] == 72 * load_machine("gb200").memory.capacity
    assert {row["kind"] for row in summary()}.isdisjoint({"system"})
    assert [m.name for m in systems()] == system_names()
    with pytest.raises(DovetailError, match="'gpu'"):
        summary(kind="gup")


def test_against_a_table_made_by_others(data_folder: Path) -> None:
    """Chips of a node or rack, and the bandwidths inside and out, in the system files of aiconfigurator."""
    files = {
        "dgx-a100": "a100_sxm", "dgx-h100": "h100_sxm", "hgx-h200": "h200_sxm", "dgx-b200": "b200_sxm",
        "dgx-b300": "b300_sxm", "gb200-nvl72": "gb200", "gb300-nvl72": "gb300", "l40s-8": "l40s",
    }  # fmt: skip
    decided = {"dgx-b200": 0.5, "gb200-nvl72": 0.5}  # docs/machines.md: ConnectX-7 there, ConnectX-8 in the table
    for name, file in files.items():
        path = data_folder / "hardware" / "aiconfigurator" / f"{file}.yaml"
        if not path.is_file():
            pytest.skip(f"no {path}")
        node, found = yaml.safe_load(path.read_text())["node"], load_machine(name)
        assert found.count == node.get("num_gpus_per_rack", node["num_gpus_per_node"])
        assert found.levels[0].bandwidth == pytest.approx(node["intra_node_bw"])
        if len(found.levels) > 1:
            theirs = node.get("inter_rack_bw", node["inter_node_bw"])
            assert found.levels[1].bandwidth == pytest.approx(theirs * decided.get(name, 1.0)), name
