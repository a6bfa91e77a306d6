"""What one step of `create_batch` writes for the others. Pure.

- `index` says which request of the input is in which file, for the steps that join the results.
- `manifest` says what is in each file, for the connector, which submits them, and for the report.
"""
