//! Options for developers.

use std::path::PathBuf;

use clap::Args;

/// Reloading, and a look inside.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Reloading and debugging")]
pub struct Debugging {
    /// Load the application again when one of its files has changed; what cannot be loaded leaves
    /// the old code serving
    #[arg(long)]
    pub reload_on_changes: bool,
    /// A further file or folder whose changes count
    #[arg(long, value_name = "PATH")]
    pub reload_path: Vec<PathBuf>,
    /// Never load anything again
    #[arg(long)]
    pub disable_reloading: bool,
    /// One process with one thread, and tracebacks in the browser
    #[arg(long)]
    pub debug_mode: bool,
    /// Enter Python's debugger in this terminal when the application raises an exception
    #[arg(long)]
    pub enable_debugger: bool,
    /// Enter the debugger before the application is called
    #[arg(long)]
    pub debugger_startup: bool,
    /// Measure which lines run; needs the package coverage
    #[arg(long)]
    pub enable_coverage: bool,
    /// Where coverage is reported [default: htmlcov in the server root]
    #[arg(long, value_name = "DIR")]
    pub coverage_directory: Option<PathBuf>,
    /// Measure where time goes, with Python's cProfile
    #[arg(long)]
    pub enable_profiler: bool,
    /// Where profiles are written [default: pstats in the server root]
    #[arg(long, value_name = "DIR")]
    pub profiler_directory: Option<PathBuf>,
    /// Record requests and responses
    #[arg(long)]
    pub enable_recorder: bool,
    /// Where recordings are written [default: archive in the server root]
    #[arg(long, value_name = "DIR")]
    pub recorder_directory: Option<PathBuf>,
    /// Run httpd in gdb: refused, since it holds no Python here
    #[arg(long)]
    pub enable_gdb: bool,
    /// The gdb for that
    #[arg(long, value_name = "FILE")]
    pub gdb_executable: Option<PathBuf>,
    /// Without effect, as in mod_wsgi
    #[arg(long, hide = true)]
    pub verbose_debugging: bool,
}
