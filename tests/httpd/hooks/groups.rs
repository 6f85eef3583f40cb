//! `WSGIAuthGroupScript`: `groups_for_user(environ, user)` for `Require wsgi-group`.

use testkit::{Httpd, UnderTest};

use super::{Case, basic, case, check_cases, get_as, serving_cases};
use crate::TELL;

const CONF: &str = "AuthType Basic\nAuthName x\nAuthBasicProvider wsgi\n\
                    WSGIAuthUserScript {apps}/users.py\nWSGIAuthGroupScript {script}\n\
                    Require wsgi-group Staff \"the admins\"";
const USERS: &str = "def check_password(environ, user, password): return True";

const CASES: [Case; 16] = [
    case("def groups_for_user(environ, user): return ['staff']", 200, ""),
    case("def groups_for_user(environ, user): return [b'x', b'STAFF']", 200, ""),
    case("def groups_for_user(environ, user): return ('The Admins',)", 200, ""),
    case("def groups_for_user(environ, user): return {'staff': 1}", 200, ""),
    case("def groups_for_user(environ, user): yield 'staff'", 200, ""),
    case("def groups_for_user(environ, user): return []", 401, "is not a member of any groups"),
    case("def groups_for_user(environ, user): return ['other']", 401, "is in none of the groups"),
    // A str is as good as a list of its letters.
    case("def groups_for_user(environ, user): return 'staff'", 401, "AH01631"),
    case("def groups_for_user(environ, user): return None", 401, "returned NoneType, not names"),
    case("def groups_for_user(environ, user): return [1]", 401, "returned int, not names"),
    case("def groups_for_user(environ, user): return ['\\u20ac']", 401, "TypeError"),
    case("def groups_for_user(environ, user): return 1/0", 401, "ZeroDivisionError"),
    case("def groups_for_user(environ, user):\n yield 'x'\n 1/0", 401, "failed in"),
    case("def other(environ, user): return ['staff']", 401, "has no 'groups_for_user'"),
    case("import no_such_module_here", 401, "no_such_module_here"),
    case("def groups_for_user(environ, user): return ['x' * 600000]", 401, "returned more than"),
];

#[test]
fn what_becomes_of_each_result() {
    let httpd = serving_cases(&CASES, CONF)
        .app("users.py", USERS)
        .expect_log("[wsgi:error]")
        .expect_log("[authz_core:error]")
        .start();
    check_cases(&httpd, &CASES, &[("Authorization", &basic("user:secret"))]);
    // Nobody is denied before it is known who it is.
    httpd.get("/0?1").assert(401);
}

#[test]
fn without_a_script_nobody_is_in_a_group() {
    let conf = CONF.replace("WSGIAuthGroupScript {script}\n", "");
    let httpd = serving_cases(&[case("", 401, "")], &conf)
        .app("users.py", USERS)
        .expect_log("needs a WSGIAuthGroupScript")
        .expect_log("[authz_core:error]")
        .start();
    get_as(&httpd, "user:x", "/0?1").assert(401);
    httpd.wait_for_log(&[match UnderTest::chosen().is_original() {
        true => "Location of WSGI group authorization script not provided",
        false => "needs a WSGIAuthGroupScript",
    }]);
}

#[test]
fn groups_beside_other_requirements() {
    let source = "def groups_for_user(environ, user):\n    \
                  assert 'HTTP_AUTHORIZATION' not in environ\n    return [user + 's']\n";
    let conf = "AuthType Basic\nAuthName x\nAuthBasicProvider wsgi\n\
                WSGIAuthUserScript {apps}/users.py\nWSGIAuthGroupScript {apps}/groups.py\n\
                <RequireAny>\nRequire user boss\nRequire wsgi-group workers\n</RequireAny>";
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("users.py", USERS)
        .app("groups.py", source)
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .conf(&format!("<Location />\n{conf}\n</Location>"))
        .expect_log("[authz_core:error]")
        .start();
    get_as(&httpd, "boss:x", "/?1").assert(200);
    get_as(&httpd, "worker:x", "/?1").assert(200);
    get_as(&httpd, "visitor:x", "/?1").assert(401);
}
