"""A server on asyncio's streams that writes all that HTTP/1.1 allows; also what the proxies stand in front of.

Arguments: the port of 127.0.0.1, the port of [::] for both families, the port with TCP_DEFER_ACCEPT, the log, a folder.
"""
import asyncio
import pathlib
import socket
import sys

from answers import EVIL_ANSWER, LOOKALIKE, log_to, small

PORTS = [int(port) for port in sys.argv[1:4]]
LOG = log_to(sys.argv[4])
LARGE = pathlib.Path(sys.argv[5], "large").read_bytes()


async def body_of(reader, fields):
    if fields.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        while await reader.readline() != b"\r\n":
            pass
    else:
        await reader.readexactly(int(fields.get("content-length", 0)))


async def serve(reader, writer):
    try:
        while await exchange(reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def exchange(reader, writer):
    """One exchange; false if the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
    if head[0].count(" ") != 2 or "HTTP/1." not in head[0]:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return False
    method, path, version = head[0].split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    echo = f"x-echo: {fields.get('x-galileo-request-id', '')}\r\n"
    kind = "connect" if method == "CONNECT" else path.split("/")[1]
    keeps = fields.get("connection", "").lower() == "keep-alive" or version == "HTTP/1.1"
    keeps = keeps and fields.get("connection", "").lower() != "close" and kind != "close"
    if fields.get("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()

    def send(status, extra, body=b"", separate=False):
        LOG(fields.get("x-galileo-request-id"), method, path, status)
        text = f"HTTP/1.1 {status} Whatever\r\n{echo}{extra}Connection: {'keep-alive' if keeps else 'close'}\r\n\r\n"
        body = b"" if method == "HEAD" else body
        if separate:
            # Each write is a segment: the transport writes at once while nothing waits, and TCP_NODELAY is on.
            writer.write(text.encode())
            writer.write(body)
        else:
            writer.write(text.encode() + body)

    if kind == "early":
        send(403, "Content-Length: 3\r\n", b"no\n")
        await body_of(reader, fields)
        await writer.drain()
        return keeps
    await body_of(reader, fields)
    if kind in ("upgrade", "connect"):
        LOG(fields.get("x-galileo-request-id"), method, path, 101 if kind == "upgrade" else 200)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: galileo\r\n"
                     if kind == "upgrade" else b"HTTP/1.1 200 Connected\r\n")
        writer.write(f"{echo}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EVIL_ANSWER)
        return False
    if kind == "204":
        send(204, "")
    elif kind == "304":
        # The length that a GET would get, and no body (RFC 9110, 8.6).
        send(304, "Content-Length: 5000\r\n")
    elif kind in ("chunked", "trailers"):
        part, end = (";part=1", "X-T: HTTP/1.1 500\r\n") if kind == "trailers" else ("", "")
        body = "".join(f"{size:x}{part}\r\n{'c' * size}\r\n" for size in (4, 300, 17)) + f"0{part}\r\n{end}\r\n"
        send(200, "Transfer-Encoding: chunked\r\n", body.encode(), separate=kind == "chunked")
    elif kind == "close":
        send(200, "", small(path) * 3)
    elif kind == "large":
        send(200, f"Content-Length: {len(LARGE)}\r\n", LARGE)
    elif kind == "lookalike":
        send(200, f"Content-Length: {len(LOOKALIKE)}\r\n", LOOKALIKE, separate=True)
    elif kind == "interim":
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
        if path[-1] in "02468":
            # Two and the final answer in one segment.
            writer.write(early)
            body = small(path)
            send_with = f"HTTP/1.1 200 OK\r\n{echo}Content-Length: {len(body)}\r\n\r\n".encode() + body
            LOG(fields.get("x-galileo-request-id"), method, path, 200)
            writer.write(early + early + send_with)
        else:
            for _ in range(3):
                writer.write(early)
            send(200, f"Content-Length: {len(small(path))}\r\n", small(path))
    elif kind == "split":
        LOG(fields.get("x-galileo-request-id"), method, path, 200)
        body = small(path)
        for byte in f"HTTP/1.1 200 OK\r\n{echo}Content-Length: {len(body)}\r\n\r\n".encode() + body:
            writer.write(bytes([byte]))
    elif kind == "big-head":
        send(200, f"X-Pad: {'p' * 6000}\r\nContent-Length: {len(small(path))}\r\n", small(path))
    else:
        send(200, f"Content-Length: {len(small(path))}\r\n", small(path))
    await writer.drain()
    return keeps


async def main():
    plain, both, deferred = PORTS
    listener = socket.create_server(("127.0.0.1", deferred))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    six = socket.create_server(("::", both), family=socket.AF_INET6, dualstack_ipv6=True)
    for where in ({"host": "127.0.0.1", "port": plain}, {"sock": six}, {"sock": listener}):
        await asyncio.start_server(serve, **where)
    await asyncio.Event().wait()


asyncio.run(main())
