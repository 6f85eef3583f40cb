"""What Django wants to know about the app."""

from django.apps import AppConfig


class ModWsgiRsConfig(AppConfig):
    """An app without models."""

    name = "mod_wsgi_rs.django"
    # Not the last word of the name, which is Django's own.
    label = "mod_wsgi_rs"
