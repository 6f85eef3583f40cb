//! Directives that set up Python.

use super::{Directive, Outcome, Setter, globals, interpreter, on_off, set_flag};
use crate::config::settings::{HashSeed, Interpreter, Selector};
use crate::config::values::{Verdict, atoi, interval, is_missing, path, search_path};
use crate::config::{
    Compatibility, ServerConfig, first_there, httpd_directories, lossy, registry, suggestion,
};
use crate::ffi::command::{Command, Context, Form};

pub static DIRECTIVES: [Directive; 15] = [
    Directive {
        name: c"WSGIPythonHome",
        context: Context::Main,
        form: Form::One,
        default: "the Python that the module was installed with",
        usage: c"virtual environment or prefix of Python for groups without python-home=",
        compatibility: Compatibility::Better(
            "workers run in the interpreter of that environment, of whatever version; configtest \
             tells of one that cannot be used, which costs no other group",
        ),
        set: Setter::Server(python_home),
    },
    Directive {
        name: c"WSGIPythonPath",
        context: Context::Main,
        form: Form::One,
        default: "none",
        usage: c"directories in front of sys.path in the default group, separated by colons",
        compatibility: Compatibility::Better(
            "a directory that is not there is warned about at configtest",
        ),
        set: Setter::Server(python_path),
    },
    Directive {
        name: c"WSGIPythonEggs",
        context: Context::Main,
        form: Form::One,
        default: "none",
        usage: c"PYTHON_EGG_CACHE for the default group",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, _, argument| {
            globals(config).python_eggs = Some(argument.to_vec());
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIPythonWarnings",
        context: Context::Main,
        form: Form::One,
        default: "none",
        usage: c"a filter for warnings, as behind Python's option -W; may be repeated",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, _, argument| {
            globals(config).python_warnings.push(argument.to_vec());
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIPythonOptimize",
        context: Context::Main,
        form: Form::One,
        default: "0",
        usage: c"1 or 2 for what Python's options -O and -OO do",
        compatibility: Compatibility::Same,
        set: Setter::Server(python_optimize),
    },
    Directive {
        name: c"WSGIDontWriteBytecode",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: On for what Python's option -B does",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut globals(config).dont_write_bytecode, command, argument)
        }),
    },
    Directive {
        name: c"WSGIPythonHashSeed",
        context: Context::Main,
        form: Form::One,
        default: "random",
        usage: c"random, or a number: the seed of Python's hashes",
        compatibility: Compatibility::Better("`random` randomises; there it is the seed 0"),
        set: Setter::Server(python_hash_seed),
    },
    Directive {
        name: c"WSGISwitchInterval",
        context: Context::Main,
        form: Form::One,
        default: "Python's",
        usage: c"seconds after which Python lets another thread run",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            let value = lossy(argument);
            let (interval, verdict) = interval(argument)
                .map_err(|problem| format!("WSGISwitchInterval {problem}, not '{value}'"))?;
            if let Verdict::Doubtful(why) = verdict {
                command.warn(&format!("'{value}' {why}."));
            }
            interpreter(config, command).switch_interval = interval;
            Ok(())
        }),
    },
    Directive {
        name: c"WSGIDestroyInterpreter",
        context: Context::Main,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether Python's exit handlers run when a worker ends",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut globals(config).destroy_interpreter, command, argument)
        }),
    },
    Directive {
        name: c"WSGIPerInterpreterGIL",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether application groups have a GIL each",
        compatibility: Compatibility::NoEffect(
            "each application group is a process, and always has a GIL of its own",
        ),
        set: Setter::Server(|_, command, argument| on_off(command, argument).map(|_| ())),
    },
    Directive {
        name: c"WSGIFreeThreading",
        context: Context::Main,
        form: Form::One,
        default: "as that Python's own default",
        usage: c"On or Off: whether a free-threaded Python runs without the GIL",
        compatibility: Compatibility::Better(
            "a free-threaded Python runs as such; Off turns its GIL on",
        ),
        set: Setter::Server(|config, command, argument| {
            let number = registry::block(command.pool()).get();
            let block = number.map(|number| &config.globals.blocks[number]);
            if block.is_some_and(|(selector, _)| selector.application_group.is_some()) {
                command.warn(
                    "a Python is free-threaded in all of its process group: the line is ignored. \
                     Leave application-group= out.",
                );
            }
            set_flag(&mut interpreter(config, command).free_threading, command, argument)
        }),
    },
    Directive {
        name: c"<WSGIInterpreterOptions",
        context: Context::Main,
        form: Form::Raw,
        default: "–",
        usage: c"process-group=NAME and application-group=NAME: settings for these alone",
        compatibility: Compatibility::Same,
        set: Setter::Server(interpreter_options),
    },
    Directive {
        name: c"WSGIRestrictStdin",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether sys.stdin raises OSError",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut interpreter(config, command).restrict_stdin, command, argument)
        }),
    },
    Directive {
        name: c"WSGIRestrictStdout",
        context: Context::Main,
        form: Form::One,
        default: "Off",
        usage: c"On or Off: whether sys.stdout raises OSError",
        compatibility: Compatibility::Same,
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut interpreter(config, command).restrict_stdout, command, argument)
        }),
    },
    Directive {
        name: c"WSGIRestrictSignal",
        context: Context::Main,
        form: Form::One,
        default: "On",
        usage: c"On or Off: whether signal.signal() does nothing",
        compatibility: Compatibility::Better(
            "processes that the application forks may set handlers",
        ),
        set: Setter::Server(|config, command, argument| {
            set_flag(&mut interpreter(config, command).restrict_signal, command, argument)
        }),
    },
];

