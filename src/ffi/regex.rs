//! Regular expressions, as httpd has them.

use std::ptr::NonNull;

use super::bindings as c;
use super::pool::Pool;
use super::string;

/// Most groups that a substitution can name: `$0` to `$9` (`AP_MAX_REG_MATCH`).
const GROUPS: usize = 10;

/// A compiled expression, kept in the pool of the configuration cycle.
#[derive(Debug)]
pub struct Regex {
    raw: NonNull<c::ap_regex_t>,
    source: Vec<u8>,
}

// SAFETY: a compiled expression is only read when it is matched (PCRE's rule for threads), and this
// type has no function that changes one.
unsafe impl Send for Regex {}
// SAFETY: several threads may match with it at a time, which only reads it (PCRE's rule for threads).
unsafe impl Sync for Regex {}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A match: how far it goes, and the substitution made with its groups.
#[derive(Debug, PartialEq, Eq)]
pub struct Match {
    /// Where it ends in the text.
    pub end: usize,
    /// The template, `$0` to `$9` replaced.
    pub substituted: Vec<u8>,
}

impl Regex {
    /// Compiles `pattern`; `None` when it is none. What holds the result is kept in `pool`, too, and
    /// is not used after it.
    pub fn new(pool: Pool<'_>, pattern: &[u8]) -> Option<Self> {
        let text = pool.string(pattern);
        // SAFETY: the pool is alive, the pattern a C string.
        let raw = unsafe { c::ap_pregcomp(pool.as_ptr(), text.as_ptr(), c::AP_REG_EXTENDED as _) };
        Some(Self { raw: NonNull::new(raw)?, source: pattern.to_vec() })
    }

    /// Matches `text` and fills in `template`. An empty match is none.
    pub fn find(&self, pool: Pool<'_>, text: &[u8], template: &[u8]) -> Option<Match> {
        let text = pool.string(text);
        let template = pool.string(template);
        let mut groups = [c::ap_regmatch_t { rm_so: -1, rm_eo: -1 }; GROUPS];
        // SAFETY: the expression is alive (`new`), the text is a C string, and there is room for as
        // many groups as stated.
        let outcome = unsafe {
            c::ap_regexec(self.raw.as_ptr(), text.as_ptr(), GROUPS as _, groups.as_mut_ptr(), 0)
        };
        let end = usize::try_from(groups[0].rm_eo).ok().filter(|_| outcome == 0)?;
        if groups[0].rm_so == groups[0].rm_eo {
            return None;
        }
        // SAFETY: pool and strings are alive, and the groups are those of this text.
        let substituted = unsafe {
            c::ap_pregsub(
                pool.as_ptr(),
                template.as_ptr(),
                text.as_ptr(),
                GROUPS as _,
                groups.as_mut_ptr(),
            )
        };
        // SAFETY: a C string in the pool, or null when it would be too long.
        let substituted = unsafe { string::bytes(substituted) }?.to_vec();
        Some(Match { end, substituted })
    }
}
