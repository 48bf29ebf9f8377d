"""What `make rename` and `make doctor` do."""
