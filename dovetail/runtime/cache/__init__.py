"""KV caches that hold fewer tokens, in fewer bits: policies, quantised storage, prefill layer by layer; needs torch."""
