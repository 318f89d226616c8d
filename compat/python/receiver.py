"""An HTTP server on this machine that takes pushes, writes them down, and answers as told."""

import collections
import http.server
import threading
import time

# headers: (name, value) pairs as they came, names in lower case.
Push = collections.namedtuple("Push", "method path headers body when")


def header(push, name):
    """The header's only value, or None if there is none."""
    values = [value for other, value in push.headers if other == name]
    assert len(values) <= 1, (name, values)
    return values[0] if values else None


class Receiver:
    """Answers the first pushes with the given statuses, in this order, and all others with 200.

    One that is not listening owns its port all the same: whoever connects is refused, until `listen`.
    """

    def __init__(self, *statuses, listening=True):
        self._statuses = list(statuses)
        self._pushes = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = [(name.lower(), value) for name, value in self.headers.items()]
                status = receiver._take(Push(self.command, self.path, headers, body, time.monotonic()))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", receiver.url("/elsewhere"))
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = do_PUT = handle_any

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        self._thread = None
        if listening:
            self.listen()

    def listen(self):
        self._server.server_activate()
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def url(self, path="/push"):
        return "http://127.0.0.1:%d%s" % (self._server.server_port, path)

    def pushes(self, count, seconds=15):
        """All pushes up to now, as soon as there are so many."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._pushes) >= count, seconds)
            assert came, "%d of %d pushes within %d s" % (len(self._pushes), count, seconds)
            return list(self._pushes)

    def close(self):
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _take(self, push):
        with self._changed:
            self._pushes.append(push)
            self._changed.notify_all()
            return self._statuses.pop(0) if self._statuses else 200
