//! The promises of the guide. They need an image that `cargo xtask test` builds.

mod command;
mod pages;
mod sdist;

use testkit::{Container, environment};

/// The guide's site, ready to answer.
fn site() -> Container {
    site_with(&[])
}

/// The same, with options of `docker run`.
fn site_with(options: &[&str]) -> Container {
    site_of(&environment::docker_image(), options)
}

/// The site of an image.
fn site_of(image: &str, options: &[&str]) -> Container {
    let container = Container::start_with(image, options).expect("the image can be run");
    container.wait_for(&format!("{} | grep --quiet '^200 '", get("/")));
    container
}

/// The command that gets a page of the site.
fn get(path: &str) -> String {
    format!("python3 /usr/local/bin/client.py {path}")
}

/// Waits until a log of the site has a line with this text.
#[track_caller]
fn wait_for_log(site: &Container, log: &str, text: &str) {
    site.wait_for(&format!("grep --fixed-strings -e '{text}' /var/log/apache2/{log}"));
}

#[track_caller]
fn assert_holds(output: &str, texts: &[&str]) {
    for text in texts {
        assert!(output.contains(text), "{text:?} is not in {output}");
    }
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn answers_as_its_user_under_its_virtual_host() {
    let page = site().sh(&get("/"));
    assert_holds(
        &page,
        &[
            "200 ",
            "\"user\":\"username\"",
            "\"server\":\"my-application.org\"",
            "\"group\":\"my-application\"",
        ],
    );
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn twelve_requests_at_the_same_time() {
    let pages = site().sh(&format!("{} 12", get("/together")));
    assert_eq!(pages.matches("200 {\"met\":true}").count(), 12, "{pages}");
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn the_wrapper_activates_the_environment() {
    let page = site().sh(&get("/"));
    assert_holds(
        &page,
        &[
            "\"first_path\":\"/path/to/my-application\"",
            "\"flask\":\"/path/to/my-application/venv/lib/",
        ],
    );
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn output_and_errors_are_logged() {
    let site = site();
    assert_holds(&site.sh(&get("/print")), &["200 "]);
    assert_holds(&site.sh(&get("/error")), &["500 "]);
    for text in [
        "to stdout",
        "to stderr",
        "to wsgi.errors",
        "/path/to/my-application/app.py",
        "in error",
        "RuntimeError: raised by the application",
    ] {
        wait_for_log(&site, "error.log", text);
    }
    for text in ["GET /print HTTP/1.1\" 200 ", "GET /error HTTP/1.1\" 500 "] {
        wait_for_log(&site, "access.log", text);
    }
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn debians_tools_treat_it_as_any_site() {
    let site = site();
    assert_holds(&site.sh("apachectl configtest 2>&1"), &["Syntax OK"]);
    for _ in 0..2 {
        let ready = "grep --count 'resuming normal operations' /var/log/apache2/error.log";
        let before = site.sh(ready).trim().parse::<u32>().expect("a count");
        site.sh("apachectl graceful");
        site.wait_for(&format!("test $({ready}) -gt {before}"));
        assert_holds(&site.sh(&get("/")), &["200 ", "\"user\":\"username\""]);
    }
    site.wait_for("! ps -eo stat= | grep --quiet ^Z");
    let alarms = site.run(
        "grep --extended-regexp ':(emerg|alert|crit|error|warn)\\]' /var/log/apache2/error.log",
    );
    assert!(!alarms.ok, "{}", alarms.output);

    site.sh("a2dissite 050-my-application && apachectl graceful");
    site.wait_for(&format!("! {} | grep --quiet username", get("/")));
    site.sh("a2ensite 050-my-application && apachectl graceful");
    site.wait_for(&format!("{} | grep --quiet username", get("/")));
}

/// An application that takes more memory than there is: always, or the first time that it is asked
/// to.
const HOG: &str = r#"
import os


def application(environ, start_response):
    how = environ["QUERY_STRING"]
    if how == "always" or how == "once" and not os.path.exists("/tmp/eaten"):
        open("/tmp/eaten", "w").close()
        kept = b"x" * (1 << 30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"there is enough"]
"#;

const HOGS_SITE: &str = "\
WSGIDaemonProcess hog user=username group=username
WSGIScriptAlias /hog /path/to/hog.wsgi process-group=hog application-group=%{GLOBAL}
<Location /hog>
    Require all granted
</Location>
";

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn a_worker_that_is_killed_for_want_of_memory_is_told_from_others() {
    let site = site_with(&["--memory", "300m", "--memory-swap", "300m"]);
    site.sh(&format!("cat > /path/to/hog.wsgi <<'END'\n{HOG}END"));
    // In the site's own virtual host: requests for it go nowhere else.
    site.sh(&format!(
        "cat > /tmp/hog.conf <<'END'\n{HOGS_SITE}END\n\
         sed -i '/WSGIDaemonProcess/r /tmp/hog.conf' /etc/apache2/sites-available/050-my-application.conf"
    ));
    site.sh("apachectl graceful");
    site.wait_for(&format!("{} | grep --quiet 'there is enough'", get("/hog")));
    // A safe request is sent to one other worker.
    assert_holds(&site.sh(&get("/hog?once")), &["200 there is enough"]);
    wait_for_log(&site, "error.log", "the request is sent to another worker");
    assert_holds(&site.sh(&get("/hog?always")), &["502 "]);
    let line = site.wait_for("grep -e 'out-of-memory.*while it ran' /var/log/apache2/error.log");
    assert_holds(
        &line,
        &[
            "out-of-memory killer struck in its control group",
            "while it ran 'GET /hog?always HTTP/1.1'",
        ],
    );
    assert_holds(&site.sh(&get("/hog")), &["200 there is enough"]);
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn the_wheel_serves_and_httpd_outlives_its_environment() {
    let Some(image) = environment::wheel_image() else {
        testkit::skipped("no wheel was built: `cargo xtask test` and `cargo xtask test wheel` do");
        return;
    };
    let site = site_of(&image, &[]);
    let page = site.sh(&get("/"));
    assert_holds(&page, &["200 ", "\"user\":\"username\"", "\"group\":\"my-application\""]);
    site.sh("rm -r /path/to/my-application/venv && apachectl configtest && apachectl graceful");
    site.wait_for(&format!("{} | grep --quiet '^503 '", get("/")));
    wait_for_log(&site, "error.log", "/path/to/my-application/venv");
    site.sh("apachectl restart");
    site.wait_for(&format!("{} | grep --quiet '^503 '", get("/")));
}
