//! Bodies: what the client sends, and what it is sent, as brigades of buckets through httpd's
//! filters.

use std::ffi::{c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use channel::Bytes;

use super::bindings as c;
use super::request::Request;
use super::string;

/// How much of a file is read at a time, where the kernel does not send it by itself. With APR's
/// 8,000 bytes a file of 10 MiB costs a fifth more processor time.
const FILE_PIECE: c::apr_size_t = 128 << 10;

/// How much of a body is asked for at a time. httpd holds as much as it is asked for in buckets of 8,000
/// bytes, which a connection keeps; of a mebibyte at once nothing is in the processor's caches any more when it
/// is copied out of them.
const BODY_AT_ONCE: usize = 64 << 10;

/// A brigade of one request, reused from one pass to the next.
pub struct Brigade<'r> {
    raw: NonNull<c::apr_bucket_brigade>,
    request: Request<'r>,
    /// What a read found after it had something to give.
    failed: Option<BodyError>,
    /// What has been read and not been asked for: ahead of time, or because a filter gave more than
    /// it should.
    ahead: Vec<u8>,
}

/// Whether the kernel sends a file by itself, where no filter wants to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sendfile {
    /// As `EnableSendfile` has it for static files.
    AsConfigured,
    /// Unless somebody has written `EnableSendfile Off`: of a file with which it works everywhere.
    UnlessOff,
    /// Of such a file as well. Otherwise httpd would read it to memory, and wait for the client as
    /// soon as that is `FlushMaxThreshold`.
    Always,
}

/// The client, or a filter on the way to it, takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientGone;

/// Why the request body ends before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    /// The HTTP status that httpd has for it (`ap_map_http_request_error`).
    pub status: c_int,
    /// APR's text for it (`apr_strerror`).
    pub text: String,
}

impl<'r> Brigade<'r> {
    /// An empty brigade in the request's pool.
    pub fn new(request: Request<'r>) -> Self {
        let allocator = request.connection().bucket_alloc;
        // SAFETY: the pool is the request's; the connection's allocator outlives it.
        let raw = unsafe { c::apr_brigade_create(request.pool().as_ptr(), allocator) };
        let raw = NonNull::new(raw).expect("APR aborts when memory is short");
        Self { raw, request, failed: None, ahead: Vec::new() }
    }

    fn allocator(&self) -> *mut c::apr_bucket_alloc_t {
        self.request.connection().bucket_alloc
    }

    fn append(&mut self, bucket: *mut c::apr_bucket) {
        // SAFETY: a bucket just made with the allocator of this brigade, and in no other one.
        unsafe { c::mwrs_brigade_append(self.raw.as_ptr(), bucket) };
    }

