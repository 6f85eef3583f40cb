//! `mod_wsgi-rs`: what it runs in the foreground, how that is developed with, and what it checks.

mod developing;
mod installing;
mod options;
mod running;

use std::process::Output;

/// Says where it runs, and in which Python.
const WHERE: &str = r#"
import os, sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = [environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["mod_wsgi.process_group"]]
    return [", ".join([*seen, sys.prefix, os.environ.get("SECRET", "")]).encode()]
"#;

/// Both outputs of a command.
fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
