"""Calls the application of this server.

mod_wsgi-rs writes this file anew whenever it sets the server up.
"""

import os
import sys

# What this application is, and how it is run: SETTINGS stands above.
for _name, _value in SETTINGS["variables"]:
    os.environ[_name] = _value

_FACTORIES = ("create_app", "make_app")


class ApplicationMissing(Exception):
    """There is no application where it should be."""


def _load():
    kind, target = SETTINGS["kind"], SETTINGS["target"]
    if kind == "paste":
        from paste.deploy import loadapp

        return loadapp("config:" + target)
    if kind == "module":
        import importlib

        return _find(importlib.import_module(target), target)
    import types

    module = types.ModuleType("__wsgi__")
    module.__file__ = target
    sys.modules[module.__name__] = module
    with open(target, "rb") as file:
        code = compile(file.read(), target, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return _find(module, target)


def _find(module, place):
    """Return the application of a module: what the settings name, or what is usual."""
    name = SETTINGS["callable"]
    if name is not None:
        return _named(module, name, place)
    for name in ("application", "app"):
        if callable(getattr(module, name, None)):
            return getattr(module, name)
    for name in _FACTORIES:
        if callable(getattr(module, name, None)):
            return getattr(module, name)()
    raise ApplicationMissing(
        f"{place} has neither application nor app, nor a function create_app or make_app;"
        " --callable-object names what it has"
    )


def _named(module, name, place):
    import ast

    try:
        call = ast.parse(name, mode="eval").body
        is_call = isinstance(call, ast.Call)
        found = module
        for part in ast.unparse(call.func if is_call else call).split("."):
            found = getattr(found, part)
    except (AttributeError, SyntaxError) as error:
        raise ApplicationMissing(f"{place} has no {name}: {error}") from None
    if is_call:
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        return found(*map(ast.literal_eval, call.args), **named)
    return found() if name in _FACTORIES else found


def _times():
    """Return when the files were changed that the application is made of."""
    modules = list(sys.modules.values()) if SETTINGS["modules"] else []
    files = {getattr(module, "__file__", None) for module in modules} | set(SETTINGS["watched"])
    times = {}
    for path in files - {None, __file__}:
        try:
            times[path] = os.stat(path).st_mtime_ns
        except (OSError, TypeError, ValueError):
            times[path] = None
    return times


def _watch():
    """Have this process replaced when a file changes: another one loads the new code first."""
    import signal
    import threading

    known, pause = _times(), threading.Event()

    def watch():
        nonlocal known
        while not pause.wait(1):
            now = _times()
            # A module that has been imported meanwhile is no change.
            if any(path in now and now[path] != time for path, time in known.items()):
                os.kill(os.getpid(), signal.SIGUSR1)
            known = now

    threading.Thread(target=watch, name="mod_wsgi-rs-changes", daemon=True).start()


def _locate(environ):
    """Say where the application is: the handler is reached as a file, not at a URL path."""
    mount = SETTINGS["mount"].rstrip("/")
    script_name, path_info = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    proxied = environ.get("mod_wsgi.mount_point")
    path = (script_name if proxied is None else environ.get("mod_wsgi.script_name", "")) + path_info
    within = path == mount or path.startswith(mount + "/")
    environ["PATH_INFO"] = path[len(mount) :] if within else path
    if proxied is None:
        environ["SCRIPT_NAME"] = mount if within else ""


def _debugging(application):
    """Show what went wrong to the browser, and to the debugger if there is one."""

    def debugged(environ, start_response):
        result = None
        try:
            result = application(environ, start_response)
            yield from result
        except Exception:
            import html
            import traceback

            text = traceback.format_exc()
            environ["wsgi.errors"].write(text)
            if _terminal is not None:
                _terminal.reset()
                _terminal.interaction(None, sys.exc_info()[2])
            page = (
                "<!DOCTYPE html><title>Exception</title><h1>The application raised an exception</h1>"
                f"<pre>{html.escape(text)}</pre>"
            ).encode("utf-8", "backslashreplace")
            headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))]
            start_response("500 Internal Server Error", headers, sys.exc_info())
            yield page
        finally:
            getattr(result, "close", lambda: None)()

    return debugged


