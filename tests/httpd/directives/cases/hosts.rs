//! Directives of virtual hosts and sections: an inner section wins over an outer one.

use super::{Ask, Case, Chunked, Get, Head, Header, Probe, check_hosts};

const BASIC: &str = "Authorization: Basic eDp5";
const SEEN: &str = "environ.get('HTTP_AUTHORIZATION')";
const GROUP: &str = "environ['mod_wsgi.process_group']";
const APPLICATION: &str = "environ['mod_wsgi.application_group']";
const METHOD: &str = "environ['REQUEST_METHOD']";
const BODY: &str = "environ['wsgi.input'].read()";
const FORWARDED: &str = "X-Forwarded-For: 1.2.3.4";
const ADDRESS: &str = "environ['REMOTE_ADDR']";

pub const CASES: &[Case] = &[
    Case::sets("WSGIScriptAlias", "WSGIScriptAlias /a {apps}/hello.wsgi", Get("/a"), "hello"),
    // The first line that matches wins, the host's before the server's.
    Case::merges(
        "WSGIScriptAlias",
        "WSGIScriptAlias /twice {apps}/hello.wsgi\nWSGIScriptAlias /twice {apps}/none.wsgi",
        Get("/twice"),
        "hello",
    ),
    Case::merges(
        "WSGIScriptAlias",
        "WSGIScriptAlias /everywhere {apps}/app.wsgi",
        Get("/everywhere?'own'"),
        "own",
    ),
    Case::sets(
        "WSGIScriptAliasMatch",
        "WSGIScriptAliasMatch ^/m/([a-z]+) {apps}/$1.wsgi",
        Get("/m/hello"),
        "hello",
    ),
    Case::merges(
        "WSGIScriptAliasMatch",
        "WSGIScriptAliasMatch ^/m {apps}/hello.wsgi\nWSGIScriptAliasMatch ^/m/x {apps}/none.wsgi",
        Get("/m/x"),
        "hello",
    ),
    // An empty match is none.
    Case::sets(
        "WSGIScriptAliasMatch",
        "WSGIScriptAliasMatch x* {apps}/hello.wsgi",
        Get("/a?'own'"),
        "own",
    ),
    // mod_alias comes first, wherever its lines stand.
    Case::merges(
        "WSGIScriptAlias",
        "WSGIScriptAlias /plain {apps}/hello.wsgi\nAlias /plain {dir}/htdocs/plain.txt",
        Get("/plain"),
        "plain",
    ),
    // A target is what is written, not below ServerRoot.
    Case::sets("WSGIScriptAlias", "WSGIScriptAlias /below apps/hello.wsgi", Get("/below"), "403"),
    Case::sets(
        "WSGIScriptAlias",
        "WSGIScriptAlias /quoted {apps}/app.wsgi process-group='app' application-group=\"a \\\"b\\\"\"",
        Get("/quoted?environ['mod_wsgi.application_group']"),
        "a \"b\"",
    ),
    // By its media type.
    Case::sets(
        "WSGIProcessGroup",
        "Alias /typed {apps}/hello.wsgi\n<Location /typed>\nOptions +ExecCGI\n\
         ForceType application/x-httpd-wsgi\n</Location>",
        Get("/typed"),
        "hello",
    ),
    Case::sets(
        "WSGIProcessGroup",
        "Alias /typed {apps}/hello.wsgi\n<Location /typed>\n\
         ForceType application/x-httpd-wsgi\n</Location>",
        Get("/typed"),
        "403",
    ),
    Case::merges(
        "WSGIHandlerScript",
        "WSGIHandlerScript mine {apps}/mine.py\n<Location /mine>\nSetHandler mine\n</Location>",
        Get("/mine"),
        "mine.py",
    ),
    Case::merges(
        "WSGIHandlerScript",
        "<Location /mine>\nSetHandler mine\n</Location>",
        Get("/mine"),
        "outer.py",
    ),
    // What its own line says of groups and passwords is for it, and is expanded; the callable has a
    // name of its own.
    Case::merges(
        "WSGIHandlerScript",
        "WSGIHandlerScript asked {apps}/asked.py process-group=%{ENV:PG} application-group=%{HOST}\n\
         WSGIApplicationGroup none\nWSGICallableObject none\nSetEnv PG other\n\
         <Location /asked>\nSetHandler asked\n</Location>",
        Get("/asked?environ['mod_wsgi.process_group'],environ['mod_wsgi.application_group']"),
        "('other', '{host}')",
    ),
    Case::merges(
        "WSGIPassAuthorization",
        "WSGIHandlerScript asked {apps}/asked.py pass-authorization=Off\n\
         WSGIPassAuthorization On\n<Location /asked>\nSetHandler asked\n</Location>",
        Probe::HeaderAt(BASIC, "/asked?environ.get('HTTP_AUTHORIZATION')"),
        "None",
    ),
    Case::sets("WSGIProcessGroup", "WSGIProcessGroup other", Ask(GROUP), "other"),
    Case::merges(
        "WSGIProcessGroup",
        "WSGIProcessGroup app\n<Location />\nWSGIProcessGroup other\n</Location>",
        Ask(GROUP),
        "other",
    ),
    Case::merges(
        "WSGIProcessGroup",
        "WSGIProcessGroup other\n<Location />\nWSGIProcessGroup %{GLOBAL}\n</Location>",
        Ask(GROUP),
        "",
    ),
    Case::sets("WSGIApplicationGroup", "WSGIApplicationGroup mine", Ask(APPLICATION), "mine"),
    Case::sets(
        "WSGIApplicationGroup",
        "SetEnv AG %{SERVER}\nWSGIApplicationGroup %{ENV:AG}",
        Ask(APPLICATION),
        "{host}",
    ),
    Case::merges(
        "WSGIApplicationGroup",
        "WSGIApplicationGroup outer\n<Location />\nWSGIApplicationGroup inner\n</Location>",
        Ask(APPLICATION),
        "inner",
    ),
    Case::sets("WSGICallableObject", "WSGICallableObject another", Ask("1"), "another"),
    Case::merges(
        "WSGICallableObject",
        "WSGICallableObject none\n<Location />\nWSGICallableObject another\n</Location>",
        Ask("1"),
        "another",
    ),
    Case::sets("WSGIRestrictProcess", "WSGIRestrictProcess other", Ask("1"), "500"),
    Case::merges(
        "WSGIRestrictProcess",
        "WSGIRestrictProcess other\n<Location />\nWSGIRestrictProcess app\n</Location>",
        Ask("'served'"),
        "served",
    ),
    // Lines of one section do not add up.
    Case::merges(
        "WSGIRestrictProcess",
        "WSGIRestrictProcess app\nWSGIRestrictProcess other",
        Ask("1"),
        "500",
    ),
    Case::sets(
        "WSGIRestrictProcess",
        "WSGIProcessGroup %{GLOBAL}\nWSGIRestrictProcess other %{GLOBAL}",
        Ask(GROUP),
        "",
    ),
    Case::sets("WSGIPassAuthorization", "", Header(BASIC, SEEN), "Basic eDp5").theirs("None"),
    Case::sets(
        "WSGIPassAuthorization",
        "WSGIPassAuthorization On",
        Header(BASIC, SEEN),
        "Basic eDp5",
    ),
    Case::sets("WSGIPassAuthorization", "WSGIPassAuthorization Off", Header(BASIC, SEEN), "None"),
    Case::merges(
        "WSGIPassAuthorization",
        "WSGIPassAuthorization On\n<Location />\nWSGIPassAuthorization Off\n</Location>",
        Header(BASIC, SEEN),
        "None",
    ),
    Case::sets("WSGIPassApacheRequest", "WSGIPassApacheRequest On", Ask("'served'"), "served"),
    Case::merges(
        "WSGIPassApacheRequest",
        "WSGIPassApacheRequest On\n<Location />\nWSGIPassApacheRequest Off\n</Location>",
        Ask("'apache.request_rec' in environ"),
        "False",
    ),
    Case::sets("WSGIChunkedRequest", "", Chunked(BODY), "b'ab'").theirs("411"),
    Case::sets("WSGIChunkedRequest", "WSGIChunkedRequest On", Chunked(BODY), "b'ab'"),
    Case::merges(
        "WSGIChunkedRequest",
        "WSGIChunkedRequest On\n<Location />\nWSGIChunkedRequest Off\n</Location>",
        Chunked(BODY),
        "411",
    ),
    Case::sets(
        "WSGIErrorOverride",
        "WSGIErrorOverride On\nErrorDocument 404 \"a page\"",
        Ask("'MISSING'"),
        "404",
    ),
    Case::merges(
        "WSGIErrorOverride",
        "WSGIErrorOverride On\n<Location />\nWSGIErrorOverride Off\n</Location>",
        Ask("'MISSING'"),
        "404",
    ),
    Case::sets(
        "WSGIPassAuthorization",
        "WSGIPassAuthorization On",
        Header("Proxy-Authorization: Basic eDp5", "environ.get('HTTP_PROXY_AUTHORIZATION')"),
        "None",
    ),
    Case::sets("WSGIMapHEADToGET", "", Head(METHOD), "HEAD"),
    Case::sets("WSGIMapHEADToGET", "WSGIMapHEADToGET On", Head(METHOD), "GET"),
    Case::merges(
        "WSGIMapHEADToGET",
        "WSGIMapHEADToGET On\n<Location />\nWSGIMapHEADToGET Off\n</Location>",
        Head(METHOD),
        "HEAD",
    ),
    Case::sets("WSGIEnableSendfile", "WSGIEnableSendfile On", Ask("'FILE'"), "value = 7"),
    Case::merges(
        "WSGIEnableSendfile",
        "WSGIEnableSendfile On\n<Location />\nWSGIEnableSendfile Off\n</Location>",
        Ask("'FILE'"),
        "value = 7",
    ),
    Case::sets(
        "WSGITrustedProxyHeaders",
        "WSGITrustedProxyHeaders X-Forwarded-For",
        Header(FORWARDED, ADDRESS),
        "1.2.3.4",
    ),
    Case::merges(
        "WSGITrustedProxyHeaders",
        "WSGITrustedProxyHeaders X-Forwarded-For\n<Location />\n\
         WSGITrustedProxyHeaders X-Real-IP\n</Location>",
        Header(FORWARDED, ADDRESS),
        "127.0.0.1",
    ),
    Case::sets(
        "WSGITrustedProxies",
        "WSGITrustedProxyHeaders X-Forwarded-For\nWSGITrustedProxies 10.0.0.0/8",
        Header(FORWARDED, ADDRESS),
        "127.0.0.1",
    ),
    Case::merges(
        "WSGITrustedProxies",
        "WSGITrustedProxyHeaders X-Forwarded-For\nWSGITrustedProxies 10.0.0.0/8\n\
         <Location />\nWSGITrustedProxies 127.0.0.1\n</Location>",
        Header(FORWARDED, ADDRESS),
        "1.2.3.4",
    ),
    Case::merges(
        "WSGITrustedProxies",
        "WSGITrustedProxyHeaders X-Forwarded-For\nWSGITrustedProxies 10.0.0.0/8\n\
         WSGITrustedProxies 127.0.0.1",
        Header(FORWARDED, ADDRESS),
        "1.2.3.4",
    ),
    // Aliases, callables and groups named in the URL's own line win over all sections.
    Case::merges(
        "WSGIProcessGroup",
        "WSGIScriptAlias /own {apps}/app.wsgi process-group=other\n\
         <Location />\nWSGIProcessGroup app\n</Location>",
        Get("/own?environ['mod_wsgi.process_group']"),
        "other",
    ),
    Case::merges(
        "WSGICallableObject",
        "WSGIScriptAlias /own {apps}/app.wsgi callable-object=another\nWSGICallableObject none",
        Get("/own?1"),
        "another",
    ),
    // It is a name as it stands.
    Case::sets(
        "WSGICallableObject",
        "WSGIScriptAlias /own {apps}/app.wsgi callable-object=%{ENV:X}\nSetEnv X another",
        Get("/own?1"),
        "500",
    ),
    Case::merges(
        "WSGIApplicationGroup",
        "WSGIScriptAlias /own {apps}/app.wsgi application-group=own\nWSGIApplicationGroup none",
        Get("/own?environ['mod_wsgi.application_group']"),
        "own",
    ),
    Case::merges(
        "WSGIPassAuthorization",
        "WSGIScriptAlias /own {apps}/app.wsgi pass-authorization=Off\nWSGIPassAuthorization On",
        Get("/own?environ.get('HTTP_AUTHORIZATION')"),
        "None",
    ),
    Case::merges(
        "WSGIDispatchScript",
        "WSGIDispatchScript {apps}/none.py\n<Location />\nWSGIDispatchScript {apps}/hooks.py\n\
         </Location>",
        Ask(GROUP),
        "other",
    ),
    Case::merges(
        "WSGIAccessScript",
        "<Location />\nWSGIAccessScript {apps}/none.py\n</Location>\n\
         <Location /own>\nWSGIAccessScript {apps}/hooks.py\n</Location>",
        Get("/own?'came'"),
        "came",
    ),
    Case::merges(
        "WSGIAuthUserScript",
        "<Location />\nAuthType Basic\nAuthName x\nAuthBasicProvider wsgi\n\
         WSGIAuthUserScript {apps}/none.py\nRequire valid-user\n</Location>\n\
         <Location /own>\nWSGIAuthUserScript {apps}/hooks.py\n</Location>",
        Probe::HeaderAt(BASIC, "/own?environ['REMOTE_USER']"),
        "x",
    ),
    Case::merges(
        "WSGIAuthGroupScript",
        "<Location />\nAuthType Basic\nAuthName x\nAuthBasicProvider wsgi\n\
         WSGIAuthUserScript {apps}/hooks.py\nWSGIAuthGroupScript {apps}/none.py\n\
         Require wsgi-group mine\n</Location>\n\
         <Location /own>\nWSGIAuthGroupScript {apps}/hooks.py\n</Location>",
        Probe::HeaderAt(BASIC, "/own?environ['REMOTE_USER']"),
        "x",
    ),
];

/// What all hosts have.
const SERVER: &str = "WSGIProcessGroup app
WSGIDaemonProcess other user={user} group={group} threads=1
WSGIScriptAlias /everywhere {apps}/hello.wsgi
WSGIHandlerScript mine {apps}/outer.py
";

#[test]
fn virtual_hosts_and_sections() {
    check_hosts(CASES, SERVER, |_, case| {
        format!("{}\nWSGIScriptAlias / {{apps}}/app.wsgi", case.conf)
    });
}
