//! Directives: httpd's command table, made from ours, and the line that is being read.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::NonNull;

use super::bindings as c;
use super::pool::Pool;
use super::server::Server;
use super::{boundary, string};
use crate::config::{DirConfig, ServerConfig};

/// A directive: one entry makes httpd know it.
pub struct Directive {
    /// Its name, as users write it.
    pub name: &'static CStr,
    /// Where it may stand.
    pub context: Context,
    /// How httpd hands over its arguments.
    pub form: Form,
    /// What httpd says when the form is wrong.
    pub usage: &'static CStr,
    /// What it does.
    pub set: Setter,
}

/// Where a directive may stand.
#[derive(Clone, Copy)]
pub enum Context {
    /// Main server and `<VirtualHost>` (`RSRC_CONF`).
    Server,
    /// Also `<Directory>`, `<Location>` and `<Files>`, but not .htaccess (`ACCESS_CONF`).
    ServerAndDirectory,
}

/// How httpd hands over a directive's arguments.
#[derive(Clone, Copy)]
pub enum Form {
    /// Exactly one word, unquoted by httpd (`TAKE1`).
    One,
    /// The rest of the line as it stands (`RAW_ARGS`).
    Raw,
}

/// What a directive changes. The error is the sentence that httpd shows behind file and line.
pub enum Setter {
    /// Settings of the server that it stands in.
    Server(fn(&mut ServerConfig, Command<'_>, &[u8]) -> Result<(), String>),
    /// Settings of the section that it stands in.
    Directory(fn(&mut DirConfig, Command<'_>, &[u8]) -> Result<(), String>),
}

/// Where a directive stands, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Configuration file.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {} of {}", self.line, self.file.display())
    }
}

/// The configuration line that is being read (`cmd_parms`).
#[derive(Clone, Copy)]
pub struct Command<'c> {
    raw: NonNull<c::cmd_parms>,
    lifetime: PhantomData<&'c ()>,
}

impl<'c> Command<'c> {
    fn rec(&self) -> &c::cmd_parms {
        // SAFETY: made in `set_directive` for the time of that call.
        unsafe { self.raw.as_ref() }
    }

    /// The pool of the configuration cycle.
    pub fn pool(self) -> Pool<'c> {
        // SAFETY: lives longer than the call for which this command was made.
        unsafe { Pool::from_raw(self.rec().pool) }
    }

    /// The server that the line stands in.
    pub fn server(self) -> Server<'c> {
        // SAFETY: of the configuration cycle that is being read.
        unsafe { Server::from_raw(self.rec().server) }
    }

    /// The directive's name.
    pub fn name(self) -> &'c str {
        // SAFETY: httpd calls us through an entry of our own table.
        let entry = unsafe { &*self.rec().cmd };
        // SAFETY: as above: one of the literals in the table.
        unsafe { CStr::from_ptr(entry.name) }.to_str().unwrap_or("directive")
    }

    /// Where the line stands.
    pub fn location(self) -> Location {
        let mut location = Location { file: PathBuf::new(), line: 0 };
        // SAFETY: null, or the node of the line in the configuration tree.
        if let Some(node) = unsafe { self.rec().directive.as_ref() } {
            // SAFETY: the node's file name is a C string of the configuration cycle.
            let file = unsafe { string::bytes(node.filename) }.unwrap_or_default();
            location.file = PathBuf::from(std::ffi::OsStr::from_bytes(file));
            location.line = u32::try_from(node.line_num).unwrap_or(0);
        }
        location
    }
}

/// httpd's form of a table of directives, with the empty entry that ends it.
#[repr(transparent)]
pub struct CommandTable<const N: usize>([c::command_rec; N]);

// SAFETY: httpd only reads its command tables; everything they point to is static.
unsafe impl<const N: usize> Sync for CommandTable<N> {}

impl<const N: usize> CommandTable<N> {
    /// Makes the table of `directives`; `N` is one more than there are.
    pub const fn new(directives: &'static [Directive]) -> Self {
        assert!(directives.len() + 1 == N, "one entry for each directive, and the end");
        const END: c::command_rec = c::command_rec {
            name: std::ptr::null(),
            func: c::cmd_func { raw_args: None },
            cmd_data: std::ptr::null_mut(),
            req_override: 0,
            args_how: c::RAW_ARGS,
            errmsg: std::ptr::null(),
        };
        let mut table = [END; N];
        let mut index = 0;
        while index < directives.len() {
            let directive = &directives[index];
            table[index] = c::command_rec {
                name: directive.name.as_ptr(),
                // TAKE1 and RAW_ARGS have the same signature, and the same place in the union.
                func: c::cmd_func { raw_args: Some(set_directive) },
                cmd_data: std::ptr::from_ref(directive).cast_mut().cast(),
                req_override: match directive.context {
                    Context::Server => c::RSRC_CONF,
                    Context::ServerAndDirectory => c::RSRC_CONF | c::ACCESS_CONF,
                },
                args_how: match directive.form {
                    Form::One => c::TAKE1,
                    Form::Raw => c::RAW_ARGS,
                },
                errmsg: directive.usage.as_ptr(),
            };
            index += 1;
        }
        Self(table)
    }

    pub(super) const fn as_ptr(&self) -> *const c::command_rec {
        self.0.as_ptr()
    }
}

/// httpd's call for each of our directives that it reads.
///
/// # Safety
/// Called by httpd alone, through an entry of a [`CommandTable`], as `cmd_func::raw_args` or
/// `cmd_func::take1` (http_config.h).
unsafe extern "C" fn set_directive(
    parms: *mut c::cmd_parms,
    dir_config: *mut c_void,
    arguments: *const c_char,
) -> *const c_char {
    boundary::guard(c"the directive's code failed; see above".as_ptr(), || {
        let raw = NonNull::new(parms).expect("httpd gives a directive its cmd_parms");
        let command = Command { raw, lifetime: PhantomData };
        // SAFETY: httpd calls this only through a `CommandTable`, whose data is a directive.
        let directive = unsafe { &*command.rec().info.cast::<Directive>() };
        // SAFETY: the arguments are a C string for the time of the call.
        let arguments = unsafe { string::bytes(arguments) }.unwrap_or_default();
        let outcome = match directive.set {
            Setter::Server(set) => {
                let config = command.server().config().cast::<ServerConfig>();
                // SAFETY: what `create_server_config` made; nobody else reads it meanwhile, as
                // configuration is read by one thread.
                set(unsafe { &mut *config }, command, arguments)
            }
            Setter::Directory(set) => {
                // SAFETY: what `create_dir_config` made for the section, used by this thread only.
                set(unsafe { &mut *dir_config.cast::<DirConfig>() }, command, arguments)
            }
        };
        match outcome {
            Ok(()) => std::ptr::null(),
            Err(message) => command.pool().string(message.as_bytes()).as_ptr().cast_const(),
        }
    })
}
