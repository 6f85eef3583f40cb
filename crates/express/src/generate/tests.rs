//! Compares generated configurations with those in `golden/`; `UPDATE_EXPRESS=1` writes them anew.

use std::path::PathBuf;
use std::{env, fs, process};

use super::*;
use crate::files::Files;
use crate::httpd::Httpd;
use crate::options::{Cli, Command};
use crate::settings::{Purpose, SettingsError};
use crate::sources::{self, Variables};

/// An httpd whose modules are there, but empty. It goes away with the test.
struct Modules(PathBuf);

impl Modules {
    fn new(name: &str, modules: &[&str]) -> Modules {
        let path = env::temp_dir().join(format!("mod_wsgi-rs-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        for module in modules {
            fs::write(path.join(format!("mod_{module}.so")), "").unwrap();
        }
        Modules(path)
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the plainest server loads.
const PLAIN: [&str; 14] = [
    "mpm_event",
    "mpm_prefork",
    "authn_core",
    "authz_core",
    "authz_host",
    "mime",
    "rewrite",
    "alias",
    "dir",
    "env",
    "headers",
    "filter",
    "reqtimeout",
    "log_config",
];

/// The settings of a server below /srv that these options make, on an httpd with these modules.
fn settings(modules: &Modules, words: &[&str]) -> Result<Settings, SettingsError> {
    let always =
        ["mod_wsgi-rs", "setup-server", "--server-root=/srv/root", "--working-directory=/srv/app"];
    let words = always.iter().chain(words).map(|word| (*word).to_owned()).collect();
    let variables = Variables::from([("LANG", "de_DE.UTF-8")]);
    let parsed = sources::parse(words, variables, Path::new("/nowhere/pyproject.toml")).unwrap();
    let (Cli { command: Command::SetupServer(server) }, variables) = parsed.unwrap() else {
        panic!("another command")
    };
    let httpd = Httpd::imagined(&modules.0, &["mod_unixd.c"]);
    let files = Files { folder: "/opt".into(), module: "/opt/mod_wsgi_rs.so".into() };
    let settings = Settings::with(*server, variables, Purpose::Setup, httpd, files, None)?;
    // The tests are run by root, or by others.
    Ok(Settings { user: None, ..settings })
}

#[track_caller]
fn check(name: &str, modules: &[&str], words: &[&str]) {
    let modules = Modules::new(name, modules);
    let settings = settings(&modules, words).unwrap();
    let conf = configuration(&settings).unwrap();
    let conf = conf.replace(&modules.0.display().to_string(), "/modules");
    let conf = conf.replace(&format!(":{})", geteuid()), ":UID)");
    let path = format!("{}/src/generate/golden/{name}.conf", env!("CARGO_MANIFEST_DIR"));
    if env::var_os("UPDATE_EXPRESS").is_some() {
        fs::write(path, conf).unwrap();
    } else {
        let golden = fs::read_to_string(path).unwrap();
        assert!(
            conf == golden,
            "{name}.conf is another one now: UPDATE_EXPRESS=1 shows how\n{conf}"
        );
    }
}

#[test]
fn a_plain_server() {
    check("plain", &PLAIN, &["shop:app"]);
}

#[test]
fn an_older_httpd_with_prefork() {
    let words = [
        "--server-mpm=prefork",
        "--processes=2",
        "--threads=1",
        "--with-cgi",
        "--embedded-mode",
        "--keep-alive-timeout=0",
        "shop:app",
    ];
    check("prefork", &[&PLAIN[..], &["cgi"]].concat(), &words);
}

#[test]
fn names_tls_and_proxies() {
    let words = [
        "--server-name=www.site.example",
        "--server-alias=*.site.example",
        "--host=::1",
        "--https-port=8443",
        "--ssl-certificate=/srv/tls/site",
        "--ssl-ca-certificate-file=/srv/tls/ca.pem",
        "--ssl-verify-client=/admin",
        "--https-only",
        "--hsts-policy=max-age=100; preload",
        "--http2",
        "--proxy-mount-point=/behind",
        "http://127.0.0.1:9000/x/",
        "--proxy-virtual-host=other.example",
        "http://127.0.0.1:9001",
        "--trust-proxy-header=X-Forwarded-For",
        "--trust-proxy=10.0.0.0/8",
        "shop:app",
    ];
    let more = ["proxy", "proxy_http", "ssl", "socache_shmcb", "http2"];
    check("names", &[&PLAIN[..], &more].concat(), &words);
}

#[test]
fn several_applications_with_all_that_is_around_them() {
    let words = [
        "--app=/shop=shop:app,python=/usr",
        "--app=/wiki=wiki.site",
        "--python-home=/",
        "--process-group=a group",
        "--document-root=/srv/my files",
        "--directory-index=index.html",
        "--directory-listing",
        "--url-alias=/static",
        "/srv/static",
        "--url-alias=/static/deep",
        "/srv/deep",
        "--error-document=404",
        "/missing.html",
        "--setenv=NAME",
        "a \"quoted\" value",
        "--passenv=HOME",
        "--add-handler=.pyx",
        "/srv/pyx.wsgi",
        "--auth-user-script=/srv/auth.wsgi",
        "--auth-group-script=/srv/auth.wsgi",
        "--auth-group=staff",
        "--service-script=tasks",
        "/srv/tasks.py",
        "--service-user=tasks",
        "nobody",
        "--service-log-file=tasks",
        "tasks.log",
        "--server-status",
        "--access-log",
        "--rotate-logs",
        "--rotatelogs-executable=/usr/bin/rotatelogs",
        "--compress-responses",
        "--reload-on-changes",
        "--include-file=/srv/more.conf",
    ];
    let more = ["autoindex", "deflate", "auth_basic", "authz_user", "status"];
    check("applications", &[&PLAIN[..], &more].concat(), &words);
}

#[test]
fn modules_that_httpd_lacks_are_named() {
    let modules = Modules::new("lacking", &PLAIN);
    let settings = settings(&modules, &["--http2", "shop:app"]).unwrap();
    let error = configuration(&settings).unwrap_err().to_string();
    assert!(error.contains("no mod_http2") && error.contains("mod_http2.so"), "{error}");
}

#[test]
fn what_has_another_way_here_is_refused_with_it() {
    let modules = Modules::new("refused", &PLAIN);
    for (words, text) in [
        (&["--enable-gdb"][..], "gdb -p PID"),
        (&["--with-php5"], "--include-file"),
        (&["--enable-telemetry"], "--telemetry-service"),
        (&["--enable-docs"], "see its pages"),
        (&["--ssl-certificate=x"], "--https-port"),
        (&["--https-port=1"], "--ssl-certificate"),
        (&["--debugger-startup"], "--enable-debugger"),
        (&["--service-user=a", "root"], "--service-script"),
        (&["--app=/a=x:y", "--app=/a=x:z"], "two applications"),
        (&["--application-type=script", "/none"], "/none does not exist"),
    ] {
        let error = settings(&modules, words).map(|_| ()).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|error| error.contains(text)), "{words:?}: {error:?}");
    }
}

#[test]
fn what_is_done_in_another_way_is_noted() {
    let modules = Modules::new("noted", &PLAIN);
    let words = ["--embedded-mode", "--process-name=x", "--verbose-debugging", "shop:app"];
    let notes = settings(&modules, &words).unwrap().notes.join("\n");
    for option in ["--embedded-mode", "--process-name", "--verbose-debugging"] {
        assert!(notes.contains(option), "{notes}");
    }
}
