"""A task's batches while they are under way.

In: Flyte's calls, and the state of the batches at OpenAI. Out: new batches, cancellations, and the phase of the task.

- `task_spec` reads what Flyte hands over; `metadata_encoding` and `legacy_metadata` read and write what Flyte keeps.
- `api` calls OpenAI, `batch_list` caches the list of an account's batches, and `snapshot` is the state of one batch.
- `plan` decides what to submit and to cancel, and `controller` does it. `submission` makes the request that creates a
  batch; `cancellation` and `cleanup` cancel and delete in the background.
- `batch_outcome` and `task_outcome` decide what the states mean, and `retry_policy` how long to retry and to back off.
- `poll_state` keeps for the next poll what this one has learnt; `poll_errors` handles a poll that failed.
- `flyte_resource` and `history` answer Flyte with the phase, links, metrics and logs.
"""
