"""Every verb as a user meets it: answers, exit codes, one sentence for what is wrong, JSON that a script can read."""

import json
import os
import re
import resource
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from dovetail.app.cli import app, main
from dovetail.app.table import table

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 256,
    "tie_word_embeddings": True, "torch_dtype": "float32",
}  # fmt: skip
QUESTION = ["estimate", "Qwen/Qwen3-8B", "--on", "h100-sxm"]
METRICS = ("ttft", "tpot", "throughput", "energy_per_token", "usd_per_mtok", "memory")
SPACE = """
models: [Qwen/Qwen3-8B]
recipes: [none, w8a16]
machines: [h100-sxm, l40s]
workload: {batch: [1, 8, 32], prompt: [512, 2048], output: [128]}
constraints: ["tpot < 40 ms"]
objectives: [tpot, usd_per_mtok]
pick: min usd_per_mtok
"""
Call = Callable[..., tuple[int, str, str]]


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity, nothing after it."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def is_quantity(value: Any) -> bool:
    return (
        set(value) == {"value", "low", "high", "unit", "kind", "source"}
        and value["low"] <= value["value"] <= value["high"]
    )


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line in this process: exit status, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def answer(call: Call) -> Callable[..., Any]:
    """The JSON of a command line that has to succeed."""

    def run(*words: object) -> Any:
        code, out, err = call(*words, "--json")
        assert code == 0, err
        return strict(out)

    return run


def refused(call: Call, *words: object, code: int = 2) -> str:
    """The one sentence on stderr of a command line that has to fail."""
    found, out, err = call(*words)
    assert found == code, (found, out, err)
    assert out == ""
    assert "Traceback" not in err
    *before, sentence = err.splitlines()
    assert sentence.startswith("dovetail: ")
    assert not [line for line in before if line.startswith("dovetail: ")]  # progress may come first
    return sentence


