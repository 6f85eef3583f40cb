//! `WSGIAuthUserScript`: `check_password(environ, user, password)` for Basic, and
//! `get_realm_hash(environ, user, realm)` for Digest.

use std::process::Command;

use testkit::{Httpd, Running, UnderTest};

use super::{Case, basic, better, case, check_cases, get_as, serving_cases};
use crate::{TELL, ask, told};

const BASIC: &str = "AuthType Basic\nAuthName realm\nAuthBasicProvider wsgi\n\
                     WSGIAuthUserScript {script}\nRequire valid-user";

const CASES: [Case; 15] = [
    case("def check_password(environ, user, password): return True", 200, ""),
    case("def check_password(environ, user, password): return 'other'", 200, ""),
    case("def check_password(environ, user, password): return ''", 500, "returned an empty str"),
    case("def check_password(environ, user, password): return False", 401, "AH01617"),
    case("def check_password(environ, user, password): return None", 401, "AH01618"),
    case("def check_password(environ, user, password): return 1", 500, "returned int, not True"),
    case("def check_password(environ, user, password): return 0", 500, "/6.py"),
    case("def check_password(environ, user, password): return b'x'", 500, "returned bytes"),
    case("def check_password(environ, user, password): return 1/0", 500, "ZeroDivisionError"),
    better("def check_password(environ, user, password): return 'a\\0b'", 500, "has a NUL in it"),
    case(
        "def check_password(environ, user, password): return '\\udcff'",
        500,
        "UnicodeEncodeError",
    ),
    case("def check_password(environ, user): return True", 500, "takes 2 positional arguments"),
    case("def get_realm_hash(environ, user, realm): return 'x'", 500, "has no 'check_password'"),
    case("import no_such_module_here", 500, "no_such_module_here"),
    case("def check_password(environ, user, password): raise SystemExit", 500, "SystemExit"),
];

#[test]
fn what_becomes_of_each_result() {
    let httpd = serving_cases(&CASES, BASIC)
        .expect_log("[wsgi:error]")
        .expect_log("[auth_basic:error]")
        .start();
    check_cases(&httpd, &CASES, &[("Authorization", &basic("user:secret"))]);
    let log = httpd.log("error.log");
    assert!(!log.contains("secret"), "a password is in the log");
    httpd.get("/0?1").assert(401);
}

const USERS: &str = r#"
passwords = {"user": "secret", "us\xe9r": "p\xe4ss:word"}

def check_password(environ, user, password):
    assert "HTTP_AUTHORIZATION" not in environ
    assert "REMOTE_USER" not in environ
    if user == "new":
        return "n\u00e9w\u20ac"
    if user not in passwords:
        return None
    return passwords[user] == password

def get_realm_hash(environ, user, realm):
    import hashlib
    if user not in passwords:
        return None
    text = f"{user}:{realm}:{passwords[user]}"
    value = hashlib.md5(text.encode("latin-1")).hexdigest()
    return value.encode() if environ["PATH_INFO"].startswith("/bytes") else value
"#;

fn serving_users(conf: &str) -> Httpd {
    Httpd::new()
        .app("app.wsgi", TELL)
        .app("users.py", USERS)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .conf(&conf.replace("{script}", "{apps}/users.py"))
}

#[test]
fn users_as_the_application_sees_them() {
    let httpd = serving_users(&format!("<Location />\n{BASIC}\n</Location>"))
        .expect_log("[auth_basic:error]")
        .start();
    let question = ask(&["environ['REMOTE_USER'].encode('latin-1')", "environ['AUTH_TYPE']"]);
    let sees = |who: &str| told(get_as(&httpd, who, &question));
    assert_eq!(sees("user:secret"), ["b'user'", "Basic"]);
    // The name that takes the place of the sent one is encoded in UTF-8.
    let new = r"b'n\xc3\xa9w\xe2\x82\xac'";
    assert_eq!(sees("new:any"), [new, "Basic"]);
    get_as(&httpd, "user:wrong", "/?1").assert(401);
    get_as(&httpd, "nobody:x", "/?1").assert(401);
    // Bytes of the header are characters of latin-1.
    let header = "Basic dXPpcjpw5HNzOndvcmQ=";
    httpd.request("GET", "/?1", &[("Authorization", header)], b"").assert(200);
}

#[test]
fn providers_in_a_chain() {
    // The password is "from-file", as `htpasswd -nbs` writes it.
    let file = "filed:{SHA}M48+3XZTG0madrMhQEpLc/P/Q14=\n";
    let conf = "LoadModule authn_file_module {modules}/mod_authn_file.so\n\
                <Location />\nAuthUserFile {dir}/users\n\
                AuthType Basic\nAuthName x\nAuthBasicProvider wsgi file\n\
                WSGIAuthUserScript {script}\nRequire valid-user\n</Location>";
    let httpd = serving_users(conf).file("users", file).expect_log("[auth_basic:error]").start();
    get_as(&httpd, "user:secret", "/?1").assert(200);
    get_as(&httpd, "filed:from-file", "/?1").assert(200);
    get_as(&httpd, "filed:wrong", "/?1").assert(401);
    get_as(&httpd, "user:from-file", "/?1").assert(401);
}

