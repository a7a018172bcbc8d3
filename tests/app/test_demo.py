"""The demo in a small setting: stopped, resumed, repeated; and the stages that it stands on."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import dovetail.model
from dovetail.app.demo import choices
from dovetail.app.stages import Stages
from dovetail.core.errors import DovetailError

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"


class Counted:
    """Work that counts how often it was done."""

    def __init__(self, result: Any = None, also: Callable[[], object] = lambda: None) -> None:
        self.calls, self.result, self.also = 0, result or {"answer": 42}, also

    def __call__(self) -> Any:
        self.calls += 1
        self.also()
        return self.result


def test_a_finished_stage_is_kept(tmp_path: Path) -> None:
    work, said = Counted(), []
    for _ in range(3):
        assert Stages(tmp_path, said.append).run("one", {"seed": 1}, work) == {"answer": 42}
    assert work.calls == 1
    assert said == ["one: kept from an earlier run"] * 2


def test_another_input_name_or_version_is_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, stages = Counted(), Stages(tmp_path)
    stages.run("one", {"seed": 1}, work)
    stages.run("one", {"seed": 2}, work)
    stages.run("two", {"seed": 2}, work)
    assert work.calls == 3
    monkeypatch.setattr("dovetail.app.stages.__version__", "99.0")
    stages.run("two", {"seed": 2}, work)
    assert work.calls == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"inputs": 1}', "null", "\x00\xff"])
def test_a_damaged_stage_is_run_again(damage: str, tmp_path: Path) -> None:
    work, stages = Counted(), Stages(tmp_path)
    stages.run("one", 1, work)
    (tmp_path / "one.json").write_text(damage, encoding="latin-1")
    assert stages.run("one", 1, work) == {"answer": 42}
    assert work.calls == 2
    assert json.loads((tmp_path / "one.json").read_text())["result"] == {"answer": 42}


def test_a_stage_whose_file_is_gone_or_changed_is_run_again(tmp_path: Path) -> None:
    made = tmp_path / "made.txt"
    work, stages = Counted(also=lambda: made.write_text("made")), Stages(tmp_path / "stages")
    for _ in range(2):
        stages.run("one", 1, work, makes=made)
    assert work.calls == 1
    made.write_text("changed")
    stages.run("one", 1, work, makes=made)
    assert (work.calls, made.read_text()) == (2, "made")
    made.unlink()
    stages.run("one", 1, work, makes=made)
    assert (work.calls, made.read_text()) == (3, "made")


def test_a_stage_that_was_stopped_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> Any:
        raise KeyboardInterrupt

    stages = Stages(tmp_path / "stages")
    with pytest.raises(KeyboardInterrupt):
        stages.run("one", 1, stopped)
    assert not list(tmp_path.glob("stages/*"))
    assert stages.run("one", 1, Counted()) == {"answer": 42}


def test_the_first_answer_is_what_a_later_run_reads(tmp_path: Path) -> None:
    import numpy as np

    work = Counted({"pair": (1, 2.5), "nan": float("nan"), "count": np.int64(3)})
    first = Stages(tmp_path).run("one", 1, work)
    assert first == Stages(tmp_path).run("one", 1, work) == {"pair": [1, 2.5], "nan": None, "count": 3}


# --- the demo -----------------------------------------------------------------------------------------------------

RECIPES, CHIPS = ("none", "w8a16"), ("h100-sxm", "l4")


@pytest.fixture(scope="module")
def small() -> Any:
    """The demo with little of everything: two recipes, two chips, three shapes to calibrate, 4 kB of text."""
    from dovetail.design import calibrate, calibrate_packed, quality

    if not (EMBEDDED / "model.safetensors").is_file():
        pytest.skip("the embedded model is not trained here")
    space = choices.SPACE | {
        "recipes": list(RECIPES), "machines": [*CHIPS, "host"],
        "workload": {"batch": [1, 64], "prompt": [512, 1024, 2048], "output": [32]},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RECIPES": RECIPES, "CHIPS": CHIPS, "WORKLOAD": {"prompt": 64, "output": 16, "batch": 1}, "SPACE": space,
            "CHECKS": ((2, 32),), "SECONDS": 0.02, "CALIBRATION_SECONDS": 0.3, "CROSSOVER_BATCHES": (1, 16),
            "CROSSOVER_CONTEXTS": (512,),
        }.items():  # fmt: skip
            patch.setattr(choices, name, value)
        patch.setattr(calibrate, "SHAPES", calibrate.SHAPES[:3])
        patch.setattr(calibrate, "STEPS", ((1, 64, 0), (1, 160, 0), (1, 1, 64), (1, 1, 256), (4, 1, 64)))
        patch.setattr(calibrate, "ROUNDS", 1)
        patch.setattr(calibrate_packed, "SHAPES", calibrate_packed.SHAPES[:2])
        patch.setattr(quality, "SAMPLE_BYTES", 4000)
        yield patch


class Runs:
    """What each of three runs in one folder said, and what was there after it."""

    def __init__(self, out: Path) -> None:
        self.out, self.said, self.files = out, [], []

    def run(self, stop: Callable[[str], bool] = lambda line: False) -> Any:
        """One run of the demo, as Ctrl-C at the first line of progress that `stop` likes."""
        from dovetail.app.demo import demo

        lines: list[str] = []
        self.said.append(lines)

        def say(line: str) -> None:
            lines.append(line)
            if stop(line):
                raise KeyboardInterrupt

        try:
            return demo(self.out, say)
        finally:
            self.files.append(
                {p.relative_to(self.out).as_posix(): p.read_bytes() for p in self.out.rglob("*") if p.is_file()}
            )


@pytest.fixture(scope="module")
def runs(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Stopped in the middle of writing a checkpoint; stopped before the winner is built; finished; repeated."""
    from dovetail.runtime.tensorfile import TensorWriter

    found, add = Runs(tmp_path_factory.mktemp("demo") / "out"), TensorWriter.add

    def stopped(self: TensorWriter, name: str, tensor: Any) -> None:
        if "w8a16" in self.path.parent.name and "layers.2" in name:
            raise KeyboardInterrupt
        add(self, name, tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorWriter, "add", stopped)
        with pytest.raises(KeyboardInterrupt):
            found.run()
    with pytest.raises(KeyboardInterrupt):
        found.run(lambda line: line.startswith("writing the checkpoint"))
    found.first, found.second = found.run(), found.run()
    return found


