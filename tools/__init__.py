"""What the project's makers run on its own files and machines: `make rename`, `make doctor`."""
