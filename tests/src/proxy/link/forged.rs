//! Errors that the proxy answers in the server's place.

use tokio::io::AsyncWriteExt;

use super::super::frame;
use super::super::request::{Kind, Request};
use super::Link;

/// The message of a forged error.
pub(super) const FORGED: &str = "forged by the fault proxy";

impl Link {
    /// Ends the server's transaction and answers with an error, which so is true.
    pub(super) async fn forge(&mut self, request: &Request, code: &str, message: &str) -> Option<()> {
        let was_open = self.status != b'I';
        if was_open {
            self.to_server.write_all(&frame::query("ROLLBACK")).await.ok()?;
            self.answer().await?;
        }
        // A COMMIT that fails ends the transaction for the program too.
        self.forged = was_open && !request.commits();
        self.tell_error(code, message, if self.forged { b'E' } else { b'I' }).await
    }

    pub(super) async fn tell_error(&mut self, code: &str, message: &str, status: u8) -> Option<()> {
        let answer = [frame::error("ERROR", code, message), frame::ready(status)].concat();
        self.to_client.write_all(&answer).await.ok()
    }

    /// Answers for the server in a transaction that it no longer has, as it would in an aborted one.
    pub(super) async fn answer_in_forged(&mut self, request: &Request) -> Option<()> {
        let ends = request.commits() || request.text.trim().eq_ignore_ascii_case("ROLLBACK");
        if ends {
            self.forged = false;
            let answer = [frame::complete("ROLLBACK"), frame::ready(b'I')].concat();
            return self.to_client.write_all(&answer).await.ok();
        }
        if request.kind == Kind::Other {
            self.deliver(request).await?;
            let answer = self.answer().await?;
            // What the server calls idle is an aborted transaction to the program.
            let told = [&answer[..answer.len() - 1], b"E"].concat();
            return self.to_client.write_all(&told).await.ok();
        }
        self.tell_error("25P02", FORGED, b'E').await
    }
}
