//! Ways of writing that httpd's own syntax and modules allow, and that sites of some age have.

use super::{Site, check};

#[test]
fn macros() {
    check(&Site {
        origin: "mod_macro: blocks, virtual hosts, and aliases in them",
        conf: r#"
LoadModule macro_module {modules}/mod_macro.so
<Macro Alias $url $group>
WSGIScriptAlias $url {apps}/app.wsgi process-group=$group application-group=%{GLOBAL}
</Macro>
<Macro Site $name $threads>
<WSGIInterpreterOptions process-group=$name>
WSGISwitchInterval 0.01
</WSGIInterpreterOptions>
<VirtualHost *:{port}>
ServerName $name.example
WSGIDaemonProcess $name threads=$threads display-name=%{GROUP}
Use Alias /app $name
Use Alias / $name
</VirtualHost>
</Macro>
Use Site other 1
Use Site site 2
UndefMacro Site
"#,
        script: "apps/app.wsgi",
        requests: &[("/app/x", "site, , /app, /x"), ("/x", "site, , , /x")],
    });
}

#[test]
fn definitions_and_conditions() {
    check(&Site {
        origin: "Define, <IfDefine>, <IfModule> by both names, <IfVersion>, and long lines",
        conf: r#"
Define GROUP site
Define HAS_GROUP
<IfModule mod_wsgi.c>
<IfDefine HAS_GROUP>
WSGIDaemonProcess ${GROUP} \
    user={user} \
    group={group} \
    display-name="the site" \
    threads=2
</IfDefine>
</IfModule>
<IfModule !wsgi_module>
Nonsense
</IfModule>
<IfVersion >= 2.4>
WSGIScriptAlias "/a b" '{apps}/app.wsgi' process-group="${GROUP}" application-group='an application'
</IfVersion>
<IfVersion < 2.4>
Nonsense
</IfVersion>
<IfModule wsgi_module>
wsgiprocessgroup ${GROUP}
</IfModule>
WSGIApplicationGroup ${GROUP}
WSGIScriptAlias / {apps}/app.wsgi
"#,
        script: "apps/app.wsgi",
        requests: &[("/a%20b/x", "site, an application, /a b, /x"), ("/x", "site, site, , /x")],
    });
}

#[test]
fn groups_by_variables() {
    check(&Site {
        origin: "process groups that mod_rewrite and mod_setenvif choose",
        conf: r#"
WSGIDaemonProcess one
WSGIDaemonProcess two
WSGIDaemonProcess other
WSGIProcessGroup %{ENV:GROUP}
WSGIApplicationGroup %{ENV:APPLICATION}
WSGIRestrictProcess one two
SetEnvIf Request_URI ^ GROUP=one APPLICATION=%{GLOBAL}
SetEnvIf Request_URI ^/named APPLICATION=%{SERVER}
RewriteEngine On
RewriteRule ^/two - [E=GROUP:two]
RewriteRule ^/other - [E=GROUP:other]
RewriteRule ^/moved(.*)$ /two$1 [PT]
RewriteRule ^/embedded - [E=GROUP:%{GLOBAL}]
WSGIScriptAlias / {apps}/app.wsgi
"#,
        script: "apps/app.wsgi",
        requests: &[
            ("/x", "one, , , /x"),
            ("/named", "one, localhost, , /named"),
            ("/two", "two, , , /two"),
            ("/moved/x", "one, , , /two/x"),
            ("/other", "500"),
            ("/embedded", "500"),
        ],
    });
}

#[test]
fn sections_over_sections() {
    check(&Site {
        origin: "<Directory>, <Files>, <Location>, their expressions and <If>, in httpd's order",
        conf: r#"
WSGIDaemonProcess one
WSGIDaemonProcess two
WSGIDaemonProcess three
WSGIScriptAlias / {apps}/app.wsgi
<If "%{REQUEST_URI} =~ m#^/if#">
WSGIProcessGroup three
</If>
<LocationMatch ^/match>
WSGIProcessGroup two
WSGIApplicationGroup match
</LocationMatch>
<Location /location>
WSGIProcessGroup two
</Location>
<FilesMatch \.wsgi$>
WSGIApplicationGroup files
</FilesMatch>
<DirectoryMatch /apps$>
WSGIApplicationGroup directory
</DirectoryMatch>
<Directory {apps}>
WSGIProcessGroup one
WSGIApplicationGroup directory
</Directory>
"#,
        script: "apps/app.wsgi",
        requests: &[
            ("/x", "one, files, , /x"),
            ("/location", "two, files, , /location"),
            ("/match", "two, match, , /match"),
            ("/if", "three, files, , /if"),
        ],
    });
}

#[test]
fn scripts_among_files() {
    check(&Site {
        origin: "AddHandler with an alias, an index, negotiation and rewriting in a directory",
        conf: r#"
LoadModule negotiation_module {modules}/mod_negotiation.so
WSGIDaemonProcess site
WSGIProcessGroup site
WSGIApplicationGroup %{GLOBAL}
Alias /static {dir}/static
Alias /files {apps}
<Directory {dir}/static>
Require all granted
</Directory>
<Directory {apps}>
Options ExecCGI MultiViews FollowSymLinks
MultiviewsMatch Handlers
AddHandler wsgi-script .wsgi
DirectoryIndex app.wsgi
RewriteEngine On
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^front/(.*)$ /files/app.wsgi/$1 [QSA,PT,L]
</Directory>
WSGIScriptAlias /static {apps}/never.wsgi
WSGIScriptAliasMatch ^/scripts/([a-z]+) {apps}/$1.wsgi
"#,
        script: "apps/app.wsgi",
        requests: &[
            ("/files/app.wsgi/x", "site, , /files/app.wsgi, /x"),
            ("/files/", "site, , /files/app.wsgi, "),
            ("/files/app/x", "site, , /files/app.wsgi, /x"),
            ("/files/front/a/b", "site, , /files/app.wsgi, /a/b"),
            ("/files/none.wsgi", "404"),
            ("/static/style.css", "style"),
            ("/scripts/app/x", "site, , /scripts/app, /x"),
        ],
    });
}

#[test]
fn folders_by_the_name_of_a_host_or_user() {
    check(&Site {
        origin: "mod_vhost_alias and mod_userdir",
        conf: r#"
LoadModule vhost_alias_module {modules}/mod_vhost_alias.so
LoadModule userdir_module {modules}/mod_userdir.so
WSGIDaemonProcess site
WSGIProcessGroup site
WSGIApplicationGroup %{HOST}
UseCanonicalName Off
VirtualDocumentRoot {dir}/hosts/%0/public
UserDir {dir}/hosts/*/public
<Directory {dir}/hosts>
Require all granted
Options ExecCGI
AddHandler wsgi-script .wsgi
</Directory>
"#,
        script: "hosts/site.example/public/app.wsgi",
        requests: &[
            ("/app.wsgi/x", "site, site.example, /app.wsgi, /x"),
            ("/~site.example/app.wsgi/x", "site, site.example, /~site.example/app.wsgi, /x"),
        ],
    });
}