def kept(lines: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines if line.endswith("kept from an earlier run")}


def test_a_stopped_demo_leaves_nothing_half_written(runs: Runs) -> None:
    for files in runs.files[:2]:
        assert not [name for name in files if any(part.startswith(".") for part in Path(name).parts)]
        for name, content in files.items():
            if name.endswith(".json"):
                json.loads(content)
    assert not [name for name in runs.files[0] if name.startswith("checkpoints/w8a16")]
    assert not [name for name in runs.files[1] if name.startswith(("winner", "report", "result"))]


def test_what_was_finished_is_not_done_again(runs: Runs) -> None:
    every = {"calibration", "recipe-none", "recipe-w8a16", "check-2x32"}
    assert [kept(lines) for lines in runs.said] == [set(), {"calibration", "recipe-none"}, every, every]
    assert runs.files[0]["host.yaml"] == runs.files[3]["host.yaml"]
    for name, content in runs.files[0].items():
        if name.startswith("stages/"):
            assert runs.files[3][name] == content


def test_a_repeated_demo_says_the_same(runs: Runs) -> None:
    first, second = (json.loads(files["result.json"]) for files in runs.files[2:])
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second


def test_the_winner_is_the_cheapest_of_the_front_and_meets_the_constraint(runs: Runs) -> None:
    found = json.loads(runs.files[2]["result.json"])
    winner, front = found["winner"], found["search"]["front"]
    assert winner in front
    assert winner["weights"]["value"] < 6e6
    assert winner["tpot"]["value"] < 0.020
    assert winner["prompt"] > 1000
    qualities = {row["recipe"]: row["perplexity"] for row in found["recipes"]}
    assert winner["perplexity"] == pytest.approx(qualities[winner["recipe"]])
    assert winner["perplexity"] < 1.03 * qualities["none"]
    assert winner["usd_per_mtok"]["value"] == min(c["usd_per_mtok"]["value"] for c in front)
    assert {p["recipe"] for p in found["predictions"]} == set(RECIPES)
    assert {p["machine"] for p in found["predictions"]} == {*CHIPS, "host"}


