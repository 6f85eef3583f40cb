//! All directives and options in tables: what each accepts and refuses, and where it may stand.

use testkit::{Httpd, UnderTest};

use super::{accepted_with as accepted, refused};
use crate::HELLO;

/// Places for a directive, from the outermost inwards.
const MAIN: u8 = 1;
const HOST: u8 = 2;
const SECTION: u8 = 4;
const HTACCESS: u8 = 8;

/// A directive that is right, where it may stand, and one that is wrong, with what httpd says.
type Row = (&'static str, u8, &'static str, &'static str);

const SERVER: u8 = MAIN | HOST;
const ALL: u8 = SERVER | SECTION;
const FILE_INFO: u8 = ALL | HTACCESS;
const AUTH: u8 = SECTION | HTACCESS;

/// Directives that mod_wsgi has removed. It refuses them today.
const REMOVED: [Row; 6] = [
    ("WSGILazyInitialization On", FILE_INFO, "", ""),
    ("WSGIReloadMechanism Process", FILE_INFO, "", ""),
    ("WSGINewRelicConfigFile /etc/x", FILE_INFO, "", ""),
    ("WSGINewRelicEnvironment x", FILE_INFO, "", ""),
    ("WSGIOutputBuffering On", FILE_INFO, "", ""),
    ("WSGIPy3kWarningFlag On", FILE_INFO, "", ""),
];

/// Those that are our own.
const OURS: [Row; 2] = [
    ("WSGILocationRedirect On", FILE_INFO, "WSGILocationRedirect x", "must be one of: Off | On"),
    ("WSGIStatusLocal Off", ALL, "WSGIStatusLocal x", "must be one of: Off | On"),
];

const ROWS: [Row; 49] = [
    ("WSGIScriptAlias /a {apps}/app.wsgi", SERVER, "WSGIScriptAlias /a", "at least two arguments"),
    (
        "WSGIScriptAliasMatch ^/a {apps}/app.wsgi",
        SERVER,
        "WSGIScriptAliasMatch ( {apps}/app.wsgi",
        "Regular expression could not be compiled",
    ),
    (
        "WSGIHandlerScript h {apps}/app.wsgi process-group=%{GLOBAL} pass-authorization=on",
        ALL,
        "WSGIHandlerScript h",
        "Location of handler script not supplied",
    ),
    (
        "WSGIImportScript {apps}/app.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}",
        SERVER,
        "WSGIImportScript {apps}/app.wsgi process-group=%{GLOBAL}",
        "Name of WSGI application group required",
    ),
    ("WSGICaseSensitivity Off", MAIN, "WSGICaseSensitivity x", "must be one of: Off | On"),
    ("WSGIScriptReloading Off", FILE_INFO, "WSGIScriptReloading x", "must be one of: Off | On"),
    ("WSGIDaemonProcess x", SERVER, "WSGIDaemonProcess", "Name of WSGI daemon process"),
    ("WSGIProcessGroup %{GLOBAL}", ALL, "WSGIProcessGroup", "takes one argument"),
    ("WSGIApplicationGroup %{GLOBAL}", ALL, "WSGIApplicationGroup a b", "takes one argument"),
    ("WSGICallableObject app", FILE_INFO, "WSGICallableObject", "takes one argument"),
    ("WSGIRestrictProcess a b", ALL, "", ""),
    ("WSGIRestrictEmbedded On", MAIN, "WSGIRestrictEmbedded x", "must be one of: Off | On"),
    ("WSGISocketPrefix run/w", MAIN, "WSGISocketPrefix", "takes one argument"),
    ("WSGISocketRotation Off", MAIN, "WSGISocketRotation x", "must be one of: Off | On"),
    ("WSGIAcceptMutex fcntl", MAIN, "WSGIAcceptMutex x", "mechanism 'x' is invalid"),
    ("WSGIPythonHome {venv}", MAIN, "WSGIPythonHome {apps}", ""),
    ("WSGIPythonPath /usr", MAIN, "WSGIPythonPath", "takes one argument"),
    ("WSGIPythonEggs /tmp", MAIN, "WSGIPythonEggs", "takes one argument"),
    ("WSGIPythonWarnings error", MAIN, "WSGIPythonWarnings", "takes one argument"),
    ("WSGIPythonOptimize 2", MAIN, "WSGIPythonOptimize", "takes one argument"),
    ("WSGIDontWriteBytecode On", MAIN, "WSGIDontWriteBytecode 1", "must be one of: Off | On"),
    ("WSGIPythonHashSeed random", MAIN, "WSGIPythonHashSeed -1", "in range [0; 4294967295]"),
    ("WSGISwitchInterval 0.01", MAIN, "WSGISwitchInterval 0", "must be a positive number"),
    ("WSGIDestroyInterpreter Off", MAIN, "WSGIDestroyInterpreter x", "must be one of: Off | On"),
    ("WSGIPerInterpreterGIL On", MAIN, "WSGIPerInterpreterGIL x", "must be one of: Off | On"),
    ("WSGIFreeThreading On", MAIN, "WSGIFreeThreading x", "must be one of: Off | On"),
    (
        "<WSGIInterpreterOptions process-group=%{GLOBAL}>\nWSGIRestrictStdin On\n\
         </WSGIInterpreterOptions>",
        MAIN,
        "<WSGIInterpreterOptions other=x>\n</WSGIInterpreterOptions>",
        "unknown selector 'other'",
    ),
    ("WSGIRestrictStdin On", MAIN, "WSGIRestrictStdin x", "must be one of: Off | On"),
    ("WSGIRestrictStdout On", MAIN, "WSGIRestrictStdout x", "must be one of: Off | On"),
    ("WSGIRestrictSignal Off", MAIN, "WSGIRestrictSignal x", "must be one of: Off | On"),
    ("WSGIPassAuthorization oFF", FILE_INFO, "WSGIPassAuthorization x", "must be one of: Off | On"),
    ("WSGIPassApacheRequest On", ALL, "WSGIPassApacheRequest x", "must be one of: Off | On"),
    ("WSGIChunkedRequest On", FILE_INFO, "WSGIChunkedRequest x", "must be one of: Off | On"),
    ("WSGIErrorOverride On", FILE_INFO, "WSGIErrorOverride x", "must be one of: Off | On"),
    ("WSGIMapHEADToGET auto", FILE_INFO, "WSGIMapHEADToGET x", "must be one of: Off | On | Auto"),
    ("WSGIIgnoreActivity On", FILE_INFO, "WSGIIgnoreActivity x", "must be one of: Off | On"),
    ("WSGIEnableSendfile On", FILE_INFO, "WSGIEnableSendfile x", "must be one of: Off | On"),
    ("WSGITrustedProxyHeaders X-Real-IP", FILE_INFO, "", ""),
    (
        "WSGITrustedProxies 10.0.0.0/8 ::1",
        FILE_INFO,
        "WSGITrustedProxies proxy.example",
        "Unable to parse trusted proxy IP address/subnet of \"proxy.example\"",
    ),
    (
        "WSGIDispatchScript {apps}/app.wsgi",
        ALL,
        "WSGIDispatchScript",
        "Location of dispatch script not supplied",
    ),
    (
        "WSGIAccessScript {apps}/app.wsgi",
        AUTH,
        "<Location />\nWSGIAccessScript {apps}/app.wsgi x\n</Location>",
        "Invalid option to WSGI access script definition",
    ),
    (
        "WSGIAuthUserScript {apps}/app.wsgi application-group=x",
        AUTH,
        "<Location />\nWSGIAuthUserScript\n</Location>",
        "Location of auth user script not supplied",
    ),
    (
        "WSGIAuthGroupScript {apps}/app.wsgi",
        AUTH,
        "<Location />\nWSGIAuthGroupScript\n</Location>",
        "Location of auth group script not supplied",
    ),
    (
        "WSGIGroupAuthoritative Off",
        AUTH,
        "<Location />\nWSGIGroupAuthoritative x\n</Location>",
        "must be one of: Off | On",
    ),
    ("WSGIServerMetrics On", MAIN, "WSGIServerMetrics x", "must be one of: Off | On"),
    (
        "WSGITelemetryService unix:/run/t interval=0.5",
        MAIN,
        "WSGITelemetryService udp:a:1",
        "target must be 'unix:/path'",
    ),
    ("WSGISlowRequests 1.5", MAIN, "WSGISlowRequests -1", "must be non-negative"),
    ("WSGITelemetryOptions +CaptureUserAgent", MAIN, "WSGITelemetryOptions x", "unknown flag 'x'"),
    ("WSGIVerboseDebugging On", MAIN, "WSGIVerboseDebugging x", "must be one of: Off | On"),
];

/// Whether a directive or an option has a line that is wrong.
pub fn breaks(name: &str) -> bool {
    let directive = |row: &Row| {
        let first = row.0.split([' ', '\n']).next().unwrap_or_default();
        first.trim_start_matches('<') == name.trim_matches(['<', '>']) && !row.2.is_empty()
    };
    let option = |row: &(&str, &str)| row.0.starts_with(name) && name.ends_with('=');
    ROWS.iter().chain(&OURS).any(directive) || OPTIONS.iter().any(option)
}

/// What concerns one group, and may be right when a worker is needed: no reason not to start.
const NOT_REFUSED: [&str; 2] = ["WSGIPythonHome {apps}", "python-home=/nowhere"];

/// Demands that this is refused, unless it must not be.
#[track_caller]
fn is_refused(wrong: &str, conf: &str, texts: &[&str]) {
    if NOT_REFUSED.contains(&wrong) {
        accepted(conf, &["Syntax OK"]);
    } else {
        refused(conf, texts);
    }
}

/// The rows for the module under test.
fn rows() -> impl Iterator<Item = &'static Row> {
    let (removed, ours): (&[Row], &[Row]) =
        if UnderTest::chosen().is_original() { (&[], &[]) } else { (&REMOVED, &OURS) };
    ROWS.iter().chain(removed).chain(ours)
}

