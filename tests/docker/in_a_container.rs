//! The promises of the guide. They need an image that `cargo xtask test` builds.

use testkit::{Container, environment};

/// The guide's site, ready to answer.
fn site() -> Container {
    let container = Container::start(&environment::docker_image()).expect("the image can be run");
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
