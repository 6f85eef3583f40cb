"""What `cargo xtask bench` has every server run, one path for each row."""

import os
import time

HELLO = b"Hello, world!\n"
MEBIBYTE = bytes(1 << 20)
BLOCK = b"x" * 100
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "file.bin")


def hello(environ, start_response):
    return answer(start_response, HELLO)


def memory(environ, start_response):
    return answer(start_response, MEBIBYTE)


def file(environ, start_response):
    length = os.path.getsize(FILE)
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(length))]
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](open(FILE, "rb"), 65536)


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (BLOCK for _ in range(100))


def post(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return answer(start_response, b"%d\n" % len(body))


def sleep(environ, start_response):
    time.sleep(0.01)
    return answer(start_response, HELLO)


def compute(environ, start_response):
    """Some 20 ms of pure Python: what httpd and clients do for a request hardly counts beside it."""
    total = 0
    for number in range(400_000):
        total += number * number
    return answer(start_response, b"%d\n" % total)


def answer(start_response, body):
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


PATHS = {
    "/hello": hello,
    "/memory": memory,
    "/file": file,
    "/stream": stream,
    "/post": post,
    "/sleep": sleep,
    "/compute": compute,
}


def application(environ, start_response):
    return PATHS[environ["PATH_INFO"]](environ, start_response)
