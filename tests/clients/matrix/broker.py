"""The broker that the matrix starts, when it is not given one."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.request

# Topics are made, never guessed; groups form at once; history leaves for the tier within seconds.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.check.interval.ms": "500",
    "tail.max.bytes": "65536",
    "tail.max.ms": "500",
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Broker:
    """An Esker with a directory store; its folder is deleted in the end."""

    def __init__(self, binary, log):
        self.folder = tempfile.TemporaryDirectory(prefix="esker-matrix-")
        port, admin = free_ports(2)
        self.bootstrap = f"127.0.0.1:{port}"
        folder = self.folder.name
        settings = {"listeners": f"PLAINTEXT://{self.bootstrap}", "admin.listeners": f"127.0.0.1:{admin}",
                    "log.dirs": f"{folder}/data", "store": f"file://{folder}/store", **SETTINGS}
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.process = subprocess.Popen([binary, "serve", *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=subprocess.STDOUT, cwd=folder, env=dict(os.environ))
        self.wait_until_ready(f"http://127.0.0.1:{admin}/readyz")

    def wait_until_ready(self, url):
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None:
                raise RuntimeError("the broker died: see broker.log")
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError("the broker is not ready after 60 s: see broker.log") from None
                time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()
