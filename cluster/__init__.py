"""What `make audit` asks of the kind cluster, beside the scripts that make it."""
