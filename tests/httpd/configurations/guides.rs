//! What the documentation of frameworks and of OpenStack's services tells to write.

use super::{Site, check};

#[test]
fn django() {
    check(&Site {
        origin: "Django, How to use Django with Apache and mod_wsgi: basic configuration",
        conf: r#"
WSGIScriptAlias / {dir}/mysite.com/mysite/wsgi.py
WSGIPythonHome {venv}
WSGIPythonPath {dir}/mysite.com

<Directory {dir}/mysite.com/mysite>
<Files wsgi.py>
Require all granted
</Files>
</Directory>
"#,
        script: "mysite.com/mysite/wsgi.py",
        requests: &[("/admin/", ", localhost|, , /admin/")],
    });
}

#[test]
fn django_in_a_daemon() {
    check(&Site {
        origin: "Django: using mod_wsgi daemon mode, with the files served beside it",
        conf: r#"
Alias /robots.txt {dir}/static/style.css
Alias /static/ {dir}/static/

<Directory {dir}/static>
Require all granted
</Directory>

WSGIDaemonProcess example.com python-home={venv} python-path={dir}/mysite.com
WSGIProcessGroup example.com

WSGIScriptAlias /mysite {dir}/mysite.com/mysite/wsgi.py process-group=example.com

<Directory {dir}/mysite.com/mysite>
<Files wsgi.py>
Require all granted
</Files>
</Directory>
"#,
        script: "mysite.com/mysite/wsgi.py",
        requests: &[
            ("/mysite/admin/", "example.com, localhost|/mysite, /mysite, /admin/"),
            ("/robots.txt", "style"),
        ],
    });
}

#[test]
fn flask() {
    check(&Site {
        origin: "Flask, Deploying with mod_wsgi, as it was written for httpd's own configuration",
        conf: r#"
<VirtualHost *:{port}>
    ServerName example.com

    WSGIDaemonProcess yourapplication user={user} group={group} threads=5
    WSGIScriptAlias / {dir}/yourapplication/yourapplication.wsgi

    <Directory {dir}/yourapplication>
        WSGIProcessGroup yourapplication
        WSGIApplicationGroup %{GLOBAL}
        WSGIScriptReloading On
        Require all granted
    </Directory>
</VirtualHost>
"#,
        script: "yourapplication/yourapplication.wsgi",
        requests: &[("/hello", "yourapplication, , , /hello")],
    });
}

#[test]
fn pyramid() {
    check(&Site {
        origin: "Pyramid, Running a Pyramid application under mod_wsgi",
        conf: r#"
# Use only 1 Python sub-interpreter. Multiple sub-interpreters
# play badly with C extensions.
WSGIApplicationGroup %{GLOBAL}
WSGIPassAuthorization On
WSGIDaemonProcess pyramid user={user} group={group} threads=4 \
   python-path={venv}/lib
WSGIScriptAlias /myapp {dir}/modwsgi/env/pyramid.wsgi

<Directory {dir}/modwsgi/env>
  WSGIProcessGroup pyramid
  Require all granted
</Directory>
"#,
        script: "modwsgi/env/pyramid.wsgi",
        requests: &[("/myapp/a", "pyramid, , /myapp, /a")],
    });
}

#[test]
fn keystone() {
    check(&Site {
        origin: "OpenStack's keystone: httpd/wsgi-keystone.conf",
        conf: r#"
<VirtualHost *:{port}>
    WSGIDaemonProcess keystone-public processes=5 threads=1 user={user} group={group} display-name=%{GROUP}
    WSGIProcessGroup keystone-public
    WSGIScriptAlias / {dir}/bin/keystone-wsgi-public
    WSGIApplicationGroup %{GLOBAL}
    WSGIPassAuthorization On
    LimitRequestBody 114688
    <IfVersion >= 2.4>
      ErrorLogFormat "%{cu}t %M"
    </IfVersion>

    <Directory {dir}/bin>
        Require all granted
    </Directory>

    Alias /identity {dir}/bin/keystone-wsgi-public
    <Location /identity>
        SetHandler wsgi-script
        Options +ExecCGI

        WSGIProcessGroup keystone-public
        WSGIApplicationGroup %{GLOBAL}
        WSGIPassAuthorization On
    </Location>
</VirtualHost>
"#,
        script: "bin/keystone-wsgi-public",
        requests: &[
            ("/v3", "keystone-public, , , /v3"),
            ("/identity/v3", "keystone-public, , /identity, /v3"),
        ],
    });
}

#[test]
fn a_folder_of_scripts() {
    check(&Site {
        origin: "mod_wsgi, Configuration Guidelines: AddHandler and a fixed application group",
        conf: r#"
WSGIDaemonProcess site user={user} group={group} processes=2 threads=15 maximum-requests=1000
WSGIProcessGroup site
Alias /wsgi/ {dir}/scripts/
<Directory {dir}/scripts>
    Options ExecCGI
    AddHandler wsgi-script .wsgi
    Require all granted
    WSGIApplicationGroup %{SERVER}
</Directory>
"#,
        script: "scripts/one.wsgi",
        requests: &[
            ("/wsgi/one.wsgi/rest", "site, localhost, /wsgi/one.wsgi, /rest"),
            ("/wsgi/two.wsgi", "404"),
        ],
    });
}
