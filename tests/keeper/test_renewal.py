"""Certificates are renewed, and moved to a new authority, while pods and database serve them."""

from __future__ import annotations

import logging
import select
import shutil
import socket
import socketserver
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.core import management
from app.core.metrics import Metrics
from app.core.tls import ServerContext
from keeper import certificates, pods, renewal
from keeper.access import Access, DatabaseAccess
from keeper.certificates import CLOCK_SKEW, der, is_signed_by
from keeper.database import SSL_REQUEST, Login, Server
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.objects import NO_NOTES, StoredSecret
from keeper.plan import CERTIFICATES, Contradiction, Plan, Service
from keeper.pods import Pods, PodsBehind
from keeper.renewal import Certificates
from secret_files import Redactor
from tests.conftest import Database

AUTHORITY, TLS, DATABASE_TLS = SECRETS = ("ca", "tls", "database-tls")


class Killed(BaseException):
    """As SIGKILL does it: nothing handles it."""


class KilledAt(FolderSecrets):
    """Is killed instead of one of its patches, and is watched at the others."""

    def __init__(self, root: Path, number: int, watch: Callable[[], None]) -> None:
        super().__init__(root)
        self.left = number
        self.watch = watch

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        if not self.left:
            raise Killed
        self.left -= 1
        patched = super().patch(secret, data, notes)
        self.watch()
        return patched


