"""The smallest application: one greeting for every request."""


def application(environ, start_response):
    body = b"Hello, world!\n"
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
