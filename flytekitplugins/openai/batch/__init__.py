"""Files and batches: OpenAI's Batch API as Flyte tasks."""