class Listener:
    """A server in a thread."""

    def __init__(
        self, handler: type[socketserver.BaseRequestHandler], address: str, port: int
    ) -> None:
        self._server = socketserver.ThreadingTCPServer((address, port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.port = int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def tls_in_front_of(
    server: Server, connection: psycopg.Connection, folder: Path
) -> type[socketserver.BaseRequestHandler]:
    """Return what gives a PostgreSQL that was built without TLS the TLS of one that was.

    Of the certificate in `folder` it has, as PostgreSQL, the one of the last reload.
    """
    lock = threading.Lock()
    loaded: dict[object, ssl.SSLContext] = {}

    def context() -> ssl.SSLContext:
        with lock:
            when = connection.execute("SELECT pg_conf_load_time()").fetchone()
            if when not in loaded:
                loaded[when] = server_context(folder)
            return loaded[when]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if self.request.recv(8) != SSL_REQUEST:
                return
            self.request.sendall(b"S")
            with (
                suppress(OSError),
                context().wrap_socket(self.request, server_side=True) as encrypted,
                socket.socket(socket.AF_UNIX) as plain,
            ):
                plain.connect(f"{server.host}/.s.PGSQL.{server.port}")
                forward(encrypted, plain)

    return Handler


def forward(encrypted: ssl.SSLSocket, plain: socket.socket) -> None:
    """Pass on what comes from either side, until one ends."""
    while True:
        both: list[socket.socket] = [encrypted, plain]
        ready = [encrypted] if encrypted.pending() else select.select(both, [], [])[0]
        for one in ready:
            data = one.recv(65536)
            if not data:
                return
            both[both.index(one) - 1].sendall(data)


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


class Pod:
    """Serves TLS and metrics as a pod of the service does, from folders that follow or do not."""

    def __init__(self, root: Path, folder: Path, address: str, ports: tuple[int, int]) -> None:
        self.root = root
        self._folder = folder
        folder.mkdir()
        self.follow()
        context = ServerContext(folder / TLS)

        def build() -> ssl.SSLContext:
            return server_context(folder / TLS)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    suppress(OSError),
                    context.get(build).wrap_socket(self.request, server_side=True) as encrypted,
                ):
                    encrypted.recv(1)

        self._listener = Listener(Handler, address, ports[0])
        self.address = address
        self.port = self._listener.port
        metrics = Metrics()
        metrics.watch_authorities(self.authorities)
        self._management = management.start(address, ports[1], metrics.registry, {})
        self.metrics_port = int(self._management.server_address[1])

    @property
    def authorities(self) -> Path:
        """Return the file that the database is verified with."""
        return self._folder / DATABASE_TLS / "ca.crt"

    def follow(self) -> None:
        """Have what is in the Secrets from now on."""
        for name in (TLS, DATABASE_TLS):
            mounted = self._folder / name
            if mounted.is_dir() and not mounted.is_symlink():
                shutil.rmtree(mounted)
            mounted.unlink(missing_ok=True)
            mounted.symlink_to(self.root / name)

    def stay(self, *names: str) -> None:
        """Keep what is in Secrets now, as if the kubelet did not come."""
        for name in names:
            (self._folder / name).unlink()
            shutil.copytree(self.root / name, self._folder / name, symlinks=True)

    def certificate(self) -> bytes:
        """Return what it serves, in DER."""
        pem = ssl.get_server_certificate((self.address, self.port), timeout=5)
        return ssl.PEM_cert_to_DER_cert(pem)

    def stop(self) -> None:
        self._listener.stop()
        self._management.shutdown()
        self._management.server_close()


@dataclass(frozen=True)
class Release:
    """A database and two pods with what is in their Secrets."""

    root: Path
    plan: Plan
    administrator: Login
    pods: tuple[Pod, ...]

    @property
    def objects(self) -> FolderSecrets:
        return FolderSecrets(self.root)

    def text(self, name: str, key: str = "tls.crt") -> str:
        return self.objects.get(name).text(key)

    def versions(self) -> dict[str, str]:
        return {name: self.objects.get(name).version for name in SECRETS}

    def fill(self) -> None:
        """Fill the Secrets with certificates that are empty."""
        access = Access(self.objects, Redactor(), 0)
        Certificates(access, self.plan, Pods(None, 0)).fill()

    def run(self, **changes: Any) -> None:
        """Do what is due of the certificates."""
        self.work(self.objects, replace(self.plan, **changes))

    def rotate(self, new_authority: bool = False, **changes: Any) -> None:
        """Renew all certificates, due or not."""
        self.work(self.objects, replace(self.plan, **changes), True, new_authority)

    def work(
        self,
        objects: FolderSecrets,
        plan: Plan,
        asked_for: bool = False,
        new_authority: bool = False,
    ) -> None:
        Keeper(objects, plan, Redactor()).run([CERTIFICATES] if asked_for else [], new_authority)

    def reload(self) -> None:
        """Let the database serve what is in its Secret, whatever anybody trusts."""
        server = replace(self.plan.server, sslmode="require", database="postgres")
        with server.connect(self.administrator) as connection:
            connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 10
        while server.certificate() != der(self.text(DATABASE_TLS)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def is_verified(self) -> None:
        """See that every pod accepts the database's certificate."""
        address = (self.plan.server.host, self.plan.server.port)
        for pod in self.pods:
            context = ssl.create_default_context(cafile=pod.authorities)
            with socket.create_connection(address, timeout=5) as plain:
                plain.sendall(SSL_REQUEST)
                assert plain.recv(1) == b"S"
                context.wrap_socket(plain, server_hostname=address[0]).close()

    def is_consistent(self) -> None:
        """See that all of it is of the current authority, and served."""
        authority = self.text(AUTHORITY)
        for name in (TLS, DATABASE_TLS):
            assert is_signed_by(self.text(name), authority)
            assert self.text(name, "ca.crt") == self.text(AUTHORITY, "ca.crt")
        assert authority in self.text(AUTHORITY, "ca.crt")
        assert self.plan.server.certificate() == der(self.text(DATABASE_TLS))
        for pod in self.pods:
            assert pod.certificate() == der(self.text(TLS))
        self.is_verified()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pod, Pod]]:
    """Return two pods that mount what is in a folder."""
    root = tmp_path_factory.mktemp("release")
    first = Pod(root, root / "pod-1", "127.3.0.1", (0, 0))
    second = Pod(root, root / "pod-2", "127.3.0.2", (first.port, first.metrics_port))
    yield first, second
    first.stop()
    second.stop()


