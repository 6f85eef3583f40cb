//! Describes an httpd for a test, and starts it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::apache::{Apache, Mpm};
use crate::config::{self, Setting};
use crate::directory::Directory;
use crate::process::Process;
use crate::running::{READY, Running, error_logs};
use crate::tls::Certificate;
use crate::under_test::Module;
use crate::wait::until;

/// What an httpd shall be like. In configuration, `{dir}` stands for its directory, `{apps}` and
/// `{logs}` for the folders in it, `{modules}` for that of httpd's modules, `{port}` for its port,
/// `{user}` and `{group}` for [`app_user`](crate::app_user), and `{venv}` for the virtual
/// environment of the tests.
#[derive(Clone, Debug)]
pub struct Httpd {
    apache: Option<Apache>,
    mpm: Mpm,
    module: bool,
    dist: Option<PathBuf>,
    conf: String,
    files: Vec<(String, Vec<u8>)>,
    open_folders: Vec<String>,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
    expected: Vec<String>,
}

impl Default for Httpd {
    fn default() -> Httpd {
        Httpd {
            apache: None,
            mpm: Mpm::Event,
            module: true,
            dist: None,
            conf: String::new(),
            files: Vec::new(),
            open_folders: Vec::new(),
            variables: Vec::new(),
            wrapper: Vec::new(),
            expected: Vec::new(),
        }
    }
}

impl Httpd {
    /// An httpd with our module and an empty site.
    pub fn new() -> Httpd {
        Httpd::default()
    }

    /// Runs this httpd, not the one of this machine.
    pub fn apache(mut self, apache: Apache) -> Httpd {
        self.apache = Some(apache);
        self
    }

    /// Leaves our module out.
    pub fn without_module(mut self) -> Httpd {
        self.module = false;
        self
    }

    /// Runs under this MPM; without it, under event.
    pub fn mpm(mut self, mpm: Mpm) -> Httpd {
        self.mpm = mpm;
        self
    }

    /// Takes module, supervisor and workers from this folder, not from the one for the tests.
    pub fn dist(mut self, folder: &Path) -> Httpd {
        self.dist = Some(folder.to_owned());
        self
    }

    /// Adds configuration.
    pub fn conf(mut self, text: &str) -> Httpd {
        self.conf.push_str(text);
        self.conf.push('\n');
        self
    }

    /// Puts a script or module into the folder `{apps}`.
    pub fn app(self, name: &str, source: &str) -> Httpd {
        self.file(&format!("apps/{name}"), source)
    }

