"""The workshop's ten minutes, told while they run: `make demo`."""
