"""A stand-in for FlytePropeller, as far as a connector can tell the difference. Seen in flyteorg/flyte v1.16.8.

a round         looks at every node once, and keeps what came of it only when nothing in it failed
CreateTask      at least once: again after a round whose state was lost, and for a new attempt
                any error of it is a user's failure: a new attempt while `retries` are left, at once
GetTask         an error counts, and no success ever takes it off: above five, the task fails if its attempt never was
                polled well, and otherwise shows RUNNING and is polled no more
                the count is of one attempt, and in memory: a propeller that is restarted begins again
DeleteTask      on abort, on a timeout, and after RETRYABLE_FAILED when another attempt follows; never after FAILED,
                SUCCEEDED or a lost create
                an error of it fails the round; a workflow is killed after too many of those
events          one for each phase of an attempt: a phase that comes again is not sent to the console again
away            while no connector answers, calls fail; gRPC backs off, so that they go on to fail for a while after
                with `waitForReady` a call waits for as long as it has instead
"""

import enum
from dataclasses import dataclass, field

import grpc
from flyteidl.core.execution_pb2 import TaskExecution

from tests.builders import make_execution

# `plugins.connector-service.webApi.caching.maxSystemFailures`, by default.
MAX_POLL_FAILURES = 5
# `propeller.max-workflow-retries`, by default.
MAX_FAILED_ROUNDS = 10
# Of a call, in seconds.
DEADLINE = 10
# How long gRPC may wait from one attempt to connect to the next, in seconds.
LONGEST_BACKOFF = 120
# The console shows the message of these alone.
TELLING = (
    TaskExecution.QUEUED,
    TaskExecution.WAITING_FOR_RESOURCES,
    TaskExecution.INITIALIZING,
    TaskExecution.FAILED,
    TaskExecution.RETRYABLE_FAILED,
)


class End(enum.Enum):
    """How a node ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    KILLED = "killed with its workflow"


class ConnectorAwayError(grpc.RpcError):
    """No process listens at the connector's address."""

    def details(self):
        return "connection refused"


@dataclass
class State:
    """The stored state of a node in Kubernetes, with which a round begins."""

    attempt: int = 0
    resource_meta: bytes | None = None
    started_at: float = 0.0
    end: End | None = None
    message: str = ""


@dataclass
class Polls:
    """What a propeller remembers of the polls of an attempt, until it is restarted."""

    failures: int = 0
    were_good: bool = False

    @property
    def are_over(self):
        return self.failures > MAX_POLL_FAILURES


@dataclass(frozen=True)
class Event:
    """What the console is sent of a phase; the links and the message are those of the phase's first answer."""

    attempt: int
    phase: int
    message: str
    links: tuple


@dataclass
class Node:
    """A task node of a workflow.

    Args:
        template: The task.
        inputs: Its inputs.
        prefix: Where its outputs go; unique to the node.
        retries: How many attempts it has after the first.
        timeout: Seconds that an attempt may take.
        project: The Flyte project that its execution belongs to.
        domain: The domain of it.
    """

    template: object
    inputs: object
    prefix: str
    retries: int = 0
    timeout: float | None = None
    project: str = "project"
    domain: str = "development"
    state: State = field(default_factory=State)
    failed_rounds: int = 0
    # Of its whole life.
    failed_polls: int = 0
    deletions: int = 0
    timeouts: int = 0
    outputs: object = None
    events: list = field(default_factory=list)

    @property
    def end(self):
        return self.state.end

    @property
    def phases(self):
        """Those that the console was sent, in order."""
        return [event.phase for event in self.events]

    @property
    def console(self):
        """What the console shows: a phase, and its message if it is one that has its message shown."""
        last = self.events[-1]
        return last.phase, last.message if last.phase in TELLING else ""


