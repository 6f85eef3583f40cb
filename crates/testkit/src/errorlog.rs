//! Reads httpd's error log the way an operator does: which lines would make one worry?

/// The levels at which a line is a matter for somebody.
const ALARMING_LEVELS: [&str; 5] = ["emerg", "alert", "crit", "error", "warn"];

/// What worries at any level: httpd reports these at notice or info.
const ALARMING_TEXTS: [&str; 4] =
    ["exit signal", "long lost child", "panicked at", "still did not exit"];

/// The lines of `log` that are alarming and hold none of the `expected` texts.
pub(crate) fn unexpected<'a>(log: &'a str, expected: &[String]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| alarming(line))
        .filter(|line| !expected.iter().any(|text| line.contains(text)))
        .collect()
}

/// Whether a line needs an explanation. One that is not in httpd's format does: somebody wrote
/// past the log, usually a program that died.
fn alarming(line: &str) -> bool {
    if line.trim().is_empty() {
        return false;
    }
    match level(line) {
        None => true,
        Some(level) => {
            ALARMING_LEVELS.contains(&level)
                || ALARMING_TEXTS.iter().any(|text| line.contains(text))
        }
    }
}

/// The level in `[time] [module:level] [pid …] …`.
fn level(line: &str) -> Option<&str> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] [")?;
    let (source, _) = rest.split_once(']')?;
    let (module, level) = source.split_once(':')?;
    let is_a_time = time.len() > 20 && time.ends_with(|c: char| c.is_ascii_digit());
    (is_a_time && !module.contains(' ')).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICE: &str = "[Sun Nov 22 17:51:58.148586 2026] [mpm_event:notice] [pid 1:tid 1] \
                          AH00489: Apache/2.4 configured -- resuming normal operations";

    #[track_caller]
    fn check(line: &str, expected: bool) {
        assert_eq!(alarming(line), expected, "{line}");
    }

    #[test]
    fn levels() {
        check(NOTICE, false);
        check(&NOTICE.replace(":notice", ":info"), false);
        check(&NOTICE.replace(":notice", ":trace4"), false);
        check(&NOTICE.replace(":notice", ":warn"), true);
        check(&NOTICE.replace("mpm_event:notice", "wsgi:error"), true);
        check(&NOTICE.replace("mpm_event:notice", ":emerg"), true);
    }

    #[test]
    fn lines_that_worry_at_any_level() {
        check(&NOTICE.replace("configured", "long lost child came home"), true);
        check(
            &NOTICE.replace("configured", "child pid 7 exit signal Segmentation fault (11)"),
            true,
        );
    }

    #[test]
    fn lines_past_the_log() {
        check("Fatal Python error: Segmentation fault", true);
        check("[notice] something", true);
        check("", false);
    }

    #[test]
    fn declared_lines_are_expected() {
        let log = format!("{NOTICE}\nFatal Python error\n");
        assert_eq!(unexpected(&log, &[]), ["Fatal Python error"]);
        assert!(unexpected(&log, &["Fatal Python".to_owned()]).is_empty());
    }
}
