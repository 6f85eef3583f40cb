//! Django's admin with its static files, uploads to memory and to files, streams, and sessions.

use testkit::{Curl, Httpd, environment};

use super::{Client, multipart, set_cookies};

/// A project with the admin and a database of its own, as `startproject` lays it out.
const DJANGO: &str = r#"
import os, sys, tempfile

import django
from django.conf import settings

folder = tempfile.TemporaryDirectory()
settings.configure(
    ALLOWED_HOSTS=["localhost"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder.name + "/db"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    FILE_UPLOAD_MAX_MEMORY_SIZE=1000,
    INSTALLED_APPS=["django.contrib." + name for name in (
        "admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF="urls",
    SECRET_KEY="only for tests",
    STATIC_URL="/static/",
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
)
sys.path.insert(0, os.path.dirname(__file__))
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

call_command("migrate", verbosity=0)
User.objects.create_superuser("admin", "admin@localhost", "secret")
application = get_wsgi_application()
"#;

const DJANGO_URLS: &str = r#"
import tempfile

from django.contrib import admin
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return HttpResponse(f"{file.name} {type(file).__name__} {len(file.read())}")


def stream(request):
    return StreamingHttpResponse(f"{number}," for number in range(5))


def send(request):
    file = tempfile.TemporaryFile()
    file.write(b"0123456789" * 10_000)
    file.seek(5)
    return FileResponse(file, filename="digits.txt")


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(str(request.session["count"]))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("count", count),
    path("send", send),
    path("stream", stream),
    path("upload", upload),
]
"#;

fn django() -> Httpd {
    let venv = environment::venv();
    Httpd::new()
        .app("site.wsgi", DJANGO)
        .app("urls.py", DJANGO_URLS)
        .conf(&format!(
            "WSGIDaemonProcess site user={{user}} group={{group}} threads=1 python-home={venv}\n\
             WSGIScriptAlias / {{apps}}/site.wsgi process-group=site application-group=%{{GLOBAL}}\n\
             AliasMatch ^/static/(.*) {venv}/lib/{python}/site-packages/django/contrib/admin/static/$1\n\
             <Directory {venv}>\nRequire all granted\n</Directory>",
            venv = venv.display(),
            python = library(&venv),
        ))
        // Of CSRF and of pages that are not there.
        .expect_log("Forbidden")
}

/// `python3.11` of an environment.
fn library(venv: &std::path::Path) -> String {
    let entries = std::fs::read_dir(venv.join("lib")).expect("an environment has a library");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().find(|name| name.starts_with("python3.")).expect("it is a Python's")
}

#[test]
fn djangos_admin_uploads_streams_and_sessions() {
    let httpd = django().start();
    let client: Client = &|method, path, headers, body| httpd.request(method, path, headers, body);
    administrate(client, "http://localhost");
    transfer(client);
}

#[test]
fn django_over_tls_and_http2() {
    let Some((httpd, port)) = django().secure("").filter(|_| Curl::is_there()) else {
        return;
    };
    let _httpd = httpd.start();
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { version, port };
        let client: Client =
            &|method, path, headers, body| curl.request(method, path, headers, body);
        administrate(client, &format!("https://localhost:{port}"));
        transfer(client);
    }
}

/// Logs in to the admin, and looks at some of its pages.
#[track_caller]
fn administrate(client: Client, origin: &str) {
    let page = client("GET", "/admin/login/", &[], b"").assert(200);
    let cookie = set_cookies(&page).remove(0);
    let (_, rest) =
        page.text().split_once("csrfmiddlewaretoken\" value=\"").map(own).expect("a token");
    let token = rest.split('"').next().unwrap_or_default().to_owned();
    let style = page.text().split('"').find(|text| text.ends_with("login.css")).map(str::to_owned);
    let style = client("GET", &style.expect("a style sheet"), &[], b"").assert(200).text();
    assert!(style.contains(".login"), "{style}");

    let headers = [
        ("Cookie", cookie.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        // Django asks for it where the scheme is https.
        ("Origin", origin),
    ];
    let form = |token: &str| {
        format!("csrfmiddlewaretoken={token}&username=admin&password=secret&next=/admin/")
    };
    client("POST", "/admin/login/", &headers, form("wrong").as_bytes()).assert(403);
    let response = client("POST", "/admin/login/", &headers, form(&token).as_bytes());
    let cookies = set_cookies(&response.assert(302));
    let session =
        cookies.iter().find(|cookie| cookie.starts_with("sessionid=")).expect("a session");
    for (path, expected) in [
        ("/admin/", "Site administration"),
        ("/admin/auth/user/", "admin@localhost"),
        ("/admin/auth/user/1/change/", "Change user"),
    ] {
        let page = client("GET", path, &[("Cookie", session)], b"").assert(200).text();
        assert!(page.contains(expected), "{page}");
        client("GET", path, &[], b"").assert(302);
    }
}

fn own((before, after): (&str, &str)) -> (String, String) {
    (before.to_owned(), after.to_owned())
}

/// Uploads and downloads files, reads a stream, and keeps a session.
#[track_caller]
fn transfer(client: Client) {
    // Above FILE_UPLOAD_MAX_MEMORY_SIZE they go to a file.
    for (size, class) in [(100, "InMemoryUploadedFile"), (100_000, "TemporaryUploadedFile")] {
        let (body, content_type) = multipart(&"z".repeat(size));
        let headers = [("Content-Type", content_type)];
        let response = client("POST", "/upload", &headers, body.as_bytes()).assert(200);
        assert_eq!(response.text(), format!("a.txt {class} {size}"));
    }
    assert_eq!(client("GET", "/stream", &[], b"").assert(200).text(), "0,1,2,3,4,");
    let response = client("GET", "/send", &[], b"").assert(200);
    assert_eq!(response.text(), &"0123456789".repeat(10_000)[5..]);
    assert_eq!(response.header("Content-Length"), Some("99995"));
    let first = client("GET", "/count", &[], b"").assert(200);
    assert_eq!(first.text(), "1");
    let cookie = set_cookies(&first).remove(0);
    for count in 2..5 {
        let response = client("GET", "/count", &[("Cookie", &cookie)], b"").assert(200);
        assert_eq!(response.text(), count.to_string());
    }
}