fn python_home(config: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    // mod_wsgi looks at it from httpd's working directory.
    let written = path(argument);
    let places = httpd_directories().into_iter().chain(command.below_server_root(b"."));
    let home = first_there(&written, &places.collect::<Vec<_>>());
    if home != written {
        command.warn(&format!(
            "'{}' is relative and counts as {}: write that.",
            written.display(),
            home.display()
        ));
    }
    globals(config).python_home = Some(home);
    Ok(())
}

fn python_path(config: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let entries = search_path(argument);
    // Which process groups a block is for, and whether they have a `chroot=`, is not known here.
    let in_block = registry::block(command.pool()).get().is_some();
    let mut entries_outside = entries.iter().filter(|_| !in_block);
    if let Some(entry) = entries_outside.find(|entry| is_missing(entry)) {
        command.warn(&format!("{} is not there: correct the path.", entry.display()));
    }
    interpreter(config, command).python_path = entries;
    Ok(())
}

fn python_optimize(config: &mut ServerConfig, command: Command<'_>, argument: &[u8]) -> Outcome {
    let (level, rest) = atoi(argument);
    if !rest.is_empty() {
        let value = lossy(argument);
        command.warn(&format!("'{value}' is read as {level}: write the number alone."));
    }
    // Python knows of no level beyond 2, but tells applications which one it was started with.
    globals(config).python_optimize = u32::try_from(level as i32).ok();
    Ok(())
}

fn python_hash_seed(config: &mut ServerConfig, _: Command<'_>, argument: &[u8]) -> Outcome {
    let text = lossy(argument);
    let seed = match text.as_str() {
        "random" => HashSeed::Random,
        number => {
            let number = number.trim_ascii_start();
            let is_signed = number.starts_with('+');
            let number = number.parse().ok().filter(|_| !is_signed);
            HashSeed::Fixed(number.ok_or_else(|| {
                format!(
                    "WSGIPythonHashSeed must be \"random\" or an integer in range \
                     [0; 4294967295], not '{text}'"
                )
            })?)
        }
    };
    globals(config).python_hash_seed = Some(seed);
    Ok(())
}

fn interpreter_options(
    config: &mut ServerConfig,
    command: Command<'_>,
    arguments: &[u8],
) -> Outcome {
    let selector = selector(arguments)
        .map_err(|problem| format!("<WSGIInterpreterOptions> directive{problem}"))?;
    if let Some(group) = selector.process_group.clone() {
        let name = crate::config::Name::Literal(group);
        registry::of(command.pool()).borrow_mut().use_group(&name, command.location());
    }
    let blocks = &mut globals(config).blocks;
    blocks.push((selector, Interpreter::default()));
    // One that stands in another one is for those that it names alone, and the lines behind it are
    // the outer one's again.
    let block = registry::block(command.pool());
    let outer = block.replace(Some(blocks.len() - 1));
    let outcome = command.read_section();
    block.set(outer);
    outcome
}

fn selector(arguments: &[u8]) -> Result<Selector, String> {
    let inside = arguments.trim_ascii_end().strip_suffix(b">").ok_or(" missing closing '>'")?;
    let mut words = crate::config::Arguments::new(inside);
    let mut selector = Selector::default();
    while let Some(word) = words.word() {
        let text = lossy(&word);
        let (key, value) = text
            .split_once('=')
            .ok_or(format!(": argument '{text}' is not of the form key=value"))?;
        let name = match value {
            "%{GLOBAL}" => Vec::new(),
            value => value.as_bytes().to_vec(),
        };
        let into = match key.to_ascii_lowercase().as_str() {
            "process-group" => &mut selector.process_group,
            "application-group" => &mut selector.application_group,
            _ => {
                let hint = suggestion(key.as_bytes(), &["process-group", "application-group"]);
                return Err(format!(
                    ": unknown selector '{key}', expected process-group or application-group.{hint}"
                ));
            }
        };
        if into.replace(name).is_some() {
            return Err(format!(": {key} given more than once"));
        }
    }
    Ok(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let all = selector(b">").unwrap();
        assert_eq!(all, Selector::default());
        let both = selector(b" Process-Group=site application-group=%{GLOBAL}>").unwrap();
        assert_eq!(both.process_group.as_deref(), Some(b"site".as_slice()));
        assert_eq!(both.application_group.as_deref(), Some(b"".as_slice()));
        for (arguments, problem) in [
            ("process-group=a", "missing closing"),
            ("word>", "'word' is not of the form"),
            ("other=x>", "unknown selector 'other'"),
            ("process-groups=x>", "Did you mean process-group?"),
            ("process-group=a process-group=b>", "given more than once"),
        ] {
            let found = selector(arguments.as_bytes()).unwrap_err();
            assert!(found.contains(problem), "{arguments}: {found}");
        }
    }
}
