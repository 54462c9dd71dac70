//! PostgreSQL's messages: a tag, a length that includes itself, a body; the startup message has no
//! tag. (PostgreSQL's documentation, "Message Formats", protocol 3.0.)

use tokio_util::bytes::{BufMut, Bytes, BytesMut};
use tokio_util::codec::LengthDelimitedCodec;

const LENGTH_MAX: usize = 64 * 1024 * 1024;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

pub(super) const READY_FOR_QUERY: u8 = b'Z';

/// Reads whole messages, header included.
pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_offset(1)
        .length_field_length(4)
        // The tag is not counted.
        .length_adjustment(1)
        .num_skip(0)
        .max_frame_length(LENGTH_MAX)
        .new_codec()
}

/// Reads messages without tags.
pub(super) fn startup_codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_offset(0)
        .length_field_length(4)
        .length_adjustment(0)
        .num_skip(0)
        .max_frame_length(LENGTH_MAX)
        .new_codec()
}

pub(super) fn asks_for_encryption(startup: &[u8]) -> bool {
    let code = startup.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
    matches!(code, Some(SSL_REQUEST | GSS_REQUEST))
}

/// The fields of a message's body.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(frame: &'a [u8]) -> Self {
        Self(frame.get(5..).unwrap_or_default())
    }

    /// A zero-terminated text.
    pub(super) fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    pub(super) fn int16(&mut self) -> usize {
        self.bytes(2).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// A length-prefixed value; `None` for NULL.
    pub(super) fn value(&mut self) -> Option<Bytes> {
        let length = i32::from_be_bytes(self.bytes(4).try_into().unwrap_or_default());
        let length = usize::try_from(length).ok()?;
        Some(Bytes::copy_from_slice(self.bytes(length)))
    }

    pub(super) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

pub(super) fn message(tag: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(body.len() + 5);
    frame.put_u8(tag);
    frame.put_u32(u32::try_from(body.len() + 4).expect("a short message"));
    frame.put_slice(body);
    frame.freeze()
}

/// ErrorResponse. `code` is a SQLSTATE, or `SQLSTATE@routine` with the server's function that
/// reports the error.
pub(super) fn error(severity: &str, code: &str, text: &str) -> Bytes {
    let (code, routine) = code.split_once('@').map_or((code, None), |(code, routine)| (code, Some(routine)));
    let fields = [(b'S', severity), (b'V', severity), (b'C', code), (b'M', text)];
    let mut body = Vec::new();
    for (field, value) in fields.into_iter().chain(routine.map(|routine| (b'R', routine))) {
        body.push(field);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(b'E', &body)
}

/// CommandComplete.
pub(super) fn complete(tag: &str) -> Bytes {
    message(b'C', &[tag.as_bytes(), &[0]].concat())
}

/// ReadyForQuery: `I` idle, `T` in a transaction, `E` in an aborted one.
pub(super) fn ready(status: u8) -> Bytes {
    message(READY_FOR_QUERY, &[status])
}

/// Query.
pub(super) fn query(sql: &str) -> Bytes {
    message(b'Q', &[sql.as_bytes(), &[0]].concat())
}
