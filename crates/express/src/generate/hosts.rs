//! Which names and ports lead to the site, and TLS.

use super::conf::{Conf, absolute, path};
use super::proxies;
use crate::settings::{Certificate, Settings};

/// The virtual hosts. They have what the main server has, and the first one of a port answers for
/// names that none has.
pub fn write(settings: &Settings, conf: &mut Conf) {
    let network = &settings.options.network;
    conf.comment("Names");
    let https = network.https_port.zip(settings.certificate.as_ref());
    site(settings, network.port, None, conf);
    proxies::hosts(settings, conf);
    if let Some((port, certificate)) = https.filter(|(port, _)| *port != 0) {
        if let Some(file) = &network.ssl_ca_certificate_file {
            conf.comment("TLS: clients need a certificate");
            conf.line(&["SSLCACertificateFile", &absolute(file)]);
        }
        site(settings, port, Some(certificate), conf);
    }
}

/// The site at one port.
fn site(settings: &Settings, port: u16, certificate: Option<&Certificate>, conf: &mut Conf) {
    let network = &settings.options.network;
    let address = format!("*:{port}");
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let host = |conf: &mut Conf, name: &str, inside: &dyn Fn(&mut Conf)| {
        conf.section("VirtualHost", &address, |conf| {
            conf.line(&["ServerName", name]);
            if let Some(certificate) = certificate {
                tls(settings, certificate, conf);
            }
            inside(conf);
        });
    };
    let content = |conf: &mut Conf| match (certificate, network.https_port) {
        (None, Some(port)) if network.https_only => {
            conf.raw("RewriteEngine On");
            conf.raw(&format!(
                "RewriteRule ^ https://%{{SERVER_NAME}}:{port}%{{REQUEST_URI}} [R=302,L]"
            ));
        }
        (Some(_), _) => {
            if let Some(policy) = network.hsts_policy.as_deref().filter(|_| network.https_only) {
                conf.line(&["Header", "always", "set", "Strict-Transport-Security", policy]);
            }
        }
        (None, _) => {}
    };
    let Some(name) = &network.server_name else {
        return host(conf, &settings.host, &content);
    };
    host(conf, "_wsgi_", &|conf| {
        conf.section("Location", "/", |conf| conf.raw("Require all denied"));
    });
    if let Some(parent) = name.strip_prefix("www.") {
        let usual = if certificate.is_some() { 443 } else { 80 };
        let port = if port == usual { String::new() } else { format!(":{port}") };
        host(conf, parent, &|conf| {
            conf.line(&["Redirect", "permanent", "/", &format!("{scheme}://{name}{port}/")]);
        });
    }
    host(conf, name, &|conf| {
        for alias in &network.server_alias {
            conf.line(&["ServerAlias", alias]);
        }
        if network.allow_localhost {
            conf.raw("ServerAlias localhost 127.0.0.1 [::1]");
        }
        content(conf);
    });
}

fn tls(settings: &Settings, certificate: &Certificate, conf: &mut Conf) {
    let network = &settings.options.network;
    conf.raw("SSLEngine On");
    conf.line(&["SSLCertificateFile", &path(&certificate.certificate)]);
    conf.line(&["SSLCertificateKeyFile", &path(&certificate.key)]);
    if let Some(chain) = &network.ssl_certificate_chain_file {
        conf.line(&["SSLCertificateChainFile", &absolute(chain)]);
    }
    if network.ssl_environment {
        conf.raw("SSLOptions +StdEnvVars");
    }
    if network.ssl_ca_certificate_file.is_some() {
        if network.ssl_verify_client.is_empty() {
            conf.raw("SSLVerifyClient require");
        }
        for url in &network.ssl_verify_client {
            conf.section("Location", url, |conf| conf.raw("SSLVerifyClient require"));
        }
    }
}
