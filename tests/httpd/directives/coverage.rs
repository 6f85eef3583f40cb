//! Demands of every directive and option, as `docs/compatibility.md` lists them, a test that sets it,
//! one that breaks it and one in which it meets another setting of the same.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::cases::{self, Kind};
use super::table;

/// Tests of their own, which are not in the tables: what sets a directive, and what merges it.
const ELSEWHERE: [(&str, &str, &str); 18] = [
    (
        "WSGILocationRedirect",
        "another_response_takes_the_place",
        "an_inner_section_switches_it_off",
    ),
    ("WSGIScriptReloading", "scripts_that_are_not_reloaded", "scripts_that_are_not_reloaded"),
    ("WSGIHandlerScript", "handler_scripts", "handler_scripts"),
    (
        "WSGIImportScript",
        "in_order_on_the_main_thread_and_once",
        "those_of_the_main_server_and_of_virtual_hosts_add_up",
    ),
    ("WSGIDaemonProcess", "options_of_a_group", "mistakes_in_wsgi_daemon_process"),
    ("WSGIRestrictEmbedded", "restricted_groups", "restricted_groups"),
    ("WSGISocketPrefix", "sockets_are_where_the_prefix_says", "sockets_are_where_the_prefix_says"),
    (
        "WSGIGroupAuthoritative",
        "every_directive_where_it_may_stand",
        "htaccess_has_what_allow_override_grants",
    ),
    ("reload=", "broken_code_with_reload_keep_loses_nothing", "the_last_reload_option_holds"),
    ("chroot=", "an_application_sees_its_root_and_nothing_else", "the_last_chroot_holds"),
    (
        "retry=",
        "a_request_is_sent_once_where_that_is_asked_for",
        "a_request_is_sent_once_where_that_is_asked_for",
    ),
    ("memory-max=", "memory_max", "memory_max"),
    (
        "idle-timeout=",
        "workers_come_when_requests_wait_and_go_when_they_do_not",
        "workers_come_when_requests_wait_and_go_when_they_do_not",
    ),
    ("WSGIIgnoreActivity", "inactivity", "inactivity"),
    ("WSGITelemetryService", "from_the_first_word_to_the_last", "the_last_line_counts"),
    ("WSGISlowRequests", "a_slow_request", "the_last_line_counts"),
    ("WSGITelemetryOptions", "a_slow_request", "the_last_line_counts"),
    (
        "WSGIStatusLocal",
        "strangers_see_nothing_unless_the_configuration_says_so",
        "an_inner_section_decides_who_sees_the_pages",
    ),
];

/// These take any words, so that nothing can be wrong about them.
const NEVER_WRONG: [&str; 2] = ["WSGIRestrictProcess", "WSGITrustedProxyHeaders"];

#[test]
fn every_directive_and_option_has_its_three_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/compatibility.md")).expect("the page is there");
    let documented: Vec<_> = page.lines().filter_map(row).collect();
    assert!(documented.len() > 90, "the page has other tables than expected");
    let all = sources(&root.join("tests/httpd"), &[]);
    // What a test of a feature writes is set there.
    let features = sources(&root.join("tests/httpd"), &["directives"]);

    let mut lacking = Vec::new();
    for name in documented.iter().copied() {
        let elsewhere = ELSEWHERE.iter().find(|row| row.0 == name);
        let has = |kind: Kind| {
            let own = elsewhere.map(|row| if kind == Kind::Sets { row.1 } else { row.2 });
            own.is_some_and(|test| all.contains(&format!("fn {test}()")))
                || cases::all().any(|case| case.name == name && case.kind == kind)
                || kind == Kind::Sets && features.contains(name)
        };
        let breaks = NEVER_WRONG.contains(&name) || table::breaks(name);
        let missing =
            [("sets it", has(Kind::Sets)), ("breaks it", breaks), ("merges it", has(Kind::Merges))];
        let missing = missing.iter().filter(|(_, has)| !has).map(|(what, _)| *what);
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            lacking.push(format!("{name}: no test {}", missing.join(", nor one that ")));
        }
    }
    let covered = documented.len() - lacking.len();
    let _ = writeln!(
        io::stdout(),
        "coverage: of {} directives and options, {covered} have their three tests",
        documented.len(),
    );
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

/// The name in a row of a table; what mod_wsgi itself has removed is accepted as it is.
fn row(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
    let removed = rest.contains("removed from mod_wsgi");
    (!removed).then_some(name)
}

/// All Rust files below a folder but those of these folders in it, as one text.
fn sources(folder: &Path, but: &[&str]) -> String {
    let entries = fs::read_dir(folder).expect("the tests are there").flatten();
    let left = entries.filter(|entry| !but.iter().any(|name| entry.file_name() == *name));
    let texts = left.map(|entry| match entry.path() {
        path if path.is_dir() => sources(&path, &[]),
        path => fs::read_to_string(path).expect("sources are text"),
    });
    texts.collect()
}
