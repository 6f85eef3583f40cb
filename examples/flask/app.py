"""A small Flask application that tells who runs it, and shows where output and errors go."""

import os
import pwd
import sys

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    user = pwd.getpwuid(os.geteuid()).pw_name
    return f"Hello from Flask on Python {sys.version_info[0]}.{sys.version_info[1]}, as {user}\n"


@app.get("/print")
def output():
    print("printed by the application")
    print("an error printed by the application", file=sys.stderr)
    return "See the ErrorLog.\n"


@app.get("/error")
def error():
    raise RuntimeError("raised by the application")
