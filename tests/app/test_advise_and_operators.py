"""`advise` and `estimate --explain operators` as a user meets them: screens, JSON, exit codes, bad input."""

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from dovetail.app.cli import main

ADVISE = ["advise", "Qwen/Qwen3-8B", "--on", "h100-sxm"]
SOME = ["--recipe", "w8a16,w4a16-rtn,w3a16-rtn,prune50"]
ESTIMATE = ["estimate", "Qwen/Qwen3-8B", "--on", "h100-sxm", "--batch", "8"]
QUANTITY = {"value", "low", "high", "unit", "kind", "source"}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def plain(text: str) -> str:
    return " ".join(text.split())


# --- advise -------------------------------------------------------------------------------------------------------


def test_the_screen_of_advise(call: Call) -> None:
    code, out, err = call(*ADVISE, *SOME)
    assert (code, err) == (0, "")
    first = plain(out).partition(" asked ")[0]
    assert re.search(r"at 2,048 tokens of context: batch 1–\d+ \S+ pays \(\d\.\d\dx at 1\)", first)
    assert "never pays  prune50: 1.00x everywhere" in out
    assert "not here    w3a16-rtn: vllm has no kernel" in out
    assert not [line for line in out.splitlines() if line.startswith("prune50")]
    assert max(map(len, out.splitlines())) <= 100
    quiet = call(*ADVISE, *SOME, "--quiet")[1]
    assert out.startswith(quiet)
    assert plain(quiet) == first


def test_recipes_that_fail_for_one_reason_share_a_line(call: Call) -> None:
    _, out, _ = call("advise", "Qwen/Qwen3-8B", "--on", "a100-sxm", "--prompt", "2048", "--recipe",
                     "w8a16,w3a16-rtn,w3a16-gptq")  # fmt: skip
    assert "not here    w3a16-rtn, w3a16-gptq: vllm has no kernel for int3-g128" in out
    assert out.count("not here") == 1


def test_the_next_command_asks_the_same_again(call: Call, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*ADVISE, "--batch", "2-9", "--prompt", "700", "--output", "33", "--recipe", "w8a16", "--by", "ttft"]
    _, out, _ = call(*words)
    following = shlex.split(out.split("next        dovetail ")[1].replace("\\\n", " "))
    assert call(*following)[:2] == (0, out)
    assert strict((tmp_path / "advice" / "result.json").read_text()) == strict(call(*words, "--json")[1])
    _, out, _ = call("advise", "meta-llama/Llama-3.1-70B", "--on", "l4")
    assert call(*shlex.split(out.split("next        dovetail ")[1].replace("\\\n", " ")))[0] == 3


def test_keys_of_advise(call: Call) -> None:
    code, out, err = call(*ADVISE, "--batch", "1-16", "--prompt", "1000,50000", "--json")
    found = strict(out)
    assert (code, err) == (0, "")
    assert {"model", "machine", "on", "by", "verdict", "output", "contexts", "batches", "feasible", "why", "too_long",
            "best", "recipes", "gains", "never_pays", "excluded"} <= set(found)  # fmt: skip
    assert (found["contexts"], found["too_long"], found["batches"]) == ([1000], [50_000], [1, 16])
    assert (found["feasible"], found["why"]) == (True, [])
    for point in found["gains"]:
        for metric in ("tpot", "throughput", "ttft", "usd_per_mtok", "energy_per_token"):
            assert set(point[metric]) == QUANTITY
            assert point[metric]["low"] <= point[metric]["value"] <= point[metric]["high"]
    row = next(r for r in found["recipes"] if r["recipe"] == "w4a16")
    assert row["pays"] == [[1, 16]]
    assert row["too_close"] == row["loses"] == []


@pytest.mark.parametrize("by", ["tpot", "throughput", "ttft", "usd_per_mtok", "energy_per_token"])
@pytest.mark.parametrize("on", ["a100-sxm", "l40s", "tpu-v6e", "'2 x mi300x'", "gaudi3"])
def test_advice_by_every_metric_is_an_answer(by: str, on: str, call: Call) -> None:
    code, out, err = call("advise", "Qwen/Qwen3-8B", "--on", on.strip("'"), "--by", by, "--batch", "1-300")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert "nan" not in out


def test_where_nothing_fits_advise_says_why(call: Call) -> None:
    words = ["advise", "meta-llama/Llama-3.1-70B", "--on", "l4"]
    code, out, err = call(*words)
    assert (code, err) == (3, "")
    assert "because     the weights need 141 GB" in out
    assert "next        dovetail estimate" in out
    assert "───" not in out
    code, out, _ = call(*words, "--json")
    found = strict(out)
    assert (code, found["feasible"]) == (3, False)
    assert "141 GB" in found["why"][0]


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        ("--prompt 1000000000", "no context of 1000000000 + 128 tokens fits", 3),
        ("--prompt 0", "prompt must be a whole number from 1", 2), ("--prompt nan", "not a list of whole numbers", 2),
        ("--prompt -5", "not a list of whole numbers", 2), ("--prompt 1.5", "not a list of whole numbers", 2),
        ("--batch 0-4", "no batches from 0 to 4", 2), ("--batch 8-4", "no batches from 8 to 4", 2),
        ("--batch 1-2-3", "'1-2-3' is not a range of batches", 2),
        ("--batch many", "not a list of whole numbers", 2), ("--batch 1-100000000000", "from 1 to 10^9", 2),
        ("--output 0", "output must be a whole number from 1", 2), ("--output -1", "output must be a whole number", 2),
        ("--output text", "not a valid integer", 2), ("--by speed", "unknown metric 'speed'", 2),
        ("--recipe w5a16", "did you mean 'w8a16'", 2), ("--tp 3", "does not divide 1 chips", 2),
        ("--on nothing", "unknown machine 'nothing'", 2), ("--on u280", "the nearest it has: int8", 3),
    ],
)  # fmt: skip
def test_bad_questions_to_advise(words: str, says: str, status: int, call: Call) -> None:
    code, out, err = call(*ADVISE, *words.split())
    assert (code, out) == (status, "")
    assert "Traceback" not in err
    assert err.startswith("dovetail: ")
    assert says in plain(err)


