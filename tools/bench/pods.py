"""A thousand pods that the keeper asks for their generation, as processes of this machine.

All pods are one process, each with an address of its own; who asks is another one, which has
nothing else in it, so that its memory can be measured. Linux alone has so many addresses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import IO, Any, cast

from keeper.pods import ANSWER_SECONDS

from .servers import ROOT

COUNT = 1000
SLOW, DEAD = 3, 7  # every tenth

SERVER = f"""
import asyncio, resource, sys

async def handle(reader, writer):
    number = int(writer.get_extra_info("sockname")[0].split(".")[2]) * 250
    number += int(writer.get_extra_info("sockname")[0].split(".")[3]) - 1
    try:
        await reader.readuntil(b"\\r\\n\\r\\n")
        if number % 10 == {SLOW}:
            await asyncio.sleep(60)
        writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
        writer.write(b'pod_info{{pod="shop-%d"}} 1.0\\n' % number)
        writer.write(b"secrets_generation %d.0\\n" % (1700000000 + number))
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()

async def main():
    port = 0
    for number in range({COUNT}):
        if number % 10 != {DEAD}:
            address = f"127.1.{{number // 250}}.{{number % 250 + 1}}"
            server = await asyncio.start_server(handle, address, port)
            port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
asyncio.run(main())
"""

ASKER = f"""
import json, pathlib, resource, sys, time
from keeper import pods
from keeper.plan import Service

# half of what a process usually has: it may not take one for each pod
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
pods.ANSWER_SECONDS = float(sys.argv[2])
pods._addresses = lambda host: [f"127.1.{{n // 250}}.{{n % 250 + 1}}" for n in range({COUNT})]

def waited():
    # seconds in line for a processor, which a busy machine adds
    try:
        return int(pathlib.Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:  # not Linux
        return 0

started, computed = time.monotonic() - waited(), time.process_time()
found = pods.Pods(Service("pods", int(sys.argv[1])), 0).look()
seconds = time.monotonic() - waited() - started
computed = time.process_time() - computed
# not getrusage: its peak is that of whoever started this process, too
status = pathlib.Path("/proc/self/status").read_text()
kilobytes = int(status.split("VmHWM:")[1].split()[0])
answers = [(pod.name, pod.generation, pod.problem) for pod in found]
figures = {{"seconds": seconds, "computed": computed, "megabytes": kilobytes / 1024}}
print(json.dumps({{**figures, "answers": answers}}))
"""


def ask_a_thousand(patience: float = ANSWER_SECONDS) -> tuple[dict[str, Any], str]:
    """Look at all of them once; return what was found and measured, and their port.

    :param patience: how long one of them may take, in seconds.
    """
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the slow ones are cut off at the end, and say so
        text=True,
    ) as server:
        stdin, stdout = cast(IO[str], server.stdin), cast(IO[str], server.stdout)
        port = stdout.readline().strip()
        asked = subprocess.run(
            [sys.executable, "-c", ASKER, port, str(patience)],
            cwd=ROOT,
            env={**os.environ, "PYTHONDEVMODE": ""},  # as in a cluster: it takes half as long again
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        stdin.close()
    return json.loads(asked.stdout), port