#[test]
fn every_directive_where_it_may_stand() {
    for (place, open, close) in [
        (MAIN, "", ""),
        (HOST, "<VirtualHost *:{port}>", "</VirtualHost>"),
        (SECTION, "<Directory {apps}>", "</Directory>"),
    ] {
        let allowed = rows().filter(|row| row.1 & place != 0);
        let lines: Vec<_> = allowed.map(|row| row.0).collect();
        accepted(&format!("{open}\n{}\n{close}", lines.join("\n")), &["Syntax OK"]);
        for (line, places, ..) in rows().filter(|row| row.1 & place == 0) {
            let name = line.trim_start_matches('<').split([' ', '>']).next().unwrap_or_default();
            let said =
                if *places == MAIN && place == HOST { "cannot occur" } else { "not allowed" };
            refused(&format!("{open}\n{line}\n{close}"), &[name, said]);
        }
    }
}

#[test]
fn every_directive_when_it_is_wrong() {
    for (_, _, wrong, said) in rows().filter(|row| !row.2.is_empty()) {
        is_refused(wrong, wrong, &[said]);
    }
}

#[test]
fn htaccess_has_what_allow_override_grants() {
    let lines = |mask: u8| {
        let rows = rows().filter(|row| row.1 & HTACCESS != 0 && row.1 & MAIN == mask & MAIN);
        // Those that would deny, or call another object, are right but not what is tested here.
        let denies = ["WSGIAccessScript", "WSGICallableObject"];
        let rows = rows.filter(|row| !denies.iter().any(|name| row.0.starts_with(name)));
        rows.map(|row| row.0.replace("{apps}", "/nowhere")).collect::<Vec<_>>().join("\n")
    };
    for (grant, content, status) in [
        ("FileInfo", lines(MAIN), 200),
        ("AuthConfig", lines(0), 200),
        ("AuthConfig", lines(MAIN), 500),
        ("FileInfo", lines(0), 500),
    ] {
        let httpd = Httpd::new()
            .app("app.wsgi", HELLO)
            .file("apps/.htaccess", &content)
            .conf("WSGIScriptAlias / {apps}/app.wsgi")
            .conf(&format!("<Directory {{apps}}>\nAllowOverride {grant}\n</Directory>"))
            .expect_log("not allowed here")
            .start();
        httpd.get("/").assert(status);
    }
}