@pytest.fixture(scope="module")
def running(database: Database, pair: tuple[Pod, Pod]) -> Iterator[Release]:
    """Return a database of its own on the server, behind the TLS that its build does not have."""
    root = pair[0].root
    shutil.copytree(database.root / "admin", root / "admin", symlinks=True)
    plain = replace(database.server, database="renewal")
    plan = replace(
        database.plan,
        server=plain,
        authority_secret=AUTHORITY,
        certificates={TLS: ("localhost", "127.0.0.1"), DATABASE_TLS: ("127.0.0.1",)},
        service=Service("pods", metrics_port=pair[0].metrics_port, tls_port=pair[0].port),
        wait_seconds=10,
    )
    administrator = database.administrator
    Keeper(FolderSecrets(root), replace(plan, service=None), Redactor()).run()
    with closing(plain.connect(administrator, "postgres")) as connection:
        handler = tls_in_front_of(plain, connection, root / DATABASE_TLS)
        listener = Listener(handler, "127.0.0.1", 0)
        server = replace(plain, host="127.0.0.1", port=listener.port, sslmode="verify-full")
        plan = replace(plan, server=server, database_certificate=DATABASE_TLS)
        yield Release(root, plan, administrator, pair)
        listener.stop()
        connection.execute("DROP DATABASE renewal")
        connection.execute("DROP ROLE renewal_a, renewal_b, renewal_service")


