//! Errors that the proxy answers in place of the server.

use tokio::io::AsyncWriteExt;

use super::super::frame;
use super::super::request::{Kind, Request};
use super::Link;

pub(super) const FORGED: &str = "forged by the fault proxy";

impl Link {
    /// Aborts the server's transaction, then answers with an error, which is thus true.
    pub(super) async fn forge(&mut self, request: &Request, code: &str, message: &str) -> Option<()> {
        let was_open = self.status != b'I';
        if was_open {
            self.to_server.write_all(&frame::query("ROLLBACK")).await.ok()?;
            self.answer().await?;
        }
        // A failed COMMIT also ends the transaction for the program.
        self.forged = was_open && !request.commits();
        self.tell_error(code, message, if self.forged { b'E' } else { b'I' }).await
    }

    pub(super) async fn tell_error(&mut self, code: &str, message: &str, status: u8) -> Option<()> {
        let answer = [frame::error("ERROR", code, message), frame::ready(status)].concat();
        self.to_client.write_all(&answer).await.ok()
    }

    /// Answers like a server in an aborted transaction, which the server no longer has.
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
            // Idle to the server, aborted to the program.
            let told = [&answer[..answer.len() - 1], b"E"].concat();
            return self.to_client.write_all(&told).await.ok();
        }
        self.tell_error("25P02", FORGED, b'E').await
    }
}