#[test]
fn a_provider_without_a_script() {
    let conf = "AuthType Basic\nAuthName x\nAuthBasicProvider wsgi\nRequire valid-user";
    let httpd = serving_users(&format!("<Location />\n{conf}\n</Location>"))
        .expect_log("needs a WSGIAuthUserScript")
        .start();
    get_as(&httpd, "user:secret", "/?1").assert(500);
    httpd.wait_for_log(&[match UnderTest::chosen().is_original() {
        true => "Location of WSGI user authentication script not provided",
        false => "needs a WSGIAuthUserScript",
    }]);
}

#[test]
fn from_a_form() {
    let modules: String = ["request", "session", "session_cookie", "auth_form"]
        .map(|name| format!("LoadModule {name}_module {{modules}}/mod_{name}.so\n"))
        .concat();
    let conf = "<Location />\nAuthType form\nAuthName x\nAuthFormProvider wsgi\n\
                Session On\nSessionCookieName session path=/\n\
                WSGIAuthUserScript {script}\nRequire valid-user\n</Location>\n\
                <Location /login>\nSetHandler form-login-handler\n\
                AuthFormLoginSuccessLocation /?1\n</Location>";
    let httpd = serving_users(&(modules + conf)).expect_log("[auth_form:error]").start();
    httpd.get("/?1").assert(401);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let login = |body: &str| httpd.request("POST", "/login", &form, body.as_bytes());
    login("httpd_username=user&httpd_password=wrong").assert(401);
    let found = login("httpd_username=user&httpd_password=secret").assert(302);
    let cookie = found.header("set-cookie").expect("a session begins").to_owned();
    let cookie = cookie.split(';').next().unwrap_or_default();
    let question = ask(&["environ['REMOTE_USER']"]);
    assert_eq!(told(httpd.request("GET", &question, &[("Cookie", cookie)], b"")), ["user"]);
}

const DIGEST: &str = "AuthType Digest\nAuthName realm\nAuthDigestProvider wsgi\n\
                      WSGIAuthUserScript {script}\nRequire valid-user";

const HASHES: [Case; 11] = [
    case("def get_realm_hash(environ, user, realm): return None", 401, "AH01790"),
    case("def get_realm_hash(environ, user, realm): return 'x' * 32", 401, "AH01794"),
    case("def get_realm_hash(environ, user, realm): return ''", 500, "returned an empty str"),
    case("def get_realm_hash(environ, user, realm): return b''", 500, "an empty bytes"),
    case("def get_realm_hash(environ, user, realm): return '\\u20ac'", 500, "TypeError"),
    case("def get_realm_hash(environ, user, realm): return True", 500, "returned bool, not None"),
    case("def get_realm_hash(environ, user, realm): return 1/0", 500, "ZeroDivisionError"),
    better("def get_realm_hash(environ, user, realm): return 'a\\0b'", 500, "hash that"),
    case("def check_password(environ, user, password): return True", 500, "'get_realm_hash'"),
    case("import no_such_module_here", 500, "no_such_module_here"),
    case(USERS, 200, ""),
];

/// The status that a client gets which knows Digest.
#[track_caller]
fn digest(httpd: &Running, password: &str, path: &str) -> u16 {
    let url = format!("http://127.0.0.1:{}{path}", httpd.port());
    let program = "import sys, urllib.error, urllib.request\n\
                   url, password = sys.argv[1:]\n\
                   passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()\n\
                   passwords.add_password(None, url, 'user', password)\n\
                   handler = urllib.request.HTTPDigestAuthHandler(passwords)\n\
                   try: print(urllib.request.build_opener(handler).open(url).status)\n\
                   except urllib.error.HTTPError as error: print(error.code)\n";
    let output = Command::new("python3").args(["-c", program, &url, password]).output();
    let output = output.expect("there is a Python");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn digests() {
    let load = "LoadModule auth_digest_module {modules}/mod_auth_digest.so";
    let mut httpd = Httpd::new()
        .conf(load)
        .app("app.wsgi", TELL)
        .app("users.py", USERS)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .expect_log("[wsgi:error]")
        .expect_log("[auth_digest:error]")
        .expect_log("AuthType configured with no corresponding");
    for (number, case) in HASHES.iter().enumerate() {
        let conf = DIGEST.replace("{script}", &format!("{{apps}}/{number}.py"));
        httpd = httpd
            .app(&format!("{number}.py"), case.source)
            .conf(&format!("<Location /{number}>\n{conf}\n</Location>"));
    }
    let without = DIGEST.replace("WSGIAuthUserScript {script}\n", "");
    let bytes = DIGEST.replace("{script}", "{apps}/users.py");
    let httpd = httpd
        .conf(&format!("<Location /without>\n{without}\n</Location>"))
        .conf(&format!("<Location /bytes>\n{bytes}\n</Location>"))
        .start();
    let original = UnderTest::chosen().is_original();
    for (number, case) in HASHES.iter().enumerate().filter(|(_, case)| !(case.better && original)) {
        assert_eq!(
            digest(&httpd, "secret", &format!("/{number}?1")),
            case.status,
            "{}",
            case.source
        );
        if !case.log.is_empty() && !original {
            httpd.wait_for_log(&[case.log]);
        }
    }
    assert_eq!(digest(&httpd, "secret", "/bytes?1"), 200);
    assert_eq!(digest(&httpd, "wrong", "/bytes?1"), 401);
    assert_eq!(digest(&httpd, "secret", "/without?1"), 500);
    if original {
        return;
    }
    httpd.wait_for_log(&["needs a WSGIAuthUserScript"]);
}
