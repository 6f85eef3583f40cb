"""``python -m mod_wsgi_rs`` is ``mod_wsgi-rs`` for the environment of this Python."""

import sys

from . import run

if __name__ == "__main__":
    try:
        run(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"mod_wsgi_rs: {error}")