    /// Puts a copy of `data` into the brigade, for the next [`Brigade::pass`].
    pub fn push<'d>(&mut self, data: impl Into<Bytes<'d>>) {
        let data = data.into();
        // SAFETY: without a function to free them, a heap bucket copies its bytes at once
        // (apr_buckets_heap.c).
        let bucket = unsafe {
            c::apr_bucket_heap_create(data.as_ptr().cast(), data.len(), None, self.allocator())
        };
        self.append(bucket);
    }

    /// Puts a part of a file into the brigade, for the next [`Brigade::pass`]. httpd closes its copy
    /// of the descriptor afterwards. The file is not mapped into memory: whoever cut it short then
    /// would end this process (SIGBUS).
    ///
    /// # Errors
    /// APR's text for why the descriptor cannot be used.
    pub fn push_file(
        &mut self,
        file: &OwnedFd,
        offset: u64,
        length: u64,
        sendfile: Sendfile,
    ) -> Result<(), String> {
        let too_large = |_| "a file larger than APR knows".to_owned();
        let offset = c::apr_off_t::try_from(offset).map_err(too_large)?;
        let length = c::apr_off_t::try_from(length).map_err(too_large)?;
        let pool = self.request.pool().as_ptr();
        let mut descriptor = file.as_raw_fd();
        let sendfile = match sendfile {
            Sendfile::Always => c::APR_FOPEN_SENDFILE_ENABLED,
            Sendfile::AsConfigured | Sendfile::UnlessOff => {
                let otherwise = c_int::from(sendfile == Sendfile::UnlessOff);
                // SAFETY: the request is alive.
                unsafe { c::mwrs_sendfile_flag(self.request.as_ptr(), otherwise) }
            }
        };
        let flags = c::APR_FOPEN_READ | sendfile;
        let mut borrowed = std::ptr::null_mut();
        // SAFETY: the pool is the request's; the descriptor is open, and APR will not close it.
        let status =
            unsafe { c::apr_os_file_put(&raw mut borrowed, &raw mut descriptor, flags, pool) };
        if status != c::APR_SUCCESS as c_int {
            return Err(error_text(status));
        }
        let mut owned = std::ptr::null_mut();
        // SAFETY: a file just made. The duplicate is closed by its pool, or by that of whoever sets
        // the bucket aside (`apr_file_setaside`), which would not be so for one of
        // `apr_os_file_put`.
        let status = unsafe { c::apr_file_dup(&raw mut owned, borrowed, pool) };
        if status != c::APR_SUCCESS as c_int {
            return Err(error_text(status));
        }
        // SAFETY: brigade, file and pool belong to the request.
        let unmapped = unsafe {
            c::mwrs_brigade_append_file(self.raw.as_ptr(), owned, offset, length, FILE_PIECE, pool)
        };
        if unmapped == 0 { Err("APR insists on mapping the file".to_owned()) } else { Ok(()) }
    }

    /// Takes back what has been pushed and not passed.
    pub fn clear(&mut self) {
        // SAFETY: the brigade is ours.
        unsafe { c::apr_brigade_cleanup(self.raw.as_ptr().cast()) };
    }

    /// Passes what has been pushed, then `data`, on towards the client, then a flush or the end of
    /// the response where asked for. httpd copies what it cannot send at once.
    ///
    /// # Errors
    /// [`ClientGone`]; nothing further may be passed.
    pub fn pass<'d>(&mut self, data: impl Into<Bytes<'d>>, then: Then) -> Result<(), ClientGone> {
        let data = data.into();
        if !data.is_empty() {
            // SAFETY: a transient bucket borrows its bytes until the pass ends: whoever keeps it
            // longer has to copy it (apr_buckets.h, "apr_bucket_setaside"). The brigade is
            // emptied below, while `data` is still borrowed.
            let bucket = unsafe {
                c::apr_bucket_transient_create(data.as_ptr().cast(), data.len(), self.allocator())
            };
            self.append(bucket);
        }
        match then {
            Then::More => {}
            Then::Flush => self.append_flush(),
            Then::End => self.append_end(),
            Then::Broken => {
                // mod_cache takes what comes before the end for whole.
                self.request.forbid_caching();
                let pool = self.request.pool().as_ptr();
                // SAFETY: pool and allocator outlive the pass; no text is needed. The chunk filter
                // sends no last chunk once it has seen this status (chunk_filter.c). An HTTP/2
                // stream is reset when it has no end.
                let bucket = unsafe {
                    c::ap_bucket_error_create(
                        c::HTTP_BAD_GATEWAY,
                        std::ptr::null(),
                        pool,
                        self.allocator(),
                    )
                };
                self.append(bucket);
                match self.request.is_stream() {
                    false => self.append_end(),
                    // Filters that change the body would keep the error to themselves.
                    true => self.append_flush(),
                }
            }
        }
        // SAFETY: output filters and brigade belong to the request.
        let status =
            unsafe { c::ap_pass_brigade(self.request.rec().output_filters, self.raw.as_ptr()) };
        // SAFETY: the brigade is ours; whatever is left in it may refer to `data`.
        unsafe { c::apr_brigade_cleanup(self.raw.as_ptr().cast()) };
        if status == c::APR_SUCCESS as c_int && !self.request.is_aborted() {
            Ok(())
        } else {
            Err(ClientGone)
        }
    }

    fn append_flush(&mut self) {
        // SAFETY: the allocator is the connection's.
        let bucket = unsafe { c::apr_bucket_flush_create(self.allocator()) };
        self.append(bucket);
    }

    fn append_end(&mut self) {
        // SAFETY: the allocator is the connection's.
        let bucket = unsafe { c::apr_bucket_eos_create(self.allocator()) };
        self.append(bucket);
    }

    /// Waits for the next piece of the request body, takes what else is there already, or waits for
    /// `all`, and gives it to `sink`: between 1 and `at_most` bytes, or none at the end of the body
    /// (`false`). httpd sends `100 Continue` first where the client waits for it.
    ///
    /// # Errors
    /// [`BodyError`]; nothing further can be read.
    pub fn read(
        &mut self,
        at_most: usize,
        all: bool,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<bool, BodyError> {
        let mut room = at_most;
        self.give_ahead(&mut room, &mut sink);
        while room > 0 {
            if let Some(error) = self.failed.take() {
                // The data before it goes first.
                if room < at_most {
                    self.failed = Some(error);
                    break;
                }
                return Err(error);
            }
            let waits = all || room == at_most;
            match self.read_once(waits, &mut room, &mut sink) {
                // An end that came along with data is seen again at the next read
                // (`ap_http_filter` goes on answering with EOS).
                Ok(Piece::End) => return Ok(room < at_most),
                Ok(Piece::Data) => {}
                Ok(Piece::NotYet) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        Ok(true)
    }

    /// Waits for the next `len` bytes of the request body, or for its end before that, and keeps them
    /// for later reads.
    ///
    /// # Errors
    /// [`BodyError`]; nothing further can be read.
    pub fn read_ahead(&mut self, len: usize) -> Result<(), BodyError> {
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.reserve_exact(len.saturating_sub(ahead.len()));
        let mut outcome = Ok(true);
        while ahead.len() < len && outcome == Ok(true) {
            let missing = len - ahead.len();
            outcome = self.read(missing, true, |piece| ahead.extend_from_slice(piece));
        }
        ahead.append(&mut self.ahead);
        self.ahead = ahead;
        outcome.map(|_| ())
    }

    /// Takes back what has been read: it comes first once more.
    pub fn unread(&mut self, data: Bytes<'_>) {
        let mut ahead = Vec::new();
        data.append_to(&mut ahead);
        ahead.append(&mut self.ahead);
        self.ahead = ahead;
    }

    /// Reads what comes first; unless it `waits`, what is there.
    fn read_once(
        &mut self,
        waits: bool,
        room: &mut usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Piece, BodyError> {
        // As much of this as has come is received before anything of it is given to us
        // (`ap_core_input_filter`).
        let at_most = (*room).min(BODY_AT_ONCE);
        // SAFETY: input filters and brigade belong to the request.
        let status = unsafe {
            c::ap_get_brigade(
                self.request.rec().input_filters,
                self.raw.as_ptr(),
                c::AP_MODE_READBYTES,
                if waits { c::APR_BLOCK_READ } else { c::APR_NONBLOCK_READ },
                at_most.cast_signed() as c::apr_off_t,
            )
        };
        if !waits && status == libc::EAGAIN {
            return Ok(Piece::NotYet);
        }
        if status != c::APR_SUCCESS as c_int {
            return Err(self.error(status));
        }
        let before = *room;
        Ok(match self.drain(room, sink)? {
            true => Piece::End,
            // Some filters answer so instead of with EAGAIN.
            false if !waits && *room == before => Piece::NotYet,
            false => Piece::Data,
        })
    }

    /// Moves the data of all buckets to `sink`. Says whether one of them was the end.
    fn drain(&mut self, room: &mut usize, sink: &mut impl FnMut(&[u8])) -> Result<bool, BodyError> {
        let mut ended = false;
        loop {
            // SAFETY: the brigade is alive.
            let bucket = unsafe { c::mwrs_brigade_first(self.raw.as_ptr()) };
            if bucket.is_null() {
                return Ok(ended);
            }
            // SAFETY: a bucket of the brigade.
            if unsafe { c::mwrs_bucket_is_eos(bucket) } != 0 {
                ended = true;
            // SAFETY: a bucket of the brigade.
            } else if unsafe { c::mwrs_bucket_is_metadata(bucket) } == 0 {
                let (mut data, mut length) = (std::ptr::null(), 0);
                // SAFETY: a bucket of the brigade; data and length are filled in.
                let status = unsafe { c::mwrs_bucket_read(bucket, &raw mut data, &raw mut length) };
                if status != c::APR_SUCCESS as c_int {
                    return Err(self.error(status));
                }
                if length > 0 {
                    let data = data.cast::<u8>();
                    // SAFETY: the bucket holds that many bytes until it is deleted, below.
                    let data = unsafe { std::slice::from_raw_parts(data, length) };
                    let (fits, surplus) = data.split_at(length.min(*room));
                    sink(fits);
                    *room -= fits.len();
                    self.ahead.extend_from_slice(surplus);
                }
            }
            // SAFETY: a bucket of the brigade, not used after this.
            unsafe { c::mwrs_bucket_delete(bucket) };
        }
    }

    /// Gives what has been read already.
    fn give_ahead(&mut self, room: &mut usize, sink: &mut impl FnMut(&[u8])) {
        let len = self.ahead.len().min(*room);
        if len > 0 {
            sink(&self.ahead[..len]);
            self.ahead.drain(..len);
            *room -= len;
        }
    }

    fn error(&self, status: c::apr_status_t) -> BodyError {
        // SAFETY: a function of two numbers.
        let http = unsafe { c::mwrs_map_request_error(status, c::HTTP_BAD_REQUEST) };
        BodyError { status: http, text: error_text(status) }
    }
}

/// APR's text for a status.
fn error_text(status: c::apr_status_t) -> String {
    let mut text: [c_char; 200] = [0; 200];
    // SAFETY: the buffer is as long as stated; APR ends it with a NUL.
    unsafe { c::apr_strerror(status, text.as_mut_ptr(), text.len()) };
    // SAFETY: see the line above.
    let text = unsafe { string::bytes(text.as_ptr()) }.unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

impl Drop for Brigade<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used after this. Its pool would free it anyway, but a
        // request can live long after its brigade (keep-alive, logging).
        unsafe { c::apr_brigade_destroy(self.raw.as_ptr()) };
    }
}

/// What a single read of a request body brought.
enum Piece {
    /// Data, or nothing yet where it waits.
    Data,
    /// Nothing, as nothing is there.
    NotYet,
    /// Possibly data, and the end.
    End,
}

/// What follows the bytes of a [`Brigade::pass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Possibly more, soon: httpd may gather.
    More,
    /// Possibly more, but not at once: what has been passed goes out now.
    Flush,
    /// The end of the response.
    End,
    /// Nothing, though more was promised: the client must see that the response is incomplete.
    Broken,
}
