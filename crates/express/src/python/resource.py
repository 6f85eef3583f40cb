"""Serves files by scripts for their extensions.

mod_wsgi-rs writes this file anew whenever it sets the server up.
"""

import os
import types

# The scripts by extension: SCRIPTS stands above.


def _load(path):
    module = types.ModuleType("__wsgi_" + os.path.basename(path).replace(".", "_") + "__")
    module.__file__ = path
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec", dont_inherit=True), module.__dict__)
    return module


_modules = {extension: _load(path) for extension, path in SCRIPTS.items()}
_times = {path: os.stat(path).st_mtime_ns for path in SCRIPTS.values()}


def _module(resource):
    return _modules[os.path.splitext(resource)[1]]


def handle_request(environ, start_response):
    """Serve a file by its script."""
    module = _module(environ["SCRIPT_FILENAME"])
    called = getattr(module, "handle_request", None) or module.application
    return called(environ, start_response)


def reload_required(resource):
    """Say whether a script has changed, or says so itself of this file."""
    if any(os.stat(path).st_mtime_ns != time for path, time in _times.items()):
        return True
    required = getattr(_module(resource), "reload_required", None)
    return required is not None and required(resource)
