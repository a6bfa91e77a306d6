"""What ends a benchmark before its time."""


class BenchmarkError(Exception):
    """Something did not work, said in a sentence."""
