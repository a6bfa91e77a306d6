"""What the author of a workflow calls in tasks of their own: it makes requests, and reads results.

In: Python values, or a `BatchResult`. Out: lines of JSON for `create_batch`, or rows and tables.

- `build` makes requests from Python values, which `json_values` converts; `response_format` makes the parameter for
  structured output.
- `read_results` reads results as rows; `table` makes a pandas table of them, and `arrow_table` an Arrow table, whose
  columns `arrow_columns` makes of the objects of a Pydantic model.
"""
