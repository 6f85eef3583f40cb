"""Runs Python applications in Apache httpd, by the command ``mod_wsgi-rs``."""

import os
import shutil
import sys
from collections.abc import Sequence

__all__ = ["command", "main", "run", "wsgictl"]

_NAME = "mod_wsgi-rs"


def command(name: str = _NAME) -> str:
    """Return the path of a command: that of this package, of its environment, or of ``PATH``.

    :raises FileNotFoundError: There is none.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, os.path.join(sys.prefix, "bin"), os.path.dirname(sys.executable)):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"there is no {name} in {here}, in {sys.prefix}/bin, or on PATH")
    return found


def run(*arguments: str) -> None:
    """Become the command, for the environment of this Python.

    :raises OSError: It cannot be run.
    """
    _become(_NAME, arguments)


def main() -> None:
    """Be ``mod_wsgi-rs``, as it is installed beside this Python."""
    _be(_NAME)


def wsgictl() -> None:
    """Be ``wsgictl``, as it is installed beside this Python."""
    _be("wsgictl")


def _be(name: str) -> None:
    try:
        _become(name, sys.argv[1:])
    except OSError as error:
        sys.exit(f"{name}: {error}")


def _become(name: str, arguments: Sequence[str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    variables = {**os.environ, "MOD_WSGI_RS_PREFIX": sys.prefix}
    os.execve(command(name), [name, *arguments], variables)
