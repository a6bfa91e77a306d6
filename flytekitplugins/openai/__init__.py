"""OpenAI's Batch API as Flyte tasks and workflows, and single questions to its models.

`create_batch` makes the workflow, the functions that end in `_request` write its input, and `read_results` reads what
came of it. Importing this package registers the connectors.
"""

from .batch.authoring.build import chat_completion_request, embedding_request, response_request
from .batch.authoring.read_results import read_results
from .batch.connector import BatchEndpointConnector
from .batch.results.rows import ResultRow
from .batch.tables.decorators import batch_embedding, batch_prompt
from .batch.task import BatchEndpointTask, BatchResult, DownloadJSONFilesTask, OpenAIFileConfig, UploadJSONLFileTask
from .batch.workflow import create_batch
from .chatgpt.connector import ChatGPTConnector
from .chatgpt.task import ChatGPTTask

__all__ = [
    "BatchEndpointConnector",
    "BatchEndpointTask",
    "BatchResult",
    "ChatGPTConnector",
    "ChatGPTTask",
    "DownloadJSONFilesTask",
    "OpenAIFileConfig",
    "ResultRow",
    "UploadJSONLFileTask",
    "batch_embedding",
    "batch_prompt",
    "chat_completion_request",
    "create_batch",
    "embedding_request",
    "read_results",
    "response_request",
]
