"""What the HLS tests share: designs that are right, and a compiler to check them with."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovetail.core.lazy import installed
from dovetail.hls.sandbox import workplace

FIR = """#include "ap_int.h"
typedef ap_int<16> sample;
typedef ap_int<40> sum;
void fir(const sample x[24], const sample taps[6], sum y[24]) {
#pragma HLS INTERFACE m_axi port=x
#pragma HLS INTERFACE m_axi port=y
    sample line[6] = {0, 0, 0, 0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=line complete
    for (int i = 0; i < 24; i++) {
#pragma HLS PIPELINE II=3
        for (int j = 5; j > 0; j--) {
            line[j] = line[j - 1];
        }
        line[0] = x[i];
        sum acc = 7;
        for (int j = 0; j < 6; j++) {
            acc += line[j] * taps[j];
        }
        y[i] = acc;
    }
}
"""

STREAMS = """#include "hls_stream.h"
static void twice(hls::stream<int> &in, hls::stream<int> &mid) {
    for (int i = 0; i < 8; i++) mid.write(in.read() * 2);
}
static void pairs(hls::stream<int> &mid, hls::stream<int> &out) {
    for (int i = 0; i < 4; i++) {
        int first = mid.read();
        out.write(first + mid.read());
    }
}
void top(hls::stream<int> &in, hls::stream<int> &out) {
#pragma HLS DATAFLOW
    hls::stream<int> mid("mid");
    twice(in, mid);
    pairs(mid, out);
}
"""


@pytest.fixture(scope="session")
def fir() -> str:
    """A filter without a fault."""
    return FIR


@pytest.fixture(scope="session")
def streams() -> str:
    """Two tasks and a stream between them, without a fault."""
    return STREAMS


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    for tool in ("g++", "addr2line"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    for module in ("hls4ml", "tree_sitter", "tree_sitter_cpp"):
        if not installed(module):
            pytest.skip(f"{module} is not installed")


@pytest.fixture
def work() -> Iterator[Path]:
    """A sandbox's folder."""
    with workplace() as folder:
        yield folder
