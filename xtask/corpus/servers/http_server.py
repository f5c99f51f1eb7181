"""Python's http.server, threaded. Arguments: as asyncio_server.py."""
import pathlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from answers import EVIL_ANSWER, LOOKALIKE, log_to, small

PLAIN, BOTH, DEFERRED = (int(port) for port in sys.argv[1:4])
LOG = log_to(sys.argv[4])
LARGE = pathlib.Path(sys.argv[5], "large")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; the second would wait 40 ms for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def head(self, status, length=None, **fields):
        LOG(self.headers["x-galileo-request-id"], self.command, self.path, status)
        self.send_response(status)
        self.send_header("x-echo", self.headers.get("x-galileo-request-id", ""))
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            fields["Connection"] = "close"
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, status, body, **fields):
        self.head(status, len(body), **fields)
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self):
        kind = self.path.split("/")[1]
        length = int(self.headers.get("Content-Length", 0))
        if kind == "early":
            self.send(403, b"no\n")
            self.rfile.read(length)
            return
        self.rfile.read(length)
        if kind == "204":
            self.head(204)
        elif kind == "304":
            self.head(304, 5000)
        elif kind == "close":
            self.close_connection = True
            self.head(200)
            self.wfile.write(small(self.path))
        elif kind == "large":
            self.head(200, LARGE.stat().st_size)
            if self.command != "HEAD":
                with LARGE.open("rb") as file:
                    self.connection.sendfile(file)
        elif kind == "lookalike":
            self.send(200, LOOKALIKE)
        elif kind == "interim":
            for _ in range(3):
                self.send_response_only(103)
                self.send_header("Link", "</style.css>")
                self.end_headers()
            self.send(200, small(self.path))
        elif kind == "upgrade":
            self.head(101, Connection="Upgrade", Upgrade="galileo")
            self.tunnel()
        elif kind == "big-head":
            self.send(200, small(self.path), X_Pad="p" * 6000)
        else:
            self.send(200, small(self.path))

    def do_CONNECT(self):
        self.head(200)
        self.tunnel()

    def tunnel(self):
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.wfile.write(EVIL_ANSWER)
        self.close_connection = True

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


class Both(Server):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


deferred = Server(("127.0.0.1", DEFERRED), Handler)
deferred.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
for server in (deferred, Both(("::", BOTH), Handler)):
    threading.Thread(target=server.serve_forever, daemon=True).start()
Server(("127.0.0.1", PLAIN), Handler).serve_forever()
