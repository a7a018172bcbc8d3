"""The decode loop: a preallocated cache, ragged batches, trees of tokens; imports torch, hence is imported late."""
