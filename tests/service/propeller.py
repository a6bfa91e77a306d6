"""A stand-in for FlytePropeller, as far as a connector can tell the difference. Read in flyteorg/flyte v1.16.8.

a round         looks at every node once, and keeps what came of it only when nothing in it failed
CreateTask      at least once: again after a round whose state was lost, and for a new attempt
                any error of it is a user's failure: a new attempt while `retries` are left, at once
GetTask         an error counts, and no success ever takes it off: above five, the task fails if it never was
                polled well, and otherwise shows RUNNING for ever and is never polled again
DeleteTask      on abort, on a timeout, and after RETRYABLE_FAILED; never after FAILED, SUCCEEDED or a lost create
                an error of it fails the round; a workflow is killed after too many of those
"""

import enum
from dataclasses import dataclass, field

import grpc
from flyteidl.core.execution_pb2 import TaskExecution

from tests.builders import make_execution

# `plugins.connector-service.webApi.caching.maxSystemFailures`, by default.
MAX_POLL_FAILURES = 5
# `propeller.max-workflow-retries`, by default.
MAX_FAILED_ROUNDS = 50
TERMINAL = (TaskExecution.SUCCEEDED, TaskExecution.FAILED, TaskExecution.RETRYABLE_FAILED)


class End(enum.Enum):
    """How a node ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    # It shows RUNNING, and nobody will ever look at it again.
    FORGOTTEN = "forgotten"
    KILLED = "killed with its workflow"


@dataclass
class State:
    """What is written down about a node in Kubernetes: what a round begins with."""

    attempt: int = 0
    resource_meta: bytes | None = None
    started_at: float = 0.0
    poll_failures: int = 0
    polled_well: bool = False
    phase: int | None = None
    end: End | None = None
    message: str = ""


@dataclass
class Node:
    """A task node of a workflow.

    Args:
        template: The task.
        inputs: Its inputs.
        prefix: Where its outputs go; unique to the node.
        retries: How many attempts it has after the first.
        timeout: Seconds that an attempt may take.
    """

    template: object
    inputs: object
    prefix: str
    retries: int = 0
    timeout: float | None = None
    state: State = field(default_factory=State)
    failed_rounds: int = 0
    timeouts: int = 0
    outputs: object = None
    # (phase, message, links) as Flyte's console gets to see them: only when the phase changes.
    events: list = field(default_factory=list)

    @property
    def end(self):
        return self.state.end


class Propeller:
    """Drives nodes, one round after the other.

    Args:
        replica: Gives the service to send the next call to.
        now: Gives the time.
    """

    def __init__(self, replica, now):
        self._replica = replica
        self._now = now
        self._aborted = set()
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

    def abort(self, node):
        """End an execution from outside: what is under way is deleted in its next round."""
        self._aborted.add(id(node))

    def has_aborted(self, node):
        return id(node) in self._aborted

    def _evaluate(self, node):
        """One round of a node; returns whether its state is kept."""
        state = node.state
        if self.has_aborted(node):
            if state.resource_meta is not None:
                self._replica().delete(state.resource_meta)
            state.end = End.ABORTED
        elif state.resource_meta is None:
            return self._create(node)
        elif node.timeout is not None and self._now() - state.started_at > node.timeout:
            self._replica().delete(state.resource_meta)
            node.timeouts += 1
            self._next_attempt(node, "timed out")
        else:
            self._get(node)
        return True

    def _create(self, node):
        state = node.state
        prefix = f"{node.prefix}/{state.attempt}"
        try:
            resource_meta = self._replica().create(
                node.template, node.inputs, output_prefix=prefix, execution=make_execution(state.attempt)
            )
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
        state = node.state
        try:
            resource = self._replica().get(state.resource_meta)
        except grpc.RpcError as error:
            state.poll_failures += 1
            if state.poll_failures > MAX_POLL_FAILURES:
                state.end = End.FORGOTTEN if state.polled_well else End.FAILED
                state.message = error.details()
            return
        state.polled_well = True
        if resource.phase != state.phase:
            node.events.append((resource.phase, resource.message, [link.uri for link in resource.log_links]))
        state.phase = resource.phase
        if resource.phase == TaskExecution.SUCCEEDED:
            node.outputs = resource.outputs
            state.end = End.SUCCEEDED
        elif resource.phase == TaskExecution.FAILED:
            state.end, state.message = End.FAILED, resource.message
        elif resource.phase == TaskExecution.RETRYABLE_FAILED:
            self._replica().delete(state.resource_meta)
            self._next_attempt(node, resource.message)

    def _next_attempt(self, node, message):
        state = node.state
        state.message = message
        if state.attempt >= node.retries:
            state.end = End.FAILED
        else:
            node.state = State(
                attempt=state.attempt + 1,
                poll_failures=state.poll_failures,
                polled_well=state.polled_well,
                message=message,
            )