def _debugger(path):
    """A pdb that talks to the terminal of the command."""
    import pdb

    # Not as the terminal that controls this process: the signals of its keys are for the command.
    def terminal(flags):
        return open(os.open(path, flags | os.O_NOCTTY), "r" if flags == os.O_RDONLY else "w")

    return pdb.Pdb(stdin=terminal(os.O_RDONLY), stdout=terminal(os.O_WRONLY), nosigint=True)


def _profiled(application, directory):
    import atexit
    import cProfile

    profile = cProfile.Profile()

    def write():
        profile.create_stats()
        if profile.stats:
            profile.dump_stats(os.path.join(directory, f"process-{os.getpid()}.pstats"))

    atexit.register(write)

    def profiled(environ, start_response):
        return profile.runcall(application, environ, start_response)

    return profiled


def _measured(directory):
    """Measure from here on which lines run, and report that at the end."""
    import atexit

    import coverage

    measured = coverage.Coverage(data_file=None)
    measured.start()

    def report():
        measured.stop()
        measured.html_report(directory=directory)

    atexit.register(report)


def _covered(application):
    import threading

    def covered(environ, start_response):
        # Python sets this for threads that it starts; those that serve requests are not its own.
        trace = threading.gettrace()
        if trace is not None:
            sys.settrace(trace)
        return application(environ, start_response)

    return covered


class _Recorded:
    """Copies what is read of a request's body."""

    def __init__(self, input, copy):
        self._input, self._copy = input, copy

    def __getattr__(self, name):
        method = getattr(self._input, name)

        def copied(*args):
            data = method(*args)
            self._copy.write(b"".join(data) if isinstance(data, list) else data)
            return data

        return copied

    def __iter__(self):
        for line in self._input:
            self._copy.write(line)
            yield line


def _recorded(application, directory):
    import itertools
    import pprint
    import traceback

    numbers = itertools.count(1)

    def recorded(environ, start_response):
        prefix = os.path.join(directory, f"{os.getpid()}-{next(numbers):06}")

        def write(name, value):
            with open(prefix + name, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(value)

        def started(status, headers, *args):
            write(".oheaders", pprint.pformat((status, headers)))
            return start_response(status, headers, *args)

        write(".iheaders", pprint.pformat(environ))
        result, stage = None, ".oaexcept"
        with open(prefix + ".icontent", "wb") as body, open(prefix + ".ocontent", "wb") as output:
            environ["wsgi.input"] = _Recorded(environ["wsgi.input"], body)
            try:
                result = application(environ, started)
                stage = ".orexcept"
                for data in result:
                    output.write(data)
                    yield data
                stage = ".ofexcept"
            except Exception:
                write(stage, traceback.format_exc())
                raise
            finally:
                getattr(result, "close", lambda: None)()

    return recorded


def _checked(application):
    """Tell how loading went, in the place of the application, which is not called."""
    import platform

    lines = [platform.python_version(), sys.prefix, repr(application).replace("\n", " ")]
    for path in SETTINGS["compiled"]:
        try:
            with open(path, "rb") as file:
                compile(file.read(), path, "exec", dont_inherit=True)
            lines.append(path)
        except (OSError, SyntaxError, ValueError) as error:
            lines.append(f"{path}\t{type(error).__name__}: {error}")

    def checked(environ, start_response):
        if environ.get("HTTP_X_CHECK") != SETTINGS["check"]:
            start_response("403 Forbidden", [])
            return []
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return ["\n".join(lines).encode("utf-8", "backslashreplace")]

    return checked


_terminal = _debugger(SETTINGS["debugger"]) if SETTINGS["debugger"] else None
if SETTINGS["coverage"]:
    _measured(SETTINGS["coverage"])
try:
    _called = _load()
except Exception:
    # Where the old code serves on, the log has one line about this, which does not say where.
    if SETTINGS["modules"]:
        import traceback

        traceback.print_exc()
    raise
if SETTINGS["coverage"]:
    _called = _covered(_called)
if SETTINGS["profiler"]:
    _called = _profiled(_called, SETTINGS["profiler"])
if SETTINGS["recorder"]:
    _called = _recorded(_called, SETTINGS["recorder"])
if SETTINGS["debug"]:
    _called = _debugging(_called)
if SETTINGS["check"]:
    _called = _checked(_called)
if SETTINGS["reloading"]:
    _watch()


def handle_request(environ, start_response):
    """Serve one request."""
    _locate(environ)
    if SETTINGS["debugger_startup"] and _terminal is not None:
        _terminal.set_trace()
    return _called(environ, start_response)
