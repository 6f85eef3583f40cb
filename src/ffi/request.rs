//! `request_rec`: one request, and what httpd has found out about it.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::{Duration, SystemTime};

use super::bindings as c;
use super::module::{module_index, this};
use super::pool::Pool;
use super::server::Server;
use super::string;
use super::table::Table;
use super::typed::Typed;

/// A request, for as long as httpd is handling it.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    raw: NonNull<c::request_rec>,
    lifetime: PhantomData<&'r ()>,
}

/// What `r->filename` turned out to be (`apr_filetype_e`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// There is no such file.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

thread_local! {
    /// The request that [`Request::while_current`] has been called with, as long as that call lasts.
    static CURRENT: Cell<*mut c::request_rec> = const { Cell::new(std::ptr::null_mut()) };
}

/// Calls `body` with the request that this thread is handling, if it is handling one. It can keep
/// nothing of it.
pub fn with_current<R>(body: impl FnOnce(Option<Request<'_>>) -> R) -> R {
    let current = CURRENT.get();
    // SAFETY: not null, and so set by a call of `while_current` that this one is made from, to a
    // request that outlives that call.
    body((!current.is_null()).then(|| unsafe { Request::from_raw(current) }))
}

/// Writes fields of a request, one by one. A `&mut` to the whole would claim that there is no other way to it,
/// and httpd and the copies of a [`Request`] have some.
macro_rules! set {
    ($request:expr, $($field:ident = $value:expr),+) => {{
        $(
            let value = $value;
            // SAFETY: alive for 'r (`from_raw`) and this thread's alone, which holds no reference to it: those of
            // `rec` end with the expressions that they stand in.
            unsafe { (*$request.as_ptr()).$field = value };
        )+
    }};
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is a request that this thread handles for `'r`.
    pub(super) unsafe fn from_raw(raw: *mut c::request_rec) -> Self {
        let raw = NonNull::new(raw).expect("httpd gives hooks a request");
        Self { raw, lifetime: PhantomData }
    }

    pub(super) fn as_ptr(self) -> *mut c::request_rec {
        self.raw.as_ptr()
    }

    /// Lets this be the [current](with_current) request of this thread while `body` runs.
    pub fn while_current<R>(self, body: impl FnOnce() -> R) -> R {
        struct Restore(*mut c::request_rec);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        // An internal redirect handles a request inside the handling of another one.
        let _restore = Restore(CURRENT.replace(self.as_ptr()));
        body()
    }

    pub(super) fn rec(&self) -> &c::request_rec {
        // SAFETY: alive for 'r (`from_raw`). No reference is held while httpd is called, or a field is written.
        unsafe { self.raw.as_ref() }
    }

    /// The request's pool.
    pub fn pool(self) -> Pool<'r> {
        // SAFETY: cleared when the request ends.
        unsafe { Pool::from_raw(self.rec().pool) }
    }

    /// The virtual host, or the main server.
    pub fn server(self) -> Server<'r> {
        // SAFETY: servers outlive the requests of their configuration cycle.
        unsafe { Server::from_raw(self.rec().server) }
    }

    /// This module's settings for the request, merged by httpd: those of the type that
    /// [`super::module::Module`] names.
    pub fn dir_config<D: 'static>(self) -> Option<&'r D> {
        // A request is named in the log whenever that may be, also before it has any settings.
        if self.rec().per_dir_config.is_null() {
            return None;
        }
        // SAFETY: the vector has a slot for each loaded module.
        let config = unsafe { c::ap_get_module_config(self.rec().per_dir_config, this()) };
        // SAFETY: null, or what `create_dir_config` or `merge_config` made in a pool that
        // lives as long as the request at least. It is not changed any more.
        unsafe { Typed::get(config) }
    }

    /// What was last remembered of the request, if it is of this type.
    pub fn remembered<T: 'static>(self) -> Option<&'r T> {
        // SAFETY: the vector has a slot for each loaded module.
        let value = unsafe { c::ap_get_module_config(self.rec().request_config, this()) };
        // SAFETY: null, or what `remember` put there, which lives as long as the request.
        unsafe { Typed::get(value) }
    }

    /// Remembers a value until the request ends, in the place of an earlier one.
    pub fn remember<T: 'static>(self, value: T) {
        let value = std::ptr::from_mut(self.pool().keep(Typed::new(value))).cast();
        // SAFETY: the vector has a slot for each loaded module; `remembered` reads it back as what
        // it is.
        unsafe { c::ap_set_module_config(self.rec().request_config, this(), value) };
    }

    /// httpd's id of the request in its logs (`%L`). Where nothing has been logged for the request
    /// yet, it is made now, as `add_log_id` in httpd's `server/log.c` does; a subrequest has that of
    /// its main request.
    pub fn log_id(self) -> Option<&'r [u8]> {
        let above = |request: &Self| {
            let main = request.rec().main;
            // SAFETY: a main request outlives its subrequests, and is this thread's as well.
            (!main.is_null()).then(|| unsafe { Self::from_raw(main) })
        };
        let main = std::iter::successors(Some(self), above).last().unwrap_or(self);
        if main.rec().log_id.is_null() {
            let (connection, rec) = (main.rec().connection, main.as_ptr());
            // SAFETY: alive; the hook writes to this place alone, and nobody holds a reference.
            let id = unsafe { &raw mut (*rec).log_id };
            // SAFETY: connection and request are alive, and the id is made in the request's pool.
            unsafe { c::ap_run_generate_log_id(connection, rec, id) };
        }
        // SAFETY: a C string in the main request's pool, or null.
        unsafe { string::bytes(main.rec().log_id) }
    }

    /// Lets this be httpd's id of the request in its logs from now on. A subrequest has none.
    pub fn set_log_id(self, id: &[u8]) {
        set!(self, log_id = self.pool().string(id).as_ptr());
    }

    /// Lets this be the page that httpd sends for `status`, unless an `ErrorDocument` says what to send
    /// (`ap_custom_response`).
    pub fn set_error_page(self, status: c_int, page: &[u8]) {
        // SAFETY: the request is alive.
        let index = unsafe { c::ap_index_of_response(status) };
        // SAFETY: the request is alive, and the index one that httpd has just given.
        let configured = unsafe { c::ap_response_code_string(self.as_ptr(), index) };
        if !configured.is_null() {
            return;
        }
        let text = self.pool().string(page);
        // SAFETY: the request is alive, and the text a C string in its pool.
        unsafe { c::ap_custom_response(self.as_ptr(), status, text.as_ptr()) };
    }

    /// `ap_get_status_line`: the number of a status, and its name.
    pub fn status_line(status: c_int) -> &'static [u8] {
        // SAFETY: takes any number.
        let line = unsafe { c::ap_get_status_line(status) };
        // SAFETY: a literal of httpd's.
        unsafe { string::bytes(line) }.unwrap_or_default()
    }

    /// A text as it stands in HTML (`ap_escape_html2`).
    pub fn escaped_for_html(self, text: &[u8]) -> &'r [u8] {
        let text = self.pool().string(text);
        // SAFETY: the pool is the request's, the text a C string in it.
        let escaped = unsafe { c::ap_escape_html2(self.rec().pool, text.as_ptr(), 0) };
        // SAFETY: a C string in the pool.
        unsafe { string::bytes(escaped) }.unwrap_or_default()
    }

    /// Maps the request to a file and a handler, as `translate_name` hooks do.
    pub fn set_target(self, filename: &[u8], handler: &'static CStr) {
        let filename = self.pool().string(filename).as_ptr();
        set!(self, filename = filename, handler = handler.as_ptr());
    }

    /// What is at `r->filename`.
    pub fn file_kind(self) -> FileKind {
        match self.rec().finfo.filetype {
            c::APR_NOFILE => FileKind::Missing,
            c::APR_DIR => FileKind::Directory,
            _ => FileKind::File,
        }
    }

    /// Whether `AcceptPathInfo Off` is in force.
    pub fn rejects_path_info(self) -> bool {
        self.rec().used_path_info == c::AP_REQ_REJECT_PATH_INFO
    }

    /// Whether `AuthType` asks for authentication here.
    pub fn has_authentication(self) -> bool {
        // SAFETY: the request is alive.
        !unsafe { c::ap_auth_type(self.as_ptr()) }.is_null()
    }

    /// Whether `CGIPassAuth On` is in force.
    pub fn passes_authorization(self) -> bool {
        // SAFETY: the request is alive.
        unsafe { c::mwrs_passes_authorization(self.as_ptr()) != 0 }
    }

    /// Whether `CGIVar REQUEST_URI current-uri` is in force.
    pub fn wants_current_uri(self) -> bool {
        // SAFETY: the request is alive.
        unsafe { c::mwrs_wants_current_uri(self.as_ptr()) != 0 }
    }

    /// Whether a filter of this request's own would see the response's body: one that compresses,
    /// for example, whose headers need a body to come out right.
    pub fn has_content_filter(self) -> bool {
        // SAFETY: the first of the request's filters, or null; filters stand in order of their type.
        let Some(first) = (unsafe { self.rec().output_filters.as_ref() }) else { return false };
        // SAFETY: a filter's record lives as long as the process.
        unsafe { (*first.frec).ftype < c::AP_FTYPE_PROTOCOL }
    }

    /// Address of the other end of the connection, whoever it speaks for.
    pub fn peer_ip(self) -> &'r [u8] {
        // SAFETY: a C string of the connection.
        unsafe { string::bytes(self.connection().client_ip) }.unwrap_or_default()
    }

    /// Appends to the response of the handler that runs (`ap_rwrite`).
    pub fn write(self, text: &[u8]) {
        let length = c_int::try_from(text.len()).unwrap_or(c_int::MAX);
        // SAFETY: the request is alive, and the text as long as stated. A client that has gone shows
        // in what the handler does next.
        unsafe { c::ap_rwrite(text.as_ptr().cast(), length, self.as_ptr()) };
    }

    /// `r->status`.
    pub fn status(self) -> u16 {
        u16::try_from(self.rec().status).unwrap_or(0)
    }

    /// How much of a response body has been sent, in bytes.
    pub fn sent_bytes(self) -> u64 {
        u64::try_from(self.rec().bytes_sent).unwrap_or(0)
    }

    /// This request, and what httpd has made out of it by internal redirects, one after the other.
    pub fn and_next(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |request| {
            let raw = NonNull::new(request.rec().next)?;
            Some(Self { raw, lifetime: PhantomData })
        })
    }

    /// The last of [`Self::and_next`].
    pub fn last(self) -> Self {
        self.and_next().last().unwrap_or(self)
    }

    /// Lets the response go out whole, whatever parts of it the client asks for: without httpd's filter
    /// for `Range` (`ap_byterange_filter`).
    pub fn forbid_ranges(self) {
        let filters = self.rec().output_filters;
        if !filters.is_null() {
            // SAFETY: the request's own filters, none of which runs; the name is a literal.
            unsafe { c::ap_remove_output_filter_byhandle(filters, c"BYTERANGE".as_ptr()) };
        }
    }

    /// When the request was received, in microseconds since the epoch.
    pub fn received(self) -> u64 {
        u64::try_from(self.rec().request_time).unwrap_or(0)
    }

    /// How long ago the request was received.
    pub fn age(self) -> Duration {
        let received = SystemTime::UNIX_EPOCH + Duration::from_micros(self.received());
        received.elapsed().unwrap_or_default()
    }

    /// Answers the request with what is at `location`, a path of this server, as if a client had asked
    /// for that with GET and no body (`ap_internal_redirect`; mod_cgi does the same). All of this
    /// request's body must have been read, or its connection be the last one's.
    pub fn redirect(self, location: &[u8]) {
        let location = self.pool().string(location);
        set!(self, method = c"GET".as_ptr(), method_number = c::M_GET as c_int);
        self.headers_in().unset(c"Content-Length");
        self.headers_in().unset(c"Transfer-Encoding");
        // SAFETY: the request is alive, and nothing of a response has been passed on; the location is
        // a C string in its pool.
        unsafe { c::ap_internal_redirect(location.as_ptr(), self.as_ptr()) };
    }

    /// Whether this request was made by httpd itself out of another one that failed or was
    /// redirected, and which one.
    pub fn redirected_from(self) -> Option<Self> {
        let previous = self.rec().prev;
        // SAFETY: earlier requests of a chain live as long as the last one.
        (!previous.is_null()).then(|| unsafe { Self::from_raw(previous) })
    }

    /// `ap_get_server_name_for_url`, escaped for HTML as httpd gives it to CGI programs.
    pub fn server_name(self) -> &'r [u8] {
        // SAFETY: the request is alive; the result is a C string in its pool.
        let name = unsafe { c::ap_get_server_name_for_url(self.as_ptr()) };
        // SAFETY: the pool is the request's, the name a C string in it.
        let escaped = unsafe { c::ap_escape_html2(self.rec().pool, name, 0) };
        // SAFETY: a C string in the request's pool.
        unsafe { string::bytes(escaped) }.unwrap_or_default()
    }

    /// `ap_get_server_port`: with `UseCanonicalName Off`, what the client says.
    pub fn server_port(self) -> u16 {
        // SAFETY: the request is alive.
        unsafe { c::ap_get_server_port(self.as_ptr()) }
    }

    /// The answer of one of httpd's functions that take a request and return a string.
    fn ask(self, function: unsafe extern "C" fn(*mut c::request_rec) -> *const c_char) -> &'r [u8] {
        // SAFETY: all that this private function is given is what its summary says; the request is
        // alive.
        let answer = unsafe { function(self.as_ptr()) };
        // SAFETY: null, or a C string of the request, its server or its module.
        unsafe { string::bytes(answer) }.unwrap_or_default()
    }

    /// `http` or `https`, as the connection is.
    pub fn scheme(self) -> &'r [u8] {
        // SAFETY: the request is alive.
        let scheme = unsafe { c::ap_run_http_scheme(self.as_ptr()) };
        // SAFETY: a literal of the module that answers, or null.
        unsafe { string::bytes(scheme) }.unwrap_or(b"http")
    }

    /// `DocumentRoot`.
    pub fn document_root(self) -> &'r [u8] {
        self.ask(c::ap_document_root)
    }

    /// Prefix of the URL that an `Alias` mapped.
    pub fn context_prefix(self) -> &'r [u8] {
        self.ask(c::ap_context_prefix)
    }

    /// The directory that it was mapped to.
    pub fn context_document_root(self) -> &'r [u8] {
        self.ask(c::ap_context_document_root)
    }

    /// Length of the part of [`Request::uri`] in front of the path info (`ap_find_path_info`).
    pub fn script_name_len(self) -> usize {
        let rec = self.rec();
        // Of a path info without a character it would take the URL's last slash for one.
        if rec.uri.is_null() || self.path_info().is_empty() {
            return self.uri().len();
        }
        // SAFETY: two C strings of the request, neither of them null.
        let length = unsafe { c::ap_find_path_info(rec.uri, rec.path_info) };
        usize::try_from(length).unwrap_or(0)
    }

    /// Name of the client's host, where it is known or `HostnameLookups` lets it be asked for, or
    /// else its address (`ap_get_useragent_host`).
    pub fn client_host(self) -> &'r [u8] {
        self.useragent_host(c::REMOTE_NAME).unwrap_or_default()
    }

    /// The name alone, by the same rule.
    pub fn client_name(self) -> Option<&'r [u8]> {
        self.useragent_host(c::REMOTE_HOST)
    }

    fn useragent_host(self, kind: c_int) -> Option<&'r [u8]> {
        // SAFETY: the request is alive.
        let host = unsafe { c::mwrs_useragent_host(self.as_ptr(), kind) };
        // SAFETY: null, or a C string of the request or its connection.
        unsafe { string::bytes(host) }
    }

    /// A variable of mod_ssl (`ssl_var_lookup`); `None` without mod_ssl.
    pub fn ssl_variable(self, name: &[u8]) -> Option<&'r [u8]> {
        let name = self.pool().string(name);
        // SAFETY: the request is alive, and the name a C string in its pool.
        let value = unsafe { c::mwrs_ssl_variable(self.as_ptr(), name.as_ptr()) };
        // SAFETY: null, or a C string of the request, its connection or its server.
        unsafe { string::bytes(value) }
    }

    /// `ap_psignature`: the line below httpd's own pages, with its end.
    pub fn server_signature(self) -> &'r [u8] {
        // SAFETY: the request is alive, the prefix a literal.
        let signature = unsafe { c::ap_psignature(c"".as_ptr(), self.as_ptr()) };
        // SAFETY: a C string in the request's pool.
        unsafe { string::bytes(signature) }.unwrap_or_default()
    }

    /// Whether a client that may not come by its address may still come by its password
    /// (`Satisfy Any`).
    pub fn may_authenticate_instead(self) -> bool {
        // SAFETY: the request is alive.
        let any = unsafe { c::ap_satisfies(self.as_ptr()) } == c::SATISFY_ANY;
        // Its successor, `ap_some_authn_required`, runs the hook that asks here.
        // SAFETY: the request is alive.
        any && unsafe { c::ap_some_auth_required(self.as_ptr()) } != 0
    }

    /// Sets the authenticated user.
    pub fn set_user(self, name: &[u8]) {
        set!(self, user = self.pool().string(name).as_ptr());
    }

    /// Sends an interim response with these headers (`ap_send_interim_response`, which leaves out
    /// clients that do not know such: HTTP/1.0). The final response's own stay as they are.
    pub fn send_interim(self, code: u16, line: &[u8], headers: &[(&[u8], &[u8])]) {
        let (line, pool) = (self.pool().string(line).as_ptr(), self.pool());
        let (status, status_line) = (self.rec().status, self.rec().status_line);
        let headers_out = self.rec().headers_out;
        // SAFETY: the pool is the request's.
        let table = unsafe {
            c::apr_table_make(pool.as_ptr(), c_int::try_from(headers.len()).unwrap_or(0))
        };
        set!(self, status = code.into(), status_line = line, headers_out = table);
        headers.iter().for_each(|(name, value)| self.headers_out().add(name, value));
        // SAFETY: the request is alive, and nothing of its final response has been passed on.
        unsafe { c::ap_send_interim_response(self.as_ptr(), 1) };
        set!(self, status = status, status_line = status_line, headers_out = headers_out);
    }

    /// Whether the response to this request has no body, whatever the application gives (HEAD).
    pub fn is_header_only(self) -> bool {
        self.rec().header_only != 0
    }

    /// Whether `Options ExecCGI` is in force.
    pub fn allows_exec_cgi(self) -> bool {
        // SAFETY: the request is alive.
        let options = unsafe { c::ap_allow_options(self.as_ptr()) };
        options & c::OPT_EXECCGI != 0
    }

    /// `r->headers_in`.
    pub fn headers_in(self) -> Table<'r> {
        // SAFETY: a table of the request.
        unsafe { Table::from_raw(self.rec().headers_in, self.pool()) }
    }

    /// `r->headers_out`.
    pub fn headers_out(self) -> Table<'r> {
        // SAFETY: a table of the request.
        unsafe { Table::from_raw(self.rec().headers_out, self.pool()) }
    }

    /// `r->err_headers_out`: headers that stay when httpd answers with an error page.
    pub fn err_headers_out(self) -> Table<'r> {
        // SAFETY: a table of the request.
        unsafe { Table::from_raw(self.rec().err_headers_out, self.pool()) }
    }

    /// `r->subprocess_env`.
    pub fn environment(self) -> Table<'r> {
        // SAFETY: a table of the request.
        unsafe { Table::from_raw(self.rec().subprocess_env, self.pool()) }
    }

    /// `r->notes`.
    pub fn notes(self) -> Table<'r> {
        // SAFETY: a table of the request.
        unsafe { Table::from_raw(self.rec().notes, self.pool()) }
    }

    /// Sets the status line: `code` and the whole of it, code included.
    pub fn set_status(self, code: u16, line: &[u8]) {
        let line = self.pool().string(line).as_ptr();
        set!(self, status = code.into(), status_line = line);
    }

    /// Sets the response's media type (`ap_set_content_type`), which filters look at.
    pub fn set_content_type(self, content_type: &[u8]) {
        let content_type = self.pool().string(content_type);
        // SAFETY: the string lives as long as the request.
        unsafe { c::ap_set_content_type(self.as_ptr(), content_type.as_ptr()) };
    }

    /// Sets the response's length in bytes (`ap_set_content_length`).
    pub fn set_content_length(self, length: u64) {
        let length = c::apr_off_t::try_from(length).unwrap_or(c::apr_off_t::MAX);
        // SAFETY: the request is alive.
        unsafe { c::ap_set_content_length(self.as_ptr(), length) };
    }

    /// Reads the framing of the request body from its headers (`ap_setup_client_block`), and says
    /// whether there is one.
    ///
    /// # Errors
    /// The HTTP status to answer with: 400, 411 for a `chunked` body that is not allowed, or 501 for
    /// an unknown transfer coding.
    pub fn set_up_body(self, chunked: bool) -> Result<bool, c_int> {
        let policy = if chunked { c::REQUEST_CHUNKED_DECHUNK } else { c::REQUEST_CHUNKED_ERROR };
        // SAFETY: the request is alive.
        match unsafe { c::ap_setup_client_block(self.as_ptr(), policy) } {
            // SAFETY: the request is alive, and httpd has just read its headers.
            c::OK => Ok(unsafe { c::mwrs_has_body(self.as_ptr()) } != 0),
            status => Err(status),
        }
    }

    /// Whether the body announces more than `LimitRequestBody` allows.
    pub fn body_is_over_limit(self) -> bool {
        // SAFETY: the request is alive.
        let limit = unsafe { c::ap_get_limit_req_body(self.as_ptr()) };
        limit > 0 && self.rec().remaining > limit
    }

    /// How long the request body is, where the client has announced that.
    pub fn body_length(self) -> Option<u64> {
        let announced = self.rec().read_chunked == 0;
        u64::try_from(self.rec().remaining).ok().filter(|_| announced)
    }

    /// Whether the client waits for `100 Continue`, which httpd sends when the body is first read.
    pub fn expects_continue(self) -> bool {
        self.rec().expecting_100 != 0
    }

    /// This request, the one that it is a subrequest of, and so on: each outlives the one before.
    pub(super) fn with_mains(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |request| {
            let raw = NonNull::new(request.rec().main)?;
            Some(Self { raw, lifetime: PhantomData })
        })
    }

    /// Lets nobody keep the response for others (mod_cache), nor the one that it is a part of.
    pub fn forbid_caching(self) {
        for request in self.with_mains() {
            // SAFETY: the request is alive, and this thread's.
            unsafe { (*request.as_ptr()).no_cache = 1 };
        }
    }

    /// Least severe level that `LogLevel` lets this module log here, as httpd's number.
    pub fn log_level(self) -> u8 {
        // SAFETY: the request is alive, and the index is this module's.
        let level = unsafe { c::ap_get_request_module_loglevel(self.as_ptr(), module_index()) };
        u8::try_from(level).unwrap_or(0)
    }
}

