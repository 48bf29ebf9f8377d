"""Checks after a rotation: the old login is refused, and no pod was restarted."""

from __future__ import annotations

from secret_files import Secret

from .client import Cluster

#: The values of a Secret, by their keys.
Values = dict[str, Secret]

LOGIN = """
import psycopg
try:
    psycopg.connect(
        host="flask-app-database.flask-app.svc",
        dbname="flask_app", user={user!r}, password={password!r},
        sslmode="verify-full", sslrootcert="/etc/database-ca/ca.crt",
    ).close()
    print("let in")
except psycopg.OperationalError as error:
    print("refused" if "authentication failed" in str(error) else error)
"""


def login(cluster: Cluster, values: Values) -> str:
    """Try the pair from a pod of the service, and return what the database said."""
    user, password = (values[f"DATABASE_{name}"].reveal() for name in ("USERNAME", "PASSWORD"))
    return cluster.python(LOGIN.format(user=user, password=password)).strip()


def restarts(cluster: Cluster, *components: str) -> dict[str, int]:
    """Return how often each pod was started again; one that was replaced has another name."""
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for component in components
        for pod in cluster.objects("pods", f"app.kubernetes.io/component={component}")
    }
