"""From a torch module to the typed graph: exported before it is decomposed, then matched from the result backwards."""