class Propeller:
    """Drives nodes, one round after the other.

    Args:
        replica: Gives the service to send the next call to.
        now: Gives the time.

    Attributes:
        wait_for_ready: What `defaultServiceConfig` says of it.
    """

    def __init__(self, replica, now):
        self._replica = replica
        self._now = now
        self._aborted = set()
        self._polls = {}
        self._away_until = self._backs_off_until = 0.0
        self.wait_for_ready = False
        # What befalls the next round that creates a task.
        self.lose_states = 0
        self.lose_replies = 0

    def round(self, node):
        """Look at a node once."""
        if node.end is not None:
            return
        before = State(**vars(node.state))
        try:
            keeps = self._evaluate(node)
        except grpc.RpcError:
            # Only an error of DeleteTask comes as far as this. Nothing of the round is kept.
            node.state = before
            node.failed_rounds += 1
            if node.failed_rounds > MAX_FAILED_ROUNDS:
                node.state.end = End.KILLED
        else:
            if not keeps:
                node.state = before

    def restart(self):
        """Everything held only in memory is lost."""
        self._polls.clear()

    def lose_connector(self, seconds):
        """No connector answers for so long; and then, gRPC does not look at once."""
        self._away_until = self._now() + seconds
        self._backs_off_until = self._away_until + min(seconds, LONGEST_BACKOFF)

    def abort(self, node):
        """Abort an execution: its running nodes are deleted in the next round."""
        self._aborted.add(id(node))

    def has_aborted(self, node):
        return id(node) in self._aborted

    def is_polled(self, node):
        """Whether it is, or whether it shows RUNNING and is left alone."""
        return not self._polls_of(node).are_over

    def _polls_of(self, node):
        return self._polls.setdefault((id(node), node.state.attempt), Polls())

    def _call(self):
        """The service to send a call to, if one is there within the call's time."""
        now = self._now()
        blocked_until = self._away_until - DEADLINE if self.wait_for_ready else self._backs_off_until
        if now < blocked_until:
            raise ConnectorAwayError
        return self._replica()

    def _evaluate(self, node):
        """One round of a node; returns whether its state is kept."""
        state = node.state
        if self.has_aborted(node):
            if state.resource_meta is not None:
                self._delete(node)
            state.end = End.ABORTED
        elif state.resource_meta is None:
            return self._create(node)
        elif node.timeout is not None and self._now() - state.started_at > node.timeout:
            self._delete(node)
            node.timeouts += 1
            self._next_attempt(node, "timed out")
        elif self.is_polled(node):
            self._get(node)
        return True

    def _create(self, node):
        state = node.state
        prefix = f"{node.prefix}/{state.attempt}"
        try:
            execution = make_execution(state.attempt, project=node.project, domain=node.domain)
            resource_meta = self._call().create(node.template, node.inputs, output_prefix=prefix, execution=execution)
        except grpc.RpcError as error:
            self._next_attempt(node, error.details())
            return True
        if self.lose_replies:
            self.lose_replies -= 1
            self._next_attempt(node, "the reply was lost")
            return True
        state.resource_meta, state.started_at = resource_meta, self._now()
        if self.lose_states:
            self.lose_states -= 1
            return False
        return True

    def _get(self, node):
        state, polls = node.state, self._polls_of(node)
        try:
            resource = self._call().get(state.resource_meta)
        except grpc.RpcError as error:
            polls.failures += 1
            node.failed_polls += 1
            if polls.are_over and not polls.were_good:
                # Nobody deletes what it made.
                state.end, state.message = End.FAILED, error.details()
            return
        polls.were_good = True
        self._send(node, resource)
        if resource.phase == TaskExecution.SUCCEEDED:
            node.outputs = resource.outputs
            state.end = End.SUCCEEDED
        elif resource.phase == TaskExecution.FAILED:
            state.end, state.message = End.FAILED, resource.message
        elif resource.phase == TaskExecution.RETRYABLE_FAILED:
            if state.attempt < node.retries:
                self._delete(node)
            self._next_attempt(node, resource.message)

    def _send(self, node, resource):
        attempt = node.state.attempt
        if (attempt, resource.phase) not in {(event.attempt, event.phase) for event in node.events}:
            links = tuple(link.uri for link in resource.log_links)
            node.events.append(Event(attempt, resource.phase, resource.message, links))

    def _delete(self, node):
        self._call().delete(node.state.resource_meta)
        node.deletions += 1

    def _next_attempt(self, node, message):
        state = node.state
        state.message = message
        if state.attempt >= node.retries:
            state.end = End.FAILED
        else:
            node.state = State(attempt=state.attempt + 1, message=message)
