"""What to do about a task's batches, and what they mean. Pure functions of the state and the time.

- `shard_plan` decides for one file, and `task_plan` for all of a task's, what to submit, adopt, cancel and wait for.
- `retry_policy` decides which failures are worth a retry, how often, and after how long.
- `batch_phase` and `task_phase` map the state of one batch and of all batches to a phase, with its message.
- `poll_source` decides whether a page of the list answers a poll, or a look-up.
- `unreachable` decides how long a task goes on while OpenAI cannot be reached.
- `creation_body` makes the body of the request that creates a batch.
"""
