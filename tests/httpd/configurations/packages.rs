//! What Debian's packages ship, reduced to the directives that matter. Each is named with its
//! package and, in Debian 12, its version.

use super::{Site, check};

#[test]
fn graphite_web() {
    check(&Site {
        origin: "graphite-web 1.1.8: /usr/share/graphite-web/apache2-graphite.conf",
        conf: r#"
<VirtualHost *:{port}>
    WSGIDaemonProcess _graphite processes=5 threads=5 display-name='%{GROUP}' inactivity-timeout=120 user={user} group={group}
    WSGIProcessGroup _graphite
    WSGIImportScript {dir}/graphite-web/graphite.wsgi process-group=_graphite application-group=%{GLOBAL}
    WSGIScriptAlias / {dir}/graphite-web/graphite.wsgi
    Alias /static/ {dir}/static/
    <Location "/static/">
        SetHandler None
    </Location>
    <Directory {dir}>
        Require all granted
    </Directory>
    ErrorLog {logs}/graphite-web_error.log
    LogLevel warn
    CustomLog {logs}/graphite-web_access.log combined
</VirtualHost>
"#,
        script: "graphite-web/graphite.wsgi",
        requests: &[
            ("/render", "_graphite, localhost|, , /render"),
            ("/static/style.css", "style"),
        ],
    });
}

#[test]
fn x2gobroker_wsgi() {
    check(&Site {
        origin: "x2gobroker-wsgi 0.0.4.3: /etc/x2go/x2gobroker-wsgi.apache.conf",
        conf: r#"
WSGIDaemonProcess x2gobroker user={user} group={group} processes=5 threads=15
WSGIPassAuthorization On
SetEnv X2GOBROKER_DEFAULT_BACKEND inifile
WSGIScriptAlias /x2gobroker {dir}/wsgi/x2gobroker-wsgi
WSGIProcessGroup x2gobroker
<Directory {dir}/wsgi>
    Require local
    Options +FollowSymLinks
    Options -Indexes
</Directory>
"#,
        script: "wsgi/x2gobroker-wsgi",
        requests: &[
            ("/x2gobroker/plain/", "x2gobroker, localhost|/x2gobroker, /x2gobroker, /plain/"),
            ("/elsewhere", "404"),
        ],
    });
}

#[test]
fn wims_lti() {
    check(&Site {
        // The group of WSGIProcessGroup is defined nowhere; the alias names the right one.
        origin: "wims-lti 0.4.4.1: /etc/apache2/sites-available/wims-lti-django.conf-dist",
        conf: r#"
WSGIDaemonProcess wimslti python-path={dir}/wims-lti user={user} group={group}
<VirtualHost *:{port}>
    DocumentRoot "{dir}/wims-lti"
    ServerName site.example
    Alias /static/ {dir}/static/
    <Directory {dir}/static>
        Require all granted
    </Directory>
    WSGIScriptAlias / {dir}/wims-lti/wimsLTI/wsgi.py process-group=wimslti application-group=%{GLOBAL}
    <Directory {dir}/wims-lti/wimsLTI>
        <Files wsgi.py>
            Require all granted
        </Files>
    </Directory>
    ErrorLog {logs}/site-error.log
    LogLevel warn
    SetEnv PYTHONIOENCODING utf-8
    WSGIProcessGroup  wims-lti
</VirtualHost>
"#,
        script: "wims-lti/wimsLTI/wsgi.py",
        requests: &[("/a", "wimslti, , , /a"), ("/static/style.css", "style")],
    });
}

#[test]
fn openstack_dashboard() {
    check(&Site {
        // A group is defined, but nothing leads into it.
        origin: "openstack-dashboard-apache 23.0.0: sites-available/openstack-dashboard.conf",
        conf: r#"
<VirtualHost *:{port}>
    ServerAdmin webmaster@localhost
    WSGIScriptAlias / {dir}/openstack-dashboard/wsgi.py
    WSGIDaemonProcess horizon user={user} group={group}
    Alias /static {dir}/static
    Alias /horizon/static {dir}/static
    DocumentRoot {dir}/htdocs
    <Directory />
        AllowOverride None
    </Directory>
    <Directory {dir}/openstack-dashboard>
        Require all granted
    </Directory>
    <Directory {dir}/static>
        Require all granted
    </Directory>
    ErrorLog {logs}/dashboard-error.log
    LogLevel warn
</VirtualHost>
"#,
        script: "openstack-dashboard/wsgi.py",
        requests: &[
            ("/auth/login", ", localhost|, , /auth/login"),
            ("/horizon/static/style.css", "style"),
        ],
    });
}

#[test]
fn openstack_dashboard_as_an_alias() {
    check(&Site {
        origin: "openstack-dashboard-apache 23.0.0: openstack-dashboard-alias-only.conf",
        conf: r#"
WSGIScriptAlias /horizon {dir}/openstack-dashboard/wsgi.py
WSGIDaemonProcess horizon user={user} group={group}
Alias /static {dir}/static
Alias /horizon/static {dir}/static
<Directory {dir}/openstack-dashboard>
    Require all granted
</Directory>
<Directory {dir}/static>
    Require all granted
</Directory>
"#,
        script: "openstack-dashboard/wsgi.py",
        requests: &[
            ("/horizon/", ", localhost|/horizon, /horizon, /"),
            ("/horizon/static/style.css", "style"),
        ],
    });
}

#[test]
fn supysonic() {
    check(&Site {
        origin: "supysonic 0.7.2: /usr/share/doc/supysonic/examples/apache.conf",
        conf: r#"
<VirtualHost *:{port}>
    ServerName site.example
    DocumentRoot {dir}/supysonic
    WSGIDaemonProcess supysonic user={user} group={group} threads=3
    WSGIScriptAlias / {dir}/supysonic/supysonic.wsgi
    <Directory {dir}/supysonic>
        WSGIApplicationGroup %{GLOBAL}
        WSGIPassAuthorization On
        Options FollowSymLinks
        Require all granted
    </Directory>
</VirtualHost>
"#,
        script: "supysonic/supysonic.wsgi",
        requests: &[("/rest/ping.view", ", , , /rest/ping.view")],
    });
}

#[test]
fn pywps_wsgi() {
    check(&Site {
        origin: "pywps-wsgi 4.5.2: /etc/apache2/conf-available/pywps-wsgi.conf",
        conf: r#"
WSGIScriptAlias /pywps/wps.py {dir}/pywps/wps.py
<Directory "{dir}/pywps">
    AllowOverride None
    Options -MultiViews +SymLinksIfOwnerMatch
    Require all granted
</Directory>
"#,
        script: "pywps/wps.py",
        requests: &[("/pywps/wps.py", ", localhost|/pywps/wps.py, /pywps/wps.py, ")],
    });
}
