"""From an LLM to an accelerator: a typed dataflow graph, integers that define what is right, and hardware for them."""