    /// Puts a file into `{dir}`.
    pub fn file(mut self, name: &str, content: &str) -> Httpd {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Makes a folder in `{dir}` that everybody may write to.
    pub fn open_folder(mut self, name: &str) -> Httpd {
        self.open_folders.push(name.to_owned());
        self
    }

    /// Sets a variable in the environment of httpd, which is otherwise bare.
    pub fn env(mut self, name: &str, value: &str) -> Httpd {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs httpd by way of another program, such as valgrind, named by its path: it has to become
    /// httpd without a fork. httpd's own words follow these.
    pub fn under(mut self, words: &[&str]) -> Httpd {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Declares that error logs may hold alarming lines with this text.
    pub fn expect_log(mut self, text: &str) -> Httpd {
        self.expected.push(text.to_owned());
        self
    }

    /// Adds a virtual host with this configuration that speaks TLS, with HTTP/1.1 and HTTP/2, and
    /// gives its port. `None` where no certificate can be made.
    pub fn secure(self, conf: &str) -> Option<(Httpd, u16)> {
        let own = Certificate::of("localhost")?;
        let port = free_port();
        let httpd = self
            .file("key.pem", &own.key)
            .file("cert.pem", &own.certificate)
            .conf(&format!(
                "LoadModule socache_shmcb_module {{modules}}/mod_socache_shmcb.so\n\
                 LoadModule ssl_module {{modules}}/mod_ssl.so\n\
                 LoadModule http2_module {{modules}}/mod_http2.so\n\
                 Protocols h2 http/1.1\n\
                 Listen 127.0.0.1:{port}\n\
                 <VirtualHost *:{port}>\n\
                 SSLEngine On\n\
                 SSLCertificateFile {{dir}}/cert.pem\n\
                 SSLCertificateKeyFile {{dir}}/key.pem\n\
                 {conf}\n\
                 </VirtualHost>"
            ))
            .expect_log("[ssl:warn]");
        Some((httpd, port))
    }

    /// Starts it and waits until it runs.
    ///
    /// # Panics
    /// When it does not start; the message holds the configuration and what httpd said.
    #[track_caller]
    pub fn start(self) -> Running {
        match self.try_start() {
            Ok(running) => running,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts it and waits until it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn try_start(self) -> Result<Running> {
        let world = self.prepare()?;
        let folder = world.directory.path();
        let startup = File::create(folder.join("logs/startup.txt"))?;
        let mut child = world
            .command()
            .arg("-DFOREGROUND")
            .stdout(startup.try_clone()?)
            .stderr(startup)
            // Ctrl-C in a terminal goes to a whole process group; httpd shall hear it from us.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", world.apache.program.display()))?;
        let ended = until(|| match child.try_wait() {
            Ok(None) => world.is_running().then_some(None),
            ended => Some(Some(ended)),
        });
        let World { directory, port, original, .. } = world;
        let mut running = Running::new(child, directory, port, self.expected);
        if original {
            running.tolerate();
        }
        match ended {
            Some(None) => Ok(running),
            Some(Some(ended)) => {
                let ended = ended.ok().flatten().map(|status| status.to_string());
                let report = running.abandon();
                bail!("httpd ended at once: {}\n{report}", ended.unwrap_or_default())
            }
            None => bail!("httpd does not get ready\n{}", running.abandon()),
        }
    }

    /// Runs httpd's check of the configuration, `httpd -t`.
    #[track_caller]
    pub fn configtest(self) -> Checked {
        self.run(["-t"])
    }

    /// Runs httpd with these arguments for as long as it takes, instead of starting it to serve.
    ///
    /// # Panics
    /// When it cannot be run at all.
    #[track_caller]
    pub fn run<const N: usize>(self, arguments: [&str; N]) -> Checked {
        let checked = self.prepare().and_then(|world| {
            let output = world.command().args(arguments).output()?;
            Ok(Checked {
                ok: output.status.success(),
                original: world.original,
                output: [output.stdout, output.stderr]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .concat(),
            })
        });
        match checked {
            Ok(checked) => checked,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Makes the directory with all that httpd needs.
    fn prepare(&self) -> Result<World> {
        let apache = match &self.apache {
            Some(apache) => apache.clone(),
            None => Apache::find()?.clone(),
        };
        let directory = Directory::new()?;
        let folder = directory.path();
        for name in ["apps", "htdocs", "logs", "run"] {
            directory.make(&folder.join(name))?;
        }
        for (name, content) in &self.files {
            directory.write(name, content)?;
        }
        for name in &self.open_folders {
            fs::create_dir(folder.join(name))?;
            fs::set_permissions(folder.join(name), Permissions::from_mode(0o777))?;
        }
        let module = match &self.dist {
            Some(dist) => Some(Module::ours(dist)),
            None => self.module.then(Module::chosen),
        };
        let port = free_port();
        let (mpm, conf, module) = (self.mpm, self.conf.as_str(), module.as_ref());
        let text = config::render(&Setting { apache: &apache, mpm, folder, port, module, conf });
        directory.write("httpd.conf", text.as_bytes())?;
        let variables = self.variables.clone();
        let wrapper = self.wrapper.clone();
        let original = module.is_some_and(Module::is_original);
        Ok(World { apache, directory, port, original, variables, wrapper })
    }
}

/// What came of running httpd without serving.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Whether it found nothing to refuse.
    pub ok: bool,
    /// What it printed.
    pub output: String,
    /// Whether it is about an original, whose words are its own.
    original: bool,
}

impl Checked {
    /// Demands that httpd accepted, and printed all of these.
    #[track_caller]
    pub fn accepts(&self, texts: &[&str]) {
        assert!(self.ok, "httpd refused this: {}", self.output);
        self.prints(texts);
    }

    /// Demands that httpd refused, and printed all of these.
    #[track_caller]
    pub fn refuses(&self, texts: &[&str]) {
        assert!(!self.ok, "httpd accepted this: {}", self.output);
        self.prints(texts);
    }

    /// Demands that all of these were printed, where the words are ours.
    #[track_caller]
    fn prints(&self, texts: &[&str]) {
        for text in texts.iter().filter(|_| !self.original) {
            assert!(self.output.contains(text), "{text:?} is not in: {}", self.output);
        }
    }
}

/// A directory that is ready for httpd.
struct World {
    apache: Apache,
    directory: Directory,
    port: u16,
    original: bool,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl World {
    /// Whether httpd has come to the end of its start: it listens before it reads its configuration
    /// for the second time, after that the MPM has handlers for signals, and when all children have
    /// been started it says so, where its log is a file.
    fn is_running(&self) -> bool {
        let parent = fs::read_to_string(self.directory.path().join("run/httpd.pid"));
        let parent = parent.ok().and_then(|pid| pid.trim().parse().ok());
        let logs = error_logs(self.directory.path());
        parent.is_some_and(|pid| Process::handles(pid, Signal::SIGUSR1))
            && (logs.is_empty() || logs.iter().any(|(_, log)| log.contains(READY)))
            && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    /// httpd with this world's configuration, and nothing of our own environment: a library path
    /// meant for the tests must not help a worker to find its libpython.
    fn command(&self) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&self.apache.program),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.apache.program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args([OsStr::new("-f"), self.directory.path().join("httpd.conf").as_os_str()])
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }
}

/// A port that nobody uses. It lies below those that the system hands out to clients, so that no
/// connection takes it between this look and httpd's.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let offset = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + offset;
            FIRST + u16::try_from(number % u32::from(COUNT)).unwrap_or_default()
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("of twenty thousand ports one is free")
}
