//! Questions of an httpd child to a Python hook about a request, and the answers.

use std::borrow::Cow;
use std::fmt;

use super::{Pair, read_pairs, write_pairs};
use crate::codec::{DecodeError, Reader, Writer};

/// A question, and what the hook may know of the request that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry<'a> {
    /// Path of the hook's script file.
    pub script: &'a [u8],
    /// The application group that the hook runs in.
    pub application_group: &'a [u8],
    /// Whether the script is loaded again when it has changed (`WSGIScriptReloading`).
    pub script_reloading: bool,
    /// Whether the worker may answer [`super::Refusal::Busy`]: there are other workers to ask.
    pub may_refuse: bool,
    /// Whether the question may wait until a thread of the worker is free.
    pub may_wait: bool,
    /// Whether the connection is encrypted, as `mod_ssl.is_https()` tells.
    pub https: bool,
    /// Names and values of the string-valued environ entries. Of equal names the last one counts.
    pub environ: Vec<Pair<'a>>,
    /// The question.
    pub question: Question<'a>,
}

/// What a hook is asked: the function that is called, and its arguments after `environ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question<'a> {
    /// `allow_access(environ, host)`, of a `WSGIAccessScript`.
    Access {
        /// Name of the client's host, or its address.
        host: &'a [u8],
    },
    /// `check_password(environ, user, password)`, of a `WSGIAuthUserScript`.
    Password {
        /// The name that the client sent.
        user: &'a [u8],
        /// The password that it sent.
        password: Password<'a>,
    },
    /// `get_realm_hash(environ, user, realm)`, of a `WSGIAuthUserScript`.
    RealmHash {
        /// The name that the client sent.
        user: &'a [u8],
        /// `AuthName`.
        realm: &'a [u8],
    },
    /// `groups_for_user(environ, user)`, of a `WSGIAuthGroupScript`.
    Groups {
        /// The authenticated user.
        user: &'a [u8],
    },
    /// `process_group(environ)`, `application_group(environ)` and `callable_object(environ)`, as far
    /// as there are such, of a `WSGIDispatchScript`.
    Dispatch,
}

/// A password, which no log line shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a>(pub &'a [u8]);

impl fmt::Debug for Password<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(..)")
    }
}

/// What a hook has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// `True`.
    Allowed,
    /// `False`.
    Denied,
    /// `None`: it does not know, others may.
    Declined,
    /// The password is right, and this is the user's name from now on.
    User(Cow<'a, [u8]>),
    /// The hash of a user's password.
    Hash(Cow<'a, [u8]>),
    /// The groups that a user is in.
    Groups(Vec<Cow<'a, [u8]>>),
    /// Where a request shall go, as far as the hook says so.
    Target {
        /// Process group.
        process_group: Option<Cow<'a, [u8]>>,
        /// Application group.
        application_group: Option<Cow<'a, [u8]>>,
        /// Name of the callable.
        callable: Option<Cow<'a, [u8]>>,
    },
}

impl<'a> Inquiry<'a> {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self.script);
        writer.bytes(self.application_group);
        writer.bool(self.script_reloading);
        writer.bool(self.may_refuse);
        writer.bool(self.may_wait);
        writer.bool(self.https);
        write_pairs(writer, &self.environ);
        self.question.write(writer);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            script: reader.bytes("script")?,
            application_group: reader.bytes("application group")?,
            script_reloading: reader.bool("script reloading")?,
            may_refuse: reader.bool("may refuse")?,
            may_wait: reader.bool("may wait")?,
            https: reader.bool("https")?,
            environ: read_pairs(reader, "environ")?,
            question: Question::read(reader)?,
        })
    }
}

impl<'a> Question<'a> {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Access { host } => {
                writer.u8(1);
                writer.bytes(host);
            }
            Self::Password { user, password: Password(password) } => {
                writer.u8(2);
                writer.bytes(user);
                writer.bytes(password);
            }
            Self::RealmHash { user, realm } => {
                writer.u8(3);
                writer.bytes(user);
                writer.bytes(realm);
            }
            Self::Groups { user } => {
                writer.u8(4);
                writer.bytes(user);
            }
            Self::Dispatch => writer.u8(5),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("question")? {
            1 => Self::Access { host: reader.bytes("host")? },
            2 => Self::Password {
                user: reader.bytes("user")?,
                password: Password(reader.bytes("password")?),
            },
            3 => Self::RealmHash { user: reader.bytes("user")?, realm: reader.bytes("realm")? },
            4 => Self::Groups { user: reader.bytes("user")? },
            5 => Self::Dispatch,
            value => return Err(DecodeError::Unknown { what: "question", value: value.into() }),
        })
    }
}

impl<'a> Verdict<'a> {
    /// The same, apart from the frame that it came in.
    pub fn into_owned(self) -> Verdict<'static> {
        fn own(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
            Cow::Owned(bytes.into_owned())
        }
        match self {
            Self::Allowed => Verdict::Allowed,
            Self::Denied => Verdict::Denied,
            Self::Declined => Verdict::Declined,
            Self::User(name) => Verdict::User(own(name)),
            Self::Hash(hash) => Verdict::Hash(own(hash)),
            Self::Groups(names) => Verdict::Groups(names.into_iter().map(own).collect()),
            Self::Target { process_group, application_group, callable } => Verdict::Target {
                process_group: process_group.map(own),
                application_group: application_group.map(own),
                callable: callable.map(own),
            },
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Allowed => writer.u8(1),
            Self::Denied => writer.u8(2),
            Self::Declined => writer.u8(3),
            Self::User(name) => {
                writer.u8(4);
                writer.bytes(name);
            }
            Self::Hash(hash) => {
                writer.u8(5);
                writer.bytes(hash);
            }
            Self::Groups(names) => {
                writer.u8(6);
                writer.list(names, |writer, name| writer.bytes(name));
            }
            Self::Target { process_group, application_group, callable } => {
                writer.u8(7);
                for name in [process_group, application_group, callable] {
                    writer.option(name.as_deref(), Writer::bytes);
                }
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("verdict")? {
            1 => Self::Allowed,
            2 => Self::Denied,
            3 => Self::Declined,
            4 => Self::User(reader.bytes("user")?.into()),
            5 => Self::Hash(reader.bytes("hash")?.into()),
            6 => {
                Self::Groups(reader.list("groups", 4, |reader| Ok(reader.bytes("group")?.into()))?)
            }
            7 => {
                let mut name = || reader.option("name", |reader| Ok(reader.bytes("name")?.into()));
                Self::Target {
                    process_group: name()?,
                    application_group: name()?,
                    callable: name()?,
                }
            }
            value => return Err(DecodeError::Unknown { what: "verdict", value: value.into() }),
        })
    }
}
