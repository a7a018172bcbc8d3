"""Checkpoints as GGUF files, which llama.cpp and what is built on it run (format: ggml's ``docs/gguf.md``)."""
