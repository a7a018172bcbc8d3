"""The host as a machine: read from a made-up /proc and /sys, where every number is known."""

from pathlib import Path

import pytest

from dovetail.core import files
from dovetail.hardware import load_machine
from dovetail.hardware.build import machine_from_text
from dovetail.hardware.detect import detect
from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.host import calibration_path, host_machine

CPU = """processor\t: {index}
vendor_id\t: GenuineIntel
model name\t: Fictional Xeon 9999
physical id\t: {socket}
core id\t\t: {core}
cpu MHz\t\t: {mhz}
flags\t\t: fpu sse2 {flags}

"""


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def computer(root, flags="avx avx2 fma", threads=2, cores=4, sockets=2, mhz="2000.000", memory_kb=64 * 2**20):
    cpus = [(s, c) for s in range(sockets) for c in range(cores) for _ in range(threads)]
    text = "".join(CPU.format(index=i, socket=s, core=c, mhz=mhz, flags=flags) for i, (s, c) in enumerate(cpus))
    write(root, "proc/cpuinfo", text)
    write(root, "proc/meminfo", f"MemTotal:       {memory_kb} kB\nMemFree: 1 kB\n")
    for index, (socket, _core) in enumerate(cpus):
        own = f"{index - index % threads}-{index - index % threads + threads - 1}"
        for number, (level, kind, size, shared) in enumerate(
            [
                (1, "Data", "32K", own),
                (1, "Instruction", "32K", own),
                (2, "Unified", "1024K", own),
                (3, "Unified", "16M", f"socket{socket}"),
            ]
        ):
            base = f"sys/devices/system/cpu/cpu{index}/cache/index{number}"
            for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                write(root, f"{base}/{name}", f"{value}\n")
    return root


@pytest.mark.parametrize(("flags", "per_cycle", "bf16"), [
    ("sse4_2", 8, 0), ("avx", 16, 0), ("avx avx2 fma", 32, 0), ("avx2 avx512f", 64, 0),
    ("avx2 avx512f avx512_bf16", 64, 128), ("avx512f avx512_bf16 amx_bf16", 64, 1024),
])  # fmt: skip
def test_peak_is_cores_times_clock_times_width(tmp_path, flags, per_cycle, bf16):
    """Eight physical cores (two sockets of four, two threads each) at 2 GHz."""
    host = host_machine(computer(tmp_path, flags=flags))
    assert host.peak["fp32"] == pytest.approx(8 * 2e9 * per_cycle)
    assert host.peak.get("bf16", 0) == pytest.approx(8 * 2e9 * bf16)
    assert host.source("peak.fp32").kind == "modelled"
    assert (host.cores, host.clock_hz) == (8, 2e9)
    assert host.source("cores").kind == host.source("clock").kind == "measured"


def test_caches_are_counted_once_per_instance(tmp_path):
    host = host_machine(computer(tmp_path))
    assert [level.name for level in host.caches] == ["L3", "L2", "L1"]
    assert [level.capacity for level in host.caches] == [2 * 16 * 2**20, 8 * 2**20, 8 * 32 * 2**10]


def test_memory_and_its_limit(tmp_path):
    root = computer(tmp_path)
    assert host_machine(root).memory.capacity == 64 * 2**30
    write(root, "sys/fs/cgroup/memory.max", "max\n")
    assert host_machine(root).memory.capacity == 64 * 2**30
    write(root, "sys/fs/cgroup/memory.max", f"{4 * 2**30}\n")
    assert host_machine(root).memory.capacity == 4 * 2**30


def test_the_frequency_driver_is_believed_over_the_current_clock(tmp_path):
    root = computer(tmp_path)
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3500000\n")
    assert detect(root).clock_hz == pytest.approx(3.5e9)


def test_an_arm_server(tmp_path):
    """No model name, no core ids, no clock in /proc/cpuinfo: processors are cores, the clock is assumed and says so."""
    one = "processor\t: {}\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n\n"
    write(tmp_path, "proc/cpuinfo", "".join(one.format(i) for i in range(4)))
    host = host_machine(tmp_path)
    assert host.peak["fp32"] == pytest.approx(4 * 2.5e9 * 16)
    assert host.peak["bf16"] > host.peak["fp32"]
    assert "assumed" in host.source("peak").text
    assert host.title


def test_nothing_to_read_still_gives_a_machine(tmp_path):
    host = host_machine(tmp_path)
    assert host.peak["fp32"] > 0
    assert host.memory.capacity > 0
    assert host.caches == ()


def test_what_the_host_promises_to_others(tmp_path):
    host = host_machine(computer(tmp_path))
    assert (host.name, host.kind, host.title, host.vendor) == ("host", "cpu", "Fictional Xeon 9999", "Intel")
    assert (host.stack.name, host.stack.compute, host.stack.packed_weights) == ("transformers", "fp32", False)
    assert host.source("memory.bandwidth").kind == host.source("efficiency.compute").kind == "modelled"
    assert set(host.j_per_flop) == set(host.peak)


def test_more_cores_are_never_less(tmp_path):
    few, many = (host_machine(computer(tmp_path / str(n), cores=n, sockets=1, threads=1)) for n in (2, 4))
    assert many.peak["fp32"] > few.peak["fp32"]
    assert many.memory.bandwidth > few.memory.bandwidth
    assert many.tdp_w > few.tdp_w


def test_a_calibration_is_used_where_there_is_one(tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    guess = load_machine("host")
    path = calibration_path()
    assert path.parent == tmp_path / "dovetail"
    assert path.name.startswith("host-")
    measured = replace(guess, memory=replace(guess.memory, bandwidth=12.5e9))
    files.write_text(path, machine_to_yaml(measured, {"memory.bandwidth": machine_source("timed copy")}))
    again = load_machine("host")
    assert again.memory.bandwidth == 12.5e9
    assert again.source("memory.bandwidth").kind == "measured"
    assert again.peak == guess.peak
    assert again.source("peak.fp32").kind == "modelled"


def machine_source(text):
    from dovetail.hardware import Source

    return Source("measured", text)


def test_each_computer_has_its_own_calibration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    two, four = (calibration_path(computer(tmp_path / str(n), cores=n, sockets=1, threads=1)) for n in (2, 4))
    assert two != four
    assert four == calibration_path(tmp_path / "4")


def test_this_computer():
    host = host_machine()
    assert 1e9 < host.peak["fp32"] < 1e15
    assert machine_from_text(machine_to_yaml(host), "host").peak == host.peak
