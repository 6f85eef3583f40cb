"""A Django app with the command ``manage.py runmodwsgi``: ``INSTALLED_APPS = ["mod_wsgi_rs.django", ...]``."""
