"""Bugs put into designs on purpose, each with a proof: operators on the syntax tree, witnesses, data sets."""
