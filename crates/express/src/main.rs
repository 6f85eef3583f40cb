//! `mod_wsgi-rs`: sets up and runs an httpd for a Python application.
#![forbid(unsafe_code)]

mod check;
mod files;
mod generate;
mod httpd;
mod install;
mod options;
mod python;
mod run;
mod settings;
mod sources;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use options::{Cli, Command};
use settings::{Purpose, Settings};
use sources::Variables;

/// Why the command ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sources(#[from] sources::SourceError),
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    #[error(transparent)]
    Python(#[from] python::PythonError),
    #[error(transparent)]
    Files(#[from] files::FilesError),
    #[error(transparent)]
    Generate(#[from] generate::GenerateError),
    #[error(transparent)]
    Run(#[from] run::RunError),
    #[error(transparent)]
    Check(#[from] check::CheckError),
    #[error(transparent)]
    Install(#[from] install::InstallError),
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    #[error("cannot write manual pages to {folder}: {source}")]
    Manual { folder: String, source: io::Error },
}

fn main() -> ExitCode {
    match perform() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("mod_wsgi-rs: {failure}");
            // As from clap, where the words of the command are at fault.
            ExitCode::from(match failure {
                Failure::Sources(_) => 2,
                Failure::Settings(error) if error.is_usage() => 2,
                _ => 1,
            })
        }
    }
}

fn perform() -> Result<ExitCode, Failure> {
    let (Cli { command }, variables) = sources::read()?;
    match command {
        Command::Check(options) => check(*options, variables),
        Command::StartServer(options) | Command::SetupServer(options)
            if options.installation.check =>
        {
            check(*options, variables)
        }
        Command::StartServer(options) if !options.installation.setup_only => {
            let settings = Settings::resolve(*options, variables, Purpose::Start)?;
            run::vacate(&settings)?;
            generate::server(&settings)?;
            Ok(run::foreground(&settings)?)
        }
        Command::StartServer(options) | Command::SetupServer(options) => {
            let settings = Settings::resolve(*options, variables, Purpose::Setup)?;
            generate::server(&settings)?;
            print(&run::summary(&settings))
        }
        Command::ModuleConfig(python) => {
            let files = files::Files::find(&variables)?;
            let home = python::home(&python, &variables)?;
            for risk in install::risks(&files.module) {
                eprintln!("mod_wsgi-rs: warning: {risk}");
            }
            print(&install::lines(&files.module, home.as_deref()))
        }
        Command::ModuleLocation => {
            print(&format!("{}\n", files::Files::find(&variables)?.module.display()))
        }
        Command::InstallModule(options) => print(&install::install(&options, &variables)?),
        Command::Completions { shell } => {
            let mut definition = options::definition();
            clap_complete::generate(shell, &mut definition, "mod_wsgi-rs", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { folder } => man(&folder),
    }
}

fn check(options: options::Server, variables: Variables) -> Result<ExitCode, Failure> {
    let settings = Settings::resolve(options, variables, Purpose::Check)?;
    let report = check::check(&settings)?;
    print(&report.table())?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn man(folder: &Path) -> Result<ExitCode, Failure> {
    let write = || {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(options::definition(), folder)
    };
    write().map_err(|source| Failure::Manual { folder: folder.display().to_string(), source })?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
