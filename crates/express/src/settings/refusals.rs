//! What is refused, each with what to do instead, and what is done in another way than it is said.

use super::{SettingsError, User};
use crate::options::{Server, pairs};

/// Refuses what cannot be, or what has another way here.
pub fn refuse(options: &Server) -> Result<(), SettingsError> {
    let refused = |text: &str| Err(SettingsError::Refused(text.to_owned()));
    let (network, debugging) = (&options.network, &options.debugging);
    let tls = network.ssl_certificate.is_some()
        || network.ssl_certificate_file.is_some()
        || network.ssl_certificate_key_file.is_some()
        || network.ssl_ca_certificate_file.is_some()
        || network.ssl_certificate_chain_file.is_some();
    if tls && network.https_port.is_none() {
        return refused("there is a file for TLS, but no --https-port for it");
    }
    if debugging.enable_gdb || debugging.gdb_executable.is_some() {
        return refused(
            "--enable-gdb: httpd holds no Python here; attach gdb to a worker with `gdb -p PID`, \
             where `wsgictl status` tells the PID",
        );
    }
    if debugging.debugger_startup && !debugging.enable_debugger {
        return refused("--debugger-startup needs --enable-debugger");
    }
    if debugging.disable_reloading && debugging.reload_on_changes {
        return refused("--reload-on-changes and --disable-reloading contradict each other");
    }
    if options.content.with_php5 {
        return refused(
            "--with-php5: there is no module of PHP 5 any more; let --include-file name a file with \
             what your PHP needs, such as SetHandler \"proxy:unix:/run/php/php-fpm.sock|fcgi://php\"",
        );
    }
    if options.logging.enable_telemetry {
        return refused(
            "--enable-telemetry: start mod_wsgi-telemetry beside this server, and name its socket \
             with --telemetry-service unix:PATH",
        );
    }
    if options.logging.enable_docs {
        return refused(
            "--enable-docs: the documentation is not part of the server; see its pages",
        );
    }
    for (services, option) in [
        (&options.services.service_user, "--service-user"),
        (&options.services.service_group, "--service-group"),
        (&options.services.service_log_file, "--service-log-file"),
    ] {
        let known =
            |name: &str| pairs(&options.services.service_script).any(|(known, _)| known == name);
        if let Some((name, _)) = pairs(services).find(|(name, _)| !known(name)) {
            let text = format!("{option} {name}: there is no --service-script of that name");
            return Err(SettingsError::Refused(text));
        }
    }
    Ok(())
}

/// What is accepted and done in another way, and what is dangerous.
pub fn notes(options: &Server, user: Option<&User>) -> Vec<String> {
    let mut notes = Vec::new();
    if options.application.embedded_mode {
        notes.push(
            "--embedded-mode: httpd holds no Python; the application runs in the default process \
             group, as httpd's user"
                .to_owned(),
        );
    }
    if options.installation.process_name.is_some() {
        notes.push("--process-name has no effect: httpd keeps its own name".to_owned());
    }
    if options.debugging.verbose_debugging {
        notes.push("--verbose-debugging has no effect; use --log-level wsgi:debug".to_owned());
    }
    if let Some(user) = user.filter(|_| options.services.user.is_none()) {
        let name = &user.name;
        notes.push(format!("root starts this server without --user: it runs as {name}"));
    }
    if user.is_none() && options.services.user.is_some() {
        notes.push("--user has no effect: only root can run a server as another user".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::parsed;

    #[track_caller]
    fn check(words: &[&str], user: Option<&User>, expected: &str) {
        let notes = notes(&parsed(words).unwrap(), user).join("\n");
        assert!(notes.contains(expected) && notes.is_empty() == expected.is_empty(), "{notes}");
    }

    #[test]
    fn users_are_for_root_to_choose() {
        let daemon = User { name: "daemon".into(), group: "daemon".into(), ids: (1, 1) };
        check(&["--user=daemon"], None, "only root can");
        check(&["--user=daemon"], Some(&daemon), "");
        check(&[], Some(&daemon), "it runs as daemon");
        check(&[], None, "");
    }
}
