//! Values of options that are more than a word or a number.

/// The two values of an option that takes two.
pub type Pair<'a> = (&'a str, &'a str);

/// The values of an option that takes two each time it is given: clap hands them over in one list.
pub fn pairs(values: &[String]) -> impl DoubleEndedIterator<Item = Pair<'_>> {
    values.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()))
}

/// A share of a whole.
pub fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("it is a number from 0 to 1".to_owned()),
    }
}

/// Seconds that are not negative.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("it is a number of seconds, 0 or more".to_owned()),
    }
}

/// Seconds that are more than none.
pub fn some_seconds(text: &str) -> Result<f64, String> {
    seconds(text).and_then(|value| match value > 0.0 {
        true => Ok(value),
        false => Err("it is a number of seconds, more than 0".to_owned()),
    })
}

/// The address of a Unix socket, as the module's directive takes it.
pub fn unix_socket(text: &str) -> Result<String, String> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(text.to_owned()),
        _ => Err("it is unix: and the path of a socket".to_owned()),
    }
}

/// A name in front of `=`, as in `/a=app.wsgi`.
pub fn mounted(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((mount, target)) if mount.starts_with('/') && !target.is_empty() => {
            Ok(text.to_owned())
        }
        _ => Err("it is MOUNT=APPLICATION[,python=ENVIRONMENT], with a MOUNT that begins with /"
            .to_owned()),
    }
}
