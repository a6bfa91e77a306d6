"""A way to a server that can be closed: whoever comes then is refused, as if nothing listened."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Gate:
    """Hands connections on to a server.

    Args:
        base_url: The server's.
    """

    def __init__(self, base_url):
        target = urlsplit(base_url)
        self._target = (target.hostname, target.port)
        self._listener = None
        self._ends = []
        self._port = 0
        self.open()
        self.base_url = base_url.replace(str(target.port), str(self._port))

    def open(self):
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def close(self):
        """Refuse connections from now on, and cut off those that there are."""
        if self._listener is not None:
            # Its thread would otherwise go on listening.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        while self._ends:
            end = self._ends.pop()
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
