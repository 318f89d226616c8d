"""Sends each request that it gets to any of several servers: any_node.py http://HOST:PORT...

The vendor's clients take one endpoint and keep their connections, so a load balancer before a cluster would give each of
them one node. This one reads every request, sends it over a new connection to a random node, unchanged, and brings back
the answer. `Host` stays the client's own: the signature covers it.

Prints "ready http://127.0.0.1:PORT"; at its end, by SIGTERM, how many requests each node was sent."""

import random
import signal
import socket
import socketserver
import sys
import threading
from urllib.parse import urlsplit

PATIENCE = 60  # seconds; no long poll is as long
nodes = [urlsplit(argument).netloc for argument in sys.argv[1:]]
sent = dict.fromkeys(nodes, 0)
lock = threading.Lock()


def read_message(stream):
    """A request or an answer, byte for byte; None at the end of the connection."""
    head = b""
    length = 0
    while True:
        line = stream.readline(65537)
        if not line:
            return None
        head += line
        if line in (b"\r\n", b"\n"):
            break
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            raise ValueError("only messages with a Content-Length are passed on")
    return head + stream.read(length)


class Client(socketserver.StreamRequestHandler):
    timeout = 10 * PATIENCE

    def handle(self):
        while True:
            request = read_message(self.rfile)
            if request is None:
                return
            node = random.choice(nodes)
            with lock:
                sent[node] += 1
            host, port = node.split(":")
            with socket.create_connection((host, int(port)), PATIENCE) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as stream:
                    answer = read_message(stream)
            if answer is None:
                return  # As the node did, without an answer.
            self.wfile.write(answer)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A client that goes before its answer is no error of this program.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Client)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("ready http://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
print("requests by node: " + ", ".join(str(count) for count in sent.values()), flush=True)
sys.exit(0 if all(sent.values()) else 1)
