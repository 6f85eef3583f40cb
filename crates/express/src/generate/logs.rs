//! Where httpd logs to.

use std::path::Path;

use super::conf::{Conf, path};
use crate::run::{self, Style, json};
use crate::settings::{Logs, Settings};

/// Short lines for a developer.
const SHORT: &str = "%{%H:%M:%S}t %m %U%q %>s %B bytes %{ms}T ms";
const COMMON: &str = "%h %l %u %t \"%r\" %>s %b";
const COMBINED: &str = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\"";

/// The logs of the main server, which virtual hosts share.
pub fn write(settings: &Settings, conf: &mut Conf) {
    let logging = &settings.options.logging;
    conf.comment("Logs");
    conf.raw(&format!("LogLevel {}", logging.log_level));
    let error_log = match &settings.logs {
        Logs::Terminal => "/dev/stderr".to_owned(),
        Logs::Folder(folder) => target(settings, &folder.join(&logging.error_log_name)),
    };
    conf.line(&["ErrorLog", &error_log]);
    let style = run::style(settings);
    let error_format = match style {
        Style::Json => Some(json::ERROR_FORMAT),
        Style::Plain | Style::Coloured => logging.error_log_format.as_deref(),
    };
    if let Some(format) = error_format {
        conf.line(&["ErrorLogFormat", format]);
    }
    if settings.access_log {
        let target = match &settings.logs {
            Logs::Terminal => "/dev/stdout".to_owned(),
            Logs::Folder(folder) => target(settings, &folder.join(&logging.access_log_name)),
        };
        let format = match (logging.access_log_format.as_str(), style) {
            (_, Style::Json) => json::ACCESS_FORMAT,
            ("common", Style::Coloured) if settings.logs == Logs::Terminal => SHORT,
            ("common", _) => COMMON,
            ("combined", _) => COMBINED,
            (other, _) => other,
        };
        conf.line(&["CustomLog", &target, format]);
    }
    if logging.server_metrics || logging.server_status {
        conf.raw("ExtendedStatus On");
    }
}

/// A file, or the program that begins a new one when it is long.
pub fn target(settings: &Settings, file: &Path) -> String {
    let logging = &settings.options.logging;
    if !logging.rotate_logs {
        return path(file);
    }
    let program = logging.rotatelogs_executable.clone().unwrap_or_else(|| {
        let beside = settings.httpd.program.with_file_name("rotatelogs");
        [beside, "/usr/bin/rotatelogs".into(), "/usr/sbin/rotatelogs".into()]
            .into_iter()
            .find(|program| program.is_file())
            .unwrap_or_else(|| "rotatelogs".into())
    });
    // httpd splits this as a shell does.
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    format!("|{} {} {}M", quoted(&program), quoted(file), logging.max_log_size)
}
