"""A search made again: the same answer, or what differs, and around it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.core.manifest import manifest
from dovetail.search.codesign import search_space
from dovetail.search.replay import compared
from dovetail.search.replay import replay_search as replay

SPACE = """
models: [Qwen/Qwen3-8B]
recipes: [none, w8a16]
machines: [l4, {template: gpu-like, like: l4, sms: [32, 58]}]
workload: {batch: [1, 8], prompt: 128, output: 32}
objectives: [tpot, energy_per_token]
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """An answer as `--out` keeps it."""
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    command = shlex.join(["dovetail", "search", str(space), "--study", "s.sqlite", "--out", "x", "--json"])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest(command, [space])))
    (tmp_path / "result.json").write_text(json.dumps(search_space(space).to_json()))
    return tmp_path / "manifest.json"


def edited(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_the_same_code_gives_the_same_answer(kept: Path) -> None:
    found = replay(kept)
    assert found.answer == ()
    assert {d.where.partition(".")[0] for d in found.around} <= {"versions"}  # of libraries loaded in between
    assert found.values > 50


def test_what_differs_in_the_answer_and_around_it_is_told(kept: Path) -> None:
    edited(kept.with_name("result.json"), lambda d: d["front"][0]["tpot"].update(value=1.0))
    edited(kept.with_name("result.json"), lambda d: d["certificate"].update(feasible=-1))
    edited(kept, lambda d: (d["platform"].update(cores=-1), d["versions"].update(dovetail="0.0.0")))
    found = replay(kept)
    assert [d.where for d in found.answer] == ["front.0.tpot.value", "certificate.feasible"]
    assert {"platform.cores", "versions.dovetail"} <= {d.where for d in found.around}


def test_a_space_that_changed_since_is_told(kept: Path) -> None:
    space = kept.with_name("space.yaml")
    space.write_text(SPACE.replace("batch: [1, 8]", "batch: [1, 16]"))
    found = replay(kept)
    assert any(d.where.startswith("inputs.") for d in found.around)
    assert any(d.where.startswith("front") for d in found.answer)


def test_a_folder_that_moved_has_its_space_beside_it(kept: Path) -> None:
    edited(kept, lambda d: d.update(command="dovetail search elsewhere/space.yaml"))
    assert replay(kept).answer == ()
    kept.with_name("space.yaml").unlink()
    with pytest.raises(DovetailError, match="is gone"):
        replay(kept)


def test_other_manifests_and_damaged_ones_are_refused(kept: Path) -> None:
    edited(kept, lambda d: d.update(command="dovetail estimate x --on l4"))
    with pytest.raises(DovetailError, match="not the manifest of a search"):
        replay(kept)
    edited(kept, lambda d: d.update(command="dovetail search space.yaml --guided 9 --measured"))
    with pytest.raises(DovetailError, match="measured, and differ from run to run"):
        replay(kept)
    edited(kept, lambda d: d.update(command="dovetail search space.yaml --guided many"))
    with pytest.raises(DovetailError, match="cannot be read"):
        replay(kept)
    kept.write_text("{")
    with pytest.raises(DovetailError, match="is not JSON"):
        replay(kept)


def test_numbers_that_differ_by_rounding_are_equal_and_others_not() -> None:
    assert not list(compared([1.0, {"a": 2}], [1.0 + 1e-12, {"a": 2}], "x"))
    assert [d.where for d in compared([1.0, {"a": 2}], [1.0 + 1e-6, {"b": 2}], "x")] == ["x.0", "x.1.a", "x.1.b"]
