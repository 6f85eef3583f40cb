"""What the modules ``mod_wsgi`` and ``apache`` hold that is easier said in Python."""

import collections.abc
import os
import resource
import signal
import sys
import time
import traceback

import _mod_wsgi_metrics

# httpd's numbers, for those of the module logging (rounded down).
_LEVELS = ((50, 2), (40, 3), (30, 4), (20, 6))
_DEBUG = 7
_INFO = 6
_ERROR = 3


class RequestTimeout(BaseException):
    """Raised in a thread whose request has run for too long."""


class ActiveRequests(collections.abc.Mapping):
    """The data of the requests that are running now, by request id."""

    def __getitem__(self, request_id):
        return _active()[request_id]

    def __iter__(self):
        return iter(_active())

    def __len__(self):
        return len(_active())

    def __repr__(self):
        return repr(_active())


event_callbacks = []
shutdown_callbacks = []
signal_callbacks = []


def subscribe_events(callback):
    """Let ``callback(name, **event)`` hear of each request's course, and of the process's end."""
    event_callbacks.append(callback)
    return callback


def subscribe_shutdown(callback):
    """Let ``callback(name, **event)`` hear of the process's end."""
    shutdown_callbacks.append(callback)
    return callback


def subscribe_signals(callback):
    """Let ``callback(name, **event)`` hear of signals."""
    signal_callbacks.append(callback)
    return callback


# At most one.
recorders = []


def start_recording_metrics():
    """Let ``process_metrics()`` and ``request_metrics()`` have something to tell from now on."""
    if _records and not recorders:
        recorders.append(_mod_wsgi_metrics.Recorder(_module.threads_per_process))


def process_metrics():
    """Return what the process has done since recording began, or None if it has not."""
    return recorders[0].process() if recorders else None


def request_metrics():
    """Return what requests have done since the last call, or None if that is not recorded."""
    return recorders[0].requests() if recorders else None


def _publish(callbacks, name, event):
    for callback in tuple(callbacks):
        try:
            more = callback(name, **event)
        except BaseException as error:
            header = f"exception raised by a callback for the event {name!r} and ignored:"
            lines = traceback.format_exception(type(error), error, error.__traceback__)
            _log(_ERROR, header + "\n" + "".join(lines), None, 0)
        else:
            if isinstance(more, dict):
                event.update(more)
    return event


class Observation:
    """Tells the subscribers about one request."""

    def __init__(self, environ, application, tries):
        self._data = request_data()
        self._started = time.monotonic()
        self._cpu = self._cpu_times()
        self._ids = {}
        if "mod_wsgi.request_id" in environ:
            self._ids["request_id"] = environ["mod_wsgi.request_id"]
        self._origin = {
            "thread_id": environ["mod_wsgi.thread_id"],
            "server_pid": environ.get("mod_wsgi.server_pid"),
        }
        for name in ("request_start", "queue_start", "daemon_start"):
            self._origin[name] = environ[f"mod_wsgi.{name}"]
        self._begin = environ["mod_wsgi.application_start"]
        self._recorders = tuple(recorders)
        for recorder in self._recorders:
            recorder.started(self._origin["thread_id"], self._begin)
        event = self._tell(
            "request_started",
            **self._origin,
            daemon_connects=tries[0],
            daemon_restarts=tries[1],
            application_start=self._begin,
            application_object=application,
            callable_object=environ["mod_wsgi.callable_object"],
            request_environ=environ,
        )
        self.application = event["application_object"]

    def _tell(self, name, **event):
        return _publish(event_callbacks, name, {**self._ids, **event, "request_data": self._data})

    @staticmethod
    def _cpu_times():
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return usage.ru_utime, usage.ru_stime

    def response_started(self, status, headers, exc_info):
        self._tell(
            "response_started",
            response_status=status,
            response_headers=headers,
            exception_info=exc_info,
        )

    def request_exception(self, error, tb):
        info = (type(error), error, tb)
        self._tell("request_exception", exception_info=info)

    def request_finished(self, status, reads, writes, waits):
        user, system = (now - then for now, then in zip(self._cpu_times(), self._cpu))
        event = dict(
            **self._origin,
            application_finish=time.time(),
            application_time=time.monotonic() - self._started,
            **dict(zip(("input_reads", "input_length", "input_time"), reads)),
            **dict(zip(("output_writes", "output_length", "output_time"), writes)),
            cpu_user_time=user,
            cpu_system_time=system,
            cpu_time=user + system,
            gil_wait_count=waits[0],
            gil_wait_time=waits[2],
            status=status,
        )
        for recorder in self._recorders:
            recorder.finished(event, self._begin)
        self._tell("request_finished", **event)


