"""The client for the kind cluster and for one release on it, with its administrator's rights."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlencode

from secret_files import Secret
from tools.poll import poll
from tools.problem import Problem
from tools.resource import READ

ROOT = Path(__file__).parents[2]

#: What `make deploy` installs, and where.
RELEASE = "flask-app"
NAMESPACE = "flask-app"

#: How long a program may take that answers soon, in seconds.
TIMEOUT = 60

SQL = """
import psycopg
with psycopg.connect(
    host={host!r}, dbname="flask_app", sslmode="verify-full",
    sslrootcert="/etc/database-ca/ca.crt", user={user!r}, password={password!r}, autocommit=True,
) as connection:
    for statement in {statements!r}:
        cursor = connection.execute(statement)
        if cursor.description:
            print(cursor.fetchone()[0])
"""

#: What Pod Security `restricted` asks of a container.
HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}

#: A shell's command for a container that does nothing; it ends when it gets SIGTERM.
WAIT = 'ulimit -c 0; trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'

#: How much of a stream is read at once, in bytes.
CHUNK = 1 << 20

SUSPENDED = '{"spec": {"suspend": true}}'

#: The path of each kind on the API server.
GROUPS = {
    **dict.fromkeys(("nodes", "pods", "secrets", "serviceaccounts", "services"), "api/v1"),
    **dict.fromkeys(("deployments", "replicasets", "statefulsets"), "apis/apps/v1"),
    **dict.fromkeys(("cronjobs", "jobs"), "apis/batch/v1"),
}


#: An object of Kubernetes, as JSON has it.
Object = dict[str, Any]


class CommandError(Problem, AssertionError):
    """A command failed, or the cluster is not as expected; the message says which and why."""


@dataclass(frozen=True)
class Cluster:
    """The cluster, as its administrator sees it, and the way to one release and its service."""

    name: str
    port: str
    namespace: str = NAMESPACE
    #: The first part of the names of the release's objects.
    fullname: str = RELEASE
    #: The folder of the project that made it.
    root: Path = ROOT

    @classmethod
    def from_environment(cls) -> Cluster:
        """Return the one that the variables CLUSTER and HTTPS_PORT name."""
        return cls(os.environ.get("CLUSTER") or "flask-app", os.environ.get("HTTPS_PORT", ""))

    @property
    def state(self) -> Path:
        """The folder with what belongs to this cluster."""
        return self.root / ".local" / "cluster" / self.name

    def environment(self) -> dict[str, str]:
        """Return the environment of a command that is about this cluster."""
        return {
            # a variable on the command line of `make e2e` is not for the make in here
            **{name: value for name, value in os.environ.items() if "MAKE" not in name},
            "KUBECONFIG": str(self.state / "kubeconfig"),
            "HELM_KUBECONTEXT": f"kind-{self.name}",
            "CLUSTER": self.name,
            "HTTPS_PORT": self.port,
        }

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command and return what it printed; its input and output are never shown.

        :raises CommandError: it failed, and `check` is set.
        """
        done = self.complete(*command, stdin=stdin)
        if check and done.returncode:
            raise CommandError(f"{command[0]} {command[1]} failed: {done.stderr[-2000:].strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def ask(self, *command: str, stdin: str = "") -> str:
        """Run a command that answers soon, and return what it printed.

        :raises CommandError: it failed, which the message says in one sentence, or took too long.
        """
        done = self.complete(*command, stdin=stdin, timeout=TIMEOUT)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
            raise CommandError(f"{command[0]} fails: {said}")
        return done.stdout

    def complete(
        self, *command: str, stdin: str = "", timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, also when Ctrl-C comes, which it has heard as well.

        :raises CommandError: it took longer than `timeout` seconds, and was killed.
        """
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=self.root,
            env=self.environment(),
        ) as process:
            try:
                output, errors = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise CommandError(f"{command[0]} does not end within {timeout} s.") from None
            except KeyboardInterrupt:
                # it may have something to undo, as helm has
                process.communicate()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def stream(self, *command: str, stdin: bytes = b"") -> Iterator[bytes]:
        """Run a command and iterate over what it prints, in chunks.

        :raises CommandError: it failed.
        """
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pipesize=CHUNK,
                cwd=self.root,
                env=self.environment(),
            ) as process,
        ):
            stdin_pipe, output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            try:
                # a command that ends early says why
                with suppress(BrokenPipeError):
                    stdin_pipe.write(stdin)
                    stdin_pipe.close()
                while chunk := output.read(CHUNK):
                    yield chunk
                ended = process.wait()
            finally:
                process.kill()
            if ended:
                errors.seek(0)
                raise CommandError(f"{command[0]} failed: {errors.read()[-2000:].decode().strip()}")

    def command(self, *arguments: str) -> list[str]:
        """Return a kubectl command for the release's namespace."""
        context = ("kubectl", "--context", f"kind-{self.name}", "--namespace", self.namespace)
        return [*context, *arguments]

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl in the release's namespace."""
        return self.run(*self.command(*arguments), stdin=stdin, check=check)

    def release_objects(self, kinds: str) -> list[Object]:
        """Return the release's objects of some kinds, as "pods,jobs", that stay.

        :raises CommandError: kubectl fails, which the message says in one sentence.
        """
        selector = f"app.kubernetes.io/instance={self.fullname}"
        command = self.command("get", kinds, "--selector", selector, "--output", "json")
        listed: list[Object] = json.loads(self.ask(*command))["items"]
        return [one for one in listed if "deletionTimestamp" not in one["metadata"]]

    def get(self, path: str) -> str:
        """Ask the API server for a path, without a process: what waits asks often.

        :raises CommandError: it answers with an error.
        """
        kubeconfig = self.state / "kubeconfig"
        client = api(kubeconfig, f"kind-{self.name}", kubeconfig.stat().st_mtime_ns)
        answer = client.rest_client.pool_manager.request("GET", client.configuration.host + path)
        text: str = answer.data.decode()
        if answer.status != 200:
            raise CommandError(f"GET {path} failed: {answer.status} {text[:2000]}")
        return text

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind in the namespace that stay."""
        where = "" if kind == "nodes" else f"namespaces/{self.namespace}/"
        query = "?" + urlencode({"labelSelector": selector}) if selector else ""
        found = json.loads(self.get(f"/{GROUPS[kind]}/{where}{kind}{query}"))["items"]
        return [item for item in found if "deletionTimestamp" not in item["metadata"]]

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the same.

        :raises CommandError: there is none.
        """
        items = self.items(kind, selector)
        if not items:
            raise CommandError(f"there is no {kind} {selector}")
        return items

    def secret(self, name: str) -> dict[str, Secret]:
        """Return the values of a Secret, by their keys."""
        data = json.loads(self.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}"))["data"]
        return {key: Secret(key, base64.b64decode(text).decode()) for key, text in data.items()}

    def change_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Write values into a Secret, as somebody does by hand."""
        data = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
        patch = ("patch", "secret", name, "--type", "merge", "--patch-file=/dev/stdin")
        self.kubectl(*patch, stdin=json.dumps({"data": data}))

    @property
    def control_plane(self) -> str:
        """The name of the container that is the cluster's node."""
        return f"{self.name}-control-plane"

    def node(self, *command: str, stdin: str = "") -> str:
        """Run a command on the cluster's node, as root."""
        return self.run(
            "docker", "exec", "--interactive", self.control_plane, *command, stdin=stdin
        )

    def node_stream(self, *command: str, stdin: bytes = b"") -> Iterator[bytes]:
        """Run a command on the node, and iterate over what it prints."""
        return self.stream(
            "docker", "exec", "--interactive", self.control_plane, *command, stdin=stdin
        )

    def node_file(self, name: str) -> Iterator[bytes]:
        """Iterate over a file of the node; one that has gone meanwhile is empty."""
        command = 'cat -- "$1" 2> /dev/null || [ ! -e "$1" ]'
        return self.node_stream("sh", "-c", command, "sh", name)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script in a pod of the service; what is secret goes into `script`."""
        command = (
            "exec",
            "--stdin",
            f"deployment/{self.fullname}",
            "--",
            "python",
            "-",
            *arguments,
        )
        return self.kubectl(*command, stdin=script)

    def pods(self, component: str) -> list[str]:
        """Return the names of the pods of a component."""
        selector = f"app.kubernetes.io/component={component}"
        return [pod["metadata"]["name"] for pod in self.objects("pods", selector)]

    def sql(self, *statements: str, login: Mapping[str, Secret] | None = None) -> str:
        """Run statements as the database's administrator; return the last one's first value.

        :param login: `username` and `password`; without it they are read.
        """
        login = login or self.secret(f"{self.fullname}-database-admin")
        return self.python(
            SQL.format(
                host=f"{self.fullname}-database.{self.namespace}.svc",
                user=login["username"].reveal(),
                password=login["password"].reveal(),
                statements=statements,
            )
        ).strip()

    @contextmanager
    def sync_frequency(self, value: str) -> Iterator[None]:
        """Give the kubelet another pace for a while; with 0s it has its default."""
        file = "/var/lib/kubelet/config.yaml"

        def change(value: str) -> None:
            self.node("sed", "-i", f"s/^syncFrequency:.*/syncFrequency: {value}/", file)
            self.node("systemctl", "restart", "kubelet")
            # until it knows its pods again
            pods = {*self.pods("service"), *self.pods("database")}

            def knows_all() -> bool:
                for pod in [*pods]:
                    if "here" in self.kubectl("exec", pod, "--", "echo", "here", check=False):
                        pods.remove(pod)
                return not pods

            poll(knows_all, lambda: f"the kubelet knows {', '.join(pods)} again", 60)

        before = self.node("sed", "-n", "s/^syncFrequency: //p", file).strip()
        change(value)
        try:
            yield
        finally:
            change(before)

    def wait_until_ready(self) -> None:
        """Wait for the pods, and for the node's network rules, which follow them."""
        for owner in ("statefulset/flask-app-database", "deployment/flask-app"):
            self.kubectl("rollout", "status", owner, "--timeout", "180s")

        def answers() -> bool:
            try:
                self.request(READ)
            except OSError:
                return False
            return True

        poll(answers, "an answer of the service", 30)

    def request(
        self, path: str, method: str = "GET", body: object = None, verify: bool = True
    ) -> Any:
        """Ask the service over HTTPS, trusting its own certificate authority alone."""
        trusted = str(self.state / "ca.crt") if verify else None
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=trusted)
        https = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        with https.open(request, timeout=10) as answer:
            text = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return json.loads(text) if is_json else text.decode()

    def metric(self, pod: str, name: str) -> float:
        """Return a metric of one pod, scraped through the API server.

        :raises CommandError: the pod does not answer, or has no such metric.
        """
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:9090/proxy/metrics"
        for line in self.get(path).splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise CommandError(f"{pod} has no metric {name}")


@cache
def api(kubeconfig: Path, context: str, modified: int) -> Any:
    """Return a client that keeps its connections, until the kubeconfig is another one."""
    # takes a second to load, and most commands ask with kubectl alone
    import kubernetes.config

    return kubernetes.config.new_client_from_config(  # type: ignore[no-untyped-call]
        str(kubeconfig), context=context
    )


@contextmanager
def created(cluster: Cluster, *objects: Object) -> Iterator[None]:
    """Create objects, and remove them at the end of the `with` statement."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    try:
        # `apply` would write all of it into an annotation as well
        cluster.kubectl("create", "--filename", "-", stdin=manifest)
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=manifest)


def made(api: str, kind: str, name: str, **content: Any) -> Object:
    """Return an object with a name, and with this content."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **content}


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[Cluster]:
    """Make a namespace like that of `make deploy`, and remove it with all that is in it.

    It takes a while until it has gone: that is waited for where it is made again.
    """
    manifest = (ROOT / "tools" / "cluster" / "namespace.yaml").read_text()
    named = manifest.replace("name: flask-app", f"name: {name}")
    gone = ("delete", "namespace", name, "--ignore-not-found")
    cluster.kubectl(*gone, "--wait")
    try:
        cluster.kubectl("apply", "--filename", "-", stdin=named)
        yield replace(cluster, namespace=name)
    finally:
        cluster.kubectl(*gone, "--wait=false")
