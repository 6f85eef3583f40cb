//! httpd's access control: the hook and the providers through which Python hooks take part in it.
//!
//! Each one only translates, inside the panic boundary; a panic denies.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::bindings as c;
use super::boundary::guard;
use super::module::{Module, Names};
use super::pool::Pool;
use super::request::Request;
use super::string;

/// What an authentication provider says of a user and a password (`authn_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// They belong together.
    Granted,
    /// They do not.
    Denied,
    /// There is no such user; another provider may know one.
    UserNotFound,
    /// Nobody can say: the request fails.
    GeneralError,
}

/// What it says of a user's hash.
#[derive(Debug, PartialEq, Eq)]
pub enum RealmHash {
    /// This is it.
    Found(Vec<u8>),
    /// There is no such user; another provider may know one.
    UserNotFound,
    /// Nobody can say: the request fails.
    GeneralError,
}

/// What an authorization provider says (`authz_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// The user may.
    Granted,
    /// The user may not.
    Denied,
    /// Nobody has been authenticated yet.
    DeniedNoUser,
}

/// What httpd's providers are made of for a module.
struct Providers<M>(std::marker::PhantomData<M>);

impl<M: Module> Providers<M> {
    /// `AuthBasicProvider wsgi` and `AuthDigestProvider wsgi`.
    const AUTHENTICATION: &'static c::authn_provider = &c::authn_provider {
        check_password: Some(check_password::<M>),
        get_realm_hash: Some(get_realm_hash::<M>),
    };

    /// `Require wsgi-group`.
    const AUTHORIZATION: &'static c::authz_provider = &c::authz_provider {
        check_authorization: Some(check_authorization::<M>),
        parse_require_line: None,
    };
}

/// Tells httpd of the hook and the providers.
pub(super) fn register<M: Module>(pool: Pool<'_>) {
    let (order, how) = (c::APR_HOOK_MIDDLE as c_int, c::AP_AUTH_INTERNAL_PER_CONF as c_int);
    // mod_ssl may have something to say about the connection first.
    static BEFORE: Names<2> = Names([c"mod_ssl.c".as_ptr(), std::ptr::null()]);
    static AFTER: Names<2> = Names([c"mod_authz_host.c".as_ptr(), std::ptr::null()]);
    let (before, after) = (BEFORE.0.as_ptr(), AFTER.0.as_ptr());
    // SAFETY: a function of this file with the hook's signature, mapped as long as httpd knows it;
    // the lists of names are static and end with a null.
    unsafe { c::ap_hook_check_access(Some(check_access::<M>), before, after, order, how) };
    let provide = |group: &'static CStr, name: &'static CStr, provider: *const c_void| {
        let (group, name) = (group.as_ptr(), name.as_ptr());
        // SAFETY: literals and a static struct of the kind that the group has (mod_auth.h); the
        // version is the one of that header.
        unsafe {
            c::ap_register_auth_provider(pool.as_ptr(), group, name, c"0".as_ptr(), provider, how);
        }
    };
    provide(c"authn", c"wsgi", std::ptr::from_ref(Providers::<M>::AUTHENTICATION).cast());
    provide(c"authz", c"wsgi-group", std::ptr::from_ref(Providers::<M>::AUTHORIZATION).cast());
}

/// Says whether the client may have this at all.
///
/// # Safety
/// Called by httpd alone, as its hook `access_checker` (http_request.h).
unsafe extern "C" fn check_access<M: Module>(request: *mut c::request_rec) -> c_int {
    guard(c::HTTP_FORBIDDEN, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        M::check_access(request)
    })
}

/// Says whether a password is right.
///
/// # Safety
/// Called by httpd alone, as `authn_provider::check_password` (mod_auth.h).
unsafe extern "C" fn check_password<M: Module>(
    request: *mut c::request_rec,
    user: *const c_char,
    password: *const c_char,
) -> c::authn_status {
    guard(c::AUTH_GENERAL_ERROR, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        // SAFETY: a C string of the request.
        let user = unsafe { string::bytes(user) }.unwrap_or_default();
        // SAFETY: a C string that lives as long as this call.
        let password = unsafe { string::bytes(password) }.unwrap_or_default();
        match M::check_password(request, user, password) {
            Authentication::Granted => c::AUTH_GRANTED,
            Authentication::Denied => c::AUTH_DENIED,
            Authentication::UserNotFound => c::AUTH_USER_NOT_FOUND,
            Authentication::GeneralError => c::AUTH_GENERAL_ERROR,
        }
    })
}

/// Gives the hash of a user's password.
///
/// # Safety
/// Called by httpd alone, as `authn_provider::get_realm_hash` (mod_auth.h).
unsafe extern "C" fn get_realm_hash<M: Module>(
    request: *mut c::request_rec,
    user: *const c_char,
    realm: *const c_char,
    hash: *mut *mut c_char,
) -> c::authn_status {
    guard(c::AUTH_GENERAL_ERROR, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        // SAFETY: a C string of the request.
        let user = unsafe { string::bytes(user) }.unwrap_or_default();
        // SAFETY: a C string that lives as long as this call.
        let realm = unsafe { string::bytes(realm) }.unwrap_or_default();
        match M::realm_hash(request, user, realm) {
            RealmHash::Found(found) => {
                let found = request.pool().string(&found).as_ptr();
                // SAFETY: where httpd wants the hash, which it reads while the request lives.
                unsafe { *hash = found };
                c::AUTH_USER_FOUND
            }
            RealmHash::UserNotFound => c::AUTH_USER_NOT_FOUND,
            RealmHash::GeneralError => c::AUTH_GENERAL_ERROR,
        }
    })
}

/// Says whether a user is in one of the groups.
///
/// # Safety
/// Called by httpd alone, as `authz_provider::check_authorization` (mod_auth.h).
unsafe extern "C" fn check_authorization<M: Module>(
    request: *mut c::request_rec,
    required: *const c_char,
    _: *const c_void,
) -> c::authz_status {
    guard(c::AUTHZ_DENIED, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        // SAFETY: what stands behind `wsgi-group`, a C string of the configuration.
        let required = unsafe { string::bytes(required) }.unwrap_or_default();
        match M::check_authorization(request, required) {
            Authorization::Granted => c::AUTHZ_GRANTED,
            Authorization::Denied => c::AUTHZ_DENIED,
            Authorization::DeniedNoUser => c::AUTHZ_DENIED_NO_USER,
        }
    })
}
