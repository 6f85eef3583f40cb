//! Access control by Python hooks. A hook that gives no answer denies.

use tracing::{error, info};
use wire::exchange::{Password, Question, Verdict};

use crate::config::{Arguments, DirConfig, Hook, lossy};
use crate::ffi::hooks::{Authentication, Authorization, RealmHash};
use crate::ffi::request::Request;
use crate::ffi::{DECLINED, HTTP_FORBIDDEN, OK};
use crate::handler::{Environ, ask};
use crate::log::in_request;

/// The `access_checker` hook, `WSGIAccessScript`.
pub fn check_access(request: Request<'_>) -> i32 {
    let Some(hook) =
        request.dir_config::<DirConfig>().and_then(|config| config.access_script.as_deref())
    else {
        return DECLINED;
    };
    in_request(request, || {
        let question = Question::Access { host: request.client_host() };
        match ask(request, hook, &question, &Environ::of_hook(request, true)) {
            Some(Verdict::Allowed) => OK,
            Some(Verdict::Declined) => DECLINED,
            _ => {
                if !request.may_authenticate_instead() {
                    let what = lossy(request.filename());
                    error!("Client denied by server configuration: '{what}'.");
                }
                HTTP_FORBIDDEN
            }
        }
    })
}

/// `AuthBasicProvider wsgi`, by `WSGIAuthUserScript`.
pub fn check_password(request: Request<'_>, user: &[u8], password: &[u8]) -> Authentication {
    in_request(request, || {
        let Some(hook) = auth_user_script(request) else { return Authentication::GeneralError };
        let question = Question::Password { user, password: Password(password) };
        match ask(request, hook, &question, &Environ::of_hook(request, false)) {
            Some(Verdict::Allowed) => Authentication::Granted,
            Some(Verdict::Denied) => Authentication::Denied,
            Some(Verdict::Declined) => Authentication::UserNotFound,
            Some(Verdict::User(name)) if is_c_string(&name) => {
                request.set_user(&name);
                Authentication::Granted
            }
            Some(Verdict::User(_)) => {
                error!("The user's name that {} gives has a NUL in it.", lossy(&hook.script));
                Authentication::GeneralError
            }
            _ => Authentication::GeneralError,
        }
    })
}

/// `AuthDigestProvider wsgi`, by `WSGIAuthUserScript`.
pub fn realm_hash(request: Request<'_>, user: &[u8], realm: &[u8]) -> RealmHash {
    in_request(request, || {
        let Some(hook) = auth_user_script(request) else { return RealmHash::GeneralError };
        let question = Question::RealmHash { user, realm };
        match ask(request, hook, &question, &Environ::of_hook(request, false)) {
            Some(Verdict::Declined) => RealmHash::UserNotFound,
            Some(Verdict::Hash(hash)) if is_c_string(&hash) => RealmHash::Found(hash.into_owned()),
            Some(Verdict::Hash(_)) => {
                error!("The hash that {} gives has a NUL in it.", lossy(&hook.script));
                RealmHash::GeneralError
            }
            _ => RealmHash::GeneralError,
        }
    })
}

/// `Require wsgi-group`, by `WSGIAuthGroupScript`: the user is in one of the groups that `required`
/// names.
pub fn check_groups(request: Request<'_>, required: &[u8]) -> Authorization {
    let Some(user) = request.user() else { return Authorization::DeniedNoUser };
    in_request(request, || {
        let script = request
            .dir_config::<DirConfig>()
            .and_then(|config| config.auth_group_script.as_deref());
        let Some(hook) = script else {
            error!("Require wsgi-group needs a WSGIAuthGroupScript, and none is set here.");
            return Authorization::Denied;
        };
        let environ = Environ::of_hook(request, false);
        let Some(Verdict::Groups(groups)) =
            ask(request, hook, &Question::Groups { user }, &environ)
        else {
            return Authorization::Denied;
        };
        let mut names = Arguments::new(required);
        let mut names = std::iter::from_fn(|| names.word());
        if names.any(|name| groups.iter().any(|group| group.eq_ignore_ascii_case(&name))) {
            return Authorization::Granted;
        }
        let (user, required) = (lossy(user), lossy(required));
        if groups.is_empty() {
            info!("User '{user}' is not a member of any groups.");
        } else {
            info!("User '{user}' is in none of the groups '{required}'.");
        }
        Authorization::Denied
    })
}

fn auth_user_script(request: Request<'_>) -> Option<&Hook> {
    let script =
        request.dir_config::<DirConfig>().and_then(|config| config.auth_user_script.as_deref());
    if script.is_none() {
        error!("The provider 'wsgi' needs a WSGIAuthUserScript, and none is set here.");
    }
    script
}

/// Whether httpd, whose strings end at the first NUL, would see all of this.
fn is_c_string(bytes: &[u8]) -> bool {
    !bytes.contains(&0)
}
