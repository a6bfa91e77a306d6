"""What the steps that run in a container share.

`tasks` is the base of their tasks, `files` transfers one file, and `progress` reports how far a transfer is.
"""