def test_predicted_stands_beside_measured(runs: Runs) -> None:
    rows = json.loads(runs.files[2]["result.json"])["rows"]
    assert len([r for r in rows if r["predicted"]["unit"] == "tok/s"]) == 2 * (len(RECIPES) + 1)
    for row in rows:
        assert row["error"] == pytest.approx(row["predicted"]["value"] / row["measured"]["value"] - 1)


def test_the_winner_can_be_served_and_loaded(runs: Runs) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    serve = json.loads(runs.files[2]["result.json"])["serve"]
    assert serve.startswith("vllm serve ")
    moved = serve.replace(str(runs.out / "winner" / "checkpoint"), "./checkpoint")
    assert moved in (runs.out / "winner" / "serve.sh").read_text()
    folder = runs.out / "winner" / "checkpoint"
    tokens = AutoTokenizer.from_pretrained(folder)("def main():", return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
    assert logits.shape[:2] == tokens.shape
    assert torch.isfinite(logits).all()


class Balanced(HTMLParser):
    """The headings of a page whose elements are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "col", "path", "line", "rect", "circle", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_report(runs: Runs) -> None:
    text = runs.files[2]["report.html"].decode()
    page = Balanced()
    page.feed(text)
    page.close()
    assert page.open == []
    assert not [link for link in page.links if not link.startswith(("#", "data:"))]
    for words in (
        "Predicted beside measured",
        "Pareto front",
        "Every choice and every objective",
        "What wins, by batch and prompt",
        "Why not another machine",
        "What was evaluated and pruned",
        "Roofline",
        "Memory at the winner",
        "When does each",
        "Next",
    ):
        assert words in text


def test_the_next_command_works_here(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    from dovetail.app.cli import main

    words = shlex.split(runs.first.screen.summary.next_command)
    assert words[:2] == ["dovetail", "measure"]
    assert main([*words[1:], "--seconds", "0.05", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]


def test_the_screen_fits(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    from dovetail.app.report.screen import show

    show(runs.second.screen)
    lines = capsys.readouterr().out.splitlines()
    command = [line for line in lines if "dovetail measure" in line or "vllm serve" in line]
    assert command
    assert not [line for line in lines if len(line.rstrip()) > 100 and line not in command]


def test_a_report_of_somebody_else_is_seen_before_any_work(tmp_path: Path) -> None:
    from dovetail.app.demo import demo

    (tmp_path / "report.html").write_text("theirs")
    said: list[str] = []
    with pytest.raises(DovetailError, match="holds another"):
        demo(tmp_path, said.append)
    assert (said, [p.name for p in tmp_path.iterdir()]) == ([], ["report.html"])


def test_without_a_design_that_fits_there_is_a_report_all_the_same(small: Any, runs: Runs) -> None:
    """The model is asked for more than its context holds: the nearest miss cannot be built."""
    space = choices.SPACE | {"workload": {"batch": [1], "prompt": [100_000], "output": [32]}}
    small.setattr(choices, "SPACE", space)
    found = runs.run()
    data = json.loads(runs.files[-1]["result.json"])
    assert (data["winner"], data["path"], data["serve"]) == (None, None, "")
    assert data["serve_why"].startswith("not built")
    assert found.screen.summary.answer.startswith("nothing meets the constraint")
    assert "explain tpot" in found.screen.summary.next_command
    assert b"not built" in runs.files[-1]["report.html"]
