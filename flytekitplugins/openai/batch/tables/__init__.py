"""A table in, a table out: functions from columns to a prompt, as nodes of a workflow.

In: a function of the user's, and a table of any kind that Flyte knows. Out: the same table with the answers as columns.
Between the two runs a workflow of `create_batch`: this room adds no other way to submit, to join or to count.

- `decorators` has `batch_prompt` and `batch_embedding`, and `row_workflow` the workflow that they make.
- `tasks` has its first and its last step, which run in the user's image.
- `parameters` checks the columns against the parameters of the function, and `prompts` makes a request of a row.
- `answers` makes the new columns of the results.
- `storage` reads and writes tables in record batches.
"""
