"""OpenAI's Batch API as Flyte tasks and workflows.

`create_batch` is all that most workflows need. Importing this package registers the connector.
"""

from .batch.connector import BatchEndpointConnector
from .batch.task import BatchEndpointTask, BatchResult, DownloadJSONFilesTask, OpenAIFileConfig, UploadJSONLFileTask
from .batch.workflow import create_batch

__all__ = [
    "BatchEndpointConnector",
    "BatchEndpointTask",
    "BatchResult",
    "DownloadJSONFilesTask",
    "OpenAIFileConfig",
    "UploadJSONLFileTask",
    "create_batch",
]
