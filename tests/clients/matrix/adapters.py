"""A client under test: its adapter's process, spoken to by a line of JSON each way.

An adapter is a small program in the client's own language that does what it is asked and knows nothing of the features;
`features.py` asks. It says `{"client": NAME, "version": VERSION}` first, with `"timestamps": false` if its user cannot
choose a record's timestamp, `"empty": false` if it shows null where there are zero bytes, `"ordered": false` if it loses
the order between headers of different names, `"assignor": NAME` if it has none called range, and `"unheard": [FEATURE]`
for those whose errors it does not pass on. Then each request is `{"op": OP, ...}` and its answer `{"ok": VALUE}`,
`{"error": NAME, "message": TEXT}` with the client's own name for the error, `{"absent": REASON}` for what the client does
not offer, or `{"broken": TEXT}` for what can only be a slip of the adapter. Bytes are base64, or null.

    create     topic partitions configs
    describe   topic                          {"partitions": N, "configs": {KEY: VALUE} or null}
    configure  topic configs
    grow       topic partitions
    delete     topic
    produce    topic codec idempotent records [{partition or null, key, value, headers: [[name, value]], timestamp}]
                                              [[partition, offset]], in order; null where the client does not tell
    consume    topic from count reset         by assignment; from: {partition: offset}, records as below
    time       topic partition timestamp      the first offset at or after it, or null
    join       member group topic protocol assignor instance limit
                                              protocol is classic or consumer; limit: see kcat
    poll       member                         {"records": [...], "assigned": [partition], "lost": [partition]}; takes a
                                              moment; lost: what it was told to give up since the last poll, by clients
                                              that can give up a part
    commit     member offsets                 {partition: offset}
    leave      member                         a static member leaves without telling the group
    ancient    topic                          speaks versions of the protocol that no broker of today takes

A record that was read is `{partition, offset, timestamp, key, value, headers}`.
"""

import json
import queue
import subprocess
import threading


class Failed(Exception):
    """The feature does not work."""


class Absent(Exception):
    """The client does not offer it."""


class Refused(Exception):
    """The client reported an error: its name for it, and what it said."""

    def __init__(self, name, message):
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Adapter:
    """The process, started when it is first needed and again after it died or hung."""

    def __init__(self, command, bootstrap, log, environment=None):
        self.command = [str(part) for part in command] + [bootstrap]
        self.bootstrap = bootstrap
        self.log = log
        self.environment = environment
        self.process = None
        self.hello = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, env=self.environment)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        self.hello = self._answer(120)

    def _read(self, process, lines):
        for line in process.stdout:
            # A client that prints something of its own must not be taken for the adapter.
            if line.startswith("{"):
                lines.put(line)
            else:
                self.log.write(line)
                self.log.flush()
        lines.put(None)

    def _answer(self, limit):
        try:
            line = self.lines.get(timeout=limit)
        except queue.Empty:
            self.stop()
            raise Failed(f"no answer within {limit} s") from None
        if line is None:
            self.stop()
            raise Failed("the adapter died: see its log")
        return json.loads(line)

    def ensure(self):
        if self.process is None:
            self.start()

    def call(self, op, within=90, **arguments):
        self.ensure()
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self._answer(within)
        if "broken" in answer:
            raise Failed(f"the adapter is broken: {answer['broken']}")
        if "absent" in answer:
            raise Absent(answer["absent"])
        if "error" in answer:
            raise Refused(answer["error"], answer.get("message", ""))
        return answer["ok"]

    def stop(self):
        if self.process is None:
            return
        process, self.process = self.process, None
        try:
            process.stdin.close()
            process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
