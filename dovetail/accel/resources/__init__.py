"""What an overlay takes of a target: counted by Yosys where it is, else by a model of its units."""
