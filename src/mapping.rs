//! From URL to script: the alias that maps a request.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;
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
    request.remember(Memory { alias: Some(Arc::clone(alias)), account: RefCell::default() });
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

/// What is remembered of a request.
pub struct Memory {
    /// What mapped it.
    alias: Option<Arc<Alias>>,
    /// What the handler counts of it, until httpd forgets the request.
    pub account: RefCell<Option<Rc<dyn Any>>>,
}

/// What is remembered of a request that a handler runs.
pub fn memory(request: Request<'_>) -> &Memory {
    let new = || {
        request.remember(Memory { alias: None, account: RefCell::default() });
        request.remembered()
    };
    request.remembered().or_else(new).expect("it has just been remembered")
}

/// The alias that mapped the request, if one did.
pub fn alias(request: Request<'_>) -> Option<&Alias> {
    request.remembered::<Memory>()?.alias.as_deref()
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
        request.remember(Memory { alias: Some(Arc::clone(alias)), account: RefCell::default() });
    }
}