@pytest.fixture
def release(running: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Return a release with new certificates, all of them served."""
    monkeypatch.setattr(pods, "_addresses", lambda host: [pod.address for pod in running.pods])
    monkeypatch.setattr(pods, "PAUSE", 0.02)
    monkeypatch.setattr(renewal, "PAUSE", 0.02)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in SECRETS:
        shutil.rmtree(running.root / name)
    running.fill()
    for pod in running.pods:
        pod.follow()
    running.reload()
    return running


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if hasattr(record, "step")]


def test_what_is_not_due_stays(release: Release) -> None:
    before = release.versions()
    release.run()
    assert release.versions() == before
    release.is_consistent()


def test_is_renewed_when_asked_for_and_served_by_all(
    release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    before = release.versions()
    served = [release.plan.server.certificate(), *(pod.certificate() for pod in release.pods)]
    with caplog.at_level(logging.INFO):
        release.rotate()
    assert release.versions()[AUTHORITY] == before[AUTHORITY]
    release.is_consistent()
    after = [release.plan.server.certificate(), *(pod.certificate() for pod in release.pods)]
    assert not set(served) & set(after)
    seen = next(r for r in caplog.records if r.getMessage() == "certificate seen")
    assert vars(seen)["pods"] == 2
    assert "database certificate seen" in steps(caplog)


@pytest.mark.parametrize("due", [TLS, DATABASE_TLS])
def test_the_one_that_is_due_is_renewed(
    release: Release, monkeypatch: pytest.MonkeyPatch, due: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "CERTIFICATE_LIFETIME", CLOCK_SKEW * 0.4)
        (release.root / due / "..data" / "tls.crt").unlink()  # to be filled
        release.fill()
    release.reload()
    before = release.versions()
    release.run()
    changed = {name for name, version in release.versions().items() if version != before[name]}
    assert changed == {due}
    release.is_consistent()


def test_what_a_killed_keeper_renewed_is_loaded_by_the_next(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(database: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(renewal, "_reload", killed)
        with pytest.raises(Killed):
            release.rotate()
    renewed = release.versions()
    assert release.plan.server.certificate() != der(release.text(DATABASE_TLS))
    release.run()
    assert release.versions() == renewed
    release.is_consistent()


def test_a_pod_that_keeps_the_old_certificate_is_named(release: Release) -> None:
    release.pods[1].stay(TLS)
    with pytest.raises(PodsBehind) as caught:
        release.rotate(wait_seconds=0.5)
    assert str(caught.value) == (
        "not every pod has the certificate in tls after 0.5 s: 127.3.0.2 serves another certificate"
    )


def test_a_database_that_keeps_the_old_certificate_is_told(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_reload", lambda database: None)
    with pytest.raises(PodsBehind, match="the database does not serve the certificate in database"):
        release.rotate(wait_seconds=0.5)


def test_the_database_moves_to_a_new_authority_once_every_pod_trusts_it(release: Release) -> None:
    old = {name: release.text(name) for name in SECRETS}
    behind = release.pods[1]
    behind.stay(DATABASE_TLS)
    with pytest.raises(PodsBehind) as caught:
        release.rotate(new_authority=True, wait_seconds=0.5)
    assert str(caught.value) == (
        "not every pod has the new certificate authority after 0.5 s: "
        f"{socket.gethostname()} (127.3.0.2) does not trust it"
    )
    new = release.text(AUTHORITY)
    assert new != old[AUTHORITY]
    for name in SECRETS:
        assert release.text(name, "ca.crt") == new + old[AUTHORITY]
    assert release.text(DATABASE_TLS) == old[DATABASE_TLS]
    assert release.plan.server.certificate() == der(old[DATABASE_TLS])
    release.is_verified()
    # asked again, it goes on with that one: a third would have nobody to wait for
    with pytest.raises(PodsBehind):
        release.rotate(new_authority=True, wait_seconds=0.5)
    assert release.text(AUTHORITY) == new
    behind.follow()
    release.run()
    assert release.text(AUTHORITY) == new
    assert release.text(DATABASE_TLS) != old[DATABASE_TLS]
    release.is_consistent()


def test_the_old_authority_is_dropped_after_a_session_lifetime_and_not_before(
    release: Release,
) -> None:
    old = release.text(AUTHORITY)
    release.rotate(new_authority=True)
    new = release.text(AUTHORITY)
    for age, trusted in ((3570, new + old), (3600, new)):
        made = {"made": str(int(time.time()) - age)}
        release.objects.patch(release.objects.get(AUTHORITY), {}, made)
        release.run(session_lifetime=3600)
        for name in SECRETS:
            assert release.text(name, "ca.crt") == trusted
        release.is_consistent()


def test_a_second_new_authority_takes_no_trust_away(release: Release) -> None:
    trusted = release.text(AUTHORITY)
    for _ in range(2):
        release.rotate(new_authority=True)
        trusted = release.text(AUTHORITY) + trusted
        assert release.text(TLS, "ca.crt") == trusted
    release.is_consistent()


def test_an_authority_that_is_due_is_replaced(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = release.text(AUTHORITY)
    monkeypatch.setattr(renewal, "is_due", lambda certificate: certificate == old)
    release.run()
    assert release.text(AUTHORITY) != old
    release.is_consistent()


def test_an_authority_with_a_longer_life_is_replaced_by_one_that_is_seen(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "AUTHORITY_LIFETIME", timedelta(days=1000))
    release.rotate(new_authority=True)
    release.is_consistent()


def test_a_lost_authority_is_trusted_until_its_certificates_are_replaced(release: Release) -> None:
    """What the keeper itself advises, when the authority's Secret holds something else."""
    old = release.text(AUTHORITY)
    shutil.rmtree(release.root / AUTHORITY)
    objects = KilledAt(release.root, 99, release.is_verified)
    release.work(objects, release.plan)
    assert release.text(AUTHORITY) != old
    assert release.text(TLS, "ca.crt") == release.text(AUTHORITY) + old
    release.is_consistent()


def test_with_a_database_of_ones_own_no_pod_is_asked_whom_it_trusts(release: Release) -> None:
    """They verify it with what its owner gave, which no authority of the keeper's gets into."""
    for pod in release.pods:
        pod.stay(DATABASE_TLS)
    old = release.text(DATABASE_TLS, "ca.crt")
    (release.root / "theirs").write_text(old)
    release.rotate(
        new_authority=True,
        certificates={TLS: release.plan.certificates[TLS]},
        database_certificate="",
        server=replace(release.plan.server, sslrootcert=str(release.root / "theirs")),
    )
    assert is_signed_by(release.text(TLS), release.text(AUTHORITY))
    assert [pod.certificate() for pod in release.pods] == [der(release.text(TLS))] * 2


def test_a_keeper_that_is_killed_at_any_patch_is_finished_by_the_next(release: Release) -> None:
    at_once = replace(release.plan, session_lifetime=0)
    number, is_done = 0, False
    while not is_done:
        objects = KilledAt(release.root, number, release.is_verified)
        try:
            release.work(objects, at_once, True, True)
            is_done = True
        except Killed:
            release.is_verified()
        release.work(KilledAt(release.root, 99, release.is_verified), at_once)
        release.is_consistent()
        for name in SECRETS:
            assert release.text(name, "ca.crt") == release.text(AUTHORITY)
        number += 1
    # the authority, two that trust both, two of the new one, three that trust it alone
    assert number == 9


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (AUTHORITY, "tls.crt"),
        (AUTHORITY, "tls.key"),
        (AUTHORITY, "ca.crt"),
        (TLS, "tls.crt"),
        (DATABASE_TLS, "tls.crt"),
    ],
)
def test_a_secret_with_something_else_is_told_in_a_sentence(
    release: Release, name: str, key: str
) -> None:
    others = {one: release.objects.get(one).version for one in SECRETS if one != name}
    release.objects.patch(release.objects.get(name), {key: "something else"})
    with pytest.raises(Contradiction) as caught:
        release.rotate()
    assert str(caught.value) == (
        f"the Secret {name} holds something else than a certificate: empty it, and it is filled "
        "anew"
    )
    assert {one: release.objects.get(one).version for one in others} == others


