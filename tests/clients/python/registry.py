"""A schema registry's election, as Karapace does it: a group of protocol type `sr` whose leader says who is the primary.

    registry.py BOOTSTRAP GROUP NAME    joins, prints the primary after each generation, until its standard input ends
"""

import json
import sys
import threading

from kafka import KafkaConsumer
from kafka.coordinator.base import BaseCoordinator


class Election(BaseCoordinator):
    def __init__(self, client, name, **config):
        super().__init__(client, **config)
        self.name = name

    def protocol_type(self):
        return "sr"

    def group_protocols(self):
        me = {"version": 2, "host": self.name, "port": 8081, "scheme": "http", "master_eligibility": True}
        return [("v0", json.dumps(me).encode())]

    def _perform_assignment(self, leader_id, protocol, members):
        # The first of the members by name.
        ids = {json.loads(bytes(member.metadata))["host"]: member.member_id for member in members}
        primary = min(ids)
        assignment = json.dumps({"error": 0, "master": ids[primary], "master_identity": {"host": primary}}).encode()
        return {member.member_id: assignment for member in members}

    async def _on_join_complete_async(self, generation, member_id, protocol, member_assignment_bytes):
        primary = json.loads(bytes(member_assignment_bytes))["master_identity"]["host"]
        print("primary", primary, flush=True)


def main(bootstrap, group, name):
    # Its connections are used, and nothing else of it.
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    election = Election(consumer._client, name, group_id=group, session_timeout_ms=10000, heartbeat_interval_ms=500,
                        api_version=consumer.config["api_version"])
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.wait(0.2):
        election.ensure_active_group(timeout_ms=1000)
        election.poll_heartbeat()
    election.close()
    consumer.close()


main(*sys.argv[1:])