/// Options of WSGIDaemonProcess: right, and wrong.
const OPTIONS: [(&str, &str); 48] = [
    ("user={user}", "user=nobody-of-this-name"),
    ("group={group}", "group=no-group-of-this-name"),
    ("supplementary-groups={group},#0", "supplementary-groups=no-group-of-this-name"),
    ("umask=022", "umask=8"),
    ("chroot=/", "chroot=srv"),
    ("home=/", "home=x"),
    ("lang=C.UTF-8", "lang"),
    ("locale=C.UTF-8", "locale"),
    ("python-home={venv}", "python-home=/nowhere"),
    ("python-path=/usr:/etc", "python-path"),
    ("python-eggs=/tmp", "python-eggs"),
    ("switch-interval=0.1", "switch-interval=0"),
    ("display-name=%{GROUP}", "display-name"),
    ("server-metrics=On", "server-metrics=x"),
    ("processes=2", "processes=0"),
    ("idle-timeout=5", "idle-timeout=-1"),
    ("threads=0", "threads=65534"),
    ("stack-size=1000000", "stack-size=0"),
    ("listen-backlog=0", "listen-backlog=-1"),
    ("maximum-requests=5", "maximum-requests=-1"),
    ("inactivity-timeout=5", "inactivity-timeout=-1"),
    ("restart-interval=5", "restart-interval=-1"),
    ("request-timeout=5", "request-timeout=-1"),
    ("memory-max=5", "memory-max=-1"),
    ("interrupt-timeout=5", "interrupt-timeout=-1"),
    ("deadlock-timeout=5", "deadlock-timeout=-1"),
    ("startup-timeout=5", "startup-timeout=-1"),
    ("graceful-timeout=5", "graceful-timeout=-1"),
    ("eviction-timeout=5", "eviction-timeout=-1"),
    ("shutdown-timeout=5", "shutdown-timeout=-1"),
    ("reload=keep", "reload=maybe"),
    ("cpu-priority=-5", "cpu-priority="),
    ("cpu-time-limit=5", "cpu-time-limit=-1"),
    ("memory-limit=4294967296", "memory-limit=-1"),
    ("virtual-memory-limit=4294967296", "virtual-memory-limit=-1"),
    ("connect-timeout=5", "connect-timeout=-1"),
    ("socket-timeout=5", "socket-timeout=-1"),
    ("queue-timeout=5", "queue-timeout=-1"),
    ("send-buffer-size=512", "send-buffer-size=511"),
    ("receive-buffer-size=512", "receive-buffer-size=511"),
    ("header-buffer-size=8192", "header-buffer-size=8191"),
    ("response-buffer-size=65536", "response-buffer-size=65535"),
    ("response-flush-delay=0", "response-flush-delay=-1"),
    ("response-socket-timeout=5", "response-socket-timeout=-1"),
    ("retry=Off", "retry=never"),
    ("socket-user={user}", "socket-user=nobody-of-this-name"),
    ("script-user={user}", "script-user=nobody-of-this-name"),
    ("script-group={group}", "script-group=no-group-of-this-name"),
];

