//! The Flask guide's site in Debian's own layout, in a container: each promise it makes is a test. And
//! what the pages for users say, as it stands.

mod in_a_container;
mod pages;
