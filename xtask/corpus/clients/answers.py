"""What the Python clients share: reading answers byte by byte, and telling what was done."""
import json
import sys

EVIL = b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"


def plans():
    """The plans that come in, one a line."""
    for line in sys.stdin:
        yield json.loads(line)


def tell(**what):
    print(json.dumps(what), flush=True)


def each(run, *failures):
    """Runs every plan that comes in, and tells how it ended. `failures`: what else a run may fail with."""
    for plan in plans():
        try:
            run(plan)
            tell(done=True)
        except (OSError, EOFError, ValueError, LookupError, *failures) as error:
            tell(error=repr(error))


def hold(plan, index):
    """In the middle of a plan that says so: waits until the probes are attached."""
    if plan["hold"] and index == len(plan["requests"]) // 2:
        tell(hold=True)
        sys.stdin.readline()


def body_of(request):
    """The body: a beginning that the plan gives, filled up with x."""
    prefix = request["body_prefix"].encode()
    return prefix + b"x" * (request["body_bytes"] - len(prefix))


def head_of(request, host):
    """A request head as text would be typed."""
    if request["method"] == "CONNECT":
        # RFC 9112, 3.2.3: both name where the tunnel leads to. HAProxy insists.
        host = request["path"]
    lines = [f"{request['method']} {request['path']} HTTP/{request['version']}", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request["headers"]]
    if request["chunked"]:
        lines.append("Transfer-Encoding: chunked")
    elif request["body_bytes"]:
        lines.append(f"Content-Length: {request['body_bytes']}")
    return "\r\n".join(lines + ["", ""]).encode()


def chunks_of(body):
    """Chunked coding, with an extension and a trailer."""
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    coded = b"".join(b"%x;part=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return coded + b"0\r\nX-Sum: 1\r\n\r\n"


def interims(raw):
    """How many interim answers stand before the final one, and their bytes. 101 is final."""
    count = at = 0
    while raw[at + 9 : at + 10] == b"1" and raw[at + 9 : at + 12] != b"101":
        end = raw.find(b"\r\n\r\n", at)
        if end < 0:
            break
        at, count = end + 4, count + 1
    return count, at
