//! Reloading, tracebacks in the browser, and checks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::User;
use testkit::{Connection, Foreground, Workplace, app_user, environment, running_as_root, until};

use super::{WHERE, text};

const WRAPPER: &str = "import code_\napplication = code_.application\n";

fn code(word: &str) -> String {
    format!(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{word}']\n"
    )
}

#[test]
fn changed_code_is_loaded_at_once_and_broken_code_leaves_the_old_one_serving() {
    let workplace = Workplace::new(&[("app.wsgi", WRAPPER), ("code_.py", &code("one"))]);
    let server = workplace.start(&["--reload-on-changes", "app.wsgi"]);
    assert_eq!(server.wait_for("/", 200).text(), "one");
    let becomes = |word: &str| {
        until(|| (server.wait_for("/", 200).text() == word).then_some(()))
            .unwrap_or_else(|| panic!("it never says {word}: {}", server.errors()));
    };
    server.workplace().write("code_.py", &code("second"));
    becomes("second");
    server.workplace().write("code_.py", "def application(:\n");
    // Nothing has been asked for: the file alone has it loaded, and the log say why it cannot be.
    server.wait_for_error("code_.py\", line 1");
    server.wait_for_error("keeps serving");
    becomes("second");
    server.workplace().write("code_.py", &code("the third"));
    becomes("the third");
}

#[test]
fn debug_mode_shows_what_went_wrong() {
    let failing = "def application(environ, start_response):\n    raise KeyError('<&>')\n";
    let server = Workplace::new(&[("app.wsgi", failing)]).start(&["--debug-mode", "app.wsgi"]);
    let page = server.wait_for("/", 500).text();
    assert!(page.contains("app.wsgi&quot;, line 2") && page.contains("&lt;&amp;&gt;"), "{page}");
    server.wait_for_error("KeyError: '<&>'");
    let conf = fs::read_to_string(server.workplace().dir().join("server/httpd.conf"));
    assert!(conf.is_ok_and(|conf| conf.contains("\nListen 127.0.0.1:")));
}

/// Runs `app.wsgi` in a terminal, with its server root in the folder `open`.
fn in_a_terminal(workplace: Workplace, option: &str) -> Foreground {
    let open = workplace.dir().join("open");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("it is ours");
    let program = environment::dist().join("mod_wsgi-rs");
    let line = format!(
        "exec {} start-server {option} app.wsgi --port={} --server-root={}/server",
        program.display(),
        workplace.port(),
        open.display(),
    );
    let mut command = Command::new("script");
    workplace.prepare(&mut command, &["--quiet", "--flush", "--command", &line, "/dev/null"]);
    command.stdin(Stdio::piped());
    if running_as_root() {
        // The terminal has to belong to the user that the application runs as.
        let user = User::from_name(&app_user().0).expect("the user database").expect("that user");
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    workplace.spawn(command)
}

#[test]
fn the_end_of_the_terminal_is_that_of_the_server() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE), ("open/x", "")]);
    let mut server = in_a_terminal(workplace, "--threads=2");
    server.wait_for("/", 200);
    // They are others' when what holds the terminal has ended.
    let processes = server.processes();
    assert!(processes.len() > 2, "{processes:?}");
    server.signal(Signal::SIGKILL);
    server.end().expect("it ends");
    let left = || processes.iter().filter(|process| process.runs()).collect::<Vec<_>>();
    assert!(until(|| left().is_empty().then_some(())).is_some(), "{:?}", left());
}

#[test]
fn the_debugger_talks_to_the_terminal() {
    let failing =
        "def application(environ, start_response):\n    six = 6\n    raise KeyError('x')\n";
    let workplace = Workplace::new(&[("app.wsgi", failing), ("open/x", "")]);
    let mut server = in_a_terminal(workplace, "--enable-debugger");
    let port = server.workplace().port();
    let request = std::thread::spawn(move || {
        Connection::open(port).and_then(|mut connection| connection.request("GET", "/", &[], b""))
    });
    let shows = |server: &Foreground, text: &str| {
        let found = until(|| server.output().contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} is not in:\n{}", server.output());
    };
    shows(&server, "(Pdb)");
    server.type_in("p six * 7\n");
    shows(&server, "42");
    server.type_in("c\n");
    let response = request.join().expect("it returns").expect("an answer");
    assert_eq!(response.status, 500);
    // Ctrl-C, as the terminal makes a signal of it.
    server.type_in("\x03");
    server.end().expect("all of it ends");
}

