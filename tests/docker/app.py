"""What the container tests ask the guide's site about."""

import os
import pwd
import sys
import threading

import flask
from flask import Flask, request

app = Flask(__name__)

# Twelve requests get through only if all of them are inside at the same time.
together = threading.Barrier(12, timeout=50)


@app.get("/")
def who():
    return {
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "first_path": sys.path[0],
        "flask": flask.__file__,
        "server": request.environ["SERVER_NAME"],
        "group": request.environ["mod_wsgi.process_group"],
    }


@app.get("/together")
def meet():
    together.wait()
    return {"met": True}


@app.get("/print")
def output():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    print("to wsgi.errors", file=request.environ["wsgi.errors"])
    return {"printed": True}


@app.get("/error")
def error():
    raise RuntimeError("raised by the application")
