"""The verbs of the command line; each is the Python function of the same name with a printed answer."""
