"""A task's batches while they are under way.

In: Flyte's calls, and the state of the batches at OpenAI. Out: new batches, cancellations, and the phase of the task.

- `read_task` reads what a task asks for from Flyte's call, and `flyte_resource` answers Flyte.
- `task_controller` submits, polls and cancels within one call's time, and tolerates failed polls.
- `task_call` is what such a call works with. `observer` retrieves and lists the task's batches, `reconciler` submits
  and cancels what its plan says, and `batches_api` makes the calls to OpenAI.
- `shared_view` answers the polls of many batches with the same pages of the list.
- `cancellation` and `cleanup` cancel and delete in the background; `failure_log` logs and counts what failed.
- `policy/` decides, and `state/` holds what is known. Both are pure, and `state/` does not import `policy/`.
"""
