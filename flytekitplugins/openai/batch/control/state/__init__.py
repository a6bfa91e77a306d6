"""What is known of a task and its batches. Pure: nothing here connects, and nothing decides.

- `task_spec` is the desired state, `snapshot` the observed state of one batch, and `phase` what Flyte is told.
- `batch_list` caches an account's list of batches, and `list_order` their order on it.
- `poll_state` keeps what a process learns from one poll to the next.
- `metadata_encoding` encodes what Flyte keeps, and `legacy_metadata` reads what the published package wrote.
- `history` shows batches as Flyte's metrics and logs.
"""
