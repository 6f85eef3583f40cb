"""``manage.py runmodwsgi``: runs the site in Apache httpd, with the options of ``start-server``."""

from __future__ import annotations

import argparse
import importlib
import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mod_wsgi_rs import run

# Django's own, which have had their effect when this command is asked for.
_DJANGOS = ("--settings", "--pythonpath")


class Command(BaseCommand):
    """Runs the site by ``mod_wsgi-rs start-server``."""

    help = "Runs the site in Apache httpd; the options are those of mod_wsgi-rs start-server."

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave the options to mod_wsgi-rs, which knows them and their help."""
        words: list[str] = []
        rest = iter(argv[2:])
        for word in rest:
            if word in _DJANGOS:
                next(rest, None)
            elif not word.startswith(tuple(f"{name}=" for name in _DJANGOS)):
                words.append(word)
        try:
            self.handle(arguments=words)
        except CommandError as error:
            raise SystemExit(f"runmodwsgi: {error}") from None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take all words, as from ``call_command``."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """Become mod_wsgi-rs. What is given comes behind what the settings say, and counts more."""
        try:
            run("start-server", *_from_settings(), *options["arguments"])
        except OSError as error:
            raise CommandError(str(error)) from error


def _from_settings() -> list[str]:
    application = getattr(settings, "WSGI_APPLICATION", None)
    if not application:
        raise CommandError("the settings have no WSGI_APPLICATION")
    module, _, name = application.rpartition(".")
    words = ["--application-type", "module", "--entry-point", module, "--callable-object", name]
    words += ["--working-directory", _directory()]
    url, root = settings.STATIC_URL, settings.STATIC_ROOT
    whitenoise = any(name.startswith("whitenoise.") for name in settings.MIDDLEWARE)
    if root and url and url.startswith("/") and not whitenoise:
        words += ["--url-alias", url.rstrip("/") or "/", str(root)]
    return words


def _directory() -> str:
    """Return where the site is imported from."""
    base = getattr(settings, "BASE_DIR", None)
    if base:
        return str(base)
    module = importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    # Above the package that has the settings.
    package = os.path.dirname(os.path.abspath(module.__file__ or "."))
    return os.path.dirname(package)
