//! Directives: httpd's command table, made from ours, and the line that is being read.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::NonNull;

use wire::exchange::Level;

use super::bindings as c;
use super::log::log_server;
use super::pool::Pool;
use super::server::Server;
use super::typed::Typed;
use super::{boundary, string};

/// A directive of a module with the settings `S` for a server and `D` for a section: one entry makes
/// httpd know it, and the documentation tell of it, for which there is a remark `R`.
pub struct Directive<S, D, R> {
    /// Its name, as users write it.
    pub name: &'static CStr,
    /// Where it may stand.
    pub context: Context,
    /// How httpd hands over its arguments.
    pub form: Form,
    /// What holds where it is not set, in words.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is made by a test"))]
    pub default: &'static str,
    /// What it is about: httpd says so when the form is wrong.
    pub usage: &'static CStr,
    /// How it compares with mod_wsgi's.
    pub compatibility: R,
    /// What it does.
    pub set: Setter<S, D>,
}

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Main server only (`RSRC_CONF`, and `GLOBAL_ONLY`).
    Main,
    /// Main server and `<VirtualHost>` (`RSRC_CONF`).
    Server,
    /// Also `<Directory>`, `<Location>` and `<Files>`, but not .htaccess (`ACCESS_CONF`).
    ServerAndDirectory,
    /// Also .htaccess, where AllowOverride has FileInfo (`OR_FILEINFO`).
    FileInfo,
    /// Sections, and .htaccess where AllowOverride has AuthConfig, but not servers (`OR_AUTHCFG`).
    AuthConfig,
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
pub enum Setter<S, D> {
    /// Settings of the server that it stands in.
    Server(fn(&mut S, Command<'_>, &[u8]) -> Result<(), String>),
    /// Settings of the section that it stands in.
    Directory(fn(&mut D, Command<'_>, &[u8]) -> Result<(), String>),
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
        // SAFETY: the name of that entry, which is one of the literals in the table.
        unsafe { CStr::from_ptr(entry.name) }.to_str().unwrap_or("directive")
    }

    /// Refuses to stand anywhere but in the main server's own configuration.
    fn check_context(self, context: Context) -> Result<(), Vec<u8>> {
        if context != Context::Main {
            return Ok(());
        }
        let forbidden = c::GLOBAL_ONLY as _;
        // SAFETY: alive for the call in which httpd gave it to us.
        let problem = unsafe { c::ap_check_cmd_context(self.raw.as_ptr(), forbidden) };
        // SAFETY: null, or a sentence in the pool of the configuration cycle.
        match unsafe { string::bytes(problem) } {
            None => Ok(()),
            Some(problem) => Err(problem.to_vec()),
        }
    }

    /// Reads the lines inside of this one, which opens a section.
    ///
    /// # Errors
    /// httpd's or a directive's sentence.
    pub fn read_section(self) -> Result<(), String> {
        // SAFETY: the node of the line in the configuration tree, or null.
        let Some(node) = (unsafe { self.rec().directive.as_ref() }) else { return Ok(()) };
        let (inside, context) = (node.first_child, self.rec().context);
        // SAFETY: the section's lines, and the settings that httpd was filling in, which is what
        // sections of httpd's own modules hand on (mod_version.c).
        let problem = unsafe { c::ap_walk_config(inside, self.raw.as_ptr(), context) };
        // SAFETY: null, or a sentence in the pool of the configuration cycle.
        match unsafe { string::bytes(problem) } {
            None => Ok(()),
            Some(problem) => Err(String::from_utf8_lossy(problem).into_owned()),
        }
    }

    /// `path`, seen from `ServerRoot`. `None`: it is no path.
    pub fn below_server_root(self, path: &[u8]) -> Option<PathBuf> {
        let path = self.pool().string(path);
        // SAFETY: the pool is alive, the path a C string.
        let full = unsafe { c::ap_server_root_relative(self.pool().as_ptr(), path.as_ptr()) };
        // SAFETY: a C string in the pool, or null.
        let full = unsafe { string::bytes(full) }?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(full)))
    }

    /// Whether the line stands in a .htaccess file, and not in the server's configuration.
    pub fn is_in_htaccess(self) -> bool {
        self.rec().override_ & (c::RSRC_CONF | c::ACCESS_CONF) == 0
    }

    /// Warns about the line, in a way that `apachectl configtest` shows. A .htaccess file is read for
    /// each request, and is not warned about.
    pub fn warn(self, text: &str) {
        if self.is_in_htaccess() {
            return;
        }
        let text = format!("{} at {}: {text}", self.name(), self.location());
        log_server(None, Level::Warning.number(), text.as_bytes());
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
pub struct CommandTable<S, D, const N: usize>([c::command_rec; N], PhantomData<fn(&mut S, &mut D)>);

/// A command table, whatever its length.
pub struct Commands<S, D>(*const c::command_rec, PhantomData<fn(&mut S, &mut D)>);

impl<S, D> Commands<S, D> {
    pub(super) fn as_ptr(&self) -> *const c::command_rec {
        self.0
    }
}

// SAFETY: httpd only reads its command tables; everything they point to is static.
unsafe impl<S, D, const N: usize> Sync for CommandTable<S, D, N> {}

impl<S: 'static, D: 'static, const N: usize> CommandTable<S, D, N> {
    /// Makes the table of the directives in all `themes`; `N` is one more than there are.
    pub const fn new<R>(themes: &[&'static [Directive<S, D, R>]]) -> Self {
        const END: c::command_rec = c::command_rec {
            name: std::ptr::null(),
            func: c::cmd_func { raw_args: None },
            cmd_data: std::ptr::null_mut(),
            req_override: 0,
            args_how: c::RAW_ARGS,
            errmsg: std::ptr::null(),
        };
        let mut table = [END; N];
        let (mut theme, mut index, mut place) = (0, 0, 0);
        while theme < themes.len() {
            if index == themes[theme].len() {
                (theme, index) = (theme + 1, 0);
                continue;
            }
            table[place] = Self::entry(&themes[theme][index]);
            (index, place) = (index + 1, place + 1);
        }
        assert!(place + 1 == N, "one entry for each directive, and the end");
        Self(table, PhantomData)
    }

    const fn entry<R>(directive: &'static Directive<S, D, R>) -> c::command_rec {
        c::command_rec {
            name: directive.name.as_ptr(),
            // TAKE1 and RAW_ARGS have the same signature, and the same place in the union.
            func: c::cmd_func { raw_args: Some(set_directive::<S, D, R>) },
            cmd_data: std::ptr::from_ref(directive).cast_mut().cast(),
            req_override: match directive.context {
                Context::Main | Context::Server => c::RSRC_CONF,
                Context::ServerAndDirectory => c::RSRC_CONF | c::ACCESS_CONF,
                Context::FileInfo => c::OR_FILEINFO,
                Context::AuthConfig => c::OR_AUTHCFG,
            },
            args_how: match directive.form {
                Form::One => c::TAKE1,
                Form::Raw => c::RAW_ARGS,
            },
            errmsg: directive.usage.as_ptr(),
        }
    }

    /// The table as httpd gets it.
    pub fn commands(&'static self) -> Commands<S, D> {
        Commands(self.0.as_ptr(), PhantomData)
    }
}

/// httpd's call for each of our directives that it reads.
///
/// # Safety
/// Called by httpd alone, through an entry of a [`CommandTable`], as `cmd_func::raw_args` or
/// `cmd_func::take1` (http_config.h).
unsafe extern "C" fn set_directive<S: 'static, D: 'static, R>(
    parms: *mut c::cmd_parms,
    dir_config: *mut c_void,
    arguments: *const c_char,
) -> *const c_char {
    boundary::guard(c"the directive's code failed; see above".as_ptr(), || {
        let raw = NonNull::new(parms).expect("httpd gives a directive its cmd_parms");
        let command = Command { raw, lifetime: PhantomData };
        // SAFETY: httpd calls this only through a `CommandTable`, whose data is a directive.
        let directive = unsafe { &*command.rec().info.cast::<Directive<S, D, R>>() };
        if let Err(message) = command.check_context(directive.context) {
            return command.pool().string(&message).as_ptr().cast_const();
        }
        // SAFETY: the arguments are a C string for the time of the call.
        let arguments = unsafe { string::bytes(arguments) }.unwrap_or_default();
        let outcome = match directive.set {
            Setter::Server(set) => {
                // SAFETY: what `create_server_config` made; nothing else reads it meanwhile, as
                // configuration is read by one thread.
                let config = unsafe { Typed::get_mut(command.server().config()) };
                set(config.expect("settings of our module"), command, arguments)
            }
            Setter::Directory(set) => {
                // SAFETY: what `create_dir_config` made for the section, used by this thread only.
                let config = unsafe { Typed::get_mut(dir_config) };
                set(config.expect("settings of our module"), command, arguments)
            }
        };
        match outcome {
            Ok(()) => std::ptr::null(),
            Err(message) => command.pool().string(message.as_bytes()).as_ptr().cast_const(),
        }
    })
}
