//! The scripts of a server: its control script, and those that its workers load.

use std::fmt::Write as _;
use std::path::{Path, absolute};
use std::process::Command;

use super::applications::{eggs, script_name};
use super::conf::path;
use super::{GenerateError, Root};
use crate::options::pairs;
use crate::settings::{Application, Settings, Target};

/// The name of the control script.
pub const APACHECTL: &str = "apachectl";

/// Runs the control script, by its shell: in a container, the folder may be on a file system of which no
/// program may be executed.
pub fn apachectl(settings: &Settings) -> Command {
    let mut command = Command::new(&settings.options.installation.shell_executable);
    command.arg(settings.file(APACHECTL));
    command
}

const HANDLER: &str = include_str!("../python/handler.py");
const RESOURCE: &str = include_str!("../python/resource.py");
const WELCOME: &str = include_str!("../python/welcome.py");

/// Writes all of them, and makes the folders that they need.
pub fn write(root: &Root<'_>) -> Result<(), GenerateError> {
    let settings = root.settings;
    let options = &settings.options;
    root.write("default.wsgi", WELCOME, 0o644)?;
    for application in &settings.applications {
        let name = format!("{}.wsgi", script_name(application));
        root.write(&name, &handler(settings, application), 0o644)?;
    }
    if !options.content.add_handler.is_empty() {
        root.write("resource.wsgi", &resource(settings), 0o644)?;
    }
    root.write("environment", &environment(settings), 0o600)?;
    root.write(APACHECTL, &control(settings), 0o755)?;
    match &options.installation.envvars_script {
        Some(script) => {
            let script = path(&absolute(script).unwrap_or_default());
            root.write("envvars", &format!(". {}\n", shell(&script)), 0o644)?;
        }
        None => root.keep("envvars", "")?,
    }
    if options.content.rewrite_rules.is_none() {
        root.keep("rewrite.conf", "")?;
    }
    let htdocs = settings.file("htdocs");
    if settings.document_root == htdocs {
        for application in &settings.applications {
            root.folder(&htdocs.join(application.mount.trim_start_matches('/')))?;
        }
        root.folder(&htdocs)?;
    }
    root.open_folder(&eggs(settings))?;
    if let crate::settings::Logs::Folder(folder) = &settings.logs {
        root.folder(folder)?;
    }
    for folder in folders(settings).into_iter().flatten() {
        root.open_folder(Path::new(&folder))?;
    }
    Ok(())
}

/// Where coverage, profiles and recordings go, for those that are wanted.
fn folders(settings: &Settings) -> [Option<String>; 3] {
    let debugging = &settings.options.debugging;
    [
        (debugging.enable_coverage, &debugging.coverage_directory, "htmlcov"),
        (debugging.enable_profiler, &debugging.profiler_directory, "pstats"),
        (debugging.enable_recorder, &debugging.recorder_directory, "archive"),
    ]
    .map(|(wanted, named, usual)| {
        let named = named.as_ref().and_then(|folder| absolute(folder).ok());
        wanted.then(|| path(&named.unwrap_or_else(|| settings.file(usual))))
    })
}

/// The script that calls an application.
fn handler(settings: &Settings, application: &Application) -> String {
    let debugging = &settings.options.debugging;
    let target = match &application.target {
        Target::Script(file) | Target::Paste(file) => path(file),
        Target::Module(name) => name.clone(),
        Target::Welcome => String::new(),
    };
    let [coverage, profiler, recorder] = folders(settings);
    let reloading = !debugging.disable_reloading && !settings.debug && settings.check.is_none();
    let mut watched: Vec<String> = debugging
        .reload_path
        .iter()
        .filter_map(|file| absolute(file).ok())
        .map(|file| path(&file))
        .collect();
    if !matches!(application.target, Target::Module(_)) {
        watched.push(target.clone());
    }
    let compiled = settings.check.iter().flat_map(|check| &check.compiled);
    let compiled: Vec<String> = compiled.map(|file| path(file)).collect();
    let names: Vec<String> = variables(settings)
        .iter()
        .map(|(name, value)| format!("({}, {})", text(name), text(value)))
        .collect();
    let debugger = debugging.enable_debugger.then(crate::run::terminal).flatten();
    let fields = [
        ("kind", text(application.target.kind())),
        ("target", text(&target)),
        ("callable", optional(application.callable.as_deref())),
        ("mount", text(&application.mount)),
        ("variables", format!("[{}]", names.join(", "))),
        ("reloading", boolean(reloading).to_owned()),
        ("modules", boolean(debugging.reload_on_changes).to_owned()),
        ("watched", list(&watched)),
        ("debug", boolean(settings.debug).to_owned()),
        ("debugger", optional(debugger.as_deref())),
        ("debugger_startup", boolean(debugging.debugger_startup).to_owned()),
        ("coverage", optional(coverage.as_deref())),
        ("profiler", optional(profiler.as_deref())),
        ("recorder", optional(recorder.as_deref())),
        ("check", optional(settings.check.as_ref().map(|check| check.token.as_str()))),
        ("compiled", list(&compiled)),
    ];
    let mut script = String::from("SETTINGS = {\n");
    for (name, value) in fields {
        let _ = writeln!(script, "    {}: {value},", text(name));
    }
    script + "}\n\n" + HANDLER
}

