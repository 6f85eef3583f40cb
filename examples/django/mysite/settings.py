"""Settings for one page without a database."""

ROOT_URLCONF = "mysite.urls"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "example.org"]
SECRET_KEY = "only for this example: replace it"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
USE_TZ = True
