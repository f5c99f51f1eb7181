"""What the Python servers answer, and the note that they make of it."""

EVIL_ANSWER = b"HTTP/1.1 500 Evil\r\nContent-Length: 4\r\n\r\nevil"
LOOKALIKE = b"HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"


def small(path):
    """A body whose length depends on the path."""
    return path[:100].encode() + b"\n"


def log_to(path):
    """A function that notes what was answered, a line each."""
    file = open(path, "a", buffering=1)

    def log(identity, method, target, status):
        if identity:
            file.write(f"{identity} {method} {target} {status}\n")

    return log
