"""What `cargo xtask soak` puts under load: ten milliseconds of waiting, and trouble on request."""

import ctypes
import os
import sys
import threading
import time

BODY = b"x" * 16384
LARGE = b"x" * (1 << 20)
hoard = []


def descriptors():
    """Has every descriptor that this process may have, for a while."""
    files = []
    try:
        while True:
            files.append(open("/dev/null"))
    except OSError:
        time.sleep(0.2)
    finally:
        for file in files:
            file.close()


def leak():
    hoard.append(bytearray(b"x") * (64 << 20))


def fork():
    """Leaves a process behind that nobody waits for, with a copy of all descriptors."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(1)
        os._exit(0)
    os.waitpid(child, 0)


def threads():
    for _ in range(100):
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()


def leave():
    os._exit(3)


def crash():
    """Reads where nothing is, as a broken extension module does."""
    ctypes.string_at(0)


def chatter():
    """Fills the log."""
    print("x" * 1000, file=sys.stderr)


TROUBLE = {
    "descriptors": descriptors,
    "leak": leak,
    "fork": fork,
    "threads": threads,
    "leave": leave,
    "crash": crash,
    "chatter": chatter,
}


def application(environ, start_response):
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [LARGE]
    read = len(environ["wsgi.input"].read())
    trouble = TROUBLE.get(environ["QUERY_STRING"])
    if trouble:
        trouble()
    time.sleep(0.01)
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", str(len(BODY))),
        ("X-Read", str(read)),
    ]
    start_response("200 OK", headers)
    return [BODY[:8192], BODY[8192:]]
