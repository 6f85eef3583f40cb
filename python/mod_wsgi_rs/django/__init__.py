"""A Django app with the command ``manage.py runmodwsgi``.

The settings name it: ``INSTALLED_APPS = ["mod_wsgi_rs.django", ...]``.
"""
