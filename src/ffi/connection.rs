//! `conn_rec`: the connection over which a request comes, its two ends, what waits to be sent over
//! it, and how it ends.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use super::bindings as c;
use super::bucket::ClientGone;
use super::request::Request;
use super::string;

/// See [`Request::limit_client`].
pub struct ClientLimit<'r> {
    socket: NonNull<c::apr_socket_t>,
    before: c::apr_interval_time_t,
    lifetime: PhantomData<&'r ()>,
}

impl Drop for ClientLimit<'_> {
    fn drop(&mut self) {
        // SAFETY: the connection, and with it its socket, lives for 'r.
        unsafe { c::apr_socket_timeout_set(self.socket.as_ptr(), self.before) };
    }
}

impl<'r> Request<'r> {
    pub(super) fn connection(&self) -> &'r c::conn_rec {
        // SAFETY: a request's connection outlives it.
        unsafe { &*self.rec().connection }
    }

    /// httpd's id of the connection in its logs (`%{c}L`), if something has been logged with it.
    pub fn connection_log_id(self) -> Option<&'r [u8]> {
        // SAFETY: a C string of the connection, or null.
        unsafe { string::bytes(self.connection().log_id) }
    }

    /// TCP port of the client.
    pub fn client_port(self) -> u16 {
        // SAFETY: a connection's addresses live as long as it does.
        unsafe { self.connection().client_addr.as_ref() }.map_or(0, |address| address.port)
    }

    /// Address on which the connection was accepted.
    pub fn local_ip(self) -> &'r [u8] {
        // SAFETY: a C string of the connection, or null.
        unsafe { string::bytes(self.connection().local_ip) }.unwrap_or_default()
    }

    /// TCP port on which the connection was accepted.
    pub fn local_port(self) -> u16 {
        // SAFETY: a connection's addresses live as long as it does.
        unsafe { self.connection().local_addr.as_ref() }.map_or(0, |address| address.port)
    }

    /// Whether this is a stream of an HTTP/2 connection.
    pub fn is_stream(self) -> bool {
        !self.master().is_null()
    }

    /// The connection that a stream of HTTP/2 is part of; null for all others.
    fn master(self) -> *mut c::conn_rec {
        // SAFETY: a request's connection outlives it.
        unsafe { c::mwrs_master(self.rec().connection) }
    }

    /// The socket at whose other end the client is. A stream of an HTTP/2 connection has none of its
    /// own; all of them end with that of the connection.
    pub fn client_socket(self) -> Option<BorrowedFd<'r>> {
        let connection = self.rec().connection;
        let master = self.master();
        let connection = if master.is_null() { connection } else { master };
        // SAFETY: a request's connection outlives it, and a master connection its streams; the core module keeps the socket in the connection's configuration.
        let socket = unsafe { c::ap_get_conn_socket(connection) };
        if socket.is_null() {
            return None;
        }
        let mut descriptor = -1;
        // SAFETY: the socket lives as long as its connection.
        let status = unsafe { c::apr_os_sock_get(&raw mut descriptor, socket) };
        let open = status == c::APR_SUCCESS as c_int && descriptor >= 0;
        // SAFETY: httpd closes a connection's socket after the connection's last request.
        open.then(|| unsafe { BorrowedFd::borrow_raw(descriptor) })
    }

    /// Whether the client has gone away.
    pub fn is_aborted(self) -> bool {
        self.connection().aborted != 0
    }

    /// Bounds how long the client may take to receive a part of the response, until the result is
    /// dropped. Nothing is bounded for a stream of HTTP/2, whose connection is another thread's.
    pub fn limit_client(self, timeout: Duration) -> Option<ClientLimit<'r>> {
        if self.is_stream() {
            return None;
        }
        // SAFETY: the request's connection is alive, and this thread's; the core module keeps the
        // socket in its configuration.
        let socket = NonNull::new(unsafe { c::ap_get_conn_socket(self.rec().connection) })?;
        let mut before = 0;
        // SAFETY: the socket lives as long as its connection; the number is filled in.
        unsafe { c::apr_socket_timeout_get(socket.as_ptr(), &raw mut before) };
        let timeout = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
        // SAFETY: the socket lives as long as its connection. httpd's core output filter waits this long
        // (core_filters.c, `send_brigade_blocking`).
        unsafe { c::apr_socket_timeout_set(socket.as_ptr(), timeout) };
        Some(ClientLimit { socket, before, lifetime: PhantomData })
    }

    /// Whether httpd still holds back some of what it has been given to send, as the client's socket
    /// has no room for it.
    pub fn is_held_back(self) -> bool {
        self.connection().data_in_output_filters != 0
    }

    /// Sends what httpd holds back, as far as the client's socket has room for it. Not for a stream
    /// of HTTP/2, whose connection is another thread's.
    ///
    /// # Errors
    /// [`ClientGone`]; nothing further may be passed.
    pub fn send_held_back(self) -> Result<(), ClientGone> {
        // SAFETY: the request's connection is alive, and this thread's.
        let status = unsafe { c::mwrs_send_held_back(self.rec().connection) };
        if status == c::APR_SUCCESS as c_int && !self.is_aborted() {
            Ok(())
        } else {
            Err(ClientGone)
        }
    }

    /// How many bytes in memory, those held back included, make httpd wait for the client
    /// (`FlushMaxThreshold`).
    pub fn flush_threshold(self) -> usize {
        // SAFETY: the request's connection is alive.
        unsafe { c::mwrs_flush_threshold(self.rec().connection) }
    }

    /// Whether the end of the connection is all that tells the client where the response ends, or the
    /// one that this is a part of. That is known once httpd has sent the head.
    pub fn ends_with_connection(self) -> bool {
        let request = self.with_mains().last().unwrap_or(self);
        let rec = request.rec();
        let has_head = rec.sent_bodyct != 0;
        let is_framed = rec.chunked != 0
            || request.is_stream()
            || request.headers_out().get(c"Content-Length").is_some();
        has_head && !is_framed && !request.is_header_only()
    }

    /// Lets this be the last request of its connection.
    pub fn close_connection(self) {
        // SAFETY: the request's connection is alive, and this thread's.
        unsafe { (*self.rec().connection).keepalive = c::AP_CONN_CLOSE };
    }

    /// Gives the client up: httpd sends it nothing more, and closes the connection without waiting
    /// for it, or for an orderly end (`ap_start_lingering_close`).
    pub fn abort_connection(self) {
        // SAFETY: the request's connection is alive, and this thread's.
        unsafe { (*self.rec().connection).aborted = 1 };
    }

    /// Lets the client see a reset instead of an end, for a response that only the connection's end
    /// delimits (HTTP/1.0).
    pub fn reset_connection(self) {
        if let Some(socket) = self.client_socket() {
            // A close that does not linger resets (socket(7), SO_LINGER). Without it, the client
            // sees an ordinary end, which is no worse than before.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
        self.abort_connection();
    }
}
