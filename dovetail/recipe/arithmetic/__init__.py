"""The arithmetic of methods: tensors in, tensors out, nothing read, nothing remembered."""
