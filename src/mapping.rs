//! From URL to script: the alias that maps a request.

use std::ffi::CStr;
use std::sync::Arc;

use crate::config::{Alias, ServerConfig};
use crate::ffi::request::Request;
use crate::ffi::{DECLINED, OK};

/// The handler that aliases lead to, and that `SetHandler` and `AddHandler` may name.
pub const HANDLER: &CStr = c"wsgi-script";

/// The note by which mod_alias and this module tell others that an alias has chosen the handler.
const FORCED_TYPE: &CStr = c"alias-forced-type";

/// The `translate_name` hook: the first alias that matches, the virtual host's own before the main
/// server's.
pub fn translate(request: Request<'_>) -> i32 {
    let uri = request.uri();
    if !uri.starts_with(b"/") && !uri.is_empty() {
        return DECLINED;
    }
    let Some((alias, filename)) = find(request) else {
        return DECLINED;
    };
    request.set_target(&filename, HANDLER);
    request.remember(Arc::clone(alias));
    // Says that the handler comes from an alias, as mod_alias does for ScriptAlias: access to the
    // script is then decided by the target's directory, and `Options ExecCGI` is not needed.
    request.notes().set(FORCED_TYPE, HANDLER.to_bytes());
    OK
}

/// The first alias that matches, and the file that it leads to.
fn find(request: Request<'_>) -> Option<(&Arc<Alias>, Vec<u8>)> {
    let (pool, uri) = (request.pool(), request.uri());
    let config: &ServerConfig = request.server().settings()?;
    config.aliases.iter().find_map(|alias| Some((alias, alias.map(pool, uri)?)))
}

/// The alias that mapped the request, if one did.
pub fn alias(request: Request<'_>) -> Option<&Alias> {
    request.remembered::<Arc<Alias>>().map(|alias| &**alias)
}

/// Finds the alias of a request again that httpd has turned into another one by a fast internal
/// redirect (`FallbackResource`, `DirectoryIndex`): `ap_internal_fast_redirect` takes over the
/// names and notes of the other request, but nothing that modules remember of it.
pub fn recall(request: Request<'_>) {
    let forced = request.notes().get(FORCED_TYPE) == Some(HANDLER.to_bytes());
    if forced
        && alias(request).is_none()
        && let Some((alias, _)) = find(request)
    {
        request.remember(Arc::clone(alias));
    }
}
