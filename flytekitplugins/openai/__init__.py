"""OpenAI's Batch API as Flyte tasks and workflows."""
