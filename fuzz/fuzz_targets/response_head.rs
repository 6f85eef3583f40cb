//! Any bytes as the head of a response, or as early hints, up to what the module hands to httpd:
//! nothing in it may split a response.
#![no_main]

use wire::exchange::FromWorker;
use wire::{Frame, Header};

#[path = "../../src/handler/head.rs"]
#[allow(dead_code, unused_imports)]
mod head;

/// Takes httpd's place: looks at what it would send as it is.
#[allow(dead_code)]
mod ffi {
    pub mod request {
        use std::marker::PhantomData;

        fn check(bytes: &[u8]) {
            assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'));
        }

        #[derive(Clone, Copy)]
        pub struct Request<'r>(pub PhantomData<&'r ()>);

        pub struct Table;

        impl Request<'_> {
            pub fn set_status(self, code: u16, line: &[u8]) {
                assert!((200..=999).contains(&code));
                assert!(line.starts_with(code.to_string().as_bytes()));
                check(line);
            }

            pub fn set_content_type(self, value: &[u8]) {
                check(value);
            }

            pub fn set_content_length(self, length: u64) {
                assert!(i64::try_from(length).is_ok());
            }

            pub fn headers_out(self) -> Table {
                Table
            }

            pub fn err_headers_out(self) -> Table {
                Table
            }
        }

        impl Table {
            pub fn add(&self, name: &[u8], value: &[u8]) {
                let framing = [&b"content-length"[..], b"transfer-encoding", b"connection"];
                assert!(!framing.iter().any(|other| name.eq_ignore_ascii_case(other)));
                let separates = |byte: &u8| byte.is_ascii_control() || b" :\"".contains(byte);
                assert!(!name.is_empty() && !name.iter().any(separates));
                check(value);
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((hints, payload)) = input.split_first() else {
        return;
    };
    let kind = if hints & 1 == 0 { 3 } else { 10 };
    let len = u32::try_from(payload.len()).expect("inputs are short");
    let header = Header { len, kind, descriptors: 0 };
    let table = ffi::request::Table;
    match (Frame { header, payload }).message::<FromWorker<'_>>() {
        Ok(FromWorker::Head { status, headers }) => {
            if let Ok(head) = head::Head::check(status, &headers) {
                head.apply(ffi::request::Request(std::marker::PhantomData));
            }
        }
        Ok(FromWorker::EarlyHints { headers }) => {
            for (name, value) in head::Head::check_hints(&headers).into_iter().flatten() {
                table.add(name, value);
            }
        }
        _ => {}
    }
});
