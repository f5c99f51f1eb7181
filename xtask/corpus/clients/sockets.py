"""A client on plain sockets, for all that no library does: cuts, pipelines, half-closed ends, resets."""
import socket
import struct

from answers import EVIL, body_of, chunks_of, each, head_of, hold, tell


class Connection:
    def __init__(self, plan):
        self.plan = plan
        self.data = b""
        host = plan["host"]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(5)
        self.connected = False

    def send(self, data):
        address = (self.plan["host"], self.plan["port"])
        if not self.connected and self.plan["manner"] == "fast-open":
            # The first data goes with the SYN.
            sent = self.socket.sendto(data, socket.MSG_FASTOPEN, address)
            data = data[sent:]
        elif not self.connected:
            self.socket.connect(address)
        self.connected = True
        if self.plan["manner"] == "split":
            for at in range(len(data)):
                self.socket.sendall(data[at : at + 1])
        else:
            self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        self.data += data
        return bool(data)

    def take(self, count):
        while len(self.data) < count:
            if not self.more():
                raise EOFError
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def line(self):
        while b"\n" not in self.data:
            if not self.more():
                raise EOFError
        return self.take(self.data.index(b"\n") + 1)

    def head(self):
        head = line = self.line()
        fields = {}
        while line != b"\r\n":
            line = self.line()
            head += line
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip().lower()
        return int(head[9:12]), fields, len(head), head[:8] == b"HTTP/1.0"

    def answer(self, method):
        """One final answer: status, its bytes and its head's, the interim ones before it, whether the server closes."""
        interim = 0
        status, fields, count, old = self.head()
        while status < 200 and status != 101:
            interim += 1
            status, fields, count, old = self.head()
        head = count
        closes = fields.get("connection") == "close" or (old and fields.get("connection") != "keep-alive")
        if method == "HEAD" or status in (101, 204, 304) or (method == "CONNECT" and status == 200):
            pass
        elif fields.get("transfer-encoding") == "chunked":
            size = -1
            while size != 0:
                line = self.line()
                count += len(line)
                size = int(line.split(b";")[0], 16)
                count += len(self.take(size + 2)) if size else 0
            while line != b"\r\n":
                line = self.line()
                count += len(line)
        elif "content-length" in fields:
            count += len(self.take(int(fields["content-length"])))
        else:
            closes = True
            while self.more():
                pass
            count += len(self.take(len(self.data)))
        said = {"status": status, "interim": interim, "response_bytes": count, "response_head_bytes": head}
        return said, closes

    def close(self, hard=False):
        if hard:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def message(plan, request):
    head = head_of(request, plan["host"] if ":" not in plan["host"] else f"[{plan['host']}]")
    body = body_of(request)
    return head, chunks_of(body) if request["chunked"] else body


def bytes_of(head, body):
    return {"request_bytes": len(head) + len(body), "request_head_bytes": len(head)}


def one(connection, plan, request):
    head, body = message(plan, request)
    apart = plan["manner"] == "apart" or any(name == "Expect" for name, _ in request["headers"])
    if apart:
        # A segment each, so that the body begins one.
        connection.send(head)
        connection.send(body)
    else:
        connection.send(head + body)
    if plan["manner"] == "half-close":
        connection.socket.shutdown(socket.SHUT_WR)
    answer, closes = connection.answer(request["method"])
    tell(id=request["id"], **bytes_of(head, body), **answer)
    if answer["status"] == 101 or request["method"] == "CONNECT":
        connection.send(EVIL)
        connection.head()
        closes = True
    return closes


def one_by_one(plan):
    connection = None
    for index, request in enumerate(plan["requests"]):
        hold(plan, index)
        if plan["manner"] == "strangers":
            stranger(plan)
        connection = connection or Connection(plan)
        closes = one(connection, plan, request)
        if closes or plan["fresh"] or plan["manner"] in ("half-close", "reset", "fast-open"):
            connection.close(hard=plan["manner"] == "reset")
            connection = None
    if connection:
        connection.close()


def stranger(plan):
    """A connection that speaks something else."""
    connection = Connection(plan)
    try:
        connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)) + b"\r\n\r\n")
        while connection.more():
            pass
    except OSError:
        pass
    connection.close()


def pipelined(plan):
    requests = plan["requests"]
    connection = Connection(plan)
    for begin in range(0, len(requests), 8):
        batch = requests[begin : begin + 8]
        parts = [message(plan, request) for request in batch]
        connection.send(b"".join(head + body for head, body in parts))
        for request, (head, body) in zip(batch, parts):
            answer, _ = connection.answer(request["method"])
            tell(id=request["id"], **bytes_of(head, body), **answer)
    connection.close()


def broken_off(plan):
    """Resets each second connection within its answer; that exchange never ended."""
    for index, request in enumerate(plan["requests"]):
        connection = Connection(plan)
        if index % 2 == 0:
            one(connection, plan, request)
            connection.close()
        else:
            head, _ = message(plan, request)
            # So small that a megabyte cannot have arrived.
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.send(head)
            connection.take(1000)
            connection.close(hard=True)
            tell(id=request["id"], cut=True)


MANNERS = {"pipelined": pipelined, "broken-off": broken_off}
each(lambda plan: MANNERS.get(plan["manner"], one_by_one)(plan))
