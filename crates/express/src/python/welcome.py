"""The page of a server that has no application."""

PAGE = b"""<!DOCTYPE html>
<title>mod_wsgi-rs</title>
<h1>It works</h1>
<p>This server has no application yet. Name one behind <code>mod_wsgi-rs start-server</code>: a WSGI
script, or <code>module:application</code>.</p>
"""


def application(environ, start_response):
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(PAGE)))]
    start_response("200 OK", headers)
    return [PAGE]
