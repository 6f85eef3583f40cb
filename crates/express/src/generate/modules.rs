//! Which modules httpd loads: those that the configuration needs, unless they are compiled in.

use super::conf::{Conf, path};
use crate::httpd::{HttpdError, Version};
use crate::options::authentication::AuthType;
use crate::options::capacity::Mpm;
use crate::settings::Settings;

/// What every server needs.
const ALWAYS: [&str; 11] = [
    "unixd",
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
];

/// What is loaded where it is there: included files may use it.
const IF_THERE: [&str; 4] = ["log_config", "access_compat", "reqtimeout", "setenvif"];

/// Loads httpd's modules, and ours behind them.
pub fn load(settings: &Settings, conf: &mut Conf) -> Result<(), HttpdError> {
    conf.comment("Modules");
    let httpd = &settings.httpd;
    let mut wanted = Vec::new();
    if !httpd.is_built_in(settings.mpm.name()) {
        wanted.push(format!("mpm_{}", settings.mpm.name()));
    }
    wanted.extend(ALWAYS.map(str::to_owned));
    wanted.extend(IF_THERE.iter().filter(|name| httpd.has(name)).map(|name| (*name).to_owned()));
    wanted.extend(on_demand(settings).into_iter().map(str::to_owned));
    for name in wanted.iter().filter(|name| !httpd.is_built_in(name)) {
        let file = httpd.file(name);
        if !file.is_file() {
            return Err(httpd.lacks(name));
        }
        conf.line(&["LoadModule", &format!("{name}_module"), &path(&file)]);
    }
    conf.raw(&format!("LoadModule wsgi_module \"{}\"", path(&settings.files.module)));
    Ok(())
}

/// What only some servers need.
fn on_demand(settings: &Settings) -> Vec<&'static str> {
    let options = &settings.options;
    let (content, network) = (&options.content, &options.network);
    let mut modules = Vec::new();
    let mut add = |wanted: bool, names: &[&'static str]| {
        if wanted {
            modules.extend_from_slice(names);
        }
    };
    add(content.directory_listing, &["autoindex"]);
    add(network.compress_responses, &["deflate"]);
    add(options.authentication.auth_user_script.is_some(), &["authz_user"]);
    if options.authentication.auth_user_script.is_some() {
        add(options.authentication.auth_type == AuthType::Basic, &["auth_basic"]);
        add(options.authentication.auth_type == AuthType::Digest, &["auth_digest"]);
    }
    let proxies = !content.proxy_mount_point.is_empty() || !content.proxy_virtual_host.is_empty();
    add(proxies, &["proxy", "proxy_http"]);
    // Later ones leave WebSockets to mod_proxy_http.
    add(proxies && settings.httpd.version < Version(2, 4, 47), &["proxy_wstunnel"]);
    add(options.logging.server_status || options.logging.server_metrics, &["status"]);
    let cgi = if settings.mpm == Mpm::Prefork { "cgi" } else { "cgid" };
    add(super::files::runs_programs(settings), &[cgi]);
    add(settings.certificate.is_some(), &["socache_shmcb", "ssl"]);
    add(network.http2, &["http2"]);
    modules
}