/// The options of the module that is tested, each with its equals sign.
pub fn options() -> impl Iterator<Item = &'static str> {
    let known = OPTIONS.iter().filter(|(right, _)| is_known(right));
    known.filter_map(|(right, _)| Some(&right[..=right.find('=')?]))
}

/// Whether the module that is tested has the option: some are our own.
fn is_known(option: &str) -> bool {
    let ours = ["idle-timeout=", "memory-max=", "reload=", "retry="];
    !(UnderTest::chosen().is_original() && ours.iter().any(|ours| option.starts_with(ours)))
}

#[test]
fn every_option_of_a_group() {
    let right: Vec<_> = OPTIONS
        .iter()
        .map(|row| row.0)
        .filter(|right| !right.starts_with("script-group") && is_known(right))
        .collect();
    let conf = format!("WSGIDaemonProcess a {}", right.join(" "));
    accepted(&conf, &["Syntax OK"]);
    for (right, wrong) in OPTIONS.into_iter().filter(|(right, _)| is_known(right)) {
        let name = right.split('=').next().unwrap_or_default();
        let conf = format!("WSGIDaemonProcess a {wrong}");
        is_refused(wrong, &conf, &["WSGI daemon process", name]);
    }
    let both = "WSGIDaemonProcess a script-user={user} script-group={group}";
    refused(both, &["Only one of script-user and script-group allowed"]);
}