/// Accessors for the fields of `request_rec` that are C strings.
macro_rules! strings {
    ($type:ty, $or_null:expr; $($(#[$doc:meta])* $name:ident: $field:ident;)*) => {
        impl<'r> Request<'r> {
            $($(#[$doc])* pub fn $name(self) -> $type {
                // SAFETY: a C string that lives as long as the request, or null.
                $or_null(unsafe { string::bytes(self.rec().$field) })
            })*
        }
    };
}

strings! {
    &'r [u8], Option::unwrap_or_default;

    /// `r->handler`.
    handler: handler;

    /// `r->method`.
    method: method;

    /// `r->uri`: the path, decoded.
    uri: uri;

    /// The request line.
    line: the_request;

    /// `r->protocol`, for example `HTTP/1.1`.
    protocol: protocol;

    /// `r->filename`.
    filename: filename;

    /// What follows the file's name in the URL.
    path_info: path_info;

    /// Address of the client, as mod_remoteip may have found it.
    client_ip: useragent_ip;
}

strings! {
    Option<&'r [u8]>, std::convert::identity;

    /// The query string, if there is one.
    query: args;

    /// The host that the client asked for, if it named one.
    host: hostname;

    /// The authenticated user.
    user: user;

    /// How the user was authenticated.
    auth_type: ap_auth_type;
}
