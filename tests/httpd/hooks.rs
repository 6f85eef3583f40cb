//! Python hooks: scripts that decide who may have what, and where requests run. A row of a table
//! here is a row of what mod_wsgi's documentation and code say of their results.

mod access;
mod dispatch;
mod groups;
mod passwords;

use testkit::{Httpd, Response, Running, UnderTest};

use crate::TELL;

/// A hook's source, and what a request in its scope gets.
struct Case {
    source: &'static str,
    status: u16,
    /// What our log says, if anything.
    log: &'static str,
    /// Whether mod_wsgi makes less of it.
    better: bool,
}

/// A row.
const fn case(source: &'static str, status: u16, log: &'static str) -> Case {
    Case { source, status, log, better: false }
}

/// A row in which ours is better.
const fn better(source: &'static str, status: u16, log: &'static str) -> Case {
    Case { source, status, log, better: true }
}

/// An httpd with [`TELL`] at `/`, and below `/0`, `/1` … what `conf` says, with a script for each of
/// these sources as `{script}`.
fn serving_cases(cases: &[Case], conf: &str) -> Httpd {
    let mut httpd = Httpd::new().app("app.wsgi", TELL).conf("WSGIScriptAlias / {apps}/app.wsgi");
    for (number, case) in cases.iter().enumerate() {
        let conf = conf.replace("{script}", &format!("{{apps}}/{number}.py"));
        httpd = httpd
            .app(&format!("{number}.py"), case.source)
            .conf(&format!("<Location /{number}>\n{conf}\n</Location>"));
    }
    httpd
}

/// Sends a request into the scope of each case, and checks status and log.
#[track_caller]
fn check_cases(httpd: &Running, cases: &[Case], headers: &[(&str, &str)]) {
    let original = UnderTest::chosen().is_original();
    for (number, case) in cases.iter().enumerate().filter(|(_, case)| !(case.better && original)) {
        let response = httpd.request("GET", &format!("/{number}?1"), headers, b"");
        assert_eq!(response.status, case.status, "{}", case.source);
        if !case.log.is_empty() && !original {
            httpd.wait_for_log(&[case.log]);
        }
    }
}

/// The value of an Authorization header (RFC 7617).
fn basic(user_and_password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for group in user_and_password.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let padding = digit as usize > group.len();
            text.push(if padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

/// Asks as this user.
#[track_caller]
fn get_as(httpd: &Running, user_and_password: &str, path: &str) -> Response {
    httpd.request("GET", path, &[("Authorization", &basic(user_and_password))], b"")
}
