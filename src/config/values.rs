//! Values of directives and options: flags, numbers, paths, users.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

use crate::ffi::string::strtod;

/// What to make of a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say about it.
    Good,
    /// Served, as mod_wsgi would, but hardly what was meant: why, as the end of a sentence.
    Doubtful(String),
}

/// A user, from the system's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// Text for messages.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `On` or `Off`, in any case.
pub fn flag(value: &[u8]) -> Option<bool> {
    match value.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

/// Reads the number in front as C's `atoi`, without its overflow. Returns what it leaves, too.
pub fn atoi(value: &[u8]) -> (i64, &[u8]) {
    let value = value.trim_ascii_start();
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let end = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = digits.split_at(end);
    if number.is_empty() {
        return (0, value);
    }
    let magnitude = number
        .iter()
        .fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    (if negative { -magnitude } else { magnitude }, rest)
}

/// Reads a number as mod_wsgi does, but says so where that drops something. Where 0 is allowed, it
/// is also what no number at all stands for. Where the bound is that of C's `int`, what is larger
/// counts as the bound. What else is out of bounds counts as what C's `int` holds of it, if that is
/// not, except where a number may be as large as 64 bits allow, and mod_wsgi reads it so.
///
/// # Errors
/// The end of a sentence.
pub fn number<N: TryFrom<i64>>(
    value: &[u8],
    least: i64,
    most: i64,
    into: &mut Option<N>,
) -> Result<Verdict, String> {
    let bounds = || format!("must be a number from {least} to {most}");
    let (number, rest) = atoi(value);
    let is_text = rest.len() == value.trim_ascii_start().len();
    if most == i64::from(i32::MAX) && number > most {
        *into = Some(N::try_from(most).map_err(|_| bounds())?);
        return Ok(Verdict::Doubtful(format!("is too large and counts as {most}")));
    }
    let held = if most < i64::MAX { i64::from(number as i32) } else { number };
    if !(least..=most).contains(&number) && held != number && (least..=most).contains(&held) {
        *into = Some(N::try_from(held).map_err(|_| bounds())?);
        return Ok(Verdict::Doubtful(format!("is beyond 32 bits and counts as {held}")));
    }
    if is_text && least > 0 || !(least..=most).contains(&number) {
        return Err(bounds());
    }
    *into = Some(N::try_from(number).map_err(|_| bounds())?);
    Ok(if rest.is_empty() {
        Verdict::Good
    } else {
        Verdict::Doubtful(format!("is read as {number}: write the number alone"))
    })
}

/// A positive number of seconds, in microseconds; none for `nan`, with which mod_wsgi serves, too.
///
/// # Errors
/// The end of a sentence.
pub fn interval(value: &[u8]) -> Result<(Option<u64>, Verdict), String> {
    /// A thousand million seconds, with which Python can still reckon.
    const LONGEST: f64 = 1e15;
    let (seconds, rest) = strtod(value);
    if value.is_empty() || !rest.is_empty() || seconds <= 0.0 {
        return Err("must be a positive number of seconds".into());
    }
    let micros = (seconds * 1e6).round();
    Ok(match micros {
        _ if micros.is_nan() => {
            (None, Verdict::Doubtful("is no number and has no effect: write a number".into()))
        }
        _ if micros < 1.0 => {
            (Some(1), Verdict::Doubtful("is too short and counts as a microsecond".into()))
        }
        _ if micros > LONGEST => (
            Some(LONGEST as u64),
            Verdict::Doubtful("is too long and counts as 1000000000 seconds".into()),
        ),
        // Rounded and bounded, so that nothing is cut off.
        _ => (Some(micros as u64), Verdict::Good),
    })
}

/// Whether nothing is at this path, as far as may be seen.
pub fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A path in the file system's own bytes.
pub fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(value.to_vec()))
}

/// A path from the root.
///
/// # Errors
/// The end of a sentence.
pub fn absolute(value: &[u8]) -> Result<PathBuf, String> {
    match path(value) {
        path if path.is_absolute() => Ok(path),
        _ => Err("must be an absolute path".into()),
    }
}

/// Directories separated by `:`. An empty one is the working directory, as Python and mod_wsgi have
/// it.
pub fn search_path(value: &[u8]) -> Vec<PathBuf> {
    let entry = |entry: &[u8]| path(if entry.is_empty() { b"." } else { entry });
    value.split(|byte| *byte == b':').map(entry).collect()
}

/// `name` or `#uid`. A user id needs an entry too: its name decides the supplementary groups.
///
/// # Errors
/// The end of a sentence.
pub fn find_user(value: &[u8]) -> Result<(Account, Verdict), String> {
    let text = std::str::from_utf8(value).map_err(|_| "is no user name".to_owned())?;
    match text.strip_prefix('#') {
        None => Ok((account(User::from_name(text))?, Verdict::Good)),
        Some(number) => {
            let (uid, verdict) = id(number);
            Ok((find_uid(uid)?, verdict))
        }
    }
}

/// The largest id, which -1 is as well: to the system it means "no change".
const NO_ID: u32 = u32::MAX;

/// The number behind a `#`, read as mod_wsgi does: of what is out of bounds, 32 bits count.
fn id(text: &str) -> (u32, Verdict) {
    let (number, rest) = atoi(text.as_bytes());
    let id = number as u32;
    let verdict = match rest {
        _ if i64::from(id) != number => {
            Verdict::Doubtful(format!("is beyond 32 bits and counts as {id}"))
        }
        [] => Verdict::Good,
        _ => Verdict::Doubtful(format!("is read as {id}: write the number alone")),
    };
    (id, verdict)
}

