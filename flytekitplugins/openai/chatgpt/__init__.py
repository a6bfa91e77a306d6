"""A single message to a model, and its answer, as a Flyte task."""
