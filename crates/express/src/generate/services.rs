//! Scripts that run beside the application.

use super::applications::environment;
use super::conf::{Conf, option, path, quoted};
use super::logs;
use crate::options::pairs;
use crate::settings::{Logs, Settings};

/// A process group for each service, whose script runs in it.
pub fn write(settings: &Settings, conf: &mut Conf) {
    let services = &settings.options.services;
    for (name, script) in pairs(&services.service_script) {
        let log = of(&services.service_log_file, name);
        match log {
            None => one(settings, name, script, conf),
            // A virtual host is what has a log. Nothing listens on its port.
            Some(file) => conf.section("VirtualHost", "*:1", |conf| {
                let folder = match &settings.logs {
                    Logs::Folder(folder) => folder,
                    Logs::Terminal => &settings.root,
                };
                conf.line(&["ErrorLog", &logs::target(settings, &folder.join(file))]);
                one(settings, name, script, conf);
            }),
        }
    }
}

fn one(settings: &Settings, name: &str, script: &str, conf: &mut Conf) {
    let services = &settings.options.services;
    let group = format!("service:{name}");
    let mut options = environment(settings, settings.python_home.as_deref());
    options.push("threads=0".to_owned());
    options.push(option("display-name", "%{GROUP}"));
    for (option_name, values) in
        [("user", &services.service_user), ("group", &services.service_group)]
    {
        if let Some(value) = of(values, name) {
            options.push(option(option_name, value));
        }
    }
    let script = std::path::absolute(script).unwrap_or_else(|_| script.into());
    conf.raw(&format!("WSGIDaemonProcess {} {}", quoted(&group), options.join(" ")));
    conf.raw(&format!(
        "WSGIImportScript {} {} application-group=%{{GLOBAL}}",
        quoted(&path(&script)),
        option("process-group", &group),
    ));
}

/// What is said about a service; the last word counts.
fn of<'v>(values: &'v [String], service: &str) -> Option<&'v str> {
    pairs(values).rfind(|(name, _)| *name == service).map(|(_, value)| value)
}
