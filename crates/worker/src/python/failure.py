"""Formats exceptions for the log."""

import traceback

_INTERNAL = "<mod_wsgi>"


def lines(error, tb=None):
    """Return the lines of the whole traceback, without the frames of the worker itself."""
    tb = error.__traceback__ if tb is None else tb
    while tb is not None and tb.tb_frame.f_code.co_filename == _INTERNAL:
        tb = tb.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, tb))
    except Exception:
        # An exception whose own text cannot be had: its frames are worth having all the same.
        text = "".join(traceback.format_tb(tb)) + type(error).__qualname__
    # Texts may hold what cannot be encoded, such as file names.
    return text.encode("utf-8", "backslashreplace").decode("utf-8").splitlines()