#[test]
fn what_configtest_warns_about() {
    if testkit::ours_only("mod_wsgi says nothing at configtest") {
        return;
    }
    let group = "WSGIDaemonProcess g";
    let alias = "WSGIScriptAlias / {apps}/app.wsgi";
    let host = |log: &str| {
        format!(
            "<VirtualHost *:{{port}}>\nServerName {log}.example\nErrorLog logs/{log}.log\n\
             {alias} process-group=g\n</VirtualHost>"
        )
    };
    for (conf, texts) in [
        ("WSGIDaemonProcess g locale=xx_XX.nothing".to_owned(), &["locale", "xx_XX"][..]),
        ("WSGIDaemonProcess g cpu-priority=x".to_owned(), &["cpu-priority", "is read as 0"]),
        ("WSGIDaemonProcess g python-path=/nowhere".to_owned(), &["/nowhere", "is not there"]),
        ("WSGIDaemonProcess g home=/nowhere".to_owned(), &["home='/nowhere'", "is not there"]),
        (
            "WSGIDaemonProcess g supplementary-groups=#3,".to_owned(),
            &["supplementary-groups='#3,'", "a comma too many"],
        ),
        ("WSGIPythonPath /usr:/nowhere".to_owned(), &["/nowhere is not there"]),
        ("WSGIScriptAlias / {apps}/none.wsgi".to_owned(), &["none.wsgi", "does not exist"]),
        (format!("WSGISocketPrefix /nowhere/w\n{alias}"), &["/nowhere", "they are made in"]),
        (
            format!("WSGISocketPrefix /nowhere/w\n{group}\n{alias}"),
            &["/nowhere", "no request will be served", "WSGISocketPrefix"],
        ),
        (format!("{alias} process-group=typo"), &["'typo'", "defined nowhere"]),
        (format!("{group}\n{}\n{}", host("one"), host("two")), &["one", "two", "error logs"]),
        ("WSGILazyInitialization On".to_owned(), &["WSGILazyInitialization", "Remove the line"]),
        ("WSGITrustedProxyHeaders X-Typo".to_owned(), &["X-Typo", "is ignored"]),
        ("WSGITelemetryService unix:t".to_owned(), &["unix:t", "not from the root"]),
        (format!("WSGITelemetryService unix:/{}", "x".repeat(107)), &["107 bytes at most"]),
    ] {
        accepted(&conf, &["Syntax OK"]);
        accepted(&conf, texts);
    }
    let quiet = Httpd::new().app("app.wsgi", HELLO).conf(group).conf(&host("one")).configtest();
    quiet.accepts(&["Syntax OK"]);
    assert!(!quiet.output.contains("warn"), "{}", quiet.output);
}
