"""Python's http.client."""
import http.client
import socket

from answers import EVIL, body_of, each, hold, interims, tell


class Counted(socket.socket):
    """Counts what goes through, and keeps the beginning of what comes."""

    def reset(self):
        self.sent = self.received = 0
        self.raw = b""

    def sendall(self, data, *flags):
        super().sendall(data, *flags)
        self.sent += len(data)

    def recv_into(self, buffer, *rest):
        count = super().recv_into(buffer, *rest)
        self.received += count
        if len(self.raw) < 65536:
            self.raw += bytes(buffer[:count])
        return count


def connect(address, timeout, _source):
    connection = Counted(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    connection.reset()
    connection.settimeout(5)
    connection.connect(address)
    return connection


def open_to(plan):
    connection = http.client.HTTPConnection(plan["host"], plan["port"])
    connection._create_connection = connect
    return connection


def tunnel(plan, request):
    connection = open_to(plan)
    host, _, port = request["path"].rpartition(":")
    connection.set_tunnel(host, int(port), dict(request["headers"]))
    connection.connect()
    tell(id=request["id"], status=200, request_bytes=connection.sock.sent,
         response_bytes=connection.sock.received, interim=0)
    connection.request("GET", "/evil")
    connection.getresponse().read()
    connection.close()


def exchange(plan, request, connection):
    """Returns the connection if it can be used again."""
    if not connection:
        connection = open_to(plan)
        connection.connect()
    if request["version"] == "1.0":
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    headers, body = dict(request["headers"]), body_of(request) or None
    if plan["fresh"]:
        headers["Connection"] = "close"
    if request["chunked"]:
        headers["Transfer-Encoding"] = "chunked"
        body = iter([body[: len(body) // 2], body[len(body) // 2 :]])
    counted = connection.sock
    counted.reset()
    sent = True
    try:
        connection.request(request["method"], request["path"], body, headers, encode_chunked=request["chunked"])
    except ConnectionError:
        # The answer came first and the server has closed: it is there to be read.
        sent = False
    answer = connection.getresponse()
    answer.read()
    count, skipped = interims(counted.raw)
    tell(id=request["id"], status=answer.status, interim=count, response_bytes=counted.received - skipped,
         request_bytes=counted.sent if sent else None)
    if answer.status == 101:
        counted.sendall(EVIL)
        counted.recv(100)
    if plan["fresh"] or answer.will_close or answer.status == 101 or not sent:
        counted.close()
        connection.close()
        return None
    return connection


def run(plan):
    connection = None
    for index, request in enumerate(plan["requests"]):
        hold(plan, index)
        if request["method"] == "CONNECT":
            tunnel(plan, request)
        else:
            connection = exchange(plan, request, connection)
    if connection:
        connection.close()


each(run, http.client.HTTPException)
