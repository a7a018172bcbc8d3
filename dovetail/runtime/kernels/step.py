"""What a whole pass through a decoder is told: the structures of ``step.h``."""

from __future__ import annotations

import ctypes

_NUMBER, _POINTER = ctypes.c_int64, ctypes.c_void_p


class Norm(ctypes.Structure):
    """Mirrors ``Norm`` of ``step.h``."""

    _fields_ = (("weight", _POINTER), ("epsilon", ctypes.c_double))


class Weights(ctypes.Structure):
    """Mirrors ``Weights`` of ``step.h``."""

    _fields_ = (("floating", _POINTER), ("packed", _POINTER), ("how", _NUMBER))


class DecoderLayer(ctypes.Structure):
    """Mirrors ``DecoderLayer`` of ``step.h``."""

    _fields_ = (
        ("before", Norm), ("behind", Norm), ("q", Norm), ("k", Norm), ("qkv", Weights), ("out", Weights),
        ("pair", Weights), ("down", Weights), ("sight", _NUMBER),
    )  # fmt: skip


class Decoder(ctypes.Structure):
    """Mirrors ``Decoder`` of ``step.h``."""

    _fields_ = (
        ("layers", _NUMBER), ("hidden", _NUMBER), ("heads", _NUMBER), ("kv_heads", _NUMBER), ("channels", _NUMBER),
        ("width", _NUMBER), ("vocabulary", _NUMBER), ("embedding", _POINTER), ("layer", _POINTER), ("last", Norm),
    )  # fmt: skip


class Sight(ctypes.Structure):
    """Mirrors ``Sight`` of ``step.h``."""

    _fields_ = (("visible", _POINTER), ("visible_stride", _NUMBER), ("first", _POINTER))


class Pass(ctypes.Structure):
    """Mirrors ``Pass`` of ``step.h``."""

    _fields_ = (
        ("batch", _NUMBER), ("tokens", _NUMBER), ("ids", _POINTER), ("positions", _POINTER), ("angles", _NUMBER),
        ("cosines", _POINTER), ("sines", _POINTER), ("bits", _NUMBER), ("size", _NUMBER), ("share", _NUMBER),
        ("stretches", _POINTER), ("sights", _POINTER), ("queries", _POINTER), ("paid", _POINTER),
        ("pitches", _POINTER), ("states", _POINTER),
    )  # fmt: skip


class GuessHeads(ctypes.Structure):
    """Mirrors ``GuessHeads`` of ``step.h``."""

    _fields_ = (
        ("heads", _NUMBER), ("hidden", _NUMBER), ("vocabulary", _NUMBER), ("ranks", _NUMBER),
        ("epsilon", ctypes.c_double), ("embedding", _POINTER), ("turn", _POINTER), ("head", Weights),
    )  # fmt: skip


class Guesses(ctypes.Structure):
    """Mirrors ``Guesses`` of ``step.h``."""

    _fields_ = (
        ("count", _NUMBER), ("nodes", _NUMBER), ("states", _POINTER), ("newest", _POINTER), ("made", _POINTER),
        ("parents", _POINTER), ("tokens", _POINTER), ("chances", _POINTER),
    )  # fmt: skip
