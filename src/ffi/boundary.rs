//! The one way from C into the module: no panic goes back the same way.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body` for a caller in C, who gets `on_panic` should it panic. The panic's message and
/// place have by then been written to standard error, which is the error log, by Rust's own hook.
///
/// Unwinding into C is undefined behaviour (Rust reference, "Unwinding"), and a hook of ours that
/// failed must cost its one request, not the child's other ones.
pub fn guard<R>(on_panic: R, body: impl FnOnce() -> R) -> R {
    // What a panic may have left half-done is dropped with the request or configuration that it
    // belongs to; the pool of connections and the generation are behind locks that poison.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(on_panic)
}

#[cfg(test)]
mod tests {
    use super::guard;

    #[test]
    fn a_panic_becomes_the_given_answer() {
        assert_eq!(guard(500, || panic!("for this test")), 500);
        assert_eq!(guard(500, || 0), 0);
    }
}