#[test]
fn a_debugger_needs_a_terminal() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE)]);
    let output = workplace.run(&["start-server", "--enable-debugger", "app.wsgi"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("needs a terminal"), "{}", text(&output));
}

#[test]
fn checks_tell_what_is_used_and_what_is_wrong() {
    let refusing = "def application(environ, start_response):\n    raise SystemExit('called')\n";
    let workplace = Workplace::new(&[
        ("app.wsgi", refusing),
        ("broken.wsgi", "import nothing_of_that_name\n"),
        ("wrong.py", "def a(:\n"),
    ]);
    let usual = workplace.usual();
    let check = |words: &[&str]| {
        let words: Vec<&str> =
            words.iter().copied().chain(usual.iter().map(String::as_str)).collect();
        let output = workplace.run(&words);
        (output.status.code(), text(&output))
    };
    let (status, table) =
        check(&["check", "app.wsgi", "--auth-user-script=app.wsgi", "--server-name=x.example"]);
    assert_eq!(status, Some(0), "{table}");
    for part in
        ["good   httpd", "good   configuration", "app.wsgi: <function application", "with Python 3"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    let words = [
        "start-server",
        "--check",
        "--app=/b=broken.wsgi",
        "--app=/a=app.wsgi",
        "--service-script=s",
        "wrong.py",
    ];
    let (status, table) = check(&words);
    assert_eq!(status, Some(1), "{table}");
    for part in [
        "WRONG  application /b",
        "No module named 'nothing_of_that_name'",
        "good   application /a",
        "wrong.py",
        "SyntaxError",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (status, table) = check(&["check", "app.wsgi", "--include-file=/none/such"]);
    assert_eq!(status, Some(1), "{table}");
    assert!(table.contains("WRONG  configuration") && table.contains("/none/such"), "{table}");
    let left = fs::read_dir(workplace.dir()).expect("the folder").flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().contains("check")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn root_takes_no_options_of_other_users() {
    if !running_as_root() {
        testkit::skipped("only root can give files away");
        return;
    }
    let workplace = Workplace::new(&[
        ("app.wsgi", WHERE),
        ("pyproject.toml", "[tool.mod_wsgi_rs]\nserver-root = \"elsewhere\"\n"),
    ]);
    let user = User::from_name(&app_user().0).expect("the user database").expect("that user");
    let project = workplace.dir().join("pyproject.toml");
    nix::unistd::chown(&project, Some(user.uid), None).expect("root can");
    let output = workplace.run(&["setup-server", "app.wsgi"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output);
    assert!(
        said.contains(&format!("belongs to user {}", user.uid)) && said.contains("--pyproject"),
        "{said}"
    );
    assert!(
        workplace.run(&["setup-server", "app.wsgi", "--pyproject=pyproject.toml"]).status.success()
    );
    assert!(workplace.dir().join("elsewhere/httpd.conf").exists());
}

#[test]
fn words_that_are_wrong_are_refused_before_anything_is_written() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE)]);
    for (words, expected) in [
        (&["start-server", "--frobnicate"][..], "--frobnicate"),
        (&["start-server", "none.wsgi"], "none.wsgi does not exist"),
        (&["setup-server", "--enable-gdb", "app.wsgi"], "gdb -p PID"),
        (&["setup-server", "--python-home=/none/such", "app.wsgi"], "/none/such"),
        (&["dance"], "dance"),
    ] {
        let output = workplace.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output).contains(expected), "{words:?}: {}", text(&output));
    }
    assert_eq!(fs::read_dir(workplace.dir()).expect("the folder").count(), 1);
}
