"""Joins results with their requests, counts and reads them. Pure.

In: the output and error files of the batches, and the index of the upload. Out: one line for each request, in the order
of the input, with counts, and typed rows.

- `lines` parses a line, and `join` joins the lines with the requests.
- `counts` counts the results, and `usage` the tokens.
- `rows` makes a typed row of a line, and `bodies` finds the answer in it.
"""