def test_a_certificate_of_somebody_else_is_replaced(release: Release) -> None:
    other = certificates.new_authority("somebody-else")
    pair = certificates.new_certificate(other, release.plan.certificates[TLS])
    data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": other.certificate}
    release.objects.patch(release.objects.get(TLS), data)
    release.run()
    release.is_consistent()


def with_clock_ahead(ahead: timedelta) -> type[datetime]:
    """Return a `datetime` whose clock is ahead, or behind."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls.fromtimestamp((datetime.now(tz) + ahead).timestamp(), tz)

    return Clock


@pytest.mark.parametrize(
    ("emptied", "ahead"),
    [
        ([DATABASE_TLS], timedelta(minutes=10)),
        ([DATABASE_TLS, TLS], timedelta(days=400)),
        (SECRETS, timedelta(days=40 * 365)),
        ([DATABASE_TLS, TLS], timedelta(days=-400)),
    ],
)
def test_what_is_not_valid_now_is_renewed_and_served_though_the_keeper_can_not_verify_it(
    release: Release,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    emptied: Iterable[str],
    ahead: timedelta,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "datetime", with_clock_ahead(ahead))
        for name in emptied:
            (release.root / name / "..data" / "tls.crt").unlink()
        release.fill()
    release.reload()
    caplog.clear()
    before = release.versions()
    server = replace(release.plan.server, sslrootcert=str(release.pods[0].authorities))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        server.connect(release.administrator)
    # this PostgreSQL has no TLS of its own, and so no channel to bind to
    bound = Server.bound
    monkeypatch.setattr(
        Server, "bound", lambda self: replace(bound(self), channel_binding="prefer")
    )
    release.run()
    changed = {name for name, version in release.versions().items() if version != before[name]}
    # a new authority is trusted by all
    assert changed == ({*emptied} if AUTHORITY not in emptied else {*SECRETS})
    warned = [
        one.getMessage()
        for one in caplog.records
        if (one.name, one.levelname) == ("keeper", "WARNING")
    ]
    assert warned == [
        *(
            f"the certificate in {name} is not valid now: it has ended, or a clock was wrong"
            for name in SECRETS
            if name in emptied
        ),
        "the database serves a certificate that is not valid now",
    ]
    release.is_consistent()
    version = release.versions()
    release.run()
    assert release.versions() == version


def test_a_server_that_is_not_verified_must_bind_the_channel(release: Release) -> None:
    """Somebody in between, as here the TLS in front of the database, is not believed."""
    access = Access(release.objects, Redactor(), 0)
    database = DatabaseAccess(access, release.plan, release.administrator)
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        renewal._reload_bound(database)


def test_a_time_of_the_future_does_not_keep_an_old_authority_trusted(
    release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    release.rotate(new_authority=True)
    new = release.text(AUTHORITY)
    ahead = {"made": str(int(time.time()) + 400)}
    release.objects.patch(release.objects.get(AUTHORITY), {}, ahead)
    release.run(session_lifetime=0)
    assert release.text(TLS, "ca.crt") != new
    assert abs(int(release.objects.get(AUTHORITY).notes["made"]) - time.time()) < 60
    assert "has a time in the future" in caplog.text
    release.run(session_lifetime=0)
    assert release.text(TLS, "ca.crt") == new
    release.is_consistent()
