"""Runs Python applications in Apache httpd, by the command ``mod_wsgi-rs``."""

import os
import shutil
import sys

__all__ = ["command", "run"]

_NAME = "mod_wsgi-rs"


def command() -> str:
    """Return the path of the command: that of this package, of its environment, or of ``PATH``.

    :raises FileNotFoundError: There is none.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, os.path.join(sys.prefix, "bin"), os.path.dirname(sys.executable)):
        path = os.path.join(folder, _NAME)
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(_NAME)
    if found is None:
        raise FileNotFoundError(f"there is no {_NAME} in {here}, in {sys.prefix}/bin, or on PATH")
    return found


def run(*arguments: str) -> None:
    """Become the command, for the environment of this Python.

    :raises OSError: It cannot be run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    path = command()
    os.execve(path, [_NAME, *arguments], {**os.environ, "MOD_WSGI_RS_PREFIX": sys.prefix})
