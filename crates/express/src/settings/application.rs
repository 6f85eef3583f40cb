//! Which applications a server has: where their code is, where they are served, and in which Python.

use std::path::{Path, PathBuf, absolute};

use super::SettingsError;
use crate::options::Server;
use crate::options::application::Kind;
use crate::python;

/// One application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Where its code is.
    pub target: Target,
    /// The name of its object, if it was named.
    pub callable: Option<String>,
    /// The URL path that it is served at: `/`, or without a slash at its end.
    pub mount: String,
    /// Its environment; none: the module's default.
    pub python_home: Option<PathBuf>,
    /// Its process group; none: the default one.
    pub process_group: Option<String>,
    /// The name for `SetHandler`, which is that of its handler script, too.
    pub handler: String,
}

/// Where the code of an application is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file with Python code.
    Script(PathBuf),
    /// A module by its dotted name.
    Module(String),
    /// A configuration file of Paste Deployment.
    Paste(PathBuf),
    /// The page that says that no application was named.
    Welcome,
}

impl Target {
    /// What the handler script calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Script(_) | Target::Welcome => "script",
            Target::Module(_) => "module",
            Target::Paste(_) => "paste",
        }
    }
}

/// All applications, in the order in which they were named.
pub fn applications(
    options: &Server,
    host: &str,
    root: &Path,
    directory: &Path,
    python_home: Option<&Path>,
) -> Result<Vec<Application>, SettingsError> {
    let application = &options.application;
    let entry = application.entry_point.as_deref().or(application.script.as_deref());
    let kind = application.application_type;
    let mut found = Vec::new();
    let is_first = entry.is_some() || application.apps.is_empty();
    if is_first && !matches!(kind, Some(Kind::Static | Kind::Cgi)) {
        let (target, callable) = match entry {
            Some(entry) => target(entry, kind, directory)?,
            None => (Target::Welcome, None),
        };
        found.push(Application {
            target,
            callable: application.callable_object.clone().or(callable),
            mount: mount(&application.mount_point)?,
            python_home: python_home.map(Path::to_owned),
            process_group: None,
            handler: String::new(),
        });
    }
    for app in &application.apps {
        let (place, rest) = app.split_once('=').expect("the option's parser has found one");
        let (entry, home) = match rest.split_once(",python=") {
            Some((entry, home)) => (entry, Some(python::named(Path::new(home))?)),
            None => (rest, python_home.map(Path::to_owned)),
        };
        let (target, callable) = target(entry, None, directory)?;
        found.push(Application {
            target,
            callable,
            mount: mount(place)?,
            python_home: home,
            process_group: None,
            handler: String::new(),
        });
    }
    let group = application.process_group.clone();
    let group = group.unwrap_or_else(|| format!("{host}:{}", options.network.port));
    for (number, application) in found.iter_mut().enumerate() {
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        application.handler = format!("wsgi-handler{suffix}");
        if !options.application.embedded_mode {
            application.process_group = Some(format!("{group}{suffix}"));
        }
        if application.target == Target::Welcome {
            application.target = Target::Script(root.join("default.wsgi"));
        }
    }
    for (number, application) in found.iter().enumerate() {
        if found[..number].iter().any(|other| other.mount == application.mount) {
            let text = format!("two applications are to be served at {}", application.mount);
            return Err(SettingsError::Refused(text));
        }
        let other =
            found[..number].iter().find(|other| other.python_home != application.python_home);
        if options.application.embedded_mode && other.is_some() {
            let text =
                "--embedded-mode: all applications run in one Python, and --app names another";
            return Err(SettingsError::Refused(text.to_owned()));
        }
    }
    Ok(found)
}

/// A URL path as `Application::mount` has it.
fn mount(path: &str) -> Result<String, SettingsError> {
    if !path.starts_with('/') {
        return Err(SettingsError::Refused(format!(
            "the mount point {path} does not begin with /"
        )));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(SettingsError::Refused(format!("the mount point {path} leads upwards")));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Ok(format!("/{}", parts.join("/")))
}

/// What is named, and the object in it.
fn target(
    entry: &str,
    kind: Option<Kind>,
    directory: &Path,
) -> Result<(Target, Option<String>), SettingsError> {
    // As it is typed; what is configured may mean the working directory.
    let file = |path: &str| match absolute(path) {
        Ok(here) if here.exists() || !directory.join(path).exists() => here,
        _ => directory.join(path),
    };
    // A name with a colon may be that of a file all the same.
    let (place, object) = match entry.split_once(':') {
        Some((place, object)) if !file(entry).exists() => (place, Some(object.to_owned())),
        _ => (entry, None),
    };
    let missing = |what| Err(SettingsError::Missing { what, path: file(place) });
    let target = match kind {
        Some(Kind::Module) => Target::Module(place.to_owned()),
        Some(Kind::Paste) if file(place).is_file() => Target::Paste(file(place)),
        Some(Kind::Paste) => return missing("configuration file"),
        _ if file(place).is_file() => Target::Script(file(place)),
        None if is_module(place, object.is_some(), directory) => Target::Module(place.to_owned()),
        _ => return missing("WSGI script"),
    };
    Ok((target, object))
}

/// Whether this is meant as the name of a module. Without an object behind it, what ends as files
/// do is a module only if there is one.
fn is_module(name: &str, has_object: bool, directory: &Path) -> bool {
    let is_dotted = name.split('.').all(|part| {
        let first = part.chars().next();
        first.is_some_and(|c| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    });
    let like_a_file = [".wsgi", ".py"].iter().any(|end| name.ends_with(end)) && !has_object;
    is_dotted
        && (!like_a_file || directory.join(format!("{}.py", name.replace('.', "/"))).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, kind: Option<Kind>, expected: Target, object: Option<&str>) {
        let (found, callable) = target(entry, kind, Path::new("/etc")).unwrap();
        assert_eq!((found, callable.as_deref()), (expected, object));
    }

    #[test]
    fn applications_by_file_and_by_name() {
        check("passwd", None, Target::Script("/etc/passwd".into()), None);
        check("site.wsgi:app", None, Target::Module("site.wsgi".into()), Some("app"));
        check("passwd:make_app()", None, Target::Script("/etc/passwd".into()), Some("make_app()"));
        check("site.wsgi:app", Some(Kind::Module), Target::Module("site.wsgi".into()), Some("app"));
        check("shop:create_app('x')", None, Target::Module("shop".into()), Some("create_app('x')"));
        check("passwd", Some(Kind::Paste), Target::Paste("/etc/passwd".into()), None);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for entry in ["no.wsgi", "no/app.py", "a-b"] {
            let error = target(entry, None, Path::new("/etc")).unwrap_err().to_string();
            assert!(error.contains(&format!("/{entry} does not exist")), "{error}");
        }
    }

    #[test]
    fn mount_points() {
        assert_eq!(mount("/").unwrap(), "/");
        assert_eq!(mount("/a//b/").unwrap(), "/a/b");
        assert!(mount("a").is_err() && mount("/../a").is_err());
    }
}
