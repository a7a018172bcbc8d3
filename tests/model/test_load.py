"""Finding and reading a model: names, paths, the local cache, and every way a config can be wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model, config
from dovetail.model.find import ALIASES, zoo

QWEN = dict(Model.load("Qwen/Qwen3-8B").config)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
MIXTRAL = dict(Model.load("mistralai/Mixtral-8x7B-v0.1").config)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("gpt2", "openai-community/gpt2"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_zoo_names(said: str, meant: str) -> None:
    assert Model.load(said).name == meant


def test_every_alias_means_a_model_of_the_zoo_and_hides_none() -> None:
    aliases = config.read_fields(ALIASES)
    assert set(aliases.values()) <= set(zoo())
    assert not set(aliases) & set(zoo())


def test_names_list_what_loads() -> None:
    assert "embedded" in Model.names()
    assert "Qwen/Qwen3-8B" in Model.names()
    assert len(Model.names()) > 25


def test_folder_file_and_dict_agree(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    file = folder / "config.json"
    file.write_text(json.dumps(QWEN))
    by_folder, by_file, by_fields = Model.load(folder), Model.load(str(file)), Model.load(QWEN)
    assert by_folder.name == by_file.name == "my-model"
    assert by_folder.folder == by_file.folder == folder.resolve()
    assert by_fields.folder is None
    assert Model.load(by_folder) is by_folder
    assert by_folder == by_file
    assert hash(by_folder) == hash(by_file)
    assert by_folder.graph(2, 3, 4) == by_file.graph(2, 3, 4) == by_fields.graph(2, 3, 4)
    renamed = file.rename(folder / "acme--tiny.json")
    assert Model.load(renamed).name == "acme--tiny"
    assert Model.load(renamed).folder is None


def cached(home: Path, name: str) -> Path:
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc\n")
    (snapshot / "config.json").write_text(json.dumps({**QWEN, "num_hidden_layers": 2}))
    return snapshot


def test_hub_ids_in_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    snapshot = cached(tmp_path, "acme/Tiny-1B")
    model = Model.load("acme/Tiny-1B")
    assert (model.name, model.folder, model.layers) == ("acme/Tiny-1B", snapshot, 2)
    weights = cached(tmp_path, "Qwen/Qwen3-8B")
    assert Model.load("Qwen/Qwen3-8B").folder == weights
    assert Model.load("Qwen/Qwen3-8B").layers == 36  # the zoo's own facts


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-8C", "nothing-like-it", "../../etc/passwd", "a\0b", "x" * 5000, "", "a/b/c"]
)
def test_unknown_names_say_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DovetailError, match=r"config\.json") as caught:
        Model.load(name)
    assert caught.value.exit_code == 2
    if name == "Qwen/Qwen3-8C":
        assert "Qwen/Qwen3-8B" in str(caught.value)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"no config\.json"):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "cannot be read"), (b"", "cannot be read"), (b"[1, 2]", "a list"), (b"null", "NoneType"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 200_000, "cannot be read"), (b'{"a": ' + b"1" * (5 << 20) + b"}", "too large"), (b"{}", "model_type"),
    ],
)  # fmt: skip
def test_files_that_are_no_config(content: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(DovetailError, match=why) as caught:
        Model.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        (QWEN, {"model_type": "qwen4"}, "unknown architecture 'qwen4'.*mixtral.*did you mean.*qwen3"),
        (QWEN, {"model_type": 3}, "model_type: 3 is not a name"),
        (QWEN, {"hidden_size": None}, "hidden_size: missing"),
        (QWEN, {"vocab_size": -1}, "vocab_size: -1 is out of range"),
        (QWEN, {"vocab_size": 0}, "vocab_size: 0 is out of range"),
        (QWEN, {"intermediate_size": 12288.5}, "intermediate_size: 12288.5 is not a whole number"),
        (QWEN, {"intermediate_size": "12288"}, "intermediate_size: '12288' is not a whole number"),
        (QWEN, {"num_hidden_layers": True}, "num_hidden_layers: True is not a whole number"),
        (QWEN, {"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000 is out of range"),
        (QWEN, {"hidden_size": 10**30}, "hidden_size: .* is out of range"),
        (QWEN, {"num_attention_heads": 36}, "36 heads cannot share 8 KV heads"),
        (QWEN, {"num_key_value_heads": 0}, "num_key_value_heads: 0 is out of range"),
        (QWEN, {"tie_word_embeddings": "yes"}, "tie_word_embeddings: 'yes' is neither"),
        (QWEN, {"torch_dtype": "bfloat61"}, "unknown dtype 'bfloat61'.*bfloat16"),
        (QWEN, {"torch_dtype": 16}, "torch_dtype: 16 is not a name"),
        (QWEN, {"rope_theta": -1.0}, "rope_theta: -1.0 is not a positive number"),
        (QWEN, {"rope_theta": float("inf")}, "rope_theta: inf is not a positive number"),
        (QWEN, {"rope_scaling": "yarn"}, "rope_scaling: 'yarn' is not an object"),
        (QWEN, {"rope_scaling": {"rope_type": "linear", "factor": "two"}}, "rope_scaling: factor: 'two'"),
        (QWEN, {"layer_types": ["full_attention"]}, "layer_types: .*does not list"),
        (QWEN, {"layer_types": "full"}, "layer_types: 'full' does not list"),
        (QWEN, {"layer_types": ["spiral_attention"] * 36}, "layer_types: 'spiral_attention'"),
        (MIXTRAL, {"hidden_size": 4100}, "4100 channels do not divide into 32 heads"),
        (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok: 9 is out of range .between 1 and 8"),
        (MIXTRAL, {"sliding_window": -4}, "sliding_window: -4 is out of range"),
        ({"model_type": "gpt2", **Model.load("gpt2").config}, {"add_cross_attention": True}, "cross-attention"),
    ],
)
def test_fields_that_do_not_fit_are_named(base: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError, match=said):
        Model.load({**base, **change})


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"num_attention_heads": 36}, "a divisor of 36"), ({"vocab_size": 0}, "config.json"),
        ({"head_dim": None, "num_attention_heads": 24, "model_type": "llama"}, "a divisor of 4096"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_write(change: dict[str, Any], hint: str) -> None:
    with pytest.raises(DovetailError) as caught:
        Model.load({**QWEN, **change})
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({}, 40960),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 4 * 40960),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 2 * 40960),
        # both ways of writing a stretched Qwen: the original length in the config, or the stretched one
        ({"rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": YARN}, 131072),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}, 40960),
    ],
)  # fmt: skip
def test_context_with_stretched_rotary(fields: dict[str, Any], context: int) -> None:
    assert Model.load({**QWEN, **fields}).max_context == context


def test_rope_base_in_both_styles() -> None:
    bare = {k: v for k, v in QWEN.items() if k != "rope_theta"}
    assert Model.load(QWEN).architecture.rope_theta == 1e6
    assert Model.load({**bare, "rope_parameters": {"rope_theta": 5e5}}).architecture.rope_theta == 5e5
    assert Model.load(bare).architecture.rope_theta == 1e4


def test_dtype_in_both_styles() -> None:
    bare = {k: v for k, v in QWEN.items() if k != "torch_dtype"}
    assert Model.load({**bare, "dtype": "float16"}).architecture.dtype == "fp16"
    assert Model.load({**bare, "torch_dtype": "torch.float32"}).architecture.dtype == "fp32"
    assert Model.load(bare).architecture.dtype == "bf16"


def test_loading_brings_in_nothing_heavy() -> None:
    code = (
        "import sys; from dovetail.model import Model; Model.load('Qwen/Qwen3-8B').graph(8, 1, 100);"
        "print([m for m in ('torch', 'transformers', 'pydantic', 'typer', 'pandas') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


def test_one_model_reads_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = config.read_fields
    monkeypatch.setattr("dovetail.model.model.read_fields", lambda file: (read.append(file), original(file))[1])
    Model.load("Qwen/Qwen3-8B")
    assert [file.name for file in read] == ["Qwen3-8B.yaml"]
