"""A small SPIFFE Workload API: a real gRPC server on a Unix socket, which streams whatever SVID it is given."""

import threading
from concurrent import futures
from pathlib import Path

import grpc
from spiffe._proto import workload_pb2, workload_pb2_grpc


class WorkloadServer(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Streams to every workload that asks; `give` sends the next update."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._given: list[workload_pb2.X509SVIDResponse] = []
        self._closed = False
        self._pool = futures.ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool)
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def give(self, ident: str, chain: list[bytes], key: bytes, bundle: list[bytes]) -> None:
        """The next update: certificates in DER, the key as PKCS 8 DER."""
        svid = workload_pb2.X509SVID(
            spiffe_id=ident, x509_svid=b"".join(chain), x509_svid_key=key, bundle=b"".join(bundle)
        )
        with self._changed:
            self._given.append(workload_pb2.X509SVIDResponse(svids=[svid]))
            self._changed.notify_all()

    def FetchX509SVID(self, request, context):
        metadata = dict(context.invocation_metadata())
        if metadata.get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        at = max(len(self._given) - 1, 0)
        while context.is_active() and not self._closed:
            with self._changed:
                self._changed.wait_for(lambda at=at: len(self._given) > at or self._closed, timeout=0.2)
                fresh, at = self._given[at:], len(self._given)
            yield from fresh

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(None).wait()
        self._pool.shutdown()
