//! One connection through the proxy. Each request is answered before the next is read.

mod forged;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::fault::{Cut, Fault, Played, is_fatal};
use super::frame::{self, READY_FOR_QUERY};
use super::request::{Kind, Request};
use super::shared::{Late, Shared};
use forged::FORGED;

type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// Runs until a side or a fault closes the connection.
pub(super) async fn serve(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let Some((startup, from_client, to_client)) = startup(from_client, to_client).await else { return };
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let mut link = Link {
        number,
        from_client,
        to_client,
        from_server: FramedRead::new(from_server, frame::codec()),
        to_server,
        ahead: VecDeque::new(),
        prepared: HashMap::new(),
        transaction: 0,
        status: b'I',
        forged: false,
        cut_idle: shared.cut_idle.subscribe(),
        shared,
    };
    let mut next = Some(Request::startup(number, startup));
    while let Some(mut request) = next {
        let played = link.shared.play().as_mut().and_then(|play| play(&request));
        match played {
            Some(Played::Error { code, message }) => {
                let Some(()) = link.forge(&request, code, message).await else { return };
                next = link.request().await;
                continue;
            }
            Some(Played::Text(text)) => request.replace_text(&text),
            None => {}
        }
        // The plan may tell the test at once that the request came.
        let late = Late::new(&link.shared);
        let fault = link.shared.plan().as_mut().and_then(|plan| plan(&request));
        let late = (fault == Some(Fault::Hold)).then_some(late);
        link = match link.carry_out(request, fault, late).await {
            Some(link) => link,
            None => return,
        };
        next = link.request().await;
    }
}

/// Reads the startup message, and refuses encryption, which could not be parsed.
async fn startup(
    from_client: OwnedReadHalf,
    mut to_client: OwnedWriteHalf,
) -> Option<(BytesMut, Frames, OwnedWriteHalf)> {
    let mut from_client = FramedRead::new(from_client, frame::startup_codec());
    loop {
        let startup = from_client.next().await?.ok()?;
        if !frame::asks_for_encryption(&startup) {
            return Some((startup, from_client.map_decoder(|_| frame::codec()), to_client));
        }
        to_client.write_all(b"N").await.ok()?;
    }
}

