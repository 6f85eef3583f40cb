"""The pages: a greeting, a mistake, and the length of what was sent."""

import os
import pwd

import django
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST


@require_GET
def hello(request):
    user = pwd.getpwuid(os.geteuid()).pw_name
    text = f"Hello from Django {django.get_version()}, as {user}\n"
    return HttpResponse(text, content_type="text/plain")


@require_GET
def error(request):
    raise RuntimeError("raised by the application")


@require_POST
def length(request):
    return JsonResponse({"length": len(request.body)})


urlpatterns = [path("", hello), path("error", error), path("length", length)]