def signalled(name, number):
    """Tell the subscribers that the process has got a signal."""
    _publish(signal_callbacks, "process_signal", {"signame": name, "signum": number})


def stopping(reason):
    """Tell the subscribers that the process ends."""
    for callbacks in (event_callbacks, shutdown_callbacks):
        _publish(callbacks, "process_stopping", {"shutdown_reason": reason})


def record_being_written():
    """Return level and logger of the record that a StreamHandler of logging is writing, if one is.

    The handler does not tell its stream; but it is the handler's method that calls.
    """
    handler = getattr(sys.modules.get("logging"), "StreamHandler", None)
    frame = sys._getframe(1)
    if handler is None or frame.f_code is not handler.emit.__code__:
        return None
    record = frame.f_locals["record"]
    return record.levelname, record.name


def _log_handler():
    import logging

    class LogHandler(logging.Handler):
        """Writes records to httpd's error log, at their level."""

        def emit(self, record):
            try:
                level = next((ours for least, ours in _LEVELS if record.levelno >= least), _DEBUG)
                text = self.format(record)
                _log(level, text, record.pathname, record.lineno, record.levelname, record.name)
            except RecursionError:
                raise
            except Exception:
                self.handleError(record)

    LogHandler.__module__ = "mod_wsgi"
    LogHandler.__qualname__ = "LogHandler"
    return LogHandler


def _missing(name):
    # Importing logging takes its time, and few applications want this.
    if name != "LogHandler":
        raise AttributeError(f"module 'mod_wsgi' has no attribute {name!r}")
    handler = _module.LogHandler = _log_handler()
    return handler


def fill(module, functions, records):
    """Put all of this into ``module``; ``functions`` are those of the worker itself.

    Without ``records``, metrics go elsewhere, and applications have none.
    """
    global _active, _log, _module, _records, request_data
    _records = records
    _module = module
    _active, _log, request_data, module.server_metrics = functions
    module.request_data = request_data
    module.active_requests = ActiveRequests()
    module.__getattr__ = _missing
    public = (
        *(RequestTimeout, subscribe_events, subscribe_shutdown, subscribe_signals),
        *(process_metrics, request_metrics, start_recording_metrics),
    )
    for item in public:
        item.__module__ = "mod_wsgi"
        setattr(module, item.__name__, item)
    module.event_callbacks = event_callbacks
    module.shutdown_callbacks = shutdown_callbacks
    module.signal_callbacks = signal_callbacks


def graft():
    """Let the modules of an installed package of the same name be imported."""
    from importlib.machinery import PathFinder

    try:
        spec = PathFinder.find_spec("mod_wsgi")
    except Exception:
        return
    if spec is not None and spec.submodule_search_locations:
        _module.__path__ = list(spec.submodule_search_locations)


def restrict_signals():
    """Keep applications from registering signal handlers, which are the worker's affair.

    Frameworks do so when they are imported, by a thread that may not: that would be a ValueError.
    """
    register, worker = signal.signal, os.getpid()

    def restricted(signalnum, handler, /):
        if os.getpid() != worker:
            return register(signalnum, handler)
        stack = "".join(traceback.format_stack(sys._getframe(1)))
        text = f"Ignoring Python signal handler registration for signal {int(signalnum)} in WSGI process"
        _log(_INFO, f"{text}; mod_wsgi manages signals, from:\n{stack}", None, 0)
        return handler

    restricted.__name__ = restricted.__qualname__ = "signal"
    restricted.__doc__ = register.__doc__
    signal.signal = restricted
