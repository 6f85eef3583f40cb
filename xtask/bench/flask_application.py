"""The Flask application of `cargo xtask bench`: a route, a query, JSON."""

from flask import Flask, jsonify, request

application = Flask(__name__)


@application.get("/json")
def json():
    name = request.args.get("name", "world")
    return jsonify(greeting=f"Hello, {name}!", numbers=list(range(10)))
