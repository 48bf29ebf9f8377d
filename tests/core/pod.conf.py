"""gunicorn's settings of the service, for one of several pods on this machine: POD is its name."""

import os
import socket
from pathlib import Path

_name = os.environ["POD"]
socket.gethostname = lambda: _name

_settings = Path(__file__).parents[2] / "app" / "gunicorn.conf.py"
exec(compile(_settings.read_text(), _settings, "exec"))
