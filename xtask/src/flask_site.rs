//! The site of the widely read guide "Flask on Apache", its paths and names filled in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testkit::Httpd;

use crate::python::Python;
use crate::{environments, shell, stage};

/// What stands in the guide's files for the application's folder.
const FOLDER: &str = "/path/to/my-application";

/// The host of the guide's site.
pub const HOST: &str = "my-application.org";

/// The guide's wrapper, word for word.
pub const WRAPPER: &str = "examples/flask/my-application.wsgi";

/// The guide's site, word for word.
pub const SITE: &str = "conf/050-my-application.conf";

/// Makes the application with its virtual environment in the stage.
pub fn application(stage: &Path, python: &Python) -> Result<PathBuf> {
    let folder = stage.join("my-application");
    stage::folder(&folder)?;
    environments::ensure(&folder.join("venv"), stage, python, &["flask"])?;
    stage::write(&folder.join("app.py"), &read("examples/flask/app.py")?)?;
    let wrapper = read(WRAPPER)?.replace(FOLDER, &folder.display().to_string());
    stage::write(&folder.join("my-application.wsgi"), &wrapper)?;
    Ok(folder)
}

/// An httpd with the site, for an application in this folder.
pub fn httpd(application: &Path) -> Result<Httpd> {
    let (user, group) = testkit::app_user();
    let site = read(SITE)?
        .replace("*:80", "127.0.0.1:{port}")
        .replace("/var/www/html", "{dir}/htdocs")
        .replace(FOLDER, &application.display().to_string())
        .replace("user=username", &format!("user={user}"))
        .replace("group=username", &format!("group={group}"));
    Ok(Httpd::new().conf("Define APACHE_LOG_DIR {logs}").conf(&site))
}

/// A file of the checkout.
fn read(name: &str) -> Result<String> {
    fs::read_to_string(shell::root().join(name)).with_context(|| format!("cannot read {name}"))
}