/// A method that returns `None` has closed the link.
struct Link {
    number: u64,
    from_client: Frames,
    to_client: OwnedWriteHalf,
    from_server: Frames,
    to_server: OwnedWriteHalf,
    /// The program's messages that arrived early.
    ahead: VecDeque<BytesMut>,
    prepared: HashMap<String, String>,
    transaction: u64,
    /// The server's last transaction status.
    status: u8,
    /// The program was told of an error and believes in an aborted transaction that the server does
    /// not have.
    forged: bool,
    cut_idle: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Link {
    async fn request(&mut self) -> Option<Request> {
        let mut request = Request::new(self.number, 0);
        loop {
            let frame = match self.ahead.pop_front() {
                Some(frame) => frame,
                None => tokio::select! {
                    frame = self.from_client.next() => frame?.ok()?,
                    // Passes on the end of an idle session.
                    frame = self.from_server.next() => {
                        self.to_client.write_all(&frame?.ok()?).await.ok()?;
                        continue;
                    }
                    _ = self.cut_idle.changed() => return None,
                },
            };
            if request.add(&frame, &mut self.prepared) {
                if request.is_terminate() {
                    let _ = self.to_server.write_all(&request.bytes).await;
                    return None;
                }
                if request.starts_with("BEGIN") {
                    self.transaction = self.shared.transactions.fetch_add(1, Ordering::Relaxed) + 1;
                }
                request.transaction = self.transaction;
                return Some(request);
            }
        }
    }

    /// `late`: kept until the server has answered a request whose answer is held.
    async fn carry_out(mut self, request: Request, fault: Option<Fault>, late: Option<Late>) -> Option<Self> {
        match fault {
            None if self.forged => {
                self.answer_in_forged(&request).await?;
                return Some(self);
            }
            None => {
                self.deliver(&request).await?;
                self.pass_answer().await?;
                return Some(self);
            }
            Some(Fault::Cut(Cut::BeforeSending)) => {}
            Some(Fault::Cut(Cut::AfterApplied)) => {
                self.deliver(&request).await?;
                self.answer().await?;
            }
            Some(Fault::Cut(Cut::InReply)) => {
                self.deliver(&request).await?;
                let answer = self.answer().await?;
                self.to_client.write_all(&answer[..answer.len() / 2]).await.ok()?;
            }
            Some(Fault::Late(delay)) => self.deliver_late(&request, delay).await?,
            Some(Fault::Silent { delivered }) => {
                if delivered {
                    self.deliver(&request).await?;
                    self.answer().await?;
                }
                self.shared.settled.cancelled().await;
            }
            Some(Fault::Stall(delay)) => {
                self.stall(&request, delay).await?;
                return Some(self);
            }
            Some(Fault::Hold) => {
                self.deliver(&request).await?;
                self.answer().await?;
                drop(late);
                while let Some(Ok(_)) = self.from_client.next().await {}
            }
            Some(Fault::Answer(code)) if is_fatal(code) || request.kind == Kind::Startup => {
                self.to_client.write_all(&frame::error("FATAL", code, FORGED)).await.ok()?;
            }
            Some(Fault::Answer(code)) => {
                self.forge(&request, code, FORGED).await?;
                return Some(self);
            }
            Some(Fault::AnswerAfterApplied(code)) => {
                self.deliver(&request).await?;
                self.answer().await?;
                self.tell_error(code, FORGED, self.status).await?;
                return Some(self);
            }
        }
        None
    }

    /// Closes the program's side, and delivers the request after `delay`.
    async fn deliver_late(self, request: &Request, delay: Duration) -> Option<()> {
        let _late = Late::new(&self.shared);
        let Self { from_client, to_client, mut from_server, mut to_server, .. } = self;
        drop((from_client, to_client));
        tokio::time::sleep(delay).await;
        to_server.write_all(&request.bytes).await.ok()?;
        collect(&mut from_server).await.map(drop)
    }

    async fn deliver(&mut self, request: &Request) -> Option<()> {
        self.to_server.write_all(&request.bytes).await.ok()
    }

    /// The whole answer, not passed on.
    async fn answer(&mut self) -> Option<BytesMut> {
        let answer = collect(&mut self.from_server).await?;
        self.status = answer.last().copied().unwrap_or(b'I');
        Some(answer)
    }

    /// Passes on the answer. Queues the program's messages, unless they belong to this request (a
    /// password, COPY data).
    async fn pass_answer(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                frame = self.from_server.next() => {
                    let mut came = frame?.ok()?;
                    let mut last = came.first().copied();
                    // Messages that arrived together are passed on together.
                    while last != Some(READY_FOR_QUERY)
                        && let Some(Some(frame)) = self.from_server.next().now_or_never()
                    {
                        let frame = frame.ok()?;
                        last = frame.first().copied();
                        came.unsplit(frame);
                    }
                    self.to_client.write_all(&came).await.ok()?;
                    if last == Some(READY_FOR_QUERY) {
                        self.status = came.last().copied().unwrap_or(b'I');
                        return Some(());
                    }
                }
                frame = self.from_client.next() => {
                    let frame = frame?.ok()?;
                    match frame.first() {
                        Some(b'p' | b'd' | b'c' | b'f') => self.to_server.write_all(&frame).await.ok()?,
                        _ => self.ahead.push_back(frame),
                    }
                }
            }
        }
    }

    /// Delays the request, then passes on its answer.
    async fn stall(&mut self, request: &Request, delay: Duration) -> Option<()> {
        let answer = {
            let _late = Late::new(&self.shared);
            tokio::time::sleep(delay).await;
            self.deliver(request).await?;
            self.answer().await?
        };
        self.to_client.write_all(&answer).await.ok()
    }
}

/// Everything up to ReadyForQuery.
async fn collect(from_server: &mut Frames) -> Option<BytesMut> {
    let mut answer = BytesMut::new();
    loop {
        let frame = from_server.next().await?.ok()?;
        answer.extend_from_slice(&frame);
        if frame.first() == Some(&READY_FOR_QUERY) {
            return Some(answer);
        }
    }
}
