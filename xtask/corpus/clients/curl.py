"""Runs curl, one process a plan, and tells what it says of each transfer."""
import json
import pathlib
import subprocess
import sys

from answers import body_of, interims, plans, tell

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


def run(plan):
    config = "\nnext\n".join("\n".join(transfer(plan, *pair[::-1])) for pair in enumerate(plan["requests"]))
    ended = subprocess.run(["curl", "--config", "-"], input=config.encode(), capture_output=True)
    for index, (request, line) in enumerate(zip(plan["requests"], ended.stdout.decode().splitlines())):
        said = json.loads(line)
        head = (FOLDER / f"head-{index}").read_bytes()
        if request["method"] == "CONNECT":
            tell(id=request["id"], status=said["http_connect"], request_bytes=None, interim=0,
                 response_bytes=head.index(b"\r\n\r\n") + 4)
            continue
        count, skipped = interims(head)
        whole = said["size_upload"] == request["body_bytes"]
        tell(id=request["id"], status=said["response_code"], interim=count,
             response_bytes=len(head) - skipped + said["size_download"],
             # What curl says of a chunked upload is without the coding.
             request_bytes=said["size_request"] + said["size_upload"] if whole and not request["chunked"] else None)


for plan in plans():
    try:
        run(plan)
        tell(done=True)
    except (OSError, ValueError) as error:
        tell(error=repr(error))
