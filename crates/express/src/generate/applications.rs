//! Process groups, and the applications that run in them.

use super::conf::{self, Conf, option, path};
use crate::settings::{Application, Settings};

/// Everything about Python.
pub fn write(settings: &Settings, conf: &mut Conf) {
    let options = &settings.options;
    conf.comment("Python");
    if let Some(home) = &settings.python_home {
        conf.line(&["WSGIPythonHome", &path(home)]);
    }
    conf.line(&["WSGISocketPrefix", &path(&settings.socket_prefix())]);
    let application = &options.application;
    for filter in &application.python_warnings {
        conf.line(&["WSGIPythonWarnings", filter]);
    }
    if let Some(seconds) = application.switch_interval {
        conf.raw(&format!("WSGISwitchInterval {seconds}"));
    }
    for (wanted, line) in [
        (!application.embedded_mode, "WSGIRestrictEmbedded On"),
        (application.orphan_interpreter, "WSGIDestroyInterpreter Off"),
        (application.free_threading, "WSGIFreeThreading On"),
        (options.debugging.disable_reloading, "WSGIScriptReloading Off"),
        (options.network.chunked_request, "WSGIChunkedRequest On"),
        (options.network.enable_sendfile, "WSGIEnableSendfile On"),
        (options.content.error_override, "WSGIErrorOverride On"),
        (options.logging.server_metrics, "WSGIServerMetrics On"),
    ] {
        if wanted {
            conf.raw(line);
        }
    }
    // The handler script is what is called, and finds the application.
    conf.raw("WSGIPassAuthorization On");
    conf.raw(&format!("WSGIMapHEADToGET {}", options.network.map_head_to_get.name()));
    for (directive, words) in [
        ("WSGITrustedProxyHeaders", &options.network.trust_proxy_header),
        ("WSGITrustedProxies", &options.network.trust_proxy),
    ] {
        if !words.is_empty() {
            conf.line(
                &[&[directive], &words.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
            );
        }
    }
    telemetry(settings, conf);
    for application in &settings.applications {
        one(settings, application, conf);
    }
}

fn telemetry(settings: &Settings, conf: &mut Conf) {
    let logging = &settings.options.logging;
    if logging.log_json {
        conf.raw("WSGILogFormat json");
    }
    if let Some(service) = &logging.telemetry_service {
        let interval = format!("interval={}", logging.telemetry_interval);
        conf.line(&["WSGITelemetryService", service, &interval]);
    }
    if let Some(seconds) = logging.slow_requests {
        conf.raw(&format!("WSGISlowRequests {seconds}"));
    }
    if !logging.telemetry_options.is_empty() {
        conf.raw(&format!("WSGITelemetryOptions {}", logging.telemetry_options.join(" ")));
    }
}

/// The process group of an application, and its handler.
fn one(settings: &Settings, application: &Application, conf: &mut Conf) {
    let group = application.process_group.as_deref().unwrap_or("%{GLOBAL}");
    let wanted = &settings.options.application;
    let mut options = daemon(settings, application);
    let named = wanted.process_group.is_some() || application.process_group.is_none();
    options.push(match named || application.handler != "wsgi-handler" {
        true => option("display-name", "%{GROUP}"),
        false => option(
            "display-name",
            &format!("(wsgi:{}:{})", settings.address(), nix::unistd::geteuid()),
        ),
    });
    conf.raw(&format!("WSGIDaemonProcess {} {}", conf::quoted(group), options.join(" ")));
    let script = settings.file(&format!("{}.wsgi", script_name(application)));
    let place = format!(
        "{} {}",
        option("process-group", group),
        option("application-group", &wanted.application_group),
    );
    let script = conf::quoted(&path(&script));
    conf.raw(&format!("WSGIHandlerScript {} {script} {place}", application.handler));
    let group = &wanted.application_group;
    if group == "%{GLOBAL}" || !group.contains("%{") {
        conf.raw(&format!("WSGIImportScript {script} {place}"));
    }
}

/// The name of an application's handler script, without its extension.
pub fn script_name(application: &Application) -> &str {
    // As mod_wsgi-express calls it.
    application.handler.strip_prefix("wsgi-").unwrap_or(&application.handler)
}

/// The options of a process group.
fn daemon(settings: &Settings, application: &Application) -> Vec<String> {
    let options = &settings.options;
    let timeouts = &options.timeouts;
    let mut words = environment(settings, application.python_home.as_deref());
    let mut add = |name: &str, value: u32| words.push(format!("{name}={value}"));
    match (settings.debug, options.capacity.processes) {
        (true, _) => add("threads", 1),
        (false, processes) => {
            if let Some(processes) = processes {
                add("processes", processes);
            }
            add("threads", options.capacity.threads);
        }
    }
    for (name, value) in [
        ("listen-backlog", options.capacity.daemon_backlog),
        ("maximum-requests", timeouts.maximum_requests),
        ("inactivity-timeout", timeouts.inactivity_timeout),
        ("restart-interval", timeouts.restart_interval),
        ("cpu-time-limit", timeouts.cpu_time_limit),
        ("interrupt-timeout", timeouts.interrupt_timeout),
        ("startup-timeout", timeouts.startup_timeout),
        ("graceful-timeout", timeouts.graceful_timeout),
        ("eviction-timeout", timeouts.eviction_timeout),
        ("shutdown-timeout", timeouts.shutdown_timeout),
        ("connect-timeout", timeouts.connect_timeout),
        ("socket-timeout", timeouts.socket_timeout),
        ("queue-timeout", timeouts.queue_timeout),
        ("response-socket-timeout", timeouts.response_socket_timeout),
        ("response-flush-delay", timeouts.response_flush_delay),
    ] {
        // Without a word, some of these are not 0.
        let counts =
            ["graceful-timeout", "shutdown-timeout", "connect-timeout", "response-flush-delay"];
        if value > 0 || counts.contains(&name) {
            add(name, value);
        }
    }
    // A developer stops in the debugger for longer than any of these.
    let stops = options.debugging.enable_debugger;
    add("request-timeout", if stops { 0 } else { timeouts.request_timeout });
    add("deadlock-timeout", if stops { 0 } else { timeouts.deadlock_timeout });
    for (name, value) in [
        ("send-buffer-size", timeouts.send_buffer_size),
        ("receive-buffer-size", timeouts.receive_buffer_size),
        ("header-buffer-size", timeouts.header_buffer_size),
        ("response-buffer-size", timeouts.response_buffer_size),
    ] {
        if value > 0 {
            add(name, value);
        }
    }
    if options.debugging.reload_on_changes {
        words.push("reload=keep".to_owned());
    }
    if options.debugging.disable_reloading {
        words.push("reload=off".to_owned());
    }
    if options.logging.server_metrics {
        words.push("server-metrics=On".to_owned());
    }
    words
}

/// The options about where a process group runs, and in which Python.
pub fn environment(settings: &Settings, python_home: Option<&std::path::Path>) -> Vec<String> {
    let application = &settings.options.application;
    let mut words = vec![option("home", &path(&settings.working_directory))];
    if let Some(home) = python_home {
        words.push(option("python-home", &path(home)));
    }
    if !application.python_path.is_empty() {
        let absolute = |path| std::path::absolute(path).unwrap_or_default();
        let folders: Vec<String> =
            application.python_path.iter().map(|folder| path(&absolute(folder))).collect();
        words.push(option("python-path", &folders.join(":")));
    }
    words.push(option("python-eggs", &path(&eggs(settings))));
    words.push(option("lang", &settings.locale));
    words.push(option("locale", &settings.locale));
    words
}

/// Where eggs are unpacked.
pub fn eggs(settings: &Settings) -> std::path::PathBuf {
    let named = settings.options.application.python_eggs.as_ref();
    let named = named.and_then(|path| std::path::absolute(path).ok());
    named.unwrap_or_else(|| settings.file("python-eggs"))
}