def test_a_thousand_million_batches_are_an_answer(call: Call) -> None:
    code, out, _ = call(*ADVISE, "--batch", "1-1000000000", "--json")
    assert code == 0
    assert strict(out)["best"][-1]["use"] == "nothing"


def test_advice_is_kept(call: Call, tmp_path: Any) -> None:
    code, _, _ = call(*ADVISE, "--batch", "1-32", "--prompt", "1024", "--out", tmp_path / "advice")
    assert code == 0
    assert "When does each recipe pay?" in (tmp_path / "advice" / "report.html").read_text()
    assert strict((tmp_path / "advice" / "result.json").read_text())["batches"] == [1, 32]


# --- operators ----------------------------------------------------------------------------------------------------


def test_operators_add_up_in_json(call: Call) -> None:
    code, out, err = call(*ESTIMATE, "--recipe", "w4a16-rtn", "--explain", "operators", "--json")
    found = strict(out)
    assert (code, err) == (0, "")
    for phase, metric in (("prefill", "ttft"), ("decode", "tpot")):
        rows = [row for row in found["operators"] if row["phase"] == phase]
        assert sum(row["time"]["value"] for row in rows) == pytest.approx(found[metric]["value"], rel=1e-12)
        assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    for row in found["operators"]:
        assert set(row["time"]) == QUANTITY
        if row["model"] != "stack":
            assert row["bound"] in ("compute", "memory", "launch", "link")
            assert row["of_light"] == pytest.approx(row["speed_of_light"]["value"] / row["time"]["value"])
    without = strict(call(*ESTIMATE, "--recipe", "w4a16-rtn", "--json")[1])
    assert {**without, "operators": found["operators"]} == found


@pytest.mark.parametrize(
    "line",
    [
        "Qwen/Qwen3-8B --on h100-sxm --batch 64", "deepseek-ai/DeepSeek-V3 --on '8 x h200-sxm' --batch 16",
        "Qwen/Qwen2.5-VL-7B-Instruct --on h100-sxm --images 2", "embedded --on host", "google/gemma-3-27b-it --on l40s",
        "Qwen/Qwen3-235B-A22B --on '8 x mi300x' --batch 512",
    ],
)  # fmt: skip
def test_the_screen_of_operators(line: str, call: Call) -> None:
    words = shlex.split(line)
    code, out, err = call("estimate", *words, "--explain", "operators")
    assert err == ""
    assert code in (0, 3)
    assert out.startswith(call("estimate", *words)[1].rstrip("\n"))
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    for phase in ("prefill", "decode"):
        header = next(text for text in lines if text.startswith(f"{phase} "))
        columns = re.split(r"\s{2,}", header)
        assert columns == [phase, "calls", "time", "range", "share", "bound by", "of light", "priced by"]
    assert sum(text.startswith("total ") for text in lines[10:]) >= 2
    assert "priced by   " in out


def test_the_shown_rows_add_up_to_all_calls(call: Call) -> None:
    out = call(*ESTIMATE, "--explain", "operators")[1]
    decode = out[out.index("\ndecode ") :]
    shares = [float(share) for share in re.findall(r" (\d+\.\d)% ", decode)]
    assert sum(shares) == pytest.approx(100.0, abs=0.1 * len(shares))
    assert re.search(r"^\d+ others +\d+ ", decode, re.MULTILINE)


def test_what_cannot_be_explained_says_what_can(call: Call) -> None:
    code, out, err = call(*ESTIMATE, "--explain", "speed")
    assert (code, out) == (2, "")
    assert "--explain memory, operators or cache" in err


def test_operators_of_what_has_no_numbers(call: Call) -> None:
    code, out, _ = call("estimate", "Qwen/Qwen3-8B", "--on", "u280", "--explain", "operators")
    assert code == 3
    assert "u280 has no bf16 arithmetic" in plain(out)
    code, out, _ = call(*ESTIMATE, "--prompt", "1000000000", "--explain", "operators")
    assert code == 3
    assert "tokens of context" in plain(out)
    assert max(map(len, out.splitlines())) <= 100


def test_operators_are_kept(call: Call, tmp_path: Any) -> None:
    code, _, _ = call(*ESTIMATE, "--explain", "operators", "--out", tmp_path / "kept")
    assert code == 0
    report = (tmp_path / "kept" / "report.html").read_text()
    assert "operators" in report
    assert "gate_up" in report
    assert len(strict((tmp_path / "kept" / "result.json").read_text())["operators"]) > 20


@pytest.mark.parametrize(("words", "why"), [("--prompt 1000000000", "tokens of context"), ("--batch 4000", "KV cache")])
def test_a_number_of_what_does_not_fit_says_so(words: str, why: str, call: Call) -> None:
    code, out, err = call("explain", "tpot", *ESTIMATE[1:4], *words.split())
    assert (code, err) == (3, "")
    assert why in plain(out.partition("\ninfeasible  ")[2])
    code, out, _ = call("explain", "tpot", *ESTIMATE[1:4], *words.split(), "--json")
    found = strict(out)
    assert (code, found["feasible"]) == (3, False)
    assert why in found["why"][0]
    assert call("explain", "memory", *ESTIMATE[1:4], *words.split())[0] == 0
