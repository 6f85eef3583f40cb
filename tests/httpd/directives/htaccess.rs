//! What an `.htaccess` file may not choose, whatever AllowOverride grants it.

use testkit::Httpd;

use crate::{HELLO, TELL, ask, told};

/// An httpd whose applications lie where `.htaccess` may do all that there is.
fn with(htaccess: &str) -> Httpd {
    Httpd::new()
        .app("app.wsgi", TELL)
        .file("apps/.htaccess", htaccess)
        .conf("WSGIDaemonProcess granted user={user} group={group}\nWSGIDaemonProcess other")
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .conf("<Directory {apps}>\nAllowOverride All\n</Directory>")
}

#[test]
fn neither_users_nor_groups_nor_scripts() {
    for line in [
        "WSGIDaemonProcess mine user=root",
        "WSGIProcessGroup other",
        "WSGIApplicationGroup other",
        "WSGIRestrictProcess other",
        "WSGIRestrictEmbedded Off",
        "WSGIScriptAlias /mine /etc/passwd",
        "WSGIScriptAliasMatch ^/mine /etc/passwd",
        "WSGIHandlerScript mine /etc/passwd",
        "WSGIImportScript /etc/passwd process-group=other application-group=%{GLOBAL}",
        "WSGIDispatchScript /etc/passwd",
        "WSGIPythonHome /tmp",
        "WSGIPythonPath /tmp",
        "WSGISocketPrefix /tmp/wsgi",
    ] {
        let httpd = with(line).expect_log("not allowed here").start();
        httpd.get("/?1").assert(500);
        let name = line.split(' ').next().unwrap_or_default();
        httpd.wait_for_log(&[".htaccess", name, "not allowed here"]);
    }
}

#[test]
fn no_group_that_is_not_granted() {
    let conf = "WSGIProcessGroup %{ENV:GROUP}\nWSGIRestrictProcess granted\nSetEnv GROUP granted";
    for (line, group) in [
        ("", Some("granted")),
        ("SetEnv GROUP granted", Some("granted")),
        ("SetEnv GROUP other", None),
        ("SetEnv GROUP %{GLOBAL}", None),
        ("SetEnv GROUP none-of-this-name", None),
        ("SetEnvIf Host . GROUP=other", None),
        ("RewriteEngine On\nRewriteRule . - [E=GROUP:other]", None),
        ("UnsetEnv GROUP", None),
    ] {
        let htaccess = format!("{line}\n");
        let httpd = with(&htaccess).conf(conf).expect_log("wsgi:error").start();
        let response = httpd.get(&ask(&["environ['mod_wsgi.process_group']"]));
        match group {
            Some(group) => assert_eq!(told(response), [group], "{line}"),
            None => drop(response.assert(500)),
        }
    }
}

#[test]
fn no_script_without_exec_cgi() {
    for (options, htaccess, status) in [
        ("", "SetHandler wsgi-script", 403),
        ("Options ExecCGI", "SetHandler wsgi-script", 200),
        ("AllowOverride FileInfo", "SetHandler wsgi-script\nOptions ExecCGI", 500),
        ("Options ExecCGI", "AddHandler wsgi-script .txt", 200),
    ] {
        let httpd = Httpd::new()
            .file("htdocs/script.txt", HELLO)
            .file("htdocs/.htaccess", htaccess)
            .conf(&format!(
                "<Directory {{dir}}/htdocs>\nAllowOverride All\n{options}\n</Directory>"
            ))
            .expect_log("ExecCGI")
            .expect_log("Options not allowed here")
            .start();
        httpd.get("/script.txt").assert(status);
    }
}

#[test]
fn no_script_behind_a_link_that_httpd_does_not_follow() {
    for (options, status) in [("ExecCGI", 403), ("ExecCGI FollowSymLinks", 200)] {
        let httpd = Httpd::new()
            .file("elsewhere/script.wsgi", HELLO)
            .file("htdocs/.htaccess", "SetHandler wsgi-script")
            .conf(&format!(
                "<Directory {{dir}}/htdocs>\nAllowOverride FileInfo\nOptions {options}\n</Directory>"
            ))
            .expect_log("Symbolic link not allowed")
            .start();
        let script = httpd.dir().join("elsewhere/script.wsgi");
        let link = httpd.dir().join("htdocs/link");
        std::os::unix::fs::symlink(script, link).expect("the folder is ours");
        httpd.get("/link").assert(status);
    }
}

#[test]
fn the_authorization_header_only_where_files_may_have_it() {
    let seen = ask(&["environ.get('HTTP_AUTHORIZATION')"]);
    let header = [("Authorization", "Basic eDp5")];
    for (grant, line, answer) in [
        ("FileInfo", "WSGIPassAuthorization On", Some("Basic eDp5")),
        ("FileInfo", "WSGIPassAuthorization Off", Some("None")),
        ("AuthConfig", "WSGIPassAuthorization On", None),
    ] {
        let httpd = with(line)
            .conf(&format!("<Directory {{apps}}>\nAllowOverride {grant}\n</Directory>"))
            .expect_log("not allowed here")
            .start();
        let response = httpd.request("GET", &seen, &header, b"");
        match answer {
            Some(answer) => assert_eq!(told(response), [answer], "{grant} {line}"),
            None => drop(response.assert(500)),
        }
    }
}
