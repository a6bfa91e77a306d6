"""A world to test the connector in: OpenAI, some replicas of the connector, Flyte, and one time for all of them."""

import itertools
import re
import threading
import time
import urllib.request

from flytekitplugins.openai.batch.steps import BatchShardsTask
from flytekitplugins.openai.emulator import CallFault, Emulator
from tests.builders import (
    make_client,
    make_inputs,
    make_requests,
    make_shard_inputs,
    make_template,
    upload_with,
)
from tests.service.gate import Gate
from tests.service.propeller import Node, Propeller

MINUTE = 60
HOUR = 3600
CANCEL_FAILURES = "flyte_connector_openai_cancel_failures_total"
# Real seconds: how long a call is held back in which a replica is killed, and how long anything is waited for.
HOLD = 0.06
PATIENCE = 10


class World:
    """Everything runs for real, except that time passes only when it is told to.

    Args:
        nursery: Starts the replicas.
        replicas: How many there are.
        call_seconds: How long they wait for an answer, in real time; as long as usual by default.
        gated: Whether the way to OpenAI can be closed.
        environment: Further variables of the replicas.
    """

    def __init__(self, nursery, *, replicas=2, call_seconds=None, gated=False, environment=None):
        self._nursery = nursery
        self._call_seconds = call_seconds
        self._numbers = itertools.count()
        self._answered = []
        self.emulator = Emulator(on_call=self._answered.append, strict=False)
        self.emulator.start()
        self.gate = Gate(self.emulator.base_url) if gated else None
        self.client = make_client(self.emulator)
        self._environment = {
            "_FSEC_FLYTE_OPENAI_API_KEY": "sk-operator",
            "OPENAI_BASE_URL": self.gate.base_url if self.gate else self.emulator.base_url,
            **(environment or {}),
        }
        self.replicas = [self._start() for _ in range(replicas)]
        self._turns = itertools.cycle(range(replicas))
        self._asked = 0
        self._restarting = threading.Lock()
        self._traps = []
        self.begin()

    def begin(self):
        """Make OpenAI and Flyte as new, some hours later: the replicas go on, and may not miss batches of lately."""
        self._nursery.clock.advance(2 * HOUR)
        self.spare()
        for number, replica in enumerate(self.replicas):
            # A cancel that failed goes on in the background, and could use up a fault that is meant for something else.
            if _metric(replica.prometheus_port, CANCEL_FAILURES):
                self.restart(number)
        self.come_to_rest()
        if self.gate:
            self.gate.open()
            self.gate.forgetful = False
        self.kills = 0
        self.emulator.reset()
        self._answered.clear()
        self.emulator.freeze()
        self.emulator.advance(self._nursery.clock.ahead)
        self.propeller = Propeller(self.next_replica, self.emulator.now)

    def next_replica(self):
        """The replica whose turn it is, as a Kubernetes service chooses."""
        with self._restarting:
            self._asked = next(self._turns)
            return self.replicas[self._asked]

    def advance(self, seconds):
        self.emulator.advance(seconds)
        self._nursery.clock.advance(seconds)

    def restart(self, number):
        """Kill a replica, and start another in its place."""
        with self._restarting:
            self.kills += 1
            self.replicas[number].kill()
            self.replicas[number] = self._start()

    def _start(self):
        return self._nursery.start(self._environment, call_seconds=self._call_seconds)

    def kill_during(self, method, path, *, after_work):
        """Kill the replica that makes the next call of this kind, before or after OpenAI has done what it asks for."""
        fault = CallFault(method=method, path=path, delay=HOLD, after_work=after_work)
        self.emulator.order(fault)
        self._traps.append(Trap(fault, calls=self.emulator.calls, spring=lambda: self.restart(self._asked)))

    def spare(self):
        """Kill no replica any more that has not been killed by now."""
        while self._traps:
            self._traps.pop().remove()

    def come_to_rest(self):
        """Let OpenAI finish what it was asked for, however long ago its client went away."""
        self.wait_until(lambda: len(self._answered) >= len(self.emulator.calls))

    @staticmethod
    def wait_until(condition, *, seconds=PATIENCE):
        """Returns once something is so, or after so many real seconds."""
        ends_at = time.monotonic() + seconds
        while not condition() and time.monotonic() < ends_at:
            time.sleep(0.005)

    def node(self, requests=3, *, file_id=None, prefix=None, retries=0, timeout=None, **arguments):
        """A node that runs so many requests."""
        inputs = make_inputs(file_id or upload_with(self.client, make_requests(requests)))
        return self._node(make_template(**arguments), inputs, prefix=prefix, retries=retries, timeout=timeout)

    def sharded_node(self, shards, *, requests=3, retries=0, timeout=None, client=None, **arguments):
        """A node that runs so many files, of so many requests each; or the files with these contents."""
        contents = [make_requests(requests)] * shards if isinstance(shards, int) else shards
        file_ids = [upload_with(client or self.client, content) for content in contents]
        template = make_template(kind=BatchShardsTask, **arguments)
        inputs = make_shard_inputs(file_ids, sum(map(len, contents)))
        return self._node(template, inputs, retries=retries, timeout=timeout)

    def _node(self, template, inputs, *, prefix=None, **arguments):
        number = next(self._numbers)
        prefix = prefix or f"s3://bucket/metadata/project-development-f{number}/n0/data"
        return Node(template=template, inputs=inputs, prefix=prefix, **arguments)

    def run(self, node, *, seconds, every=30):
        """Let so much time pass, with a round of Flyte's now and then; ends early when the node does."""
        self.propeller.round(node)
        ends_at = self.emulator.now() + seconds
        while node.end is None and self.emulator.now() < ends_at:
            self.advance(every)
            self.propeller.round(node)

    def batches(self):
        """Every batch that OpenAI has, oldest first."""
        return sorted(self.client.batches.list(limit=100), key=lambda batch: (batch.created_at, batch.id))

    def statuses(self):
        return [batch.status for batch in self.batches()]

    def metric(self, name, *, reason):
        """The value of a counter, over all replicas."""
        return sum(_metric(replica.prometheus_port, f'{name}{{reason="{reason}"}}') for replica in self.replicas)

    def reasons(self, name):
        """The values of a counter of the replica that was asked last, by reason; those alone that it has."""
        lines = _metrics(self.replicas[self._asked].prometheus_port)
        found = (re.fullmatch(rf'{name}{{reason="(\w+)"}} ([\d.]+)', line) for line in lines)
        return {match[1]: float(match[2]) for match in found if match}

    def log(self):
        """What the replicas have logged, ever."""
        return self._nursery.log.read_text()

    def stop(self):
        self.begin()
        for replica in self.replicas:
            replica.kill()
        self.client.close()
        if self.gate:
            self.gate.close()
        self.emulator.stop()


def _metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        return page.read().decode().splitlines()


def _metric(port, series):
    return sum(float(line.rpartition(" ")[2]) for line in _metrics(port) if line.startswith(series))


class Trap(threading.Thread):
    """Waits for a call that a fault is meant for, and springs while the call is held back.

    Args:
        fault: The fault; it holds the call for a while.
        calls: The calls so far, to which new ones are added.
        spring: What is done then.
    """

    def __init__(self, fault, *, calls, spring):
        super().__init__(daemon=True)
        self._fault = fault
        self._calls = calls
        self._spring = spring
        self._seen = len(calls)
        self._removed = threading.Event()
        self.start()

    def run(self):
        while not self._removed.wait(0.002):
            while self._seen < len(self._calls):
                call = self._calls[self._seen]
                self._seen += 1
                if self._fault.matches(f"{call.method} {call.path}"):
                    time.sleep(HOLD / 3)
                    self._spring()
                    return

    def remove(self):
        """It has not sprung by now, or will not."""
        self._removed.set()
        self.join()
