"""Programs that go on until they are stopped, and what they are waited for."""

import subprocess
import time

from .adapters import Failed

# JVMs start slowly where there is little to run them on.
PATIENCE = 180


class Process:
    """A program that goes on until it is stopped."""

    def __init__(self, command, log, leaves_by_itself=False):
        self.leaves_by_itself = leaves_by_itself
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Its standard input ends, or it is asked to stop; a shutdown that hangs is a failure."""
        self.process.stdin.close()
        if not self.leaves_by_itself:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("it did not stop within 60 s") from None

    def expect_alive(self):
        if self.process.poll() is not None:
            raise Failed(f"it ended with {self.process.returncode}: see its log")


def wait_for(what, condition, process):
    deadline = time.monotonic() + PATIENCE
    while True:
        process.expect_alive()
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE} s")
        time.sleep(0.3)
