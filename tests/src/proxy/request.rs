//! A request: the program's messages up to one that the server answers with ReadyForQuery.

use std::collections::HashMap;

use tokio_util::bytes::{Bytes, BytesMut};

use super::frame::{self, Fields};

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The first message of a connection.
    Startup,
    /// A simple query.
    Query,
    /// To prepare a text.
    Prepare,
    /// Executes a prepared statement.
    Execute,
    /// Executes nothing: a ping, or a closed statement.
    Other,
}

/// A request, as a plan sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of its connection, from 1.
    pub connection: u64,
    /// The number of the connection's newest transaction, over all connections from 1; 0 for none.
    pub transaction: u64,
    /// What it asks for.
    pub kind: Kind,
    /// Its SQL, also of a prepared statement; empty for none.
    pub text: String,
    /// The bound values as sent; `None` for NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// The messages to pass on.
    pub(super) bytes: BytesMut,
}

impl Request {
    pub(super) fn new(connection: u64, transaction: u64) -> Self {
        let (kind, text, parameters, bytes) = (Kind::Other, String::new(), Vec::new(), BytesMut::new());
        Self { connection, transaction, kind, text, parameters, bytes }
    }

    /// Whether it commits, alone or at the end of a message.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.starts_with("COMMIT") || self.text.ends_with("; COMMIT")
    }

    pub(super) fn startup(connection: u64, bytes: BytesMut) -> Self {
        Self { kind: Kind::Startup, bytes, ..Self::new(connection, 0) }
    }

    /// Adds a message; returns whether it is the last. `prepared`: texts by statement name.
    pub(super) fn add(&mut self, frame: &[u8], prepared: &mut HashMap<String, String>) -> bool {
        self.bytes.extend_from_slice(frame);
        let mut fields = Fields::of(frame);
        match frame.first() {
            Some(b'Q') => {
                (self.kind, self.text) = (Kind::Query, fields.text());
                return true;
            }
            Some(b'P') => {
                let name = fields.text();
                (self.kind, self.text) = (Kind::Prepare, fields.text());
                prepared.insert(name, self.text.clone());
            }
            Some(b'B') => {
                let (_portal, name) = (fields.text(), fields.text());
                self.kind = Kind::Execute;
                self.text = prepared.get(&name).cloned().unwrap_or_default();
                let formats = fields.int16();
                fields.bytes(formats * 2);
                let count = fields.int16();
                self.parameters = (0..count).map(|_| fields.value()).collect();
            }
            // Sync, Terminate.
            Some(b'S' | b'X') => return true,
            _ => {}
        }
        false
    }

    /// Replaces its text.
    pub(super) fn replace_text(&mut self, text: &str) {
        let own = std::mem::take(&mut self.bytes);
        let mut rest = &own[..];
        while let Some(length) = rest.get(1..5).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes) {
            let (frame, others) = rest.split_at((length as usize + 1).min(rest.len()));
            let mut fields = Fields::of(frame);
            match frame[0] {
                b'Q' => self.bytes.extend_from_slice(&frame::query(text)),
                b'P' => {
                    let (name, _own) = (fields.text(), fields.text());
                    let body = [name.as_bytes(), &[0], text.as_bytes(), &[0], fields.0].concat();
                    self.bytes.extend_from_slice(&frame::message(b'P', &body));
                }
                _ => self.bytes.extend_from_slice(frame),
            }
            rest = others;
        }
    }

    /// Whether its text starts with this, ignoring case.
    #[must_use]
    pub fn starts_with(&self, word: &str) -> bool {
        self.text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    }

    /// Whether it ends the session.
    pub(super) fn is_terminate(&self) -> bool {
        self.bytes.first() == Some(&b'X')
    }
}
