//! Other servers behind this one.

use super::conf::Conf;
use crate::httpd::Version;
use crate::options::pairs;
use crate::settings::Settings;

/// URL paths that lead to other servers.
pub fn mounts(settings: &Settings, conf: &mut Conf) {
    let content = &settings.options.content;
    if content.proxy_mount_point.is_empty() && content.proxy_virtual_host.is_empty() {
        return;
    }
    conf.comment("Other servers");
    if let Some(seconds) = settings.options.timeouts.proxy_timeout {
        conf.raw(&format!("ProxyTimeout {seconds}"));
    }
    for (mount, url) in pairs(&content.proxy_mount_point) {
        let (mount, url) = (mount.trim_end_matches('/'), url.trim_end_matches('/'));
        let within = format!("{mount}/");
        pass(settings, &within, &format!("{url}/"), conf);
        conf.section("Location", &within, |conf| {
            ports(conf);
            conf.line(&["RequestHeader", "set", "X-Forwarded-Prefix", mount]);
        });
        if !mount.is_empty() {
            let pattern = format!("^{}$", escaped(mount));
            conf.line(&["RedirectMatch", "302", &pattern, &within]);
        }
    }
}

/// Host names that lead to other servers.
pub fn hosts(settings: &Settings, conf: &mut Conf) {
    for (name, url) in pairs(&settings.options.content.proxy_virtual_host) {
        let address = format!("*:{}", settings.options.network.port);
        conf.section("VirtualHost", &address, |conf| {
            conf.line(&["ServerName", name]);
            pass(settings, "/", &format!("{}/", url.trim_end_matches('/')), conf);
            ports(conf);
        });
    }
}

/// Passes requests on, WebSockets, too.
fn pass(settings: &Settings, path: &str, url: &str, conf: &mut Conf) {
    if settings.httpd.version >= Version(2, 4, 47) {
        conf.line(&["ProxyPass", path, url, "upgrade=websocket"]);
    } else {
        conf.line(&["ProxyPass", path, url]);
    }
    conf.line(&["ProxyPassReverse", path, url]);
}

/// What the other server cannot know.
fn ports(conf: &mut Conf) {
    conf.raw("RequestHeader set X-Forwarded-Port expr=%{SERVER_PORT}");
    conf.raw("RequestHeader set X-Forwarded-Scheme https \"expr=%{HTTPS} == 'on'\"");
}

/// A text as an expression that matches it alone.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if !c.is_alphanumeric() && !"/-_".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}
