"""What the Python adapters share: requests in, answers out. `matrix/adapters.py` says what each request means."""

import base64
import json
import sys
import traceback

# What no client has its users meet: a slip of the adapter.
SLIPS = (AttributeError, IndexError, KeyError, NameError, TypeError)


class Absent(Exception):
    """The client does not offer this."""


class Told(Exception):
    """An error with the client's own name for it."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def headers_of(record):
    return [(name, decode(data)) for name, data in record["headers"]]


def read(partition, offset, timestamp, key, value, headers):
    """A record that was read, for an answer."""
    shown = [[name, encode(data)] for name, data in headers or []]
    return {"partition": partition, "offset": offset, "timestamp": timestamp, "key": encode(key),
            "value": encode(value), "headers": shown}


def serve(client, version, adapter, **abilities):
    """Answers requests until there are none left. `abilities`: what is said of the client besides its name."""
    def say(answer):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    say({"client": client, "version": version, **abilities})
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(adapter, request.pop("op"), None)
        try:
            if operation is None:
                raise Absent("the client has no such function")
            say({"ok": operation(**request)})
        except Absent as absent:
            say({"absent": str(absent)})
        except Told as told:
            say({"error": told.name, "message": str(told)})
        except SLIPS as slip:
            traceback.print_exc()
            say({"broken": f"{type(slip).__name__}: {slip}"})
        except Exception as error:
            say({"error": type(error).__name__, "message": str(error)})
