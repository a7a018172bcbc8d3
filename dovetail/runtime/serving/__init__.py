"""A model that serves requests as they come: continuous batching over the decode loop, behind a socket."""