def write_model(folder: Path, **changes: Any) -> Path:
    """A Hugging Face folder of a tiny Llama with zeros for weights, written without any library."""
    config = LLAMA | changes
    hidden, inner, kv = config["hidden_size"], config["intermediate_size"], 32
    shapes = {"model.embed_tokens.weight": (96, hidden), "model.norm.weight": (hidden,)}
    for i in range(config["num_hidden_layers"]):
        block = {
            "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
        }  # fmt: skip
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in block.items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    folder.mkdir(parents=True)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A disk that takes no file longer than `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- what is wrong is said in one sentence -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("estimate Qwen/Qwen3-8X --on h100-sxm", ["Qwen/Qwen3-8X", "did you mean 'Qwen/Qwen3-8B'"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxn", ["h100-sxn", "did you mean 'h100-sxm'"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --recipe w4a16-rnt", ["w4a16-rnt", "did you mean 'w4a16-rtn'"]),
        ("explain tpto Qwen/Qwen3-8B --on h100-sxm", ["tpto", "did you mean 'tpot'"]),
        ("show h200-sx", ["h200-sx", "did you mean 'h200-sxm'"]),
        ("show no/such-model", ["no/such-model"]),
        ("ls machinez", ["machinez", "did you mean 'machines'"]),
        ("ls machines --vendor nvidai", ["nvidai", "did you mean 'NVIDIA'"]),
        ("ls machines --min-memory 80", ["80", "80 GB"]),
        ("ls models --vendor nvidia", ["machines"]),
        ("recipe show w4a61", ["w4a61", "did you mean"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --batch 0", ["batch", "got 0"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --batch -4", ["batch", "got -4"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --batch 10000000000", ["batch", "10^9"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --batch 99999999999999999999999", ["batch"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --batch many", ["--batch", "many", "dovetail estimate --help"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --prompt -1", ["prompt", "got -1"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --tp 3", ["tp=3"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --pp 0", ["0 is not a number of stages"]),
        ("estimate Qwen/Qwen3-8B --on '4 x h100-sxm' --pp 3", ["pp=3 does not divide 4 chips"]),
        ("build embedded --on '4 x h100-sxm' --tp 4 --pp 2 --out never", ["tp=4 x pp=2 does not divide 4 chips"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --images 1", ["Qwen/Qwen3-8B has no image encoder"]),
        ("estimate llava-hf/llava-1.5-7b-hf --on h100-sxm --images -1", ["--images"]),
        ("estimate llava-hf/llava-1.5-7b-hf --on h100-sxm --images 1 --image-size 20", ["'20'", "448x448"]),
        ("estimate llava-hf/llava-1.5-7b-hf --on h100-sxm --images 1 --image-size 0x9", ["height", "got 0"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --prompt 99999999999999999999", ["10^9", "got 1e+20"]),
        ("estimate Qwen/Qwen3-8B --on '100000000000 x dgx-h100'", ["too many", "1,048,576"]),
        ("show nobody/nothing", ["a folder that holds its config.json"]),
        ("show .", ["no config.json in it"]),
        ("ls models --kind gpu", ["choose among machines", "ls machines"]),
        ("explain ttft llava-hf/llava-1.5-7b-hf --on h100-sxm --image-size 9x9", ["--image-size", "--images N"]),
        ("estimate Qwen/Qwen3-8B --on '0 x h100-sxm'", ["0 chips"]),
        ("estimate Qwen/Qwen3-8B", ["--on", "dovetail estimate --help"]),
        ("estimate Qwen/Qwen3-8B --on h100-sxm --recip none", ["--recip", "--recipe"]),
        ("estimat Qwen/Qwen3-8B", ["estimat"]),
        ("explain tpot --depth -1", ["--depth"]),
        ("calibrate", ["dovetail calibrate --host"]),
        ("calibrate --host --seconds 0", ["--seconds"]),
        ("run embedded --prompt-file no/such.txt", ["no/such.txt", "No such file"]),
        ("run embedded --prompt-file x --max-new 0", ["--max-new"]),
        ("compress Qwen/Qwen3-8B w8a16 --out never", ["weights of Qwen/Qwen3-8B are not here"]),
        ("build Qwen/Qwen3-8B --on h100-sxm --out never", ["weights of Qwen/Qwen3-8B are not here"]),
        ("measure no/such/design", ["no/such/design", "dovetail build"]),
        ("search no/such-space.yaml", ["no/such-space.yaml"]),
    ],
)  # fmt: skip
def test_usage_errors(line: str, says: list[str], call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = refused(call, *shlex.split(line))
    assert not [piece for piece in says if piece not in sentence], sentence
    assert list(tmp_path.iterdir()) == []


def test_no_verb_prints_the_help(call: Call) -> None:
    code, out, err = call()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: dovetail")


def test_unknown_architecture(call: Call, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"model_type": "lama"}))
    assert "did you mean 'llama'" in refused(call, "show", tmp_path)
    assert "lama" in refused(call, "estimate", tmp_path / "config.json", "--on", "h100-sxm")


def test_a_machine_without_a_source(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ntitle: Mine\nkind: gpu\nvendor: Me\npeak: {bf16: 100 TFLOP/s}\n"
        "memory: {capacity: 24 GB, bandwidth: 1 TB/s}\npower: {tdp: 300 W}\n"
    )
    assert "source" in refused(call, *QUESTION[:3], tmp_path / "mine.yaml")
    assert "source" in refused(call, "show", tmp_path / "mine.yaml")


def test_a_truncated_checkpoint(call: Call, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (tmp_path / "text.txt").write_text("some words")
    sentence = refused(call, "compress", folder, "prune50", "--out", tmp_path / "out", "--text", tmp_path / "text.txt")
    assert "model.safetensors" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["compress", "build"])
def test_a_folder_of_somebody_else_is_kept(verb: str, call: Call, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    words = [verb, model, "prune50"] if verb == "compress" else [verb, model, "--on", "h100-sxm"]
    lengths = [] if verb == "compress" else ["--prompt", 16, "--output", 8]
    (tmp_path / "text.txt").write_text("some words")
    text = ["--text", tmp_path / "text.txt"] if verb == "compress" else []
    refused(call, *words, *lengths, *text, "--out", out)
    assert [f.name for f in out.iterdir()] == ["thesis.tex"]


# --- what cannot be written is said, and nothing is left ---------------------------------------------------------


def test_out_is_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    sentence = refused(call, *QUESTION, "--out", tmp_path / "file")
    assert "exists and was not written by dovetail" in sentence
    assert "file" in sentence
    assert (tmp_path / "file").read_text() == "mine"
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_full_disk(call: Call, tmp_path: Path) -> None:
    with files_up_to(200):
        sentence = refused(call, *QUESTION, "--out", tmp_path / "kept")
    assert "could not write" in sentence
    assert "File too large" in sentence
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_old_report_stays_when_the_disk_is_full(call: Call, tmp_path: Path) -> None:
    assert call(*QUESTION, "--out", tmp_path)[0] == 0
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert set(before) == {"report.html", "result.json", "manifest.json"}
    with files_up_to(200):
        refused(call, *QUESTION, "--batch", 7, "--out", tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_ctrl_c(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dovetail.app.doctor.checkup", interrupt)
    code, out, err = call("doctor")
    assert (code, out) == (130, "")
    assert "nothing is left half-written" in err


def test_a_reader_that_leaves(root: Path) -> None:
    script = f"{shlex.quote(sys.executable)} -m dovetail ls models --json | head -n 1"
    done = subprocess.run(["sh", "-c", script], cwd=root, capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_a_reader_that_leaves_in_the_middle_of_a_screen(root: Path) -> None:
    """Every line is written at once, to a pipe that nobody reads: click makes an exit of that inside the verb."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-u", "-m", "dovetail", "ls", "models"]
    done = subprocess.run(command, cwd=root, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# --- infeasible is a result ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "binds"),
    [
        (["--batch", "4000"], "KV cache"),
        (["--batch", "1000000000"], "KV cache"),
        (["--prompt", "200000"], "tokens of context"),
    ],
)
def test_infeasible(words: list[str], binds: str, call: Call) -> None:
    code, out, err = call(*QUESTION, *words)
    assert (code, err) == (3, "")
    assert "infeasible" in out.splitlines()[0]
    assert binds in " ".join(out.split())
    code, out, _ = call(*QUESTION, *words, "--json")
    found = strict(out)
    assert (code, found["feasible"]) == (3, False)
    assert binds in found["why"][0]


@pytest.mark.parametrize(
    ("on", "binds"), [("u280", "u280 has no bf16 arithmetic"), ("64 x h100-sxm --tp 64", "do not divide over 64 chips")]
)
def test_what_has_no_numbers_is_answered_too(on: str, binds: str, call: Call, answer: Callable[..., Any]) -> None:
    on, *tp = on.partition(" --tp ")[::2]
    words = ["estimate", "Qwen/Qwen3-8B", "--on", on, *(("--tp", tp[0]) if tp[0] else ())]
    code, out, err = call(*words)
    assert (code, err) == (3, "")
    assert "infeasible" in out.splitlines()[0]
    assert "because     " in out
    assert binds in " ".join(out.split())
    code, out, err = call(*words, "--json")
    found = strict(out)
    assert (code, err, found["feasible"]) == (3, "", False)
    assert binds in found["why"][0]
    assert list(found) == list(answer(*QUESTION))
    assert all(found[name] is None for name in ("ttft", "tpot", "throughput", "memory", "bottleneck"))
    assert found["machine"] == on.split()[-1]


@pytest.mark.parametrize("words", [["--batch", "4000"], ["--prompt", "200000"]])
def test_the_next_command_of_an_infeasible_design_is_feasible(words: list[str], call: Call) -> None:
    _, out, _ = call(*QUESTION, *words)
    lead, following = out.split("next        dovetail ")
    assert lead
    code, out, _ = call(*shlex.split(following.replace("\\\n", " ")))
    assert code == 0
    assert "infeasible" not in out


def test_no_machine_that_large(call: Call) -> None:
    assert call("ls", "machines", "--min-memory", "80TB")[:2] == (0, "no machines like that\n")


# --- JSON: what scripts rely on -----------------------------------------------------------------------------------


def test_keys_of_show(answer: Callable[..., Any]) -> None:
    found = answer("show", "meta-llama/Llama-3.1-8B")
    assert found["name"] == "meta-llama/Llama-3.1-8B"
    assert found["parameters"] == found["active_parameters"] == 8_030_261_248
    assert found["layers"] == 32
    assert found["kv_bytes_per_token"] == 2 * 2 * 32 * 8 * 128


def test_keys_of_estimate(answer: Callable[..., Any]) -> None:
    found = answer(*QUESTION, "--batch", 32, "--prompt", 2048, "--output", 256, "--recipe", "w4a16-rtn", "--tp", 1)
    assert all(is_quantity(found[k]) for k in ("ttft", "tpot", "throughput", "energy_per_token", "usd_per_mtok"))
    assert all(is_quantity(found["memory"][k]) for k in ("weights", "kv_cache", "activations", "total"))
    assert set(found["bottleneck"]) == {"prefill", "decode"}
    assert (found["feasible"], found["why"]) == (True, [])


def test_a_number_that_is_not_known_is_null(answer: Callable[..., Any]) -> None:
    assert answer("estimate", "Qwen/Qwen3-8B", "--on", "gaudi3")["usd_per_mtok"] is None
    assert answer("show", "gaudi3")["rent"]["value"] is None


def test_keys_of_search(answer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    found = answer("search", tmp_path / "space.yaml", "--study", tmp_path / "study.sqlite", "--out", tmp_path / "out")
    assert (found["points"], found["pruned"]) == (24, 0)
    assert found["winner"] in found["front"]
    assert is_quantity(found["winner"]["tpot"])
    assert strict((tmp_path / "out" / "result.json").read_text()) == found


def test_a_search_without_a_winner(call: Call, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.replace("tpot < 40 ms", "tpot < 1 us"))
    code, out, err = call("search", tmp_path / "space.yaml", "--json")
    assert (code, err) == (3, "")
    found = strict(out)
    assert found["winner"] is None
    assert "tpot" in found["binding"]
    code, out, _ = call("search", tmp_path / "space.yaml")
    assert code == 3
    assert out.startswith("no winner")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "text.txt").write_text("The module provides functions. It returns a list of names.\n" * 12)
    return folder


@pytest.fixture(scope="module")
def weights(data_folder: Path) -> Path:
    folder = data_folder / "models" / "stories260K" / "hf"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def test_keys_of_compress(answer: Callable[..., Any], workshop: Path, weights: Path) -> None:
    out = workshop / "pruned"
    found = answer("compress", weights, "prune50", "--out", out, "--text", workshop / "text.txt")
    keys = ("perplexity_before", "perplexity_after", "bytes_before", "bytes_after")
    assert all(is_quantity(found[k]) for k in keys)
    assert Path(found["path"]) == out
    assert {"model.safetensors", "config.json", "report.html", "result.json", "manifest.json"} <= {
        f.name for f in out.iterdir()
    }
    assert strict((out / "manifest.json").read_text())["inputs"]
    assert answer("show", out)["parameters"] == answer("show", weights)["parameters"]


def test_keys_of_run(answer: Callable[..., Any], call: Call, workshop: Path, weights: Path) -> None:
    words = ["run", weights, "--prompt-file", workshop / "text.txt", "--max-new", 5]
    found = answer(*words, "--out", workshop / "said")
    assert isinstance(found["text"], str)
    assert found["tokens"] <= 5
    assert is_quantity(found["tokens_per_s"])
    assert is_quantity(found["cache_bytes"])
    assert found["tokens_per_step"] == 1
    assert found["kernels"] == "dense"
    packed = answer(*words, "--recipe", "w8a16:group=0", "--kernels", "int8", "--head-bits", 8)
    assert packed["kernels"] == "int8 + head"
    assert strict((workshop / "said" / "result.json").read_text()) == found
    code, out, err = call(*words)
    assert (code, out) == (0, found["text"] + "\n")
    assert "tok/s" in err
    looked = answer(*words, "--speculate", "lookup")
    assert (looked["text"], looked["speculate"]) == (found["text"], "lookup")
    assert looked["tokens_per_step"] >= 1
    code, _, err = call(*words, "--speculate", "lokup")
    assert code != 0
    assert "did you mean 'lookup'" in err
    by_recipe = answer(*words, "--recipe", "lookup:length=2")
    assert (by_recipe["text"], by_recipe["speculate"]) == (found["text"], "lookup")
    assert found["acceptance"] == looked["acceptance"] == by_recipe["acceptance"] == "lossless"
    for options, says in (
        (["--heads", "here"], "heads that nothing uses"),
        (["--speculate", "medusa:relaxed"], "relaxed acceptance without drawing"),
        (["--draft", "embedded", "--speculate", "lookup"], "a draft model that nothing uses"),
        (["--draft", "embedded", "--recipe", "lookup"], "names its draft itself"),
        (["--heads", "here", "--recipe", "medusa"], "names its heads itself"),
        (["--speculate", "lookup", "--recipe", "medusa"], "guesses already"),
    ):
        code, _, err = call(*words, *options)
        assert code == 2
        assert says in " ".join(err.split())


def test_relaxed_runs_say_so(answer: Callable[..., Any], call: Call, workshop: Path) -> None:
    words = ["run", "embedded", "--prompt-file", workshop / "text.txt", "--max-new", 8, "--temperature", 0.8]
    found = answer(*words, "--speculate", "medusa:relaxed")
    assert (found["speculate"], found["acceptance"]) == ("medusa:relaxed", "relaxed")
    assert "relaxed" in call(*words, "--recipe", "medusa:relaxed=true")[2]
    assert "relaxed" not in call(*words, "--speculate", "medusa")[2]
    assert "relaxed" in answer("recipe", "show", "medusa:relaxed=true")["speculation"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--kind", "medussa"], "did you mean 'medusa'"),
        (["--rate", "0"], "a rate of 0.0"),
        (["--heads", "4", "--new-tokens", "4"], "4 heads"),
        (["--seed", "99999999999999999999"], "a seed of"),
        (["--distil", "0.5"], "--joint"),
        (["--joint", "--distil", "1.5"], "distilled by 1.5"),
        (["--joint", "--kind", "eagle"], "no joint training of kind 'eagle'"),
    ],
)
def test_training_that_cannot_be(call: Call, workshop: Path, weights: Path, words: list[str], says: str) -> None:
    before = sorted(workshop.iterdir())
    code, _, err = call("medusa", "train", weights, "--out", workshop / "heads", *words)
    assert code == 2
    assert says in " ".join(err.split())
    assert sorted(workshop.iterdir()) == before


def test_joint_training_says_what_became_of_quality(
    answer: Callable[..., Any], call: Call, workshop: Path, weights: Path
) -> None:
    words = ["medusa", "train", weights, "--out", workshop / "joint", "--text", workshop / "text.txt", "--joint"]
    small = ["--heads", 2, "--texts", 8, "--prompt-tokens", 8, "--new-tokens", 8, "--steps", 2, "--rows", 2]
    found = answer(*words, *small, "--joint-steps", 2)
    assert is_quantity(found["perplexity_before"])
    assert is_quantity(found["perplexity_after"])
    assert found["heads"] == str(workshop / "joint" / "medusa")
    assert len(found["accuracy"]) == len(found["alone"]["accuracy"]) == 2
    code, out, _ = call(*words, *small, "--joint-steps", 2)
    assert code == 0
    assert f"{found['perplexity_after']['value']:.3f}" in out
    assert all(len(line) <= 100 or str(workshop) in line for line in out.splitlines())
    made = answer(
        "run", workshop / "joint", "--prompt-file", workshop / "text.txt", "--max-new", 4, "--speculate", "medusa"
    )
    assert made["acceptance"] == "lossless"


def test_keys_of_build_and_measure(answer: Callable[..., Any], call: Call, workshop: Path, weights: Path) -> None:
    design = workshop / "design"
    words = ["build", weights, "--on", "h100-sxm", "--prompt", 64, "--output", 16, "--out", design]
    built = answer(*words)
    assert Path(built["path"]) == design
    assert "vllm serve" in built["serve"]
    found = answer("measure", design, "--seconds", 0.05, "--out", workshop / "measured")
    for row in found["rows"]:
        assert is_quantity(row["predicted"])
        expected = row["predicted"]["value"] / row["measured"]["value"] - 1
        assert row["error"] == pytest.approx(expected)
    assert {"metric", "predicted", "measured", "error"} <= set(found["rows"][0])
    assert (workshop / "measured" / "report.html").is_file()
    assert all(len(line) <= 100 for line in call("measure", design, "--seconds", 0.05)[1].splitlines())


def test_a_disk_too_small_for_the_weights(call: Call, tmp_path: Path, weights: Path, workshop: Path) -> None:
    with files_up_to(100_000):
        sentence = refused(
            call, "compress", weights, "none", "--out", tmp_path / "out", "--text", workshop / "text.txt", "--quiet"
        )
    assert "File too large" in sentence
    assert list(tmp_path.iterdir()) == []


# --- lists, descriptions, trees -----------------------------------------------------------------------------------


def test_ls_machines_filters(answer: Callable[..., Any], call: Call) -> None:
    rows = answer("ls", "machines", "--vendor", "nvidia", "--min-memory", "80GB")["machines"]
    assert {r["vendor"] for r in rows} == {"NVIDIA"}
    assert all(r["memory"]["capacity"]["value"] >= 80e9 for r in rows)
    every = answer("ls", "machines")["machines"]
    expected = {r["name"] for r in every if r["vendor"] == "NVIDIA" and r["memory"]["capacity"]["value"] >= 80e9}
    assert {r["name"] for r in rows} == expected
    assert len(rows) < len(every)
    _, out, _ = call("ls", "machines", "--vendor", "NVIDIA", "--min-memory", "80GB", "--quiet")
    assert set(out.split()) == expected


def test_ls_by_kind(answer: Callable[..., Any], call: Call) -> None:
    rows = answer("ls", "--kind", "system", "--vendor", "amd", "--min-memory", "2TB")["machines"]
    assert {(r["name"], r["chip"], r["chips"]) for r in rows} >= {("mi325x-8", "mi325x", 8), ("mi355x-8", "mi355x", 8)}
    assert all(r["total"]["memory"]["value"] >= 2e12 for r in rows)
    assert answer("show", rows[0]["name"]) == rows[0]
    assert {r["kind"] for r in answer("ls", "--kind", "tpu")["machines"]} == {"tpu"}
    assert answer("ls")["machines"] == answer("ls", "machines")["machines"]
    code, _, err = call("ls", "models", "--kind", "gpu")
    assert (code, "choose among machines" in err) == (2, True)
    code, _, err = call("ls", "--kind", "systen")
    assert (code, "did you mean 'system'" in err) == (2, True)


def test_systems_are_named_and_laid_out_on_the_first_screen(answer: Callable[..., Any], call: Call) -> None:
    words = ["estimate", "Qwen/Qwen2.5-7B", "--on", "2 x dgx-h100"]
    found = answer(*words)
    assert (found["machine"], found["on"], found["chips"], found["tp"]) == ("dgx-h100", "2 x dgx-h100", 16, 4)
    _, out, _ = call(*words)
    text = " ".join(out.split())
    assert text.startswith("Qwen/Qwen2.5-7B on 2 x dgx-h100: ")
    assert "each layer on 4 chips, 4 replicas; 2 nodes of 8 (NVLink 4 and InfiniBand NDR); collectives" in text
    assert "collectives: tables of NCCL" in text
    _, out, _ = call("estimate", "Qwen/Qwen3-8B", "--on", "2 x l4")
    assert "taken for one node: no system with this chip is known" in " ".join(out.split())


@pytest.mark.parametrize("what", ["models", "machines", "recipes"])
def test_everything_listed_can_be_shown(what: str, answer: Callable[..., Any]) -> None:
    rows = answer("ls", what)[what]
    assert len(rows) >= 6
    for row in (rows[0], rows[1], rows[-1]):
        assert answer("show", row["name"]) == row


@pytest.mark.parametrize(
    ("alias", "name"), [("h200", "h200-sxm"), ("H100-SXM", "h100-sxm"), ("qwen3-8b", "Qwen/Qwen3-8B")]
)
def test_show_takes_the_names_that_estimate_takes(alias: str, name: str, answer: Callable[..., Any]) -> None:
    assert answer("show", alias)["name"] == name


def test_show_of_files(answer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("methods: [{rtn: {bits: 4, group: 64}}]\n")
    assert answer("show", tmp_path / "mine.yaml")["what"] == "recipe"
    model = write_model(tmp_path / "model")
    assert answer("show", model)["weights"] == str(model)


def test_recipe_show(answer: Callable[..., Any], call: Call) -> None:
    found = answer("recipe", "show", "w4a16-rtn:group=64")
    assert found["methods"][0]["rtn"].items() >= {"bits": 4, "group": 64}.items()
    assert len(found["does"]) == 1
    sizes = [found["example"][f"weights_{when}"]["value"] for when in ("before", "after")]
    assert sizes[1] < 0.5 * sizes[0]
    assert "group 64" in call("recipe", "show", "w4a16-rtn:group=64")[1]


def leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not tree["parts"]:
        yield tree
    for part in tree["parts"]:
        yield from leaves(part)


@pytest.mark.parametrize("metric", METRICS)
def test_explain(metric: str, answer: Callable[..., Any], call: Call) -> None:
    words = ["explain", metric, "Qwen/Qwen3-8B", "--on", "2 x h100-sxm", "--batch", 4, "--recipe", "w4a16-rtn"]
    found = answer(*words)
    ends = list(leaves(found))
    assert len(ends) > 5
    assert all(end["source"] for end in ends)
    _, out, _ = call(*words)
    tree, sources = out.split("\nsources\n")
    assert tree.startswith(f"{metric}: ")
    assert tree.count("[") >= len(ends)
    for source in {end["source"] for end in ends}:
        assert source in " ".join(sources.split())
    shallow = call(*words, "--depth", 1)[1]
    assert "more below" in " ".join(shallow.split())
    assert len(shallow) < len(out)


# --- screens ------------------------------------------------------------------------------------------------------


def test_the_first_screen_of_an_estimate(call: Call) -> None:
    words = [*QUESTION, "--batch", 32, "--prompt", 2048, "--output", 256, "--recipe", "w4a16-rtn"]
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    for piece in ("ms a token", "bottleneck", "price per million", "confidence", "next        dovetail explain"):
        assert piece in out
    assert len(out.splitlines()) <= 24
    assert call(*words, "--quiet")[1] == out.splitlines()[0] + "\n"


def test_the_next_command_asks_the_same(call: Call, tmp_path: Path) -> None:
    model = write_model(tmp_path / "my model")
    words = [model, "--on", "4 x h100-sxm", "--tp", 2, "--batch", 3, "--prompt", 100, "--output", 50]
    _, out, _ = call("estimate", *words)
    following = shlex.split(out.split("next        dovetail ")[1].replace("\\\n", " "))
    assert call(*following, "--json")[1] == call("explain", "tpot", *words, "--json")[1]


def test_an_estimate_in_stages(call: Call, answer: Callable[..., Any]) -> None:
    words = ["Qwen/Qwen3-8B", "--on", "4 x l40s", "--tp", 2, "--pp", 2, "--batch", 16]
    code, out, err = call("estimate", *words, "--explain", "memory")
    assert (code, err) == (0, "")
    assert "tp 2 x pp 2: each layer on 2 chips, 2 stages of 18 layers" in " ".join(out.split())
    assert "on each chip of stage 2, the fullest" in out
    following = shlex.split(out.split("next        dovetail ")[1].partition("\n\n")[0].replace("\\\n", " "))
    assert answer(*following) == answer("explain", "tpot", *words)
    assert (answer("estimate", *words)["tp"], answer("estimate", *words)["pp"]) == (2, 2)
    for on, binds in (("40 x l40s --pp 40", "36 layers do not fill 40 stages"),
                      ("2 x raspberry-pi-5 --pp 2", "has no link")):  # fmt: skip
        on, pp = on.split(" --pp ")
        code, out, _ = call("estimate", "Qwen/Qwen3-8B", "--on", on, "--tp", 1, "--pp", pp)
        assert code == 3
        assert binds in out


def test_an_estimate_with_images(call: Call, answer: Callable[..., Any]) -> None:
    words = ["llava-hf/llava-1.5-7b-hf", "--on", "h100-sxm", "--images", 2, "--image-size", "600x800"]
    _, out, _ = call("estimate", *words, "--explain", "memory")
    assert "2 images of 600x800 (576 tokens each)" in " ".join(out.split())
    assert "bottleneck  images:" in out
    following = shlex.split(out.split("next        dovetail ")[1].partition("\n\n")[0].replace("\\\n", " "))
    assert following[-4:] == ["--images", "2", "--image-size", "600x800"]
    assert answer(*following) == answer("explain", "tpot", *words)
    spelt = [*words[:-1], " 600 × 800"]
    assert answer("estimate", *spelt)["workload"] == answer("estimate", *words)["workload"]
    _, out, _ = call("estimate", *words, "--prompt", 10_000)
    _, out, _ = call(*shlex.split(out.split("next        dovetail ")[1].replace("\\\n", " ")))
    assert "infeasible" not in out
    without_numbers = strict(call("estimate", words[0], "--on", "u280", *words[3:], "--json")[1])
    assert without_numbers["workload"] == answer("estimate", *words)["workload"]


@pytest.mark.parametrize(
    "line",
    [
        "estimate Qwen/Qwen3-8B --on '8 x h100-sxm' --batch 1000000 --prompt 2048 --output 256 --recipe w4a16-rtn",
        "estimate meta-llama/Llama-3.3-70B-Instruct --on '8 x h200-sxm' --batch 128 --prompt 30000 --output 2560",
        "estimate embedded --on host", "show h200-sxm", "show host", "show Qwen/Qwen3-235B-A22B", "recipe show prune50",
        "ls models", "ls machines", "ls recipes", "doctor", "explain tpot Qwen/Qwen3-8B --on h200-sxm", "--help",
        "explain memory Qwen/Qwen3-8B --on h200-sxm",
    ],
)  # fmt: skip
def test_screens_are_at_most_100_columns(line: str, call: Call) -> None:
    _, out, _ = call(*shlex.split(line))
    assert out
    assert not [text for text in out.splitlines() if len(text.rstrip()) > 100]


def test_a_wide_table_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    words = " ".join(f"word{i}" for i in range(40))
    table(["name", "value", "what it is"], [["short", "3.2 ms", words], ["other", "12 ms", "brief"]], "A table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["", "A table"]
    assert max(map(len, lines)) <= 100
    assert " ".join(" ".join(lines).split()).count("word") == 40
    values = [line for line in lines if " ms" in line]
    assert len({line.index("ms") for line in values}) == 1  # numbers stand right


def test_out_says_where_and_quiet_does_not(call: Call, tmp_path: Path) -> None:
    _, out, err = call(*QUESTION, "--out", tmp_path / "a")
    assert str(tmp_path / "a") in err
    assert call(*QUESTION, "--out", tmp_path / "b", "--quiet")[2] == ""
    data, (_, printed, err) = tmp_path / "c", call(*QUESTION, "--out", tmp_path / "c", "--json")
    assert err == ""
    assert strict(printed) == strict((data / "result.json").read_text())
    assert out


# --- help ---------------------------------------------------------------------------------------------------------


def verbs() -> dict[str, Any]:
    return dict(within("", typer.main.get_command(app)))


def within(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A verb, or those of a group."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for verb, inner in command.commands.items():
        yield from within(f"{name} {verb}".strip(), inner)


@pytest.mark.parametrize("name", verbs())
def test_help_of_a_verb(name: str, call: Call) -> None:
    code, out, err = call(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert "--json" in out
    assert "--quiet" in out
    assert "--out DIR" in out
    assert "\\" not in out.partition("Examples:")[0]
    arguments = out.partition("Arguments:\n")[2].partition("\n\n")[0]
    assert all(len(words.split()) > 1 for words in re.split(r"\n(?=  \S)", arguments) if words)


@pytest.mark.parametrize("name", verbs())
def test_the_examples_of_the_help_are_command_lines(name: str) -> None:
    verb = verbs()[name]
    for example in (verb.epilog or "").splitlines():
        words = shlex.split(example)
        start = 1 + len(name.split())
        assert words[:start] == ["dovetail", *name.split()]
        verb.make_context(name, words[start:])


def test_every_verb_is_in_the_help_with_its_whole_sentence(call: Call) -> None:
    _, out, _ = call("--help")
    assert [line.strip(": ") for line in out.splitlines() if line.endswith(":")] == [
        "Describe", "Predict", "Do", "Choose", "Options",
    ]  # fmt: skip
    assert "..." not in out.partition("\n")[2]
    for name in verbs():
        assert f"\n  {name.split()[0]} " in out


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["estimate", "--help"], {"rich", "pydantic", "numpy", "yaml"}),
        (QUESTION, {"rich", "pydantic", "torch", "transformers", "dovetail.app.report"}),
    ],
)
def test_a_quick_answer_imports_little(words: list[str], heavy: set[str], root: Path) -> None:
    script = f"import sys; from dovetail.app.cli import main; main({words!r}); "
    script += f"print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_command_is_installed() -> None:
    beside = Path(sys.executable).parent
    if shutil.which("dovetail", path=str(beside)) is None:
        pytest.skip("the package is not installed here")
    done = subprocess.run([beside / "dovetail", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("dovetail ")


@pytest.mark.parametrize("words", ["measure .", "ls nothing", "estimate no-such-model --on h100-sxm", "demo"])
def test_somebody_elses_report_is_seen_before_any_work(words: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("theirs")
    assert "holds another report.html" in refused(call, *words.split(), "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "theirs"
