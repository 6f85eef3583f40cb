//! Keys and self-signed certificates, for servers that speak TLS.

use std::fs;
use std::process::Command;

use crate::directory::Directory;

/// A private key and its certificate, both in PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The private key.
    pub key: String,
    /// The certificate, signed with it.
    pub certificate: String,
}

impl Certificate {
    /// Makes one for the host of this name. `None` where there is no `openssl`; says so.
    pub fn of(host: &str) -> Option<Certificate> {
        let own = Self::make(host);
        if own.is_none() {
            crate::skipped("openssl is missing");
        }
        own
    }

    fn make(host: &str) -> Option<Certificate> {
        let folder = Directory::new().ok()?;
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", &format!("/CN={host}"), "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path())
            .output()
            .ok()?;
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        made.status.success().then_some(())?;
        Some(Certificate { key: read("key.pem")?, certificate: read("cert.pem")? })
    }
}
