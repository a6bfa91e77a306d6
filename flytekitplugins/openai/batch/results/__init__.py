"""Joins results with their requests, counts and reads them. Pure.

In: the output and error files of the batches, and the index of the upload. Out: one line for each request, in the order
of the input, with counts, and typed rows.

- `lines` parses a line, `failures` says why a request failed and whether it is worth running again, and `json_objects`
  reads what compatible servers write.
- `shard_results` finds the line of a request in the files of a shard, and `join` joins the rounds in input order.
- `counts` counts the results, and `usage` the tokens, which `answer_usage` reads; `order` says which requests
  succeeded.
- `rows` makes a typed row of a line, and `bodies` finds the answer in it; `quick_lines` does for most lines, without
  decoding what nobody may ask for. `row_values` has the same for the columns of a table.
"""