/// The account of a user id.
///
/// # Errors
/// The end of a sentence.
pub fn find_uid(uid: u32) -> Result<Account, String> {
    account(User::from_uid(Uid::from_raw(uid)))
}

fn account(found: nix::Result<Option<User>>) -> Result<Account, String> {
    match found {
        Ok(Some(user)) => Ok(Account { uid: user.uid.as_raw(), name: user.name, home: user.dir }),
        Ok(None) => {
            Err("is not in the system's user database; create the user, or name another".into())
        }
        Err(error) => Err(format!("cannot be looked up in the system's user database: {error}")),
    }
}

/// Whether a group is written as `#-1`, or the largest number, which is the same.
pub fn is_no_group(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.strip_prefix('#').is_some_and(|number| id(number).0 == NO_ID)
}

/// `name` or `#gid`.
///
/// # Errors
/// The end of a sentence.
pub fn find_group(value: &[u8]) -> Result<(u32, Verdict), String> {
    let text = std::str::from_utf8(value).map_err(|_| "is no group name".to_owned())?;
    match text.strip_prefix('#') {
        Some(number) => match id(number) {
            (NO_ID, _) => Err("stands for no group".into()),
            found => Ok(found),
        },
        None => match Group::from_name(text) {
            Ok(Some(group)) => Ok((group.gid.as_raw(), Verdict::Good)),
            found => Err(no_group(found.err())),
        },
    }
}

/// A group that has an entry in the system's database, as [`find_group`].
///
/// # Errors
/// The end of a sentence.
pub fn find_known_group(value: &[u8]) -> Result<(u32, Verdict), String> {
    let (id, verdict) = find_group(value)?;
    match Group::from_gid(Gid::from_raw(id)) {
        Ok(Some(_)) => Ok((id, verdict)),
        found => Err(no_group(found.err())),
    }
}

/// Why a group was not found.
fn no_group(error: Option<Errno>) -> String {
    match error {
        None => "is not in the system's group database; create the group, or name another".into(),
        Some(error) => format!("cannot be looked up in the system's group database: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_does() {
        assert_eq!(atoi(b"12"), (12, &b""[..]));
        assert_eq!(atoi(b" -7s"), (-7, &b"s"[..]));
        assert_eq!(atoi(b"x"), (0, &b"x"[..]));
        assert_eq!(atoi(b"-"), (0, &b"-"[..]));
        assert_eq!(atoi(b"99999999999999999999").0, i64::MAX);
    }

    #[track_caller]
    fn check(value: &str, least: i64, expected: Option<(u32, bool)>) {
        let mut into: Option<u32> = None;
        let verdict = number(value.as_bytes(), least, 100, &mut into).ok();
        let found = into.zip(verdict).map(|(number, verdict)| (number, verdict == Verdict::Good));
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn text_is_zero_where_zero_is_allowed() {
        check("7", 0, Some((7, true)));
        check("7s", 0, Some((7, false)));
        check("x", 0, Some((0, false)));
        check("x", 1, None);
        check("101", 0, None);
        check("-1", 0, None);
    }

    #[test]
    fn more_than_an_int_holds_counts_as_its_bound() {
        let mut into: Option<i32> = None;
        let verdict = number(b"99999999999", 0, i64::from(i32::MAX), &mut into);
        assert!(matches!(verdict, Ok(Verdict::Doubtful(_))), "{verdict:?}");
        assert_eq!(into, Some(i32::MAX));
    }

    #[test]
    fn what_an_int_cannot_hold_counts_as_what_it_holds() {
        check("4294967297", 0, Some((1, false)));
        check("-4294967295", 1, Some((1, false)));
        check("4294967296", 1, None);
        check("2147483648", 0, None);
        assert!(number::<u64>(b"-4294967295", 0, i64::MAX, &mut None).is_err());
    }

    #[test]
    fn intervals_are_positive() {
        let good = |micros| Ok((Some(micros), Verdict::Good));
        assert_eq!(interval(b"0.005"), good(5000));
        assert_eq!(interval(b" 0x1p-4"), good(62_500));
        for value in ["0", "-1", "x", "", "0.005x", "-inf"] {
            assert!(interval(value.as_bytes()).is_err(), "{value}");
        }
        for (value, micros) in [
            ("nan", None),
            ("inf", Some(1e15 as u64)),
            ("1e99", Some(1e15 as u64)),
            ("1e-9", Some(1)),
        ] {
            let found = interval(value.as_bytes()).unwrap();
            assert!(found.0 == micros && found.1 != Verdict::Good, "{value}: {found:?}");
        }
    }

    #[test]
    fn ids_are_read_as_numbers_are() {
        assert_eq!(find_group(b"#7"), Ok((7, Verdict::Good)));
        let (uid, verdict) = find_user(b"#0x").unwrap();
        assert_eq!(
            (uid.uid, verdict),
            (0, Verdict::Doubtful("is read as 0: write the number alone".into()))
        );
        let (gid, verdict) = find_group(b"#-2").unwrap();
        assert!(gid == u32::MAX - 1 && verdict != Verdict::Good, "{verdict:?}");
        for no_group in [&b"#-1"[..], b"#4294967295"] {
            assert!(find_group(no_group).is_err() && is_no_group(no_group));
        }
        assert!(!is_no_group(b"#1") && !is_no_group(b"-1"));
    }
}
