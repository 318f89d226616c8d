"""Sends each request that it gets to any of several servers: any_node.py [--certificate FILE --key FILE] URL...

The vendor's clients take one endpoint and keep their connections, so a load balancer before a cluster would give each of
them one node. This one reads every request, sends it over a new connection to a random node, unchanged, and brings back
the answer. `Host` stays the client's own: the signature covers it.

With a certificate it speaks HTTPS to both sides, and believes nodes that show this certificate.

Prints "ready URL"; at its end, by SIGTERM, how many requests each node was sent."""

import argparse
import random
import signal
import socket
import socketserver
import ssl
import sys
import threading
from urllib.parse import urlsplit

PATIENCE = 60  # seconds; no long poll is as long

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--certificate")
parser.add_argument("--key")
parser.add_argument("nodes", nargs="+")
options = parser.parse_args()

nodes = [urlsplit(node).netloc for node in options.nodes]
sent = dict.fromkeys(nodes, 0)
lock = threading.Lock()
as_server = as_client = None
if options.certificate:
    as_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    as_server.load_cert_chain(options.certificate, options.key)
    as_client = ssl.create_default_context(cafile=options.certificate)


def connect(node):
    """A new connection to the node."""
    host, port = node.split(":")
    connection = socket.create_connection((host, int(port)), PATIENCE)
    return as_client.wrap_socket(connection, server_hostname=host) if as_client else connection


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
            with connect(node) as connection:
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

    def get_request(self):
        connection, address = super().get_request()
        if as_server:
            # The first read shakes hands, in the thread of this client.
            connection = as_server.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        # A client that goes before its answer, or that refuses the certificate, is no error of this program.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Client)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("ready %s://127.0.0.1:%d" % ("https" if as_server else "http", server.server_address[1]), flush=True)
server.serve_forever()
print("requests by node: " + ", ".join(str(count) for count in sent.values()), flush=True)
sys.exit(0 if all(sent.values()) else 1)
