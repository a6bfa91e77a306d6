"""A way to a server that can be closed, as if nothing listened, and that can forget the connections it has."""

import contextlib
import socket
import struct
import threading
from urllib.parse import urlsplit


class Gate:
    """Hands connections on to a server.

    Args:
        base_url: The server's.

    Attributes:
        forgetful: It resets a connection that has answered a request, when the next one comes on it. So does a load
            balancer that forgets idle connections: the client learns of it only once it has sent something.
        forgotten: How many requests it has hung up on.
    """

    def __init__(self, base_url):
        self.forgetful = False
        self.forgotten = 0
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
                answered = threading.Event()
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(near, far, answered), daemon=True).start()
                threading.Thread(target=_pump_back, args=(far, near, answered), daemon=True).start()

    def _pump(self, near, far, answered):
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if answered.is_set() and self.forgetful:
                    self.forgotten += 1
                    # Without lingering the kernel sends a reset, and no orderly end.
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    near.close()
                    break
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)


def _pump_back(far, near, answered):
    with contextlib.suppress(OSError):
        while data := far.recv(65536):
            answered.set()
            near.sendall(data)
        near.shutdown(socket.SHUT_WR)
