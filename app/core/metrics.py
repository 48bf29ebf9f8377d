"""What Prometheus scrapes, on a port of its own."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from flask import Flask
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from secret_files import Redactor, SecretError, SecretStore, Snapshot

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# a second time series for every first one, which nothing here asks for
disable_created_metrics()  # type: ignore[no-untyped-call]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

SLOW_LIMITS = ("idle", "total")
LOST_REASONS = ("timeout", "read_only", "broken")

ROLE = ("database_role", "Which role new connections log in as")


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        # the keeper finds pods by their addresses, and names them by this
        Info("pod", "Which pod this is", registry=self.registry).info({"pod": socket.gethostname()})
        self.secrets_generation = self._gauge(
            "secrets_generation",
            "When the secrets in use were made, in Unix seconds; 0 where their source does not say",
        )
        self.secrets_refused = self._gauge(
            "secrets_refused",
            "1 while a newer generation of the secrets is not taken and the last good one stays, "
            "otherwise 0",
        )
        self.secrets_reloads = self._counter(
            "secrets_reloads_total",
            "Attempts to adopt a new generation of the secrets after the start",
            result=("adopted", "rejected"),
        )
        self.log_redactions = self._counter(
            "log_redactions_total", "Secrets that were taken out of log lines"
        )
        self.database_login_failures = self._counter(
            "database_login_failures_total", "Database connections that could not be opened"
        )
        self.database_connections_lost = self._counter(
            "database_connections_lost_total",
            "Times that the database's connections were replaced: the server did not answer "
            "(timeout), takes no writes (read_only), or ended one (broken)",
            reason=LOST_REASONS,
        )
        self.signatures_from_future = self._counter(
            "signatures_from_future_total", "Genuine signatures rejected for a date in the future"
        )
        self.http_slow_clients = self._counter(
            "http_slow_clients_total", "Slow clients that lost their connection", limit=SLOW_LIMITS
        )
        self.http_requests = Counter(
            "http_requests_total",
            "Requests that were answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.http_request_duration = Histogram(
            "http_request_duration_seconds",
            "From a request's arrival to its answer",
            ["method", "route"],
            registry=self.registry,
        )
        self._of_labels: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, registry=self.registry)

    def _counter(self, name: str, description: str, **labels: Iterable[str]) -> Counter:
        """Make a counter; with a label, each of its values is there from the start, as 0."""
        counter = Counter(name, description, [*labels], registry=self.registry)
        for values in labels.values():
            for value in values:
                counter.labels(value)
        return counter

    def watch(self, store: SecretStore, redactor: Redactor) -> None:
        """Tell what is in use, and count what happens to the secrets."""
        # a scrape looks for a newer generation, too: a pod without requests shows what it has
        self.secrets_generation.set_function(lambda: store.current().generation or 0)
        self.secrets_refused.set_function(lambda: _has_refused(store))
        self.registry.register(DatabaseRole(store))
        store.on_adopt.append(self._count_adopted)
        store.on_reject.append(self._count_rejected)
        redactor.on_hit = self.log_redactions.inc

    def watch_authorities(self, file: Path) -> None:
        """Tell until when the database's certificate can be verified with what is in `file`."""
        self._gauge(
            "database_ca_expiry_timestamp_seconds",
            "The end of the last certificate authority that the database is verified with",
        ).set_function(lambda: _last_end(file))

    def watch_certificate(self, file: Path) -> None:
        """Tell until when the service's own certificate, which is in `file`, is valid."""
        self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "The end of the certificate that the service serves",
        ).set_function(lambda: _end_of_first(file))

    def measure(self, app: Flask) -> None:
        """Count and time every request to `app`.

        Around the app, not in its hooks: that costs a third, and every hook a look at
        whether it is a coroutine.
        """
        answer = app.wsgi_app

        def measured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            started = time.perf_counter()

            def start(status: str, *arguments: Any) -> Callable[[bytes], object]:
                self._count(environ, status[:3], time.perf_counter() - started)
                return start_response(status, *arguments)

            return answer(environ, start)

        app.wsgi_app = measured  # type: ignore[method-assign]

    def count_slow_client(self, limit: str) -> None:
        """Count a client that exceeded a limit: "idle" or "total"."""
        self.http_slow_clients.labels(limit).inc()

    def _count_adopted(self, snapshot: Snapshot) -> None:
        self.secrets_reloads.labels("adopted").inc()

    def _count_rejected(self, error: SecretError) -> None:
        self.secrets_reloads.labels("rejected").inc()

    def _count(self, environ: WSGIEnvironment, status: str, seconds: float) -> None:
        # the route, not the path: a path is anybody's text, and each would be a time series
        rule = environ["werkzeug.request"].url_rule
        method = environ["REQUEST_METHOD"]
        labels = (method if method in METHODS else "other", rule.rule if rule else "none", status)
        found = self._of_labels.get(labels)
        if not found:
            found = self._of_labels[labels] = (
                self.http_requests.labels(*labels),
                self.http_request_duration.labels(*labels[:2]),
            )
        found[0].inc()
        found[1].observe(seconds)


class DatabaseRole(Collector):
    """Which role new connections log in as: one series, that of the moment."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its value, so that it can be asked for by name."""
        return [InfoMetricFamily(*ROLE)]

    def collect(self) -> Iterable[Metric]:
        """Look for a newer generation, and return its role."""
        role = self._store.current()["DATABASE_USERNAME"].reveal()
        yield InfoMetricFamily(*ROLE, value={"role": role})


def _has_refused(store: SecretStore) -> bool:
    """Look for a newer generation, and tell whether it was not taken."""
    store.current()
    return store.refused is not None


def _last_end(file: Path) -> float:
    """Return the end of the authority in `file` that lasts longest, in Unix seconds, or 0."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except OSError:  # ssl.SSLError is one
        return 0
    ends = (str(found["notAfter"]) for found in context.get_ca_certs())
    return max(map(ssl.cert_time_to_seconds, ends), default=0)


def _end_of_first(file: Path) -> float:
    """Return the end of the first certificate in `file`, in Unix seconds, or 0."""
    try:
        # the one that is served; what may follow are those that signed it
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return 0
    return certificate.not_valid_after_utc.timestamp()
