//! How a worker is set up: what its supervisor tells it before it loads an application.

use std::path::PathBuf;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::Limits;
use crate::telemetry::Telemetry;

/// How a worker sets up its process and Python. Identity and environment variables are not here:
/// the supervisor has seen to them before Python was executed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Name of the process group, empty for the default one.
    pub process_group: Vec<u8>,
    /// `threads=`: how many requests run at the same time.
    pub threads: u16,
    /// `processes=`: how many workers serve each application group, at most.
    pub processes: u32,
    /// How many requests may wait for each application group, beyond those that run
    /// (`listen-backlog=`).
    pub backlog: Option<u32>,
    /// `queue-timeout=`, in seconds; 0 is none.
    pub queue_timeout: u32,
    /// What `wsgi.multiprocess` says: whether `processes=` was written or, of the default group without
    /// it, whether httpd has several children.
    pub multiprocess: bool,
    /// User id of the httpd children, who may connect.
    pub peer_uid: u32,
    /// `socket-user=`: who else may connect, and owns the sockets.
    pub socket_user: Option<u32>,
    /// `display-name=`: what lists of processes call the worker.
    pub display_name: Option<Vec<u8>>,
    /// `umask=`.
    pub umask: Option<u32>,
    /// `locale=`, which the environment has as `LC_ALL` already.
    pub locale: Option<Vec<u8>>,
    /// `chroot=`: the directory that is the root of all other paths here, and of those of scripts.
    pub root: Option<PathBuf>,
    /// Where to change to before Python starts: `home=`, or the user's own directory.
    pub working_directory: Option<PathBuf>,
    /// `home=`, which also becomes the first entry of `sys.path`.
    pub home: Option<PathBuf>,
    /// `python-home=`: root of a virtual environment, or a prefix.
    pub python_home: Option<PathBuf>,
    /// `python-path=`: directories for `site.addsitedir()`, in front of `sys.path`.
    pub python_path: Vec<PathBuf>,
    /// `stack-size=`: bytes of stack for each thread that runs requests.
    pub stack_size: Option<u64>,
    /// How Python is set up.
    pub python: Python,
    /// What it may use before another one takes its place.
    pub limits: Limits,
    /// `reload=`.
    pub reload: Reload,
    /// What the module `apache` tells about httpd.
    pub httpd: Httpd,
    /// The socket at which httpd's scoreboard can be had, where that is permitted
    /// (`server-metrics=`): a name in the kernel's own namespace.
    pub scoreboard: Option<Vec<u8>>,
    /// Where metrics are sent.
    pub telemetry: Option<Telemetry>,
}

impl Settings {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.process_group);
        writer.u16(self.threads);
        writer.u32(self.processes);
        writer.option(self.backlog, Writer::u32);
        writer.u32(self.queue_timeout);
        writer.bool(self.multiprocess);
        writer.u32(self.peer_uid);
        writer.option(self.socket_user, Writer::u32);
        writer.option(self.display_name.as_deref(), Writer::bytes);
        writer.option(self.umask, Writer::u32);
        writer.option(self.locale.as_deref(), Writer::bytes);
        writer.option(self.root.as_deref(), Writer::path);
        writer.option(self.working_directory.as_deref(), Writer::path);
        writer.option(self.home.as_deref(), Writer::path);
        writer.option(self.python_home.as_deref(), Writer::path);
        writer.list(&self.python_path, |writer, path| writer.path(path));
        writer.option(self.stack_size, Writer::u64);
        self.python.write(writer);
        self.limits.write(writer);
        writer.u8(self.reload as u8);
        self.httpd.write(writer);
        writer.option(self.scoreboard.as_deref(), Writer::bytes);
        writer.option(self.telemetry.as_ref(), |writer, telemetry| telemetry.write(writer));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            process_group: reader.bytes("process group")?.to_owned(),
            threads: reader.u16("threads")?,
            processes: reader.u32("processes")?,
            backlog: reader.option("backlog", |reader| reader.u32("backlog"))?,
            queue_timeout: reader.u32("queue timeout")?,
            multiprocess: reader.bool("multiprocess")?,
            peer_uid: reader.u32("peer uid")?,
            socket_user: reader.option("socket user", |reader| reader.u32("socket user"))?,
            display_name: reader
                .option("display name", |reader| Ok(reader.bytes("display name")?.to_owned()))?,
            umask: reader.option("umask", |reader| reader.u32("umask"))?,
            locale: reader.option("locale", |reader| Ok(reader.bytes("locale")?.to_owned()))?,
            root: reader.option("root", |reader| reader.path("root"))?,
            working_directory: reader.option("working directory", |reader| reader.path("cwd"))?,
            home: reader.option("home", |reader| reader.path("home"))?,
            python_home: reader.option("python home", |reader| reader.path("python home"))?,
            python_path: reader.list("python path", 4, |reader| reader.path("python path"))?,
            stack_size: reader.option("stack size", |reader| reader.u64("stack size"))?,
            python: Python::read(reader)?,
            limits: Limits::read(reader)?,
            reload: Reload::read(reader)?,
            httpd: Httpd::read(reader)?,
            scoreboard: reader
                .option("scoreboard", |reader| Ok(reader.bytes("scoreboard")?.to_owned()))?,
            telemetry: reader.option("telemetry", Telemetry::read)?,
        })
    }
}

