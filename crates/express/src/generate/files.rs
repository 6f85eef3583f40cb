//! What URLs lead to: files first, then the application; and what stands in front of both.

use std::path::{Path, absolute};

use super::conf::{Conf, option, path, quoted};
use crate::options::application::Kind;
use crate::options::pairs;
use crate::settings::{Application, Settings};

/// Types of responses that are compressed.
const TEXT: [&str; 8] = [
    "text/plain",
    "text/html",
    "text/xml",
    "text/css",
    "text/javascript",
    "application/xhtml+xml",
    "application/javascript",
    "application/json",
];

/// Whether files are run as CGI programs.
pub fn runs_programs(settings: &Settings) -> bool {
    let options = &settings.options;
    options.content.with_cgi || options.application.application_type == Some(Kind::Cgi)
}

/// The site.
pub fn write(settings: &Settings, conf: &mut Conf) {
    let options = &settings.options;
    conf.comment("The site");
    document_root(settings, conf);
    program(settings, conf);
    aliases(settings, conf);
    for (status, url) in pairs(&options.content.error_document) {
        conf.line(&["ErrorDocument", status, url]);
    }
    for (name, value) in pairs(&options.application.setenv) {
        conf.line(&["SetEnv", name, value]);
    }
    for name in &options.application.passenv {
        conf.line(&["PassEnv", name]);
    }
    for url in &options.timeouts.ignore_activity {
        conf.section("Location", url, |conf| conf.raw("WSGIIgnoreActivity On"));
    }
    if options.network.compress_responses {
        conf.line(&[&["AddOutputFilterByType", "DEFLATE"], &TEXT[..]].concat());
    }
    if options.logging.server_status {
        conf.section("Location", "/server-status", |conf| {
            conf.raw("SetHandler server-status");
            conf.raw("Require local");
        });
    }
    authentication(settings, conf);
}

fn document_root(settings: &Settings, conf: &mut Conf) {
    let content = &settings.options.content;
    let root = &settings.document_root;
    conf.line(&["DocumentRoot", &path(root)]);
    conf.section("Directory", &path(root), |conf| {
        let overrides = match content.allow_override.is_empty() {
            true => "None".to_owned(),
            false => content.allow_override.join(" "),
        };
        conf.raw(&format!("AllowOverride {overrides}"));
        let mut options = vec!["FollowSymLinks"];
        if content.directory_listing {
            options.push("Indexes");
        }
        if runs_programs(settings) {
            options.push("ExecCGI");
        }
        conf.raw(&format!("Options {}", options.join(" ")));
        if runs_programs(settings) {
            conf.raw("AddHandler cgi-script .cgi");
        }
        for (extension, _) in pairs(&content.add_handler) {
            conf.line(&["AddHandler", "wsgi-resource", extension]);
        }
        if let Some(index) = &content.directory_index {
            conf.line(&["DirectoryIndex", index]);
        }
        conf.raw("Require all granted");
        conf.raw("RewriteEngine On");
        let rules = content.rewrite_rules.as_ref().and_then(|file| absolute(file).ok());
        let rules = rules.unwrap_or_else(|| settings.file("rewrite.conf"));
        conf.line(&["Include", &path(&rules)]);
        if let Some(application) = settings.applications.iter().find(|it| it.mount == "/") {
            call(settings, application, conf);
        }
    });
    // A directory below has its own rules, in the place of those above.
    for application in settings.applications.iter().filter(|it| it.mount != "/") {
        let folder = root.join(application.mount.trim_start_matches('/'));
        conf.section("Directory", &path(&folder), |conf| {
            conf.raw("RewriteEngine On");
            call(settings, application, conf);
        });
    }
    if let (Some(first), false) = (settings.applications.first(), content.add_handler.is_empty()) {
        let group = first.process_group.as_deref().unwrap_or("%{GLOBAL}");
        conf.raw(&format!(
            "WSGIHandlerScript wsgi-resource {} {} {}",
            quoted(&path(&settings.file("resource.wsgi"))),
            option("process-group", group),
            option("application-group", &settings.options.application.application_group),
        ));
    }
}

/// Calls an application where there is no file.
fn call(settings: &Settings, application: &Application, conf: &mut Conf) {
    conf.raw("RewriteCond %{REQUEST_FILENAME} !-f");
    if settings.options.content.directory_index.is_some() {
        conf.raw("RewriteCond %{REQUEST_FILENAME} !-d");
    }
    if settings.options.logging.server_status {
        conf.raw("RewriteCond %{REQUEST_URI} !^/server-status$");
    }
    conf.raw(&format!("RewriteRule ^ - [H={}]", application.handler));
}

/// A CGI program in the place of an application.
fn program(settings: &Settings, conf: &mut Conf) {
    let application = &settings.options.application;
    let entry = application.entry_point.as_ref().or(application.script.as_ref());
    let program = entry.and_then(|entry| absolute(entry).ok()).filter(|entry| entry.is_file());
    if let (Some(Kind::Cgi), Some(program)) = (application.application_type, program) {
        conf.line(&["ScriptAlias", &application.mount_point, &path(&program)]);
        grant(&program, conf);
    }
}

fn aliases(settings: &Settings, conf: &mut Conf) {
    let mut aliases: Vec<_> = pairs(&settings.options.content.url_alias).collect();
    // mod_alias takes the first one that matches, which has to be the longest.
    aliases.sort_by(|one, other| other.cmp(one));
    for (url, file) in aliases {
        let file = absolute(file).unwrap_or_else(|_| file.into());
        conf.line(&["Alias", url, &path(&file)]);
        grant(&file, conf);
    }
}

/// Permits access to a file, or to a folder with all that is in it.
fn grant(place: &Path, conf: &mut Conf) {
    match (place.is_file(), place.parent(), place.file_name()) {
        (true, Some(folder), Some(name)) => conf.section("Directory", &path(folder), |conf| {
            conf.section("Files", &name.to_string_lossy(), |conf| conf.raw("Require all granted"));
        }),
        _ => conf.section("Directory", &path(place), |conf| {
            conf.raw("AllowOverride None");
            conf.raw("Require all granted");
        }),
    }
}

fn authentication(settings: &Settings, conf: &mut Conf) {
    let options = &settings.options.authentication;
    let script = |conf: &mut Conf, directive: &str, file: Option<&Path>| {
        if let Some(file) = file.and_then(|file| absolute(file).ok()) {
            conf.line(&[directive, &path(&file)]);
        }
    };
    if options.host_access_script.is_none() && options.auth_user_script.is_none() {
        return;
    }
    conf.section("Location", "/", |conf| {
        script(conf, "WSGIAccessScript", options.host_access_script.as_deref());
        if options.auth_user_script.is_none() {
            return;
        }
        let kind = options.auth_type.name();
        conf.line(&["AuthType", kind]);
        conf.line(&["AuthName", &settings.address()]);
        conf.raw(&format!("Auth{kind}Provider wsgi"));
        script(conf, "WSGIAuthUserScript", options.auth_user_script.as_deref());
        script(conf, "WSGIAuthGroupScript", options.auth_group_script.as_deref());
        conf.section("RequireAll", "", |conf| {
            conf.raw("Require valid-user");
            if options.auth_group_script.is_some() {
                conf.line(&["Require", "wsgi-group", &options.auth_group]);
            }
        });
    });
}
