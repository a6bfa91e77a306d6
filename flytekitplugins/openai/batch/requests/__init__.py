"""Checks requests and cuts them into shards. Pure.

In: lines of JSON. Out: shards within OpenAI's limits, or the problems that were found.

- `lines` checks a line quickly, and `line_problems` says in detail what is wrong with one; `endpoints` is what each
  endpoint needs. `file_kinds` recognizes a file that is not JSON lines, `duplicates` finds repeated
  `custom_id`s, and `problems` words what they found.
- `sharding` cuts the lines into shards.
"""
