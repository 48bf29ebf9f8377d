"""What `make status` and `make audit` ask of the kind cluster, beside the scripts that make it."""
