"""The kind cluster: the client for it, and what make does with it."""
