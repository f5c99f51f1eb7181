"""Runs curl, one process a plan, and tells what it says of each transfer."""
import json
import pathlib
import re
import subprocess
import sys

from answers import body_of, each, interims, tell

FOLDER = pathlib.Path(sys.argv[1])


def url_host(plan):
    return f"[{plan['host']}]" if ":" in plan["host"] else plan["host"]


def transfer(plan, request, index):
    """One transfer as lines of a curl configuration."""
    place = f"{url_host(plan)}:{plan['port']}"
    lines = [f'dump-header = "{FOLDER}/head-{index}"', "output = /dev/null", "raw", "silent", "no-progress-meter",
             "max-time = 10", 'write-out = "%{json}\\n"', 'user-agent = ""', "path-as-is"]
    field = "header"
    if request["method"] == "CONNECT":
        lines += ["proxytunnel", f'proxy = "http://{place}"', f'url = "http://{request["path"]}/evil"']
        # The request within the tunnel; without that curl would use the tunnel again.
        lines.append('header = "Connection: close"')
        field = "proxy-header"
    else:
        lines.append(f'url = "http://{place}{request["path"]}"')
    if request["version"] == "1.0":
        lines.append("http1.0")
    if plan["manner"] == "fast-open":
        lines.append("tcp-fastopen")
    headers = [f"{name}: {value}" for name, value in request["headers"]]
    if plan["fresh"]:
        headers.append("Connection: close")
    if request["chunked"]:
        headers.append("Transfer-Encoding: chunked")
    if request["method"] == "HEAD":
        lines.append("head")
    elif request["body_bytes"]:
        body = FOLDER / f"body-{index}"
        body.write_bytes(body_of(request))
        lines += [f'data-binary = "@{body}"', "expect100-timeout = 5"]
        headers.append("Content-Type: text/plain")
        if not any(name == "Expect" for name, _ in request["headers"]):
            headers.append("Expect:")
        if request["method"] != "POST":
            lines.append(f'request = {request["method"]}')
    lines += [f'{field} = "{header}"' for header in headers]
    return lines


def traffic():
    """Bytes of what was sent and of what came, by request id, as curl's trace has them: head, sent body, received body.

    Its figures for --write-out count a body that goes with the head twice, and chunked ones without their coding.
    """
    found, current = {}, None
    for line in (FOLDER / "trace").read_text(errors="replace").splitlines():
        event = re.match(r"(=> Send|<= Recv) (header|data), (\d+) bytes", line)
        if event:
            way, kind, count = event.groups()
            if (way, kind) == ("=> Send", "header"):
                current = {"head": int(count), "body": 0, "received": 0}
            elif current and kind == "data":
                current["body" if way == "=> Send" else "received"] += int(count)
        elif current and (name := re.search(r": x-galileo-request-id: (\S+)$", line)):
            found.setdefault(name[1], current)
    return found


def run(plan):
    config = "\nnext\n".join("\n".join(transfer(plan, *pair[::-1])) for pair in enumerate(plan["requests"]))
    ended = subprocess.run(["curl", "--trace-ascii", FOLDER / "trace", "--config", "-"], input=config.encode(),
                           capture_output=True)
    seen = traffic()
    for index, (request, line) in enumerate(zip(plan["requests"], ended.stdout.decode().splitlines())):
        said, bytes_of = json.loads(line), seen[request["id"]]
        tunnel = request["method"] == "CONNECT"
        # The trace leaves out the empty lines of interim answers: heads are better taken from the dump.
        heads = (FOLDER / f"head-{index}").read_bytes()
        count, skipped = (0, 0) if tunnel else interims(heads)
        head = heads.index(b"\r\n\r\n", skipped) + 4 - skipped
        whole = request["chunked"] or bytes_of["body"] == request["body_bytes"]
        tell(id=request["id"], status=said["http_connect" if tunnel else "response_code"], interim=count,
             response_bytes=head + bytes_of["received"],
             request_bytes=bytes_of["head"] + bytes_of["body"] if whole else None)


each(run)
