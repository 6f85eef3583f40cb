"""Loads WSGI script files."""

import gc
import os
import sys
import threading
import types

import _mod_wsgi_failure
from _mod_wsgi_module import RequestTimeout

try:
    # hashlib would load OpenSSL, for a name.
    from _md5 import md5
except ImportError:
    from hashlib import md5

# One script is loaded at a time: requests that come meanwhile wait, and find it loaded.
_lock = threading.Lock()
_loaded = {}

# What a script imports stays. To look through it for garbage again and again while it comes takes 7 of
# the 92 ms in which Flask is loaded.
_THRESHOLD_WHILE_LOADING = 50_000

# Whether paths that differ in case alone are of one script (WSGICaseSensitivity Off).
case_insensitive = False


class ScriptError(Exception):
    """A script cannot be loaded; ``lines`` tells the log why."""

    def __init__(self, *lines):
        super().__init__(lines[0])
        self.lines = [_printable(line) for line in lines]


def load(path, outdated=None):
    """Return the file's version (device, inode, size, times of change) and the globals of the script
    at ``path``, which is bytes, loaded now or earlier. The globals ``outdated`` are not good any more. The collector runs less
    often meanwhile, unless the script has something else in mind."""
    usual = gc.get_threshold()
    rare = max(usual[0], _THRESHOLD_WHILE_LOADING), *usual[1:]
    # Zero stands for never.
    if usual[0]:
        gc.set_threshold(*rare)
    try:
        return _load(path, outdated)
    finally:
        if gc.get_threshold() == rare:
            gc.set_threshold(*usual)


def _load(path, outdated=None):
    key = path.lower() if case_insensitive else path
    path = os.fsdecode(path)
    with _lock:
        try:
            with open(path, "rb") as file:
                stat = os.fstat(file.fileno())
                mtime = stat.st_mtime_ns
                version = stat.st_dev, stat.st_ino, stat.st_size, mtime, stat.st_ctime_ns
                known = _loaded.get(key)
                if known is not None and known[0] == version and known[1] is not outdated:
                    return known
                source = file.read()
        except OSError as error:
            raise ScriptError(f"cannot read WSGI script '{path}': {error.strerror}") from None
        code = _compile(source, path)
        _loaded.pop(key, None)
        namespace = _run(code, path, key, mtime)
        _loaded[key] = version, namespace
        return _loaded[key]


def run_service(path):
    """Run the script of a service until it ends. Return what the log is to say about that."""
    try:
        _load(path)
    except ScriptError as error:
        if not isinstance(error.__context__, SystemExit):
            return error.lines
    return []


def forget_all():
    """Let go of all scripts, as Python is about to end."""
    _loaded.clear()


def is_outdated(namespace, resource):
    """Say whether a loaded script wants to be loaded again, by its own word."""
    if not isinstance(namespace.get("__mtime__"), int):
        return True
    required = namespace.get("reload_required")
    return required is not None and bool(required(resource))


def _compile(source, path):
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f", line {error.lineno}" if error.lineno else ""
        header = f"syntax error in WSGI script '{path}'{place}: {error.msg}"
        raise ScriptError(header, *_mod_wsgi_failure.lines(error)) from None
    except Exception as error:
        raise ScriptError(f"cannot compile WSGI script '{path}': {error}") from None


def _run(code, path, key, mtime):
    digest = md5(key, usedforsecurity=False).hexdigest()
    name = f"_mod_wsgi_{digest}"
    module = types.ModuleType(name)
    module.__file__ = path
    module.__mtime__ = mtime // 1000
    # Wrappers written for Python 2 activate their virtual environment with it.
    module.execfile = execfile
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        # Not kept: the next request tries again.
        sys.modules.pop(name, None)
        if isinstance(error, RequestTimeout):
            raise
        header = f"cannot load WSGI script '{path}': {type(error).__name__}{_at(error, path)}"
        raise ScriptError(header, *_advice(error, path), *_mod_wsgi_failure.lines(error)) from None
    return module.__dict__


def _advice(error, path):
    """Say which Python has found no module, and which environment it may be in."""
    if isinstance(error, FileNotFoundError):
        yield from _advice_on_activation(str(error.filename))
    is_missing = any(isinstance(cause, ModuleNotFoundError) for cause in _causes(error))
    if not is_missing and "undefined symbol" not in str(error):
        return
    version = "%d.%d.%d" % sys.version_info[:3]
    yield f"This is Python {version} ({sys.executable}), whose packages are in {sys.prefix}."
    made_with = environment_version()
    if made_with and made_with != version and not is_missing:
        yield (
            f"Its environment was made with Python {made_with}, and this is {version}: make it anew "
            "with an interpreter and a standard library of one release."
        )
    if is_missing:
        for home in _environments_beside(path):
            yield f"An environment that is not used lies beside the script: python-home={home}"


def _causes(error):
    """Yield an exception and those that it was raised from: frameworks put their own around an import's."""
    seen = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__


def _advice_on_activation(missing):
    """Say what takes the place of an activate_this.py, which `python -m venv` does not make."""
    folder, name = os.path.split(os.path.abspath(missing))
    home = os.path.dirname(folder)
    if name == "activate_this.py" and os.path.exists(os.path.join(home, "pyvenv.cfg")):
        yield (
            f"Only virtualenv makes a file activate_this.py. Without it: python-home={home} in "
            "WSGIDaemonProcess, and no line in the script that activates the environment."
        )


def environment_version():
    """Return the version that the environment says it was made with; None without an environment."""
    try:
        with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as file:
            pairs = dict(line.lower().split("=", 1) for line in file if "=" in line)
    except (OSError, UnicodeDecodeError):
        return None
    pairs = {key.strip(): value.strip() for key, value in pairs.items()}
    version = pairs.get("version") or pairs.get("version_info") or ""
    return ".".join(version.split(".")[:3]) or None


def _environments_beside(path):
    """Find virtual environments in the script's directory and the one above it, a few of each."""
    directory = os.path.dirname(os.path.abspath(path))
    for place in dict.fromkeys((directory, os.path.dirname(directory))):
        try:
            names = os.listdir(place)
        except OSError:
            continue
        # The usual ones first, as a folder may hold any number of others.
        names.sort(key=lambda name: (name not in (".venv", "venv", "env"), name))
        for name in names[:200]:
            home = os.path.join(place, name)
            if home != sys.prefix and os.path.exists(os.path.join(home, "pyvenv.cfg")):
                yield home


def _at(error, path):
    """Say which line of the script itself an exception came through."""
    line = None
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == path:
            line = tb.tb_lineno
            break
        tb = tb.tb_next
    return f" raised in line {line}" if line else ""


def execfile(filename, globals=None, locals=None, /):
    """Run a file, as the builtin of Python 2 did."""
    caller = sys._getframe(1)
    if globals is None:
        globals = caller.f_globals
        if locals is None:
            locals = caller.f_locals
    elif locals is None:
        locals = globals
    with open(filename, "rb") as file:
        code = compile(file.read(), filename, "exec", dont_inherit=True)
    exec(code, globals, locals)


def _printable(text):
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
