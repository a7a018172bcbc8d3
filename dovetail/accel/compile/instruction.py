"""Instructions: what each kind holds, and its bits. The decoders in Verilog are written from the same tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from dovetail.accel.compile.shape import INSTRUCTION_BITS
from dovetail.core.errors import DovetailError

END, COPY, LOOKUP, POSITIONS, PRODUCT, ATTEND, VECTOR, MAP = 0, 1, 2, 3, 4, 5, 8, 9
RUN, BY_POSITION, BY_TOKEN, BY_HEAD = 0, 1, 2, 3  # modes of the weight stream
TO_STREAM, TO_HALVES, TO_LOGITS = 0, 1, 2  # where a product goes
TOKEN_ROWS, HEAD_ROWS, KEYS, VALUES, GATHERED = 0, 1, 2, 3, 4  # where a vector goes

Fields = tuple[tuple[str, int], ...]

COMMON: Fields = (("op", 4), ("head", 1), ("wait_matrix", 12), ("wait_vector", 12))
STREAMED: Fields = (*COMMON, ("mode", 2), ("fetch_wait", 12), ("addr", 28), ("count", 24))
MATRIX: Fields = (
    *STREAMED, ("blocks", 14), ("steps", 12), ("nibbles", 1), ("group", 2), ("bias", 1), ("add", 1), ("dest", 2),
    ("bits", 2), ("offset", 8), ("operand", 14), ("exponent", 8), ("to", 16), ("stride", 12), ("single", 1),
    ("limit", 20), ("rows", 16),
)  # fmt: skip
ATTENTION: Fields = (
    *STREAMED, ("heads", 8), ("sharing", 6), ("steps", 8), ("operand", 14), ("exponent", 8), ("mantissa", 15),
    ("shift", 6), ("to", 16), ("stride", 12), ("tokens_at_once", 6), ("values", 28), ("channel_stride", 16),
)  # fmt: skip
_VECTOR: Fields = (
    *COMMON, ("source", 16), ("stride", 12), ("from_stream", 1), ("second", 16), ("parts", 8), ("words", 12),
    ("head_words", 12), ("constants", 12), ("norm", 1), ("mean", 1), ("bias", 1), ("rotate", 1), ("multiply", 1),
    ("gate", 2), ("gate_shift", 6), ("multiply_shift", 6), ("angles", 12), ("sink", 3), ("operand", 14),
    ("exponent", 8),
)  # fmt: skip
VECTORED: Fields = (
    *_VECTOR, ("cache", 28), ("cache_stride", 24), ("sharing", 6), ("tokens_at_once", 6),
    ("channel_stride", 16), ("single", 1),
)  # fmt: skip
MAPPED: Fields = (  # a map of rows x columns: pooled on the way, then gathered as rows of a convolution
    *_VECTOR, ("channel_words", 6), ("kernel_rows", 4), ("kernel_columns", 4), ("stride_", 3), ("padding", 3),
    ("rows", 7), ("columns", 7), ("out_rows", 7), ("out_columns", 7), ("row_words", 12), ("pool_size", 4),
    ("pool_stride", 3), ("pool_row_words", 12), ("pool_mean", 1),
)  # fmt: skip

FIELDS: dict[int, Fields] = {
    END: COMMON, COPY: MATRIX, LOOKUP: MATRIX, POSITIONS: MATRIX, PRODUCT: MATRIX, ATTEND: ATTENTION, VECTOR: VECTORED,
    MAP: MAPPED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Parameters
    ----------
    op : int
    fields : dict of str to int
        Those that are not 0.
    makes : str
        The step's tensor, for listings and traces.
    """

    op: int
    fields: dict[str, int] = field(default_factory=dict)
    makes: str = ""

    @property
    def vector(self) -> bool:
        """Whether the vector unit executes it; the matrix engine does what is left."""
        return bool(self.op & VECTOR)

    def encode(self) -> bytes:
        """32 bytes, the first field lowest. Raises `DovetailError` for a value that its field does not hold."""
        word, at = 0, 0
        known = FIELDS[self.op]
        values = {"op": self.op, **self.fields}
        for name, bits in known:
            value = values.pop(name, 0)
            if not -(1 << (bits - 1)) <= value < 1 << bits or (value < 0 and name != "offset"):
                why = f"{name} of {value} in {bits} bits"
                raise DovetailError("an instruction cannot say this", where=self.makes, why=why, hint="a smaller model")
            word |= (value & ((1 << bits) - 1)) << at
            at += bits
        if values:
            raise DovetailError(f"no field {next(iter(values))}", where=self.makes)
        return word.to_bytes(INSTRUCTION_BITS // 8, "little")


def decoder(fields: Fields, source: str, prefix: str = "i_", only: set[str] | None = None) -> str:
    """Wires of the fields (or of some) of an instruction in Verilog."""
    lines, at = [], 0
    for name, bits in fields:
        if only is None or name in only:
            span = f"[{at + bits - 1}:{at}]" if bits > 1 else f"[{at}]"
            width = f"[{bits - 1}:0] " if bits > 1 else ""
            lines.append(f"    wire {width}{prefix}{name} = {source}{span};")
        at += bits
    return "\n".join(lines)
