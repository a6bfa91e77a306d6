"""Results on their way back.

In: the output and error files of the batches, and the index of the upload. Out: one line for each request, in the order
of the input, with counts, and typed rows.

- `download` fetches the files, `lines` parses a line, and `join` joins the lines with the requests.
- `counts` counts the results, and `usage` the tokens; `deck` shows the report in Flyte.
- `rows` makes a typed row of a line, `bodies` finds the answer in it, and `table` makes a pandas table of rows.
"""
