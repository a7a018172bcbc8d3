"""What every room stands on: units, quantities, errors, registries, manifests, files and lazy imports."""
