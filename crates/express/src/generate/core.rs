//! What httpd itself needs: its name and address, its capacity, and how long it waits.

use super::conf::{Conf, path};
use crate::options::capacity::Mpm;
use crate::settings::Settings;

/// Threads of a child of httpd, if there are so many.
const THREADS_PER_CHILD: u32 = 25;

/// Who the server is, and where.
pub fn names(settings: &Settings, conf: &mut Conf) {
    let network = &settings.options.network;
    conf.comment("Name and address");
    conf.line(&["ServerName", &settings.host]);
    conf.line(&["ServerRoot", &path(&settings.root)]);
    conf.line(&["PidFile", &path(&settings.pid_file())]);
    conf.line(&["DefaultRuntimeDir", &path(&settings.root)]);
    conf.raw("ServerTokens ProductOnly");
    conf.raw("ServerSignature Off");
    if settings.user.is_some() {
        // The control script exports these.
        conf.raw("User ${MOD_WSGI_USER}");
        conf.raw("Group ${MOD_WSGI_GROUP}");
    }
    for port in settings.ports() {
        match &network.host {
            Some(host) if host.contains(':') && !host.starts_with('[') => {
                conf.line(&["Listen", &format!("[{host}]:{port}")]);
            }
            Some(host) => conf.line(&["Listen", &format!("{host}:{port}")]),
            // Tracebacks are for the developer.
            None if settings.debug => conf.line(&["Listen", &format!("127.0.0.1:{port}")]),
            None => conf.line(&["Listen", &port.to_string()]),
        }
    }
}

/// How much httpd does at the same time, and how long it waits.
pub fn limits(settings: &Settings, conf: &mut Conf) {
    let options = &settings.options;
    let (network, capacity, timeouts) = (&options.network, &options.capacity, &options.timeouts);
    conf.comment("Limits");
    let types = settings.httpd.mime_types.as_deref();
    conf.line(&["TypesConfig", &types.map_or_else(|| "/dev/null".to_owned(), path)]);
    conf.raw("HostnameLookups Off");
    conf.raw("MaxMemFree 64");
    conf.raw(&format!("Timeout {}", timeouts.socket_timeout));
    conf.raw(&format!("ListenBackLog {}", capacity.server_backlog));
    conf.raw(&format!("GracefulShutdownTimeout {}", timeouts.shutdown_timeout));
    conf.raw(&format!("LimitRequestBody {}", network.limit_request_body));
    if settings.httpd.has("reqtimeout") {
        let header =
            rate(timeouts.header_timeout, timeouts.header_max_timeout, timeouts.header_min_rate);
        let body = rate(timeouts.body_timeout, timeouts.body_max_timeout, timeouts.body_min_rate);
        conf.raw(&format!("RequestReadTimeout header={header} body={body}"));
    }
    match network.keep_alive_timeout {
        0 => conf.raw("KeepAlive Off"),
        seconds => {
            conf.raw("KeepAlive On");
            conf.raw(&format!("KeepAliveTimeout {seconds}"));
            let requests = if settings.mpm == Mpm::Event { 0 } else { 500 };
            conf.raw(&format!("MaxKeepAliveRequests {requests}"));
        }
    }
    if network.enable_sendfile {
        conf.raw("EnableSendfile On");
    }
    if network.http2 {
        conf.raw("Protocols h2 h2c http/1.1");
    }
    sizes(settings, conf);
    conf.section("Directory", "/", |conf| {
        conf.raw("AllowOverride None");
        conf.raw("Require all denied");
    });
}

/// The value of a part of `RequestReadTimeout`, which takes a longest time only with a rate.
fn rate(first: u32, most: u32, bytes: u32) -> String {
    match (first, bytes) {
        (0, _) => "0".to_owned(),
        (_, 0) => first.to_string(),
        _ if most > first => format!("{first}-{most},MinRate={bytes}"),
        _ => format!("{first},MinRate={bytes}"),
    }
}

/// Processes and threads of httpd.
fn sizes(settings: &Settings, conf: &mut Conf) {
    let capacity = &settings.options.capacity;
    let prefork = settings.mpm == Mpm::Prefork;
    let (initial, most) = if prefork { (0.05, 0.1) } else { (0.2, 0.6) };
    let initial = capacity.initial_workers.unwrap_or(initial);
    let least = capacity.minimum_spare_workers.unwrap_or(initial);
    let most = capacity.maximum_spare_workers.unwrap_or(most).max(least);
    let clients = settings.clients();
    if prefork {
        let spare = share(least, clients);
        conf.raw(&format!("ServerLimit {clients}"));
        conf.raw(&format!("MaxRequestWorkers {clients}"));
        conf.raw(&format!("StartServers {}", share(initial, clients)));
        conf.raw(&format!("MinSpareServers {spare}"));
        conf.raw(&format!("MaxSpareServers {}", share(most, clients).max(spare + 1)));
        return;
    }
    let threads = clients.min(THREADS_PER_CHILD);
    let children = clients.div_ceil(threads);
    let all = children * threads;
    let spare = share(least, all);
    // Children that finish during a graceful restart take places, too.
    conf.raw(&format!("ServerLimit {}", children * 2));
    conf.raw(&format!("ThreadLimit {threads}"));
    conf.raw(&format!("ThreadsPerChild {threads}"));
    conf.raw(&format!("MaxRequestWorkers {all}"));
    conf.raw(&format!("StartServers {}", share(initial, children)));
    conf.raw(&format!("MinSpareThreads {spare}"));
    conf.raw(&format!("MaxSpareThreads {}", share(most, all).max(spare + threads)));
    conf.raw("ThreadStackSize 262144");
}

/// A share of a number, at least one.
fn share(share: f64, of: u32) -> u32 {
    ((share * f64::from(of)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_requests() {
        assert_eq!(rate(15, 30, 500), "15-30,MinRate=500");
        assert_eq!(rate(15, 0, 500), "15,MinRate=500");
        assert_eq!(rate(15, 10, 500), "15,MinRate=500");
        assert_eq!(rate(15, 30, 0), "15");
        assert_eq!(rate(0, 30, 500), "0");
    }
}
