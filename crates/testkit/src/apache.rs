//! Where this machine's httpd keeps its parts, as its own `apxs` tells.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

/// How httpd spreads its work over processes and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpm {
    /// Threads, with a listener that looks after idle connections.
    Event,
    /// Threads, one for each connection.
    Worker,
    /// Processes, one for each connection.
    Prefork,
}

impl Mpm {
    /// All three, for tests that run under each.
    pub const ALL: [Mpm; 3] = [Mpm::Event, Mpm::Worker, Mpm::Prefork];

    /// The name in `mpm_NAME_module`.
    pub fn name(self) -> &'static str {
        match self {
            Mpm::Event => "event",
            Mpm::Worker => "worker",
            Mpm::Prefork => "prefork",
        }
    }
}

/// An httpd, as a rule the one that is installed on this machine.
#[derive(Clone, Debug)]
pub struct Apache {
    /// The server's program, such as `/usr/sbin/apache2`.
    pub program: PathBuf,
    /// The folder of its loadable modules.
    pub modules: PathBuf,
    /// Names such as `mod_unixd.c` that are compiled in and must not be loaded.
    built_in: Vec<String>,
}

impl Apache {
    /// Finds the machine's httpd. Only success is remembered: what is missing may be installed.
    ///
    /// # Errors
    /// When there is no `apxs`, or it names a program that does not exist.
    pub fn find() -> Result<&'static Apache> {
        static FOUND: OnceLock<Apache> = OnceLock::new();
        match FOUND.get() {
            Some(found) => Ok(found),
            None => Apache::look().map(|found| FOUND.get_or_init(|| found)),
        }
    }

    /// Asks `apxs` for the folders and the program for what is compiled in.
    fn look() -> Result<Apache> {
        let program = Path::new(&apxs("SBINDIR")?).join(apxs("PROGNAME")?);
        if !program.is_file() {
            bail!("apxs says that httpd is {}, which does not exist", program.display());
        }
        Apache::new(program, apxs("LIBEXECDIR")?.into())
    }

    /// Another httpd, by the directory that it was installed to.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn installed_to(prefix: &Path) -> Result<Apache> {
        Apache::new(prefix.join("bin/httpd"), prefix.join("modules"))
    }

    fn new(program: PathBuf, modules: PathBuf) -> Result<Apache> {
        let listing = Command::new(&program)
            .arg("-l")
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let built_in =
            String::from_utf8_lossy(&listing.stdout).lines().map(|l| l.trim().to_owned()).collect();
        Ok(Apache { program, modules, built_in })
    }

    /// The `LoadModule` line for a module, empty when it is compiled in.
    pub fn load_module(&self, name: &str) -> String {
        if self.built_in.contains(&format!("mod_{name}.c")) {
            return String::new();
        }
        format!("LoadModule {name}_module \"{}/mod_{name}.so\"\n", self.modules.display())
    }
}

/// One of the values that httpd was built with.
fn apxs(variable: &str) -> Result<String> {
    let mut problem = None;
    for program in ["apxs", "apxs2"] {
        match Command::new(program).args(["-q", variable]).output() {
            Ok(output) if output.status.success() => {
                return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
            }
            Ok(output) => {
                problem = Some(anyhow!("{}", String::from_utf8_lossy(&output.stderr).trim()));
            }
            Err(_) => {}
        }
    }
    let problem = problem.unwrap_or_else(|| anyhow!("apxs is not installed"));
    Err(problem.context(format!("cannot find httpd: `apxs -q {variable}` failed")))
}
