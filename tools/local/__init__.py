"""What `make run` does: the service on this machine, with a PostgreSQL of its own."""
