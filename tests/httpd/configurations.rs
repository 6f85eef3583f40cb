//! Configurations as they are in the wild, each with a small application in the place of its own.

mod express;
mod guides;
mod idioms;
mod packages;

use testkit::Httpd;

/// A configuration and what is asked of it.
struct Site {
    /// Whose it is.
    origin: &'static str,
    /// The directives that matter, with other paths, users and ports.
    conf: &'static str,
    /// Where the application lies, relative to `{dir}`.
    script: &'static str,
    /// Paths, and for each the process group, the application group and the rest of the path that
    /// the application sees there; or a status.
    requests: &'static [(&'static str, &'static str)],
}

/// Says where it runs.
const WHERE: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = ["mod_wsgi.process_group", "mod_wsgi.application_group", "SCRIPT_NAME", "PATH_INFO"]
    return [", ".join(environ[name] for name in seen).encode()]
"#;

/// Serves the site and compares; a graceful restart makes no difference.
#[track_caller]
fn check(site: &Site) {
    // Hosts of their own logs, and names that lead nowhere, are warned about; what is denied is told.
    let httpd = Httpd::new()
        .file(site.script, WHERE)
        .file("static/style.css", "style")
        .expect_log("error logs")
        .expect_log("WSGIRestrictProcess does not allow")
        .expect_log("is defined nowhere")
        .expect_log("does not exist")
        .expect_log("no effect yet")
        .expect_log("is not loaded at start yet")
        // Its format leaves levels out.
        .expect_log(" of process group 'keystone-public'")
        .conf(site.conf)
        .start();
    for round in ["started", "restarted"] {
        for (path, expected) in site.requests {
            let response = httpd.get_from("site.example", path);
            let got = match response.status {
                // The server's own port is in the names of groups here, and the client's there.
                200 => response.text().replace(&format!(":{}", httpd.port()), ""),
                status => status.to_string(),
            };
            assert_eq!(got, *expected, "{} {path}, {round}", site.origin);
        }
        httpd.graceful();
    }
}
