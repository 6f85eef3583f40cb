//! Tests of where options come from, and which of these counts.

use std::path::PathBuf;
use std::{env, fs, process};

use super::*;
use crate::options::{Command, Server, pairs};

/// A file that goes away with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Temporary {
        let path = env::temp_dir().join(format!("mod_wsgi-rs-{}-{name}", process::id()));
        fs::write(&path, text).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn read<const N: usize>(
    words: &[&str],
    variables: [(&str, &str); N],
    project: &Path,
) -> Result<(Server, Variables), String> {
    let words = ["mod_wsgi-rs", "start-server"].iter().chain(words).map(|word| (*word).to_owned());
    let parsed =
        parse(words.collect(), variables.into(), project).map_err(|error| error.to_string())?;
    let (cli, variables) = parsed.map_err(|error| error.to_string())?;
    match cli.command {
        Command::StartServer(server) => Ok((*server, variables)),
        other => panic!("{other:?}"),
    }
}

const NONE: &str = "/nowhere/pyproject.toml";

const PROJECT: &str = r#"
[project]
name = "x"

[tool.mod_wsgi_rs]
script = "project.wsgi"
port = 1
threads = 2
processes = 3
access-log = true
python_path = ["p", "q r"]
url-alias = { "/static" = "files" }
setenv = [["A", "1"], ["B", "2"]]
"#;

#[test]
fn the_command_line_wins_over_variables_and_these_over_the_project() {
    let project = Temporary::new("order.toml", PROJECT);
    let variables = [("MOD_WSGI_RS_PORT", "10"), ("MOD_WSGI_RS_THREADS", "20")];
    let (server, _) = read(&["--port", "100"], variables, &project.0).unwrap();
    assert_eq!(server.network.port, 100);
    assert_eq!(server.capacity.threads, 20);
    assert_eq!(server.capacity.processes, Some(3));
    assert!(server.logging.access_log);
    assert_eq!(server.application.script.as_deref(), Some("project.wsgi"));
    assert_eq!(server.application.python_path, [Path::new("p"), Path::new("q r")]);
    assert_eq!(pairs(&server.content.url_alias).collect::<Vec<_>>(), [("/static", "files")]);
    let set: Vec<_> = pairs(&server.application.setenv).collect();
    assert_eq!(set, [("A", "1"), ("B", "2")]);
}

#[test]
fn a_higher_source_replaces_lists_whole() {
    let project = Temporary::new("lists.toml", PROJECT);
    let variables = [
        ("MOD_WSGI_RS_PYTHON_PATH", "'a b' c"),
        ("MOD_WSGI_RS_SETENV", "NAME 'a value'"),
        ("MOD_WSGI_RS_ACCESS_LOG", "off"),
        ("MOD_WSGI_RS_LOG_LEVEL", "info ssl:warn"),
    ];
    let (server, _) = read(&["--entry-point=other.wsgi"], variables, &project.0).unwrap();
    assert_eq!(server.application.python_path, [Path::new("a b"), Path::new("c")]);
    assert_eq!(pairs(&server.application.setenv).collect::<Vec<_>>(), [("NAME", "a value")]);
    assert!(!server.logging.access_log);
    assert_eq!(server.logging.log_level, "info ssl:warn");
    // Another name for the same.
    assert_eq!(server.application.script, None);
}

#[test]
fn what_cannot_be_is_named_with_its_place() {
    let wrong = |text: &str| {
        let project = Temporary::new("wrong.toml", &format!("[tool.mod_wsgi_rs]\n{text}\n"));
        read(&[], [], &project.0).unwrap_err()
    };
    assert!(wrong("prot = 1").contains("prot: there is no option --prot"));
    assert!(wrong("access-log = 'maybe'").contains("neither true nor false"));
    assert!(wrong("setenv = ['A']").contains("it takes 2 values each time"));
    assert!(wrong("port = 'x'").contains("--port"));
    assert!(wrong("port = ").contains("wrong.toml"));
    assert!(read(&["--pyproject", NONE], [], Path::new(NONE)).unwrap_err().contains(NONE));
    assert!(read(&["a\nb"], [], Path::new(NONE)).unwrap_err().contains("line break"));
    assert!(read(&["--port", "x"], [], Path::new(NONE)).is_err());
}

#[test]
fn files_with_variables_add_what_is_not_there() {
    let text = "# a comment\nMOD_WSGI_RS_PORT=9\n\nexport SECRET='a b' # not a comment\nOLD=new\n";
    let file = Temporary::new("variables", text);
    let path = file.0.display().to_string();
    let (server, variables) =
        read(&["--env-file", &path], [("OLD", "old")], Path::new(NONE)).unwrap();
    assert_eq!(server.network.port, 9);
    assert_eq!(variables.get("OLD"), Some("old"));
    let added: Vec<_> = variables.added().collect();
    assert_eq!(added[0], ("MOD_WSGI_RS_PORT", "9"));
    let project = format!("[tool.mod_wsgi_rs]\nport = 8\nenv-file = {path:?}\n");
    let project = Temporary::new("env-file.toml", &project);
    let (server, variables) = read(&[], [], &project.0).unwrap();
    assert_eq!((server.network.port, variables.get("OLD")), (9, Some("new")));
    let file = Temporary::new("no-variables", "no equals sign\n");
    let path = file.0.display().to_string();
    assert!(read(&["--env-file", &path], [], Path::new(NONE)).unwrap_err().contains(":1: "));
}

#[test]
fn variables_in_words_are_replaced() {
    let variables = Variables::from([("HOME", "/home/x"), ("A_1", "b")]);
    assert_eq!(expand("$HOME/${A_1}c $A_1.d", &variables), "/home/x/bc b.d");
    assert_eq!(expand("$UNKNOWN ${} $ 5$", &variables), "$UNKNOWN ${} $ 5$");
}

#[test]
fn the_first_of_two_values_may_be_joined_to_the_name() {
    let (server, _) = read(&["--url-alias=/a", "b", "--port=5"], [], Path::new(NONE)).unwrap();
    assert_eq!(pairs(&server.content.url_alias).collect::<Vec<_>>(), [("/a", "b")]);
    assert_eq!(server.network.port, 5);
}
