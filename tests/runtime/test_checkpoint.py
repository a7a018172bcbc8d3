"""Checkpoints as streams: what safetensors reads is what ours reads and writes, and broken files are told apart."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dovetail.core.errors import DovetailError
from dovetail.runtime.checkpoint import Checkpoint, record
from dovetail.runtime.tensorfile import TensorInfo, TensorWriter, read_header


def everything(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors, read by the safetensors library."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[n].dtype == theirs[n].dtype and torch.equal(ours[n], theirs[n]) for n in theirs
    )


def test_shards_read_as_the_library_reads_them(sharded_folder: Path) -> None:
    assert len(list(sharded_folder.glob("*.safetensors"))) > 1
    checkpoint = Checkpoint.open(sharded_folder)
    theirs = everything(sharded_folder)
    assert same(dict(checkpoint.tensors()), theirs)
    assert checkpoint.payload_bytes == sum(t.numel() * t.element_size() for t in theirs.values())


def test_every_dtype_survives_our_writer(tmp_path: Path) -> None:
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16]
    kinds += [torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn]
    tensors = {f"t{i}": torch.arange(15).reshape(3, 5).to(k) for i, k in enumerate(kinds)}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "odd": torch.ones(3, dtype=torch.int8)}
    save_file(tensors, tmp_path / "theirs.safetensors")
    with TensorWriter(tmp_path / "ours.safetensors", read_header(tmp_path / "theirs.safetensors")) as writer:
        for name in reversed(tensors):
            writer.add(name, tensors[name])
    assert same(load_file(tmp_path / "ours.safetensors"), load_file(tmp_path / "theirs.safetensors"))
    for info in read_header(tmp_path / "ours.safetensors").values():
        assert info.offset % max(1, info.bytes // max(1, info.elements)) == 0  # aligned to its elements


def test_the_writer_takes_only_what_was_announced(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="was announced"),
        TensorWriter(tmp_path / "a", {"w": TensorInfo("w", "F32", (2,))}) as writer,
    ):
        writer.add("w", torch.zeros(3))
    with (
        pytest.raises(ValueError, match="never came"),
        TensorWriter(tmp_path / "b", {"w": TensorInfo("w", "F32", (2,))}),
    ):
        pass


def test_transforms_stream_rename_and_forecast(tiny_folder: Path, tmp_path: Path) -> None:
    def split(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        if tensor.ndim < 2:
            return {name: tensor}
        return {f"{name}_low": tensor[:, ::2].half(), f"{name}_shape": torch.tensor(tensor.shape)}

    def halve(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: tensor / 2 if tensor.is_floating_point() else tensor}

    def forecast(info: TensorInfo) -> list[TensorInfo]:
        if len(info.shape) < 2:
            return [info]
        low = TensorInfo(f"{info.name}_low", "F16", (info.shape[0], (info.shape[1] + 1) // 2))
        return [low, TensorInfo(f"{info.name}_shape", "I64", (2,))]

    changed = Checkpoint.open(tiny_folder).map(split, forecast).map(halve)
    forecast = changed.payload_bytes
    changed.save(tmp_path / "out", recipe=["split", "halve"])
    written = everything(tmp_path / "out")
    source = everything(tiny_folder)
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(written[f"{name}_low"], source[name][:, ::2].half() / 2)
    assert written[f"{name}_shape"].tolist() == list(source[name].shape)
    payload = {n: t for n, t in written.items() if not n.endswith("weight_shape")}
    assert forecast == sum(t.numel() * t.element_size() for t in payload.values())


def test_a_saved_folder_says_what_made_it(tiny_folder: Path, tmp_path: Path) -> None:
    import hashlib

    out = Checkpoint.open(tiny_folder).save(tmp_path / "out", recipe={"name": "none"})
    found = record(out)
    assert found is not None
    assert found["base"]["sha256"] == hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    assert found["recipe"] == {"name": "none"}
    assert json.loads((out / "config.json").read_text()) == json.loads((tiny_folder / "config.json").read_text())
    assert record(tiny_folder) is None
    Checkpoint.open(tiny_folder).save(out)  # our own folder may be written again


def test_quantisation_is_declared_once(tiny_folder: Path) -> None:
    once = Checkpoint.open(tiny_folder).with_quantization({"quant_method": "x"})
    assert once.config["quantization_config"] == {"quant_method": "x"}
    with pytest.raises(DovetailError, match="already quantised"):
        once.with_quantization({})


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    last = max((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][1])
    if how == "truncated":
        weights.write_bytes(data[:-5])
    elif how == "overlong":
        weights.write_bytes(data + b"more")
    elif how == "tiny":
        weights.write_bytes(b"abc")
    elif how == "no-json":
        weights.write_bytes(data[:8] + b"\x00" * length + data[8 + length :])
    elif how == "long-header":
        weights.write_bytes((10**12).to_bytes(8, "little") + data[8:])
    elif how == "shape":
        header[last]["shape"][0] += 1
    elif how == "dtype":
        header[last]["dtype"] = "Q7"
    elif how == "negative":
        header[last]["shape"] = [-1]
    elif how == "overlap":
        first = min((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][0])
        header[last] = header[first]
    elif how == "missing":
        weights.unlink()
    elif how == "config":
        (folder / "config.json").unlink()
    elif how == "broken-config":
        (folder / "config.json").write_text("{")
    if how in ("shape", "dtype", "negative", "overlap"):
        text = json.dumps(header).encode()
        weights.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "model.safetensors: truncated .*bytes, the header asks for"),
        ("overlong", "longer than its header says"),
        ("tiny", "only 3 bytes"),
        ("no-json", "header is not JSON"),
        ("long-header", "the header alone claims 1,000,000,000,008"),
        ("shape", "corrupt header entry"),
        ("dtype", "corrupt header entry"),
        ("negative", "corrupt header entry"),
        ("overlap", "gap or overlaps"),
        ("missing", "no model.safetensors"),
        ("config", "no config.json"),
        ("broken-config", "config.json: is not readable JSON"),
    ],
)
def test_a_broken_folder_is_one_sentence(tiny_folder: Path, tmp_path: Path, how: str, words: str) -> None:
    shutil.copytree(tiny_folder, tmp_path / "m")
    damage(tmp_path / "m", how)
    with pytest.raises(DovetailError, match=words) as caught:
        Checkpoint.open(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_shard_is_named(sharded_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded_folder, tmp_path / "m")
    lost = sorted((tmp_path / "m").glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(DovetailError, match=f"shard {lost.name} is missing"):
        Checkpoint.open(tmp_path / "m")


def test_an_index_cannot_lead_outside_its_folder(sharded_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(sharded_folder, tmp_path / "m")
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "../../secret.safetensors"}}))
    with pytest.raises(DovetailError, match="weight_map"):
        Checkpoint.open(tmp_path / "m")


def test_nothing_of_the_users_is_overwritten(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(DovetailError, match="was not written by dovetail"):
        Checkpoint.open(tiny_folder).save(tmp_path / "mine")
    with pytest.raises(DovetailError, match="its own source"):
        Checkpoint.open(tiny_folder).save(tiny_folder)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_disk_known_to_be_too_small_is_infeasible(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DovetailError, match=r"bytes are needed, 1,000 are free") as caught:
        Checkpoint.open(tiny_folder).save(tmp_path / "out")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    """The kernel refuses files above 100 kB in a child process, as a full disk would."""
    script = f"""import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
