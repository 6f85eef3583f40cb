//! Tests of the option list.