/// What there is to know of the httpd in front.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Httpd {
    /// Its version (`ap_get_server_revision`).
    pub version: (u32, u32, u32),
    /// What it says of itself, as far as `ServerTokens` lets it (`ap_get_server_banner`).
    pub description: Vec<u8>,
    /// When it was built (`ap_get_server_built`).
    pub build_date: Vec<u8>,
    /// Its MPM (`ap_show_mpm`).
    pub mpm_name: Vec<u8>,
    /// The most children that the MPM has at a time (`AP_MPMQ_MAX_DAEMONS`).
    pub maximum_processes: u32,
    /// The most threads in each (`AP_MPMQ_MAX_THREADS`).
    pub threads_per_process: u32,
}

impl Httpd {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.version.0);
        writer.u32(self.version.1);
        writer.u32(self.version.2);
        writer.bytes(&self.description);
        writer.bytes(&self.build_date);
        writer.bytes(&self.mpm_name);
        writer.u32(self.maximum_processes);
        writer.u32(self.threads_per_process);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: (
                reader.u32("httpd version")?,
                reader.u32("httpd version")?,
                reader.u32("httpd version")?,
            ),
            description: reader.bytes("description")?.to_owned(),
            build_date: reader.bytes("build date")?.to_owned(),
            mpm_name: reader.bytes("MPM name")?.to_owned(),
            maximum_processes: reader.u32("maximum processes")?,
            threads_per_process: reader.u32("threads per process")?,
        })
    }
}

/// What `<WSGIInterpreterOptions>` says for an application group alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interpreter {
    /// `WSGIPythonPath`: directories for `site.addsitedir()`, in front of what the process group has.
    pub python_path: Vec<PathBuf>,
    /// `WSGISwitchInterval`, in microseconds.
    pub switch_interval: Option<u64>,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: Option<bool>,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: Option<bool>,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: Option<bool>,
}

impl Interpreter {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.list(&self.python_path, |writer, path| writer.path(path));
        writer.option(self.switch_interval, Writer::u64);
        for flag in [self.restrict_stdin, self.restrict_stdout, self.restrict_signal] {
            writer.option(flag, Writer::bool);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let python_path = reader.list("python path", 4, |reader| reader.path("python path"))?;
        let switch_interval = reader.option("interval", |reader| reader.u64("interval"))?;
        let mut flag = || reader.option("restriction", |reader| reader.bool("restriction"));
        Ok(Self {
            python_path,
            switch_interval,
            restrict_stdin: flag()?,
            restrict_stdout: flag()?,
            restrict_signal: flag()?,
        })
    }
}

/// `reload=`: what becomes of scripts that have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Reload {
    /// A new worker loads them, and takes the place of the old one.
    #[default]
    On = 0,
    /// It does so if it can load them: a worker serves only what has been loaded.
    Keep = 1,
    /// Nothing.
    Off = 2,
    /// A new worker loads them once the old one has gone: what they hold exists once.
    StopFirst = 3,
}

impl Reload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::On, Self::Keep, Self::Off, Self::StopFirst];

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = reader.u8("reload")?;
        let known = Self::ALL.into_iter().find(|reload| *reload as u8 == value);
        known.ok_or(DecodeError::Unknown { what: "reload", value: value.into() })
    }
}

/// What the directives about Python say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Python {
    /// `switch-interval=` or `WSGISwitchInterval`, in microseconds.
    pub switch_interval: Option<u64>,
    /// `WSGIPythonWarnings`, in order.
    pub warnings: Vec<Vec<u8>>,
    /// `WSGIPythonOptimize`.
    pub optimize: u32,
    /// `WSGIDontWriteBytecode`.
    pub dont_write_bytecode: bool,
    /// `WSGIPythonHashSeed`; without it, hashes are random.
    pub hash_seed: Option<u32>,
    /// `WSGIDestroyInterpreter Off`: exit handlers do not run.
    pub skip_exit_handlers: bool,
    /// `WSGICaseSensitivity Off`: paths of scripts that differ in case alone are of one script.
    pub case_insensitive: bool,
    /// `WSGIRestrictStdin`.
    pub restrict_stdin: bool,
    /// `WSGIRestrictStdout`.
    pub restrict_stdout: bool,
    /// `WSGIRestrictSignal`.
    pub restrict_signal: bool,
}

impl Python {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.option(self.switch_interval, Writer::u64);
        writer.list(&self.warnings, |writer, filter| writer.bytes(filter));
        writer.u32(self.optimize);
        writer.bool(self.dont_write_bytecode);
        writer.option(self.hash_seed, Writer::u32);
        writer.bool(self.skip_exit_handlers);
        writer.bool(self.case_insensitive);
        writer.bool(self.restrict_stdin);
        writer.bool(self.restrict_stdout);
        writer.bool(self.restrict_signal);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            switch_interval: reader.option("interval", |reader| reader.u64("interval"))?,
            warnings: reader
                .list("warnings", 4, |reader| Ok(reader.bytes("warnings")?.to_owned()))?,
            optimize: reader.u32("optimize")?,
            dont_write_bytecode: reader.bool("dont write bytecode")?,
            hash_seed: reader.option("hash seed", |reader| reader.u32("hash seed"))?,
            skip_exit_handlers: reader.bool("skip exit handlers")?,
            case_insensitive: reader.bool("case insensitive")?,
            restrict_stdin: reader.bool("restrict stdin")?,
            restrict_stdout: reader.bool("restrict stdout")?,
            restrict_signal: reader.bool("restrict signal")?,
        })
    }
}
