"""Prepares the interpreter of a worker, and takes it down."""

import atexit
import io
import os
import signal
import site
import sys

# Imported by the main thread, which it would otherwise take some thread of the application for.
import threading
import traceback


def text(raw, errors="replace"):
    """Put a text stream on a log: each line goes out as soon as it is complete."""
    return io.TextIOWrapper(
        raw, encoding="utf-8", errors=errors, line_buffering=True, write_through=True
    )


def start(stdout, stderr, note_fork):
    """Direct output to the log, and keep the worker's affairs out of processes that it forks."""
    sys.stdout = text(stdout)
    sys.stderr = text(stderr, errors="backslashreplace")

    sys.argv[:] = ["mod_wsgi"]
    set_handler = signal.signal

    def after_fork():
        note_fork()
        # The child's signals are its own affair.
        signal.signal = set_handler
        # The worker's handlers would tell the worker to end when somebody ends the child.
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGXCPU)
        for number in (*numbers, signal.SIGHUP, signal.SIGUSR2):
            set_handler(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=after_fork)


class Restricted:
    """A stream that an application may not use, as `mod_wsgi` has it."""

    __module__ = "mod_wsgi"

    def __init__(self, name):
        object.__setattr__(self, "_name", name)

    def __getattribute__(self, name):
        stream = object.__getattribute__(self, "_name")
        raise OSError(f"{stream} access restricted by mod_wsgi")


def restrict(stdin, stdout):
    """Take from the application what the configuration says it must not use."""
    if stdin:
        sys.stdin = Restricted("sys.stdin")
    if stdout:
        sys.stdout = Restricted("sys.stdout")


def search(home, directories):
    """Put ``home``, then the site directories, then what they add, in front of ``sys.path``."""
    before = list(sys.path)
    for directory in directories:
        try:
            site.addsitedir(os.fsdecode(directory))
        except Exception:
            traceback.print_exc()
    added = [entry for entry in sys.path if entry not in before]
    first = [] if home is None else [os.fsdecode(home)]
    sys.path[:] = first + added + [entry for entry in sys.path if entry not in added]


def has_lock():
    """Say whether threads have to take turns."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def take_signals():
    """Let SIGTERM end the script that the main thread runs."""

    def terminate(number, frame):
        raise SystemExit

    signal.signal(signal.SIGTERM, terminate)


def dump_stacks_to(descriptor):
    """Write the stacks of all threads to ``descriptor`` at a signal; return its number."""
    import faulthandler

    number = signal.SIGRTMAX - 3
    faulthandler.register(number, file=descriptor, all_threads=True, chain=False)
    return number


def finish():
    """Do what Python does before it ends: wait for threads, run exit handlers, flush."""
    for step in (_end_threads, atexit._run_exitfuncs, _lift_restrictions, _flush):
        try:
            step()
        except SystemExit:
            # Told to end while it ends.
            pass
        except BaseException:
            traceback.print_exc()


def _lift_restrictions():
    # Python flushes its streams when it ends.
    for name in ("stdin", "stdout"):
        if type(getattr(sys, name)) is Restricted:
            setattr(sys, name, None)


def _end_threads():
    threading._shutdown()


def _flush():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
