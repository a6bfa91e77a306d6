"""Requests on their way to OpenAI.

In: lines of JSON, or the Python values that they are made from. Out: an input file at OpenAI for each shard, and an
index that says which request is in which file.

- `build` makes requests from Python values, which `json_values` converts; `response_format` makes the parameter for
  structured output.
- `lines` checks a line, `file_kinds` recognizes a file that is not JSON lines, `duplicates` finds repeated
  `custom_id`s, and `problems` words what they found.
- `sharding` cuts the lines into shards within OpenAI's limits.
- `upload` uploads the shards while it reads the input.
"""
