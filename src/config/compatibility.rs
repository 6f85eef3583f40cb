//! How each directive and option compares with mod_wsgi's, and the page that says so.

/// The comparison. Everything but the first comes with a sentence for `docs/compatibility.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// It does what it does there.
    Same,
    /// It does that and more, or without a trap.
    Better(&'static str),
    /// It is read and checked, and changes nothing, because there is nothing to change.
    NoEffect(&'static str),
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::Compatibility;
    use crate::config::daemon::OPTIONS;
    use crate::config::directives::{COUNT, THEMES};
    use crate::ffi::command::{Context, Form};

    /// A directive without what it does: that needs httpd, which test programs are not linked to.
    #[derive(Clone, Copy)]
    struct Entry {
        name: &'static std::ffi::CStr,
        context: Context,
        form: Form,
        default: &'static str,
        usage: &'static std::ffi::CStr,
        compatibility: Compatibility,
    }

    const ENTRIES: [Entry; COUNT] = {
        const NONE: Entry = Entry {
            name: c"",
            context: Context::Main,
            form: Form::Raw,
            default: "",
            usage: c"",
            compatibility: Compatibility::Same,
        };
        let mut entries = [NONE; COUNT];
        let (mut theme, mut index, mut place) = (0, 0, 0);
        while theme < THEMES.len() {
            if index == THEMES[theme].len() {
                (theme, index) = (theme + 1, 0);
                continue;
            }
            let directive = &THEMES[theme][index];
            entries[place] = Entry {
                name: directive.name,
                context: directive.context,
                form: directive.form,
                default: directive.default,
                usage: directive.usage,
                compatibility: directive.compatibility,
            };
            (index, place) = (index + 1, place + 1);
        }
        entries
    };

    /// Set to have the page written anew instead of compared.
    const UPDATE: &str = "UPDATE_COMPATIBILITY";

    fn verdict(compatibility: Compatibility) -> String {
        match compatibility {
            Compatibility::Same => "same".to_owned(),
            Compatibility::Better(how) => format!("better: {how}"),
            Compatibility::NoEffect(why) => format!("accepted, no effect: {why}"),
        }
    }

    fn context(context: Context) -> &'static str {
        match context {
            Context::Main => "main server",
            Context::Server => "server",
            Context::ServerAndDirectory => "server, section",
            Context::FileInfo => "server, section, .htaccess (FileInfo)",
            Context::AuthConfig => "section, .htaccess (AuthConfig)",
        }
    }

    fn form(form: Form) -> &'static str {
        match form {
            Form::One => "one word",
            Form::Raw => "words",
        }
    }

    fn render() -> String {
        let mut page = String::from(include_str!("compatibility.md"));
        page += "\n## Directives\n\n| directive | what it is about | where | takes | default | \
                 compared with mod_wsgi 6 |\n|---|---|---|---|---|---|\n";
        for directive in ENTRIES {
            let (name, usage) = (directive.name.to_str().unwrap(), directive.usage);
            // Table cells end at a bar.
            let usage = usage.to_str().unwrap().replace('|', "\\|");
            writeln!(
                page,
                "| `{name}{}` | {usage} | {} | {} | {} | {} |",
                if name.starts_with('<') { ">" } else { "" },
                context(directive.context),
                form(directive.form),
                directive.default,
                verdict(directive.compatibility),
            )
            .unwrap();
        }
        page += "\n## Options of WSGIDaemonProcess\n\n| option | what it is about | default | \
                 compared with mod_wsgi 6 |\n|---|---|---|---|\n";
        for option in OPTIONS.iter().copied().flatten() {
            writeln!(
                page,
                "| `{}=` | {} | {} | {} |",
                option.name,
                option.usage,
                option.default,
                verdict(option.compatibility),
            )
            .unwrap();
        }
        page
    }

    #[test]
    fn the_page_is_that_of_the_tables() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
        let page = render();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "docs/compatibility.md is not that of the tables: set {UPDATE}=1");
    }

    #[test]
    fn every_name_is_there_once() {
        let mut names = ENTRIES.map(|directive| directive.name).to_vec();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        // mod_wsgi's 49, those that it has removed, and our own.
        assert_eq!(all, 49 + 6 + 2);
        let mut options: Vec<_> =
            OPTIONS.iter().copied().flatten().map(|option| option.name).collect();
        options.sort_unstable();
        options.dedup();
        // mod_wsgi's 44, and our own.
        assert_eq!(options.len(), 44 + 4);
    }
}
