"""A connector that does nothing, served with `--modules idle_connector`: what flytekit and gRPC cost by themselves."""

from dataclasses import dataclass

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta


@dataclass
class IdleMetadata(ResourceMeta):
    """As much as the others keep about a batch."""

    batch_id: str


class IdleConnector(AsyncConnectorBase):
    """Whatever it is asked about is running."""

    name = "Idle Connector"

    def __init__(self) -> None:
        super().__init__(metadata_type=IdleMetadata, task_type_name="idle")

    async def create(self, **_kwargs) -> IdleMetadata:
        """Submit nothing."""
        return IdleMetadata(batch_id="batch_000000000000000000000001")

    async def get(self, **_kwargs) -> Resource:
        """Ask nobody."""
        return Resource(phase=TaskExecution.RUNNING)

    async def delete(self, **_kwargs) -> None:
        """Cancel nothing."""


ConnectorRegistry.register(IdleConnector())
