"""The settings of app/gunicorn.conf.py that matter, without the service's code."""

import os

# gunicorn's first process imports the libraries, as it does for the service
import tools.bench.bare  # noqa: F401

bind = f"127.0.0.1:{os.environ['PORT']}"
worker_class = "gthread"
workers = 1
threads = 8
control_socket_disable = True
