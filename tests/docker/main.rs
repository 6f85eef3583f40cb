//! The Flask guide's site in Debian's own layout, in a container: each promise it makes is a test.

mod in_a_container;
