//! What the supervisor keeps of root's rights, what it does without those that it was not given, and
//! what spares it when memory runs out.

use std::fs;
use std::sync::OnceLock;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// A right, its name, and what becomes of the supervisor's work without it.
type Right = (CapabilitySet, &'static str, &'static str);

/// What it is needed for is done by the supervisor, or by its copies that become workers.
const NEEDED: [Right; 7] = [
    (CapabilitySet::SETUID, "CAP_SETUID", "workers cannot have users of their own"),
    (CapabilitySet::SETGID, "CAP_SETGID", "workers cannot have groups of their own"),
    (CapabilitySet::CHOWN, "CAP_CHOWN", "any user can reach its sockets, and is turned away there"),
    (
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        "directories of other users are closed to it",
    ),
    (CapabilitySet::KILL, "CAP_KILL", "workers are ended by a process of their own user"),
    (CapabilitySet::SYS_RESOURCE, "CAP_SYS_RESOURCE", "limits can only be lowered"),
    (CapabilitySet::SYS_NICE, "CAP_SYS_NICE", "cpu-priority= can only be lowered"),
];

/// Of the groups with `chroot=`.
const CHROOT: Right = (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT", "chroot= cannot be obeyed");

/// How much less likely than others the kernel's out-of-memory killer takes the supervisor
/// (proc_pid_oom_score_adj(5)). Without it, nobody would start the worker that was taken.
const SPARED: &str = "-900";

const SCORE: &str = "/proc/self/oom_score_adj";

/// What httpd has, and workers get.
static HTTPDS_SCORE: OnceLock<String> = OnceLock::new();

/// Gives up the rights of root's that nothing here needs. What programs can gain by being executed
/// is left as it is: applications may call `sudo` or `sendmail`. Returns a sentence about those that
/// are missing.
pub fn keep_needed(chroots: bool) -> Option<String> {
    let needed = NEEDED.iter().chain(chroots.then_some(&CHROOT));
    let had = thread::capabilities(None).ok()?.permitted;
    let wanted = needed.clone().fold(CapabilitySet::empty(), |all, (right, ..)| all | *right);
    let kept = CapabilitySets {
        effective: had & wanted,
        permitted: had & wanted,
        inheritable: CapabilitySet::empty(),
    };
    // It would only have had more than it needs.
    let _ = thread::set_capabilities(None, kept);
    let missing = needed.filter(|(right, ..)| !had.contains(*right));
    let missing: Vec<_> =
        missing.map(|(_, name, without)| format!("without {name}, {without}")).collect();
    let sentence = || format!("httpd has not all rights of root's: {}", missing.join("; "));
    (!missing.is_empty()).then(sentence)
}

/// Gives up all rights of root's, for a process that has everything open that it needs.
pub fn give_up_all() {
    // It would only have had more than it needs.
    let _ = thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    );
}

/// Has the supervisor spared, where that is allowed.
pub fn spare_from_oom_killer() {
    if let Ok(score) = fs::read_to_string(SCORE)
        && fs::write(SCORE, SPARED).is_ok()
    {
        let _ = HTTPDS_SCORE.set(score);
    }
}

/// In a process that is to become a worker, while it still has all rights: it is not spared, and
/// cannot have itself spared.
///
/// # Errors
/// The system's.
pub fn be_killed_like_httpd() -> std::io::Result<()> {
    match HTTPDS_SCORE.get() {
        Some(score) => fs::write(SCORE, score.trim()),
        None => Ok(()),
    }
}
