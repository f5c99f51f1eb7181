"""Runs wrk on the messages of a plan. The script wrk.lua hands them out and tells what came back."""
import json
import pathlib
import signal
import subprocess
import sys

from answers import body_of, chunks_of, each, head_of, tell

FOLDER = pathlib.Path(sys.argv[1])
SCRIPT = pathlib.Path(__file__).with_name("wrk.lua")


def lua_text(data):
    """A Lua string: decimal escapes, whatever the bytes."""
    return '"' + "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\{byte:03}" for byte in data) + '"'


def run(plan):
    host = f"[{plan['host']}]" if ":" in plan["host"] else plan["host"]
    messages = []
    for request in plan["requests"]:
        if plan["fresh"]:
            request["headers"].append(["Connection", "close"])
        body = body_of(request)
        messages.append(head_of(request, host) + (chunks_of(body) if request["chunked"] else body))
    sizes = {request["id"]: len(message) for request, message in zip(plan["requests"], messages)}
    depth = 8 if plan["manner"] == "pipelined" else 1
    batches = [b"".join(messages[at : at + depth]) for at in range(0, len(messages), depth)]
    table = FOLDER / "messages.lua"
    table.write_text("return {" + ",\n".join(map(lua_text, batches)) + "}\n")
    connections = "4" if len(plan["requests"]) > 100 else "1"
    command = ["wrk", "-t1", f"-c{connections}", "-d10s", "-s", SCRIPT, f"http://{host}:{plan['port']}/", "--",
               table]
    told, summary = 0, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        for line in wrk.stdout:
            if not line.startswith("{"):
                summary += line
                continue
            said = json.loads(line)
            if "id" in said:
                said["request_bytes"] = sizes[said["id"]]
                told += 1
                if told == len(messages):
                    # It would sleep until its time is over.
                    wrk.send_signal(signal.SIGINT)
            tell(**said)
    if told != len(messages):
        raise OSError(f"{told} of {len(messages)} were answered within 10 s; wrk says: {' '.join(summary.split())}")


each(run)
