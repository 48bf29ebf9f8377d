"""gunicorn's settings, the same on a laptop and in the cluster.

https://gunicorn.org/reference/settings/
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from typing import Any

from app.core import health, management
from app.core.database import POOL_SIZE
from app.core.logs import is_worth_a_line
from app.core.panel import PATH as PANEL
from app.core.tls import FILES, ServerContext
from app.core.worker import Limits, Worker
from app.settings import Settings, SettingsError
from secret_files import forbid_core_dumps

# before a secret is read
forbid_core_dumps()

try:
    _settings = Settings.load()
except SettingsError as problem:
    sys.exit(f"can't start: {problem}")

wsgi_app = "app.wsgi:application"
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"

# One process with threads. Pods scale, processes don't: one generation of the
# secrets in a pod, and one set of metrics.
worker_class = Worker
workers = 1
# More than slow clients hold, each for CLIENT_TOTAL_SECONDS at most. One that waits for its client
# or for a database connection costs little memory, and no processor.
threads = 128
keepalive = _settings.keep_alive_seconds
# sendfile() would pass the limits for slow clients by
sendfile = False
graceful_timeout = 25

# Else gunicorn trusts X-Forwarded-Proto of any process in the pod: TRUSTED_PROXIES alone decides.
forwarded_allow_ips = ""

# A control socket needs a writable folder, and nothing here uses it.
control_socket_disable = True

# The default access log holds query strings and referrers, which can hold secrets.
accesslog = "-"
access_log_format = "%(m)s %(U)s %(s)s %(M)sms"
logconfig_dict = {
    "formatters": {"generic": {"()": "app.core.logs.formatter"}},
    "filters": {"probes": {"()": lambda: is_worth_a_line}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "generic"},
        "error_console": {"class": "logging.StreamHandler", "formatter": "generic"},
    },
    "loggers": {
        "gunicorn.error": {
            "level": _settings.log_level,
            "handlers": ["console"],
            "propagate": False,
        },
        "gunicorn.access": {
            "level": "INFO",
            "handlers": ["console"],
            "filters": ["probes"],
            "propagate": False,
        },
    },
}

if _settings.tls_dir:
    certfile, keyfile = (str(_settings.tls_dir / name) for name in FILES)
    for _file in (certfile, keyfile):
        if not os.access(_file, os.R_OK):
            sys.exit(f"can't start: TLS_DIR has no {_file} that can be read")
    _context = ServerContext(_settings.tls_dir)

    def ssl_context(config: Any, build: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Give each connection the certificate of this moment."""
        return _context.get(build)


def pre_request(worker: Any, request: Any) -> None:
    """Let each look at the panel take a new connection, and so reach another pod."""
    if request.path == PANEL:
        request.force_close()


def post_worker_init(worker: Any) -> None:
    """Limit slow clients, and open the management port, in the process that has the metrics."""
    metrics, database = (worker.wsgi.extensions[name] for name in ("metrics", "database"))
    worker.limits = Limits(
        _settings.client_idle_seconds,
        _settings.client_total_seconds,
        metrics.count_slow_client,
        POOL_SIZE,
    )
    management.start_when_free(
        _settings.host, _settings.metrics_port, metrics.registry, health.probes(database)
    )


def worker_exit(server: Any, worker: Any) -> None:
    """Let the pod leave the page as it ends."""
    # there is no service where it could not start
    extensions = getattr(getattr(worker, "wsgi", None), "extensions", None)
    if extensions:
        extensions["journal"].close()