/// What applications find in `os.environ`, as from mod_wsgi-express.
fn variables(settings: &Settings) -> Vec<(&'static str, String)> {
    let (network, debugging) = (&settings.options.network, &settings.options.debugging);
    let mut variables = vec![("MOD_WSGI_EXPRESS", "true".to_owned())];
    variables.push(("MOD_WSGI_SERVER_NAME", network.server_name.clone().unwrap_or_default()));
    variables.push(("MOD_WSGI_SERVER_ALIASES", network.server_alias.join(" ")));
    for (wanted, name) in [
        (debugging.reload_on_changes, "MOD_WSGI_RELOADER_ENABLED"),
        (settings.debug, "MOD_WSGI_DEBUG_MODE"),
        (debugging.enable_debugger, "MOD_WSGI_DEBUGGER_ENABLED"),
        (debugging.enable_coverage, "MOD_WSGI_COVERAGE_ENABLED"),
        (debugging.enable_profiler, "MOD_WSGI_PROFILER_ENABLED"),
        (debugging.enable_recorder, "MOD_WSGI_RECORDER_ENABLED"),
    ] {
        if wanted {
            variables.push((name, "true".to_owned()));
        }
    }
    variables
}

/// The script that serves files by other scripts.
fn resource(settings: &Settings) -> String {
    let mut script = String::from("SCRIPTS = {\n");
    for (extension, file) in pairs(&settings.options.content.add_handler) {
        let extension = format!(".{}", extension.trim_start_matches('.'));
        let file = absolute(file).unwrap_or_default();
        let _ = writeln!(script, "    {}: {},", text(&extension), text(&path(&file)));
    }
    script + "}\n\n" + RESOURCE
}

/// The variables of `--env-file`, for the control script. They may be secrets.
fn environment(settings: &Settings) -> String {
    settings
        .variables
        .added()
        .map(|(name, value)| format!("{name}={}\nexport {name}\n", shell(value)))
        .collect()
}

/// The script that starts and stops the server.
fn control(settings: &Settings) -> String {
    let options = &settings.options;
    let port = |port: Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
    let exported = [
        ("MOD_WSGI_MODULES_DIRECTORY", path(&settings.httpd.modules)),
        ("MOD_WSGI_SERVER_ROOT", path(&settings.root)),
        ("MOD_WSGI_LISTENER_HOST", settings.host.clone()),
        ("MOD_WSGI_HTTP_PORT", port(Some(options.network.port))),
        ("MOD_WSGI_HTTPS_PORT", port(options.network.https_port)),
        ("MOD_WSGI_WORKING_DIRECTORY", path(&settings.working_directory)),
        ("LANG", settings.locale.clone()),
        ("LC_ALL", settings.locale.clone()),
    ];
    let exported: String = exported
        .iter()
        .map(|(name, value)| format!("{name}={}\nexport {name}\n", shell(value)))
        .collect();
    let user: String = settings.user.iter().fold(String::new(), |mut lines, user| {
        for (name, value) in [("USER", &user.name), ("GROUP", &user.group)] {
            let _ = writeln!(
                lines,
                "MOD_WSGI_{name}=\"${{MOD_WSGI_{name}:-${{WSGI_RUN_{name}:-{value}}}}}\"\n\
                 export MOD_WSGI_{name}"
            );
        }
        lines
    });
    let mut arguments = vec!["-f".to_owned(), shell(&path(&settings.file("httpd.conf")))];
    if options.logging.startup_log {
        let folder = match &settings.logs {
            crate::settings::Logs::Folder(folder) => folder,
            crate::settings::Logs::Terminal => &settings.root,
        };
        let log = folder.join(&options.logging.startup_log_name);
        arguments.extend(["-E".to_owned(), shell(&path(&log))]);
    }
    // Only in the foreground is there a terminal, and an end that profiles are written at.
    let foreground = if settings.debug { " -DFOREGROUND" } else { "" };
    let directory = shell(&path(&settings.working_directory));
    format!(
        r#"#!{shell}
# Controls this server: start, stop, restart, graceful, graceful-stop, configtest, status. Other words
# are httpd's own. mod_wsgi-rs writes this file anew whenever it sets the server up; variables can be
# set in envvars.

{exported}{user}
. {environment}
. {envvars}

cd {directory} || exit 1

case "$1" in
start)
    exec {program} {arguments} -k "$@"{foreground}
    ;;
stop | restart | graceful | graceful-stop)
    exec {program} {arguments} -k "$@"
    ;;
configtest)
    exec {program} {arguments} -t
    ;;
status)
    exec "${{BROWSER:-xdg-open}}" {status}
    ;;
*)
    exec {program} {arguments} "$@"
    ;;
esac
"#,
        shell = options.installation.shell_executable.display(),
        environment = shell(&path(&settings.file("environment"))),
        envvars = shell(&path(&settings.file("envvars"))),
        program = shell(&path(&settings.httpd.program)),
        arguments = arguments.join(" "),
        status = shell(&format!("http://{}/server-status", settings.address())),
    )
}

/// A word of the shell.
fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A text in Python.
fn text(text: &str) -> String {
    let mut written = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            ' '..='~' => written.push(c),
            _ => {
                let _ = write!(written, "\\U{:08x}", u32::from(c));
            }
        }
    }
    written + "\""
}

fn optional(value: Option<&str>) -> String {
    value.map_or_else(|| "None".to_owned(), text)
}

fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
}

fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_languages() {
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(text("a\"\\\u{e4}\n"), r#""a\"\\\U000000e4\U0000000a""#);
        assert_eq!(list(&["a".into(), "b".into()]), r#"["a", "b"]"#);
    }
}
