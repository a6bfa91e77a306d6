#!/usr/bin/env python3
"""`probe [PORT]` in the connector's image: 0 if the connector is serving, 1 and the reason if it is not.

Kubernetes needs no command for it: it has probes for gRPC's health service.
"""

import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

TIMEOUT_SECONDS = 5


def main(port="8000"):
    """Ask the service at this port; returns the exit status."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            print(f"The connector at port {port} does not answer: {error.code().name}", file=sys.stderr)
            return 1
    status = HealthCheckResponse.ServingStatus.Name(answer.status)
    if status != "SERVING":
        print(f"The connector at port {port} answers {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
