"""One file, one class of bug (or two that share a form): where it can be put into a design."""
