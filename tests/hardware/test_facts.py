"""The chips against tables made by others: differences are allowed where docs/machines.md decides them."""

import importlib.util
import re
import sys

import pytest


@pytest.fixture(scope="module")
def bench(root):
    """bench/machine_facts.py, which reads the tables."""
    spec = importlib.util.spec_from_file_location("machine_facts", root / "bench" / "machine_facts.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["machine_facts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["machine_facts"]


@pytest.fixture(scope="module")
def found(bench, data_folder):
    folder = data_folder / "hardware"
    if not (folder / "epoch" / "ml_hardware.csv").is_file():
        pytest.skip(f"no hardware tables in {folder}")
    return {(fact.machine, fact.field, fact.table): fact for fact in bench.facts(folder)}


@pytest.fixture(scope="module")
def decided(root):
    """(machine, field, table) to the range of ratios, from the table of decisions."""
    text = (root / "docs" / "machines.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([\d.]+)(?: to ([\d.]+))? \| [^|]+ \|$", text, re.MULTILINE
    )
    return {
        (machine, field, table): (float(low), float(high or low))
        for machines, fields, tables, low, high in rows
        for machine in machines.split(", ")
        for field in fields.split(", ")
        for table in tables.split(", ")
    }


def test_every_difference_is_decided(found, decided):
    apart = {key for key, fact in found.items() if fact.apart > 0.05}
    assert apart
    assert not apart - set(decided)


def test_every_decision_is_about_a_difference(found, decided):
    """A row that outlived its difference goes, and the ratio it prints is the one found."""
    for key, (low, high) in decided.items():
        assert found[key].apart > 0.02, key
        assert low - 0.006 < found[key].ratio < high + 0.006, key


def test_most_figures_are_compared_and_equal(found):
    assert len({machine for machine, _, _ in found}) >= 40
    assert sum(fact.apart < 0.02 for fact in found.values()) > 0.8 * len(found)


def test_the_counts_in_the_docs_are_those_found(found, root):
    text = " ".join((root / "docs" / "machines.md").read_text(encoding="utf-8").split())
    above = [sum(fact.apart > limit for fact in found.values()) for limit in (0.0, 0.02, 0.05)]
    chips = len({machine for machine, _, _ in found})
    equal = f"Of {len(found)} figures of {chips} chips {len(found) - above[0]} are equal"
    assert f"{equal}, {above[1]} differ by more than 2 % and {above[2]} by more than 5 %" in text


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("275 sparse (137.5 dense)", 137.5), ("21e15", 21e15), ("44e9 SRAM", 44e9), ("204.8e9 (from memory)", None),
        ("", None), ("133 (AIE array)", 133.0), ("500 (560 peak)", 500.0), ("188", 188.0),
    ],
)  # fmt: skip
def test_a_cell_gives_the_figure_that_was_seen(bench, text, figure):
    assert bench.seen(text) == figure


def test_a_link_counts_one_direction(found):
    """NVLink: what Epoch counts both ways is half of it in aiconfigurator and here."""
    for name in ("a100-sxm", "h100-sxm"):
        epoch, other = found[name, "link", "Epoch"], found[name, "link", "aiconfigurator"]
        assert epoch.theirs == other.theirs == epoch.ours
