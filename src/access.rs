//! Access control by Python hooks. They are not run yet, and a hook that does not run denies.

use tracing::error;

use crate::ffi::request::Request;
use crate::ffi::{DECLINED, HTTP_FORBIDDEN};
use crate::log::in_request;

/// The `access_checker` hook: nobody passes a `WSGIAccessScript`.
pub fn check_access(request: Request<'_>) -> i32 {
    let script = request.dir_config().and_then(|config| config.access_script.as_deref());
    match script {
        None => DECLINED,
        Some(hook) => {
            deny(request, "WSGIAccessScript", Some(&hook.script));
            HTTP_FORBIDDEN
        }
    }
}

/// A password that `AuthBasicProvider wsgi` should check is wrong.
pub fn deny_user(request: Request<'_>) {
    let script = request.dir_config().and_then(|config| config.auth_user_script.as_deref());
    deny(request, "WSGIAuthUserScript", script.map(|hook| hook.script.as_slice()));
}

/// Nobody is in the groups that `Require wsgi-group` names.
pub fn deny_group(request: Request<'_>) {
    let script = request.dir_config().and_then(|config| config.auth_group_script.as_deref());
    deny(request, "WSGIAuthGroupScript", script.map(|hook| hook.script.as_slice()));
}

fn deny(request: Request<'_>, directive: &str, script: Option<&[u8]>) {
    in_request(request, || match script {
        Some(script) => error!(
            "{directive} {} is not run, as this version cannot: the request is denied.",
            String::from_utf8_lossy(script)
        ),
        None => error!("{directive} is needed here and is not set: the request is denied."),
    });
}
