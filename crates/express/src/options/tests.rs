//! Tests of the command line, and of the page that is made from it.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, FromArgMatches};

use super::*;

/// What mod_wsgi-express takes: name, number of values, whether it may be repeated.
fn of_express() -> Vec<(&'static str, usize, bool)> {
    let lines = include_str!("express.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut next = || words.next().unwrap();
            let name = next().strip_prefix("--").unwrap();
            (name, next().parse().unwrap(), next() == "repeated")
        })
        .collect()
}

/// The options of a server that these words make.
pub fn parsed(words: &[&str]) -> Result<Server, clap::Error> {
    let words = [&["mod_wsgi-rs", "setup-server"], words].concat();
    let cli = Cli::from_arg_matches(&definition().try_get_matches_from(words)?)?;
    match cli.command {
        Command::SetupServer(server) => Ok(*server),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    definition().debug_assert();
}

#[test]
fn every_option_of_mod_wsgi_express_is_known() {
    let express = of_express();
    assert_eq!(express.len(), 152);
    let definition = definition();
    for command in ["start-server", "setup-server", "check"] {
        let command = definition.find_subcommand(command).unwrap();
        for (name, values, repeated) in &express {
            let is_called = |arg: &&Arg| {
                arg.get_long() == Some(name)
                    || arg.get_all_aliases().is_some_and(|names| names.contains(name))
            };
            let arg = command.get_arguments().find(is_called);
            let arg = arg.unwrap_or_else(|| panic!("--{name} is unknown"));
            let takes = match arg.get_action() {
                ArgAction::SetTrue => 0,
                _ => arg.get_num_args().map_or(1, |range| range.min_values()),
            };
            assert_eq!(takes, *values, "--{name}");
            assert_eq!(matches!(arg.get_action(), ArgAction::Append), *repeated, "--{name}");
        }
    }
}

#[test]
fn words_count_as_in_mod_wsgi_express() {
    let server = parsed(&[
        "--processe=2",
        "a.wsgi",
        "--threads",
        "1",
        "--threads",
        "3",
        "--access-log",
        "--access-log",
    ]);
    let server = server.unwrap();
    assert_eq!(server.capacity.processes, Some(2));
    assert_eq!(server.capacity.threads, 3);
    assert_eq!(server.application.script.as_deref(), Some("a.wsgi"));
    let server =
        parsed(&["--setenv", "A", "-1", "--setenv", "B", "2", "--auth-type", "digest"]).unwrap();
    let set: Vec<_> = pairs(&server.application.setenv).collect();
    assert_eq!(set, [("A", "-1"), ("B", "2")]);
}

#[test]
fn values_out_of_range_are_refused() {
    for words in [
        ["--initial-workers", "1.5"],
        ["--switch-interval", "0"],
        ["--telemetry-service", "/path"],
        ["--slow-requests", "1"],
        ["--app", "a.wsgi"],
        ["--processes", "0"],
    ] {
        assert!(parsed(&words).is_err(), "{words:?}");
    }
}

/// The part of the page that lists the options.
fn listed() -> String {
    let definition = definition();
    let command = definition.find_subcommand("start-server").unwrap();
    let mut page = String::new();
    let mut heading = "";
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_long().is_some())
    {
        let above = arg.get_help_heading().unwrap_or_default();
        if above != heading {
            heading = above;
            let _ = writeln!(
                page,
                "\n### {heading}\n\n| option | what it is about | default |\n|---|---|---|"
            );
        }
        let names = arg.get_value_names().filter(|_| arg.get_action().takes_values());
        let values: String = names.into_iter().flatten().map(|name| format!(" {name}")).collect();
        let often = if matches!(arg.get_action(), ArgAction::Append) { " …" } else { "" };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (help, default) = match help.split_once(" [default: ") {
            Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
            None => {
                let values = arg.get_default_values().iter().map(|value| value.to_string_lossy());
                (help, values.collect::<Vec<_>>().join(" "))
            }
        };
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let default = if is_flag || default.is_empty() { "–".to_owned() } else { default };
        let name = arg.get_long().unwrap_or_default();
        let _ = writeln!(page, "| `--{name}{values}`{often} | {help} | {default} |");
    }
    page
}

#[test]
fn the_page_lists_the_options_as_they_are() {
    const BEGIN: &str =
        "<!-- options: `UPDATE_EXPRESS=1 cargo test -p express` makes them anew -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/express.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (text, _) = page.split_once(BEGIN).expect("the page has a place for them");
    let expected = format!("{text}{BEGIN}{}", listed());
    if std::env::var_os("UPDATE_EXPRESS").is_some() {
        std::fs::write(path, expected).unwrap();
    } else {
        assert!(page == expected, "docs/express.md is out of date: UPDATE_EXPRESS=1 makes it anew");
    }
}
