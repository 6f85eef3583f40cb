//! Status, headers and length, without Python.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use channel::Inbox;

use super::*;

struct Case {
    reply: Reply,
    outgoing: Outgoing,
    far: UnixStream,
}

fn case(is_head: bool, code: u16, headers: &[(&str, &str)]) -> Case {
    let (near, far) = UnixStream::pair().unwrap();
    let mut reply = Reply::new(is_head);
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    reply.start(Head { code, status: format!("{code} X").into(), headers });
    Case { reply, outgoing: Outgoing::new(Arc::new(near.into()), Vec::new()), far }
}

impl Case {
    fn head(mut self) -> Vec<(String, String)> {
        self.outgoing.finish(&FromWorker::End, &mut |_| panic!("there is room"));
        let mut inbox = Inbox::new();
        inbox.receive(&self.far).unwrap();
        let Ok(Some(FromWorker::Head { headers, .. })) = inbox.next() else { panic!("no head") };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers.iter().map(|(name, value)| (text(name), text(value))).collect()
    }
}

#[test]
fn a_known_length_is_told_unless_it_must_not_be() {
    let check = |is_head, code, headers: &[(&str, &str)], len, told: bool| {
        let mut case = case(is_head, code, headers);
        case.reply.commit(Some(len), &mut case.outgoing).unwrap();
        let sent = case.head();
        assert_eq!(sent.len() > headers.len(), told, "{is_head} {code} {headers:?} {len}");
        if told {
            assert_eq!(sent.last().unwrap(), &("Content-Length".to_owned(), len.to_string()));
        }
    };
    check(false, 200, &[("a", "b")], 3, true);
    check(false, 200, &[], 0, true);
    check(true, 200, &[], 3, true);
    check(true, 200, &[], 0, false);
    check(false, 200, &[("CONTENT-length", "3")], 3, false);
    check(false, 200, &[("transfer-ENCODING", "chunked")], 3, false);
    for code in [100, 199, 204, 205, 304] {
        check(false, code, &[], 0, false);
    }
}

#[test]
fn no_more_than_the_content_length_is_admitted() {
    let mut case = case(false, 200, &[("Content-Length", "4")]);
    case.reply.commit(None, &mut case.outgoing).unwrap();
    assert_eq!(case.reply.missing(), 4);
    assert_eq!(case.reply.admit(b"abc"), (&b"abc"[..], Surplus::No));
    assert_eq!(case.reply.missing(), 1);
    assert_eq!(case.reply.admit(b"def"), (&b"d"[..], Surplus::FirstCut));
    assert_eq!(case.reply.admit(b"ghi"), (&b""[..], Surplus::CutBefore));
    assert_eq!(case.reply.missing(), 0);
}

#[test]
fn responses_without_a_body_lack_nothing() {
    for (is_head, code) in [(true, 200), (false, 304), (false, 204)] {
        let mut case = case(is_head, code, &[("Content-Length", "4")]);
        case.reply.commit(None, &mut case.outgoing).unwrap();
        assert_eq!(case.reply.missing(), 0);
    }
}

#[test]
fn any_wrong_content_length_is_an_error_and_commits_nothing() {
    for value in ["", "-1", "+1", " 1", "1.5", "x", "18446744073709551616"] {
        let mut case = case(false, 200, &[("Content-Length", value), ("Content-Length", "1")]);
        let outcome = case.reply.commit(None, &mut case.outgoing);
        assert!(matches!(outcome, Err(ReplyError::BadLength(wrong)) if wrong == value.as_bytes()));
        assert!(!case.reply.is_committed());
    }
}

#[test]
fn nothing_is_committed_before_it_is_started() {
    let (near, _far) = UnixStream::pair().unwrap();
    let mut outgoing = Outgoing::new(Arc::new(near.into()), Vec::new());
    let mut reply = Reply::new(false);
    assert!(matches!(reply.commit(None, &mut outgoing), Err(ReplyError::NotStarted)));
}
