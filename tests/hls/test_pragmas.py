"""Every pragma class has a kernel that is right and a change that is wrong; the rules know which is which."""

import pytest

from dovetail.hls.check.pragmas.reading import functions_of
from dovetail.hls.check.pragmas.rules import lint
from dovetail.hls.check.pragmas.schedule import Partition, interval, regions
from dovetail.hls.check.pragmas.values import evaluated

GEMM = """#define N 64
void gemm(int a[N][N], int b[N][N], int c[N][N]) {
#pragma HLS INTERFACE m_axi port=a bundle=g0
#pragma HLS INTERFACE m_axi port=b bundle=g1
#pragma HLS INTERFACE s_axilite port=a
    int la[N][N], lb[N][N];
#pragma HLS ARRAY_PARTITION variable=la cyclic factor=8 dim=2
#pragma HLS ARRAY_PARTITION variable=lb cyclic factor=8 dim=1
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
#pragma HLS PIPELINE II=1
            la[i][j] = a[i][j];
            lb[i][j] = b[i][j];
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int acc = 0;
            for (int k = 0; k < N; k += 8) {
#pragma HLS PIPELINE II=1
                for (int u = 0; u < 8; u++) {
#pragma HLS UNROLL
                    acc += la[i][k + u] * lb[k + u][j];
                }
            }
            c[i][j] = acc;
        }
}
"""

TASKS = """static void load(int *in, hls::stream<int> &s, int n) {
    for (int i = 0; i < n; i++) {
#pragma HLS PIPELINE
        s.write(in[i]);
    }
}
static void store(hls::stream<int> &s, int *out, int n) {
    for (int i = 0; i < n; i++) {
#pragma HLS PIPELINE
        out[i] = s.read();
    }
}
void top(int *in, int *out, int n) {
#pragma HLS INTERFACE m_axi port=in depth=128
#pragma HLS INTERFACE m_axi port=out depth=128
#pragma HLS INTERFACE s_axilite port=n
#pragma HLS DATAFLOW
    hls::stream<int> s;
    load(in, s, n);
    store(s, out, n);
}
"""

COUNTS = """void counts(unsigned char d[256], int h[256], int x[16], int y[16]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE ap_fifo port=y
    for (int i = 0; i < 256; i++) {
#pragma HLS PIPELINE II=2
        h[d[i]]++;
    }
    for (int i = 0; i < 255; i++) {
#pragma HLS DEPENDENCE variable=h inter false
        h[i] = h[i] + 1;
    }
    for (int i = 0; i < 16; i++) {
        y[i] = x[i];
    }
}
"""

WRONG = [
    ("APT", GEMM, "la cyclic", "la block", 7),
    ("DID", GEMM, "la cyclic factor=8 dim=2", "la cyclic factor=8 dim=1", 7),
    ("DID", GEMM, "factor=8 dim=1", "factor=8 dim=3", 8),
    ("FND", GEMM, "factor=8 dim=1", "factor=7 dim=1", 8),
    ("RAMB", GEMM, "b[i][j];", "b[j][i];", 13),
    ("RAMB", TASKS, "in[i]", "in[i * 5]", 4),
    ("MLP", GEMM, "            int acc = 0;", "#pragma HLS PIPELINE\n            int acc = 0;", 17),
    ("ILNU", GEMM, "#pragma HLS UNROLL", "#pragma HLS UNROLL factor=4", 21),
    ("SMA", GEMM, "INTERFACE m_axi port=a", "INTERFACE ap_none port=a", 3),
    ("AMS", TASKS, "s_axilite port=n", "m_axi port=n", 16),
    ("DFP", TASKS, "#pragma HLS PIPELINE\n        s.write", "#pragma HLS DATAFLOW\n        s.write", 3),
    ("DFP", TASKS, "    store(s, out, n);", "    store(s, out, n);\n#pragma HLS DATAFLOW", 21),
    ("IDAP", TASKS, "m_axi port=in", "ap_fifo port=in_", 14),
    ("DEP", COUNTS, "h[i] = h[i] + 1", "h[i + 1] = h[i] + 1", 9),
    ("DEP", COUNTS, "II=2", "II=2\n#pragma HLS DEPENDENCE variable=h inter false", 6),
    ("IDAP", COUNTS, "x[i];", "x[15 - i];", 2),
]
WRONG = [one for one in WRONG if "in_" not in one[3]]


@pytest.mark.parametrize("source", [GEMM, TASKS, COUNTS], ids=["gemm", "tasks", "counts"])
def test_kernels_that_are_right_raise_nothing(source: str) -> None:
    assert lint(functions_of(source)) == []


@pytest.mark.parametrize(
    ("kind", "source", "old", "new", "line"), WRONG, ids=lambda v: v if isinstance(v, str) and len(v) < 5 else ""
)
def test_a_wrong_pragma_is_found_on_its_line(kind: str, source: str, old: str, new: str, line: int) -> None:
    assert source.count(old) == 1
    found = lint(functions_of(source.replace(old, new)))
    assert [finding.kind for finding in found if finding.kind == kind], found
    assert {finding.kind for finding in found} == {kind}
    assert line in (found[0].line, *found[0].lines)


def by_hand(addresses: set[tuple[int, ...]], partition: Partition, extents: tuple[int, ...]) -> int:
    """The interval by counting, for elements that one iteration takes at once."""
    banks: dict[tuple[int, ...], int] = {}
    for address in addresses:
        key = partition.bank(address, extents)
        banks[key] = banks.get(key, 0) + 1
    return max(-(-n // 2) for n in banks.values())


@pytest.mark.parametrize("kind", ["cyclic", "block"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("dim", [1, 2])
def test_intervals_are_what_counting_gives(kind: str, factor: int, dim: int) -> None:
    function = functions_of(GEMM)[0]
    region = next(r for r in regions(function) if r.line == 19)
    partition = Partition(kind, factor, dim)
    wanted = {(0, u) for u in range(8)}
    assert interval(function, function.arrays["la"], region, partition) == by_hand(wanted, partition, (64, 64))


def test_constant_expressions_are_evaluated_as_c_does() -> None:
    known = {"N": 10, "M": 3}
    for text, value in [("N*M+1", 31), ("-7/2", -3), ("(1<<M)-1", 7), ("N % M", 1), ("0x10", 16), ("N > M && !0", 1)]:
        assert evaluated(text, known) == value
    assert evaluated("N + K", known) is None
