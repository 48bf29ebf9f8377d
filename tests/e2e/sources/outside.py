"""Load from a pod beside the release: nothing of this machine leads to it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.sources import vault
from tools.cluster.client import ROOT, Cluster

STOP = "/tmp/stop"

#: What it consists of; the last one is there if the service names its resource.
FILES = ("tools/load.py", "tools/resource.py", "tests/e2e/resource.py")

#: Goes on until it is told to stop, and prints what became of it.
RUN = """
import sys, time
from pathlib import Path

for name, text in {files!r}.items():
    file = Path("/tmp/load", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
sys.path.insert(0, "/tmp/load")
from tools.load import BESIDE_OTHERS, Load

authorities = Path("/tmp/ca.crt")
authorities.write_text({authorities!r})
stop = Path({stop!r})
stop.unlink(missing_ok=True)
with Load(8443, authorities, {host!r}, pace=BESIDE_OTHERS) as load:
    print("begun", flush=True)
    while not stop.exists():
        time.sleep(0.1)
load.check()
"""


@contextmanager
def load(cluster: Cluster) -> Iterator[None]:
    """Let users do what they do, and see at the end that none of them noticed anything."""
    authorities = cluster.secret(f"{cluster.fullname}-tls")["ca.crt"].reveal()
    host = f"{cluster.fullname}.{cluster.namespace}.svc"
    files = {name: (ROOT / name).read_text() for name in FILES if (ROOT / name).exists()}
    program = RUN.format(files=files, authorities=authorities, stop=STOP, host=host)
    command = cluster.command("exec", "--stdin", vault.NAME, "--", "python", "-")
    with subprocess.Popen(
        command,
        env=cluster.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(program)
        process.stdin.close()
        try:
            assert process.stdout.readline() == "begun\n"
            yield
        finally:
            cluster.kubectl("exec", vault.NAME, "--", "touch", STOP)
            said = process.stdout.read()
    print(said)
    assert process.returncode == 0, said[-2000:]
