//! Tests against real httpds, with a module for each feature.

mod admin;
mod answered;
mod bad_scripts;
mod bodies;
mod broken_workers;
mod calls;
mod changing_over;
mod chroot;
mod command;
mod configurations;
mod conformance;
mod crash_loops;
mod delivery;
mod differences;
mod directives;
mod endings;
mod environ;
mod environments;
mod exit_reasons;
mod flat;
mod framework_features;
mod frameworks;
mod gatekeeping;
mod groups;
mod heads;
mod hooks;
mod hostile_workers;
mod imports;
mod input;
mod interpreter;
mod json_logs;
mod lifecycle;
mod limits;
mod loading;
mod logs;
mod looking;
mod made_up_names;
mod mapping;
mod metrics;
mod mixed;
mod neighbours;
mod outliving;
mod output;
mod outside;
mod overload;
mod page;
mod prometheus;
mod proxies;
mod ranges;
mod redirects;
mod reliability;
mod reload;
mod request_ids;
mod scaling;
mod scarce;
mod server_metrics;
mod services;
mod slow_clients;
mod slow_starts;
mod strangers;
mod telemetry;
mod versions;
mod wheel;

use testkit::{Httpd, Response};

/// Greets.
const HELLO: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"#;

/// Answers the questions in the query string, a line for each: Python expressions over `environ`
/// and what is in the script, separated by `&`.
const TELL: &str = r#"
import locale, os, pwd, sys, threading
from urllib.parse import unquote

count = 0


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return oct(mask)


def application(environ, start_response):
    global count
    count += 1
    names = {**globals(), "environ": environ}
    questions = unquote(environ["QUERY_STRING"]).split("&")
    lines = [f"{eval(question, names)}\n" for question in questions]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(lines).encode("utf-8", "replace")]
"#;

/// An httpd that serves this application at `/`, in a group of 5 threads and as another user.
fn serving(source: &str) -> Httpd {
    Httpd::new().app("app.wsgi", source).conf(
        "WSGIDaemonProcess app user={user} group={group} threads=5\n\
         WSGIScriptAlias / {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// What [`TELL`] answered, a line for each question.
#[track_caller]
fn told(response: Response) -> Vec<String> {
    response.assert(200).text().lines().map(str::to_owned).collect()
}

/// A request target that asks [`TELL`] these questions.
fn ask(questions: &[&str]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~&".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }
    };
    format!("/?{}", questions.join("&").bytes().map(escape).collect::<String>())
}