from dovetail.core.errors import DovetailError
from dovetail.runtime.checkpoint import Checkpoint
try:
    Checkpoint.open({str(tiny_folder)!r}).save({str(tmp_path / "out")!r})
except DovetailError as error:
    print(error)
    sys.exit(error.exit_code)"""
    assert resource.RLIMIT_FSIZE is not None
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 2, done.stderr
    assert "could not write out" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    seen = 0

    def interrupt(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal seen
        seen += 1
        if seen > 3:
            raise KeyboardInterrupt
        return {name: tensor}

    with pytest.raises(KeyboardInterrupt):
        Checkpoint.open(tiny_folder).map(interrupt).save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_headers_need_no_torch(tiny_folder: Path) -> None:
    script = f"""import sys
from dovetail.runtime.checkpoint import Checkpoint
print(Checkpoint.open({str(tiny_folder)!r}).payload_bytes, 'torch' in sys.modules)"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root},
    )
    with safe_open(tiny_folder / "model.safetensors", "pt") as file:
        expected = sum(file.get_tensor(n).numel() * 4 for n in file.keys())  # noqa: SIM118 — not a mapping
    assert done.stdout.split() == [str(expected), "False"]


def test_a_folder_around_the_source_is_not_replaced(tiny_folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "checkpoint"
    shutil.copytree(tiny_folder, inner)
    (tmp_path / "outer" / "dovetail.json").write_text("{}")
    with pytest.raises(DovetailError, match="its own source"):
        Checkpoint.open(inner).save(tmp_path / "outer")
    assert same(everything(inner), everything(tiny_folder))


def test_the_card_is_our_own(tiny_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_folder, base)
    (base / "README.md").write_text("perplexity 3.21")
    checkpoint = Checkpoint.open(base)
    card = (checkpoint.save(tmp_path / "out", recipe={"name": "w8a16", "methods": []}) / "README.md").read_text()
    assert "3.21" not in card
    for part in ("# base, w8a16", checkpoint.sha256(), f"{checkpoint.payload_bytes:,} bytes", "not measured"):
        assert part in card


def test_the_writer_closes_its_file_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    writer = TensorWriter(tmp_path / "a", {"w": TensorInfo("w", "F32", (2,))})
    monkeypatch.setattr(os, "posix_fallocate", stop)
    with pytest.raises(KeyboardInterrupt):
        writer.__enter__()
    assert writer._file.closed
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt), writer:
        writer.add("w", torch.zeros(2))
    assert writer._file.closed


def test_a_system_without_posix_fallocate_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("with", "without"):
        with TensorWriter(tmp_path / name, {"w": TensorInfo("w", "F32", (2,))}) as writer:
            assert (tmp_path / name).stat().st_size == writer.bytes
            writer.add("w", torch.tensor([1.0, 2.0]))
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()
