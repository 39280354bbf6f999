"""Runs cells: clients through features, tools and frameworks through their own, against one broker at a time."""

import contextlib
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import features, wire
from .absent import checked
from .adapters import Absent, Adapter, Failed
from .case import Case, record
from .clients import STEWARD, Client
from .cluster_tools import CLUSTER_TOOLS
from .frameworks import FRAMEWORKS
from .group_tools import GROUP_TOOLS
from .report import Cell
from .tools import TOOLS, VERSION, Tools

# Java's virtual machines are heavy: one client in Java, or one row of tools, at a time.
JAVA = threading.Lock()
PROGRAMS = {"kafka-tools": {**TOOLS, **GROUP_TOOLS, **CLUSTER_TOOLS}, "frameworks": FRAMEWORKS}


@dataclass
class Target:
    """A broker, and where what is said about it goes."""

    label: str
    bootstrap: str
    installed: Path
    logs: Path
    # Starts a second broker, for what mirrors one to another.
    another: Callable
    # What all topics of this run begin with.
    stamp: str = ""

    def __post_init__(self):
        self.stamp = f"m{int(time.time())}"

    def log(self, name):
        return open(self.logs / f"{self.label}-{name}.log", "w")

    def steward(self, log):
        return Adapter(STEWARD.command(self.installed), self.bootstrap, log)

    def say(self, cell, seconds):
        print(f"{self.label}: {cell.client:16} {cell.feature:26} {cell.outcome:6} {seconds:5.1f} s  {cell.remark}", flush=True)


def judged(client, feature, cell, prefix, log):
    """A cell, and how long it took. Whatever it raises is its failure, a slip of our own as well."""
    log.write(f"== {feature}\n")
    log.flush()
    started = time.monotonic()
    try:
        outcome, remark = "pass", cell() or ""
    except Absent as absent:
        outcome, remark = "absent", str(absent)
    except Failed as failed:
        outcome, remark = "fail", str(failed)
    except Exception as failed:
        log.write(traceback.format_exc())
        outcome, remark = "fail", f"{type(failed).__name__}: {failed}"
    outcome, remark = checked(client, feature, outcome, remark)
    remark = " ".join(remark.replace(prefix, "").replace("|", "/").split())[:300]
    return Cell(client, feature, outcome, remark), time.monotonic() - started


def prepare_tier(target):
    """A topic of all codecs, most of it in the tier only."""
    topic = f"{target.stamp}-tiered"
    with target.log("tier") as log:
        steward = target.steward(log)
        configs = {"segment.bytes": "1048576", "local.retention.bytes": "1048576", "remote.storage.enable": "true"}
        steward.call("create", topic=topic, partitions=1, configs=configs)
        for start in range(0, features.TIERED_RECORDS, 200):
            records = [record(features.tiered_value(number)) for number in range(start, start + 200)]
            codec = wire.CODECS[start // 200 % len(wire.CODECS)]
            steward.call("produce", topic=topic, codec=codec, idempotent=False, records=records)
        deadline = time.monotonic() + 60
        while wire.earliest_local(target.bootstrap, topic, 0) == 0:
            if time.monotonic() > deadline:
                raise Failed("nothing left the broker's disk within 60 s")
            time.sleep(0.5)
        steward.stop()


def run_client(target, client, wanted):
    """All wanted cells of one client, and its version."""
    cells = []
    with target.log(client.name) as log, target.log(f"{client.name}-steward") as other:
        steward = target.steward(other)
        adapter = Adapter(client.command(target.installed), target.bootstrap, log)
        for name, function in features.FEATURES.items():
            if wanted not in name:
                continue
            prefix = f"{target.stamp}-{client.name}"
            case = Case(client.name, adapter, steward, f"{prefix}-{name}", f"{target.stamp}-tiered")

            def cell(function=function, case=case):
                adapter.ensure()
                remark = function(case)
                case.close()
                return remark

            found, seconds = judged(client.name, name, cell, prefix, log)
            case.abandon()
            cells.append(found)
            target.say(found, seconds)
        adapter.stop()
        steward.stop()
    return cells, (adapter.hello or {"version": "did not start"})["version"]


def run_programs(target, client, wanted):
    """All wanted cells of Kafka's tools, or of the frameworks: each starts programs of its own."""
    cells = []
    with target.log(client.name) as log, tempfile.TemporaryDirectory(prefix="esker-matrix-") as folder:
        prefix = f"{target.stamp}-{client.name}"
        tools = Tools(target.installed, target.bootstrap, prefix, Path(folder), log, target.another)
        for name, function in PROGRAMS[client.name].items():
            if wanted not in name:
                continue
            found, seconds = judged(client.name, name, lambda function=function: function(tools), prefix, log)
            cells.append(found)
            target.say(found, seconds)
    return cells, VERSION


def run_all(target, chosen: list[Client], wanted, jobs):
    """All cells against one broker, a few clients at once, since they wait more than they work; and all versions."""
    if wanted in "consume-tiered":
        prepare_tier(target)

    def run(client):
        with JAVA if client.is_java else contextlib.nullcontext():
            return (run_programs if client.name in PROGRAMS else run_client)(target, client, wanted)

    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip([client.name for client in chosen], pool.map(run, chosen)))
    cells = [cell for found, _ in results.values() for cell in found]
    return cells, {name: version for name, (_, version) in results.items()}
