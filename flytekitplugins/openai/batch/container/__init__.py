"""What the steps do in their containers: transfer files to and from OpenAI, and show the report.

In: the input of the workflow, or the batches that have ended. Out: an input file at OpenAI for each shard and an index
of which request is in which file, or the files of a `BatchResult` and its report.

- `tasks` is the base of the steps' tasks.
- `upload` uploads the shards while it reads the input, by way of a `spool`, under the names that `upload_names` gives,
  unless `past_batches` finds their results.
- `download` downloads the results, and joins them with the requests.
- `files` transfers one file, `progress` shows how far a transfer is, and `deck` shows the report in Flyte.
"""
