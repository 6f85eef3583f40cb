//! Writes the part of httpd's configuration that every test needs: the least that serves.

use std::path::Path;

use crate::apache::{Apache, Mpm};
use crate::under_test::Module;
use crate::{environment, users};

/// Modules of httpd that are in every Debian installation and that tests may use.
const MODULES: [&str; 17] = [
    "unixd",
    "log_config",
    "logio",
    "authn_core",
    "auth_basic",
    "authz_user",
    "filter",
    "deflate",
    "authz_core",
    "authz_host",
    "alias",
    "dir",
    "env",
    "setenvif",
    "mime",
    "headers",
    "rewrite",
];

/// Several children with several threads each, so that more than one of each is in play.
const SIZES: &str = "\
<IfModule !mpm_prefork_module>
    StartServers 2
    ServerLimit 4
    ThreadsPerChild 16
    ThreadLimit 16
    MaxRequestWorkers 64
    MinSpareThreads 16
    MaxSpareThreads 64
</IfModule>
<IfModule mpm_prefork_module>
    StartServers 3
    ServerLimit 32
    MaxRequestWorkers 32
    MinSpareServers 2
    MaxSpareServers 8
</IfModule>
";

/// What differs from one httpd to the next.
pub(crate) struct Setting<'a> {
    pub(crate) apache: &'a Apache,
    pub(crate) mpm: Mpm,
    pub(crate) folder: &'a Path,
    pub(crate) port: u16,
    /// The module under test, unless httpd shall run without it.
    pub(crate) module: Option<&'a Module>,
    /// What the test adds.
    pub(crate) conf: &'a str,
}

/// The whole configuration file.
pub(crate) fn render(setting: &Setting<'_>) -> String {
    let folder = setting.folder.display();
    let mut text = format!(
        "ServerRoot \"{folder}\"\n\
         ServerName localhost\n\
         Listen 127.0.0.1:{port}\n\
         PidFile run/httpd.pid\n\
         DefaultRuntimeDir \"{folder}/run\"\n\
         Mutex file:{folder}/run default\n\n",
        port = setting.port,
    );
    text += &setting.apache.load_module(&format!("mpm_{}", setting.mpm.name()));
    for module in MODULES {
        text += &setting.apache.load_module(module);
    }
    if let Some(module) = setting.module {
        text += &module.lines();
    }
    if users::running_as_root() {
        let (user, group) = users::httpd_user();
        text += &format!("User {user}\nGroup {group}\n");
    }
    text += &format!(
        "\n{SIZES}\n\
         Timeout 60\n\
         KeepAliveTimeout 5\n\
         MaxKeepAliveRequests 0\n\
         TypesConfig /dev/null\n\
         DocumentRoot \"{folder}/htdocs\"\n\
         ErrorLog logs/error.log\n\
         LogLevel {level}\n\
         LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O \\\"%{{Referer}}i\\\" \\\"%{{User-Agent}}i\\\"\" combined\n\
         CustomLog logs/access.log combined\n\
         <Directory />\n    AllowOverride None\n    Require all denied\n</Directory>\n\
         <Directory \"{folder}/htdocs\">\n    Require all granted\n</Directory>\n\
         <Directory \"{folder}/apps\">\n    Require all granted\n</Directory>\n\n",
        level = if setting.module.is_some() { "notice wsgi:info" } else { "notice" },
    );
    text += &fill_in(setting);
    text
}

/// Replaces the placeholders in what the test adds.
fn fill_in(setting: &Setting<'_>) -> String {
    let folder = setting.folder.display().to_string();
    let (user, group) = users::app_user();
    let mut conf = setting.conf.to_owned();
    for (placeholder, value) in [
        ("{dir}", &folder),
        ("{apps}", &format!("{folder}/apps")),
        ("{logs}", &format!("{folder}/logs")),
        ("{modules}", &setting.apache.modules.display().to_string()),
        ("{port}", &setting.port.to_string()),
        ("{user}", &user),
        ("{group}", &group),
    ] {
        conf = conf.replace(placeholder, value);
    }
    if conf.contains("{venv}") {
        conf = conf.replace("{venv}", &environment::venv().display().to_string());
    }
    conf
}
