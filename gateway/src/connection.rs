//! One connection's life: handshake, Hello, Identify or Resume, then dispatches out and heartbeats in, until
//! one side ends it.

use std::{future::Future, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    Close, CloseCode,
    dispatch::{deliver::Delivery, request_members, stop::Stop},
    limits::places::ConnectionPlace,
    metrics::{Refusal, ResumeOutcome},
    session::{Session, identify, resume, start::Attached},
    shared::Shared,
    socket::{
        handshake_params::HandshakeParams,
        inbound_limit::InboundLimit,
        payload::{self, ClientEvent, Identify, Resume, op},
        stream::{Inbound, Socket, SocketError},
        upgrade::{self, Upgrade},
    },
};

/// How long a client waits for the answer that it may resume later. Discord tells libraries to wait 1 to 5 s
/// after that answer, and some do not.
const RESUME_LATER: Duration = Duration::from_secs(2);

/// Why a connection ended.
enum End {
    /// The gateway closes it.
    Close(Close),
    /// The client left, or the connection broke. `done`: the client will not resume.
    Gone { done: bool },
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Close(close) => Self::Close(close),
            SocketError::Broken(error) => {
                tracing::debug!(%error, "a connection broke");
                Self::Gone { done: false }
            }
        }
    }
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// Result of an identify or a resume that broke no rule.
enum Begun {
    Attached(Attached),
    /// The session was refused, or refused for now. The client may try again on the same connection, and with
    /// the same session if it `may_resume`.
    Refused {
        may_resume: bool,
    },
}

/// How serving a session ended.
enum Served {
    /// The connection ends; the session may be resumed unless the client is done.
    Ended(End),
    /// The session ended; the client may identify again on the same connection.
    Invalid,
}

impl From<Stop> for Served {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Invalid => Self::Invalid,
            Stop::Socket(error) => Self::Ended(error.into()),
        }
    }
}

/// Works on a session until it is done or another connection takes the session over.
async fn unless_taken_over(
    session: &Session,
    work: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    let mut takeover = pin!(session.takeover.notified());
    takeover.as_mut().enable();
    tokio::select! {
        worked = work => worked,
        () = takeover => Err(Close::fault("resumed on another connection").into()),
    }
}

/// Serves a connection with `peer` from its first byte to its last.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    shared: Arc<Shared>,
    stream: S,
    peer: IpAddr,
    mut place: ConnectionPlace,
) {
    // This is boxed, as beginning and closing are: a task is as large as its largest step that is not boxed,
    // and it lasts as long as the connection.
    let upgraded = Box::pin(timeout(shared.config.handshake_timeout, upgrade::accept(stream))).await;
    let (stream, answer, params, forwarded) = match upgraded {
        Ok(Ok(Upgrade::Open { socket, answer, params, forwarded })) => (socket, answer, params, forwarded),
        Ok(Ok(Upgrade::Refused)) => return shared.metrics.refused(Refusal::Handshake),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake broke");
            return shared.metrics.refused(Refusal::Handshake);
        }
        Err(_) => return shared.metrics.refused(Refusal::Slow),
    };
    let compression = params.as_ref().map(|asked| asked.compression).unwrap_or_default();
    let client = shared.config.trusted_proxies.client(peer, forwarded.iter().map(String::as_str));
    place.is_of(client);
    let accounts = shared.memory.accounts(client);
    let socket = Socket::new(*stream, answer, compression, shared.config.write_timeout, accounts);
    let inbound_limit = InboundLimit::new(shared.config.events_max, Instant::now());
    drop(forwarded);
    let mut connection = Connection { shared, socket, inbound_limit, client, place };
    let end = match params {
        Ok(params) => connection.run(params).await,
        Err(close) => match connection.socket.flush().await {
            Ok(()) => End::Close(close),
            Err(error) => error.into(),
        },
    };
    match end {
        End::Close(close) => {
            tracing::debug!(code = close.code.number(), reason = %close.reason, "closing a connection");
            connection.shared.metrics.closed(close.code);
            Box::pin(connection.socket.close(&close)).await;
        }
        // This comes last, so that nothing that still runs can interfere, or forget what the client said.
        End::Gone { .. } => Box::pin(connection.socket.finish()).await,
    }
}

struct Connection<S> {
    shared: Arc<Shared>,
    socket: Socket<S>,
    inbound_limit: InboundLimit,
    client: IpAddr,
    place: ConnectionPlace,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    async fn run(&mut self, params: HandshakeParams) -> End {
        let stop = self.shared.stop.clone();
        let leaving = || End::Close(Close::fault("the gateway is stopping"));
        if let Err(error) = self.socket.send(&payload::hello(self.shared.config.heartbeat_interval)).await {
            return error.into();
        }
        loop {
            // This is boxed: loading a session's guilds needs much more space than serving it, which is what
            // a connection does most of its life.
            let begun = Box::pin(self.begin(params));
            let mut attached = tokio::select! {
                begun = begun => match begun {
                    Ok(attached) => attached,
                    Err(end) => return end,
                },
                () = stop.cancelled() => return leaving(),
            };
            match self.serve_session(&mut attached).await {
                Served::Ended(end) => {
                    if let End::Gone { done: true } = end {
                        self.shared.registry.end(&attached.session).await;
                    }
                    return end;
                }
                Served::Invalid => {
                    self.shared.registry.end(&attached.session).await;
                    drop(attached);
                    self.place.unsettle();
                    if let Err(error) =
                        self.socket.send(&payload::control(op::INVALID_SESSION, "false")).await
                    {
                        return error.into();
                    }
                }
            }
        }
    }

    /// Waits for Identify or Resume and carries it out, until a session is attached and its client is up to
    /// date. Only a valid token extends the time for another try: a client that resumes unknown sessions
    /// again and again counts as silent.
    async fn begin(&mut self, params: HandshakeParams) -> Result<Attached, End> {
        let patience = self.shared.config.identify_timeout;
        let in_time = || Instant::now() + patience;
        let mut due = in_time();
        loop {
            let late = || Close::new(CloseCode::SessionTimedOut, "identify or resume came too late");
            let asked = timeout_at(due, self.first()).await.map_err(|_| late())??;
            let begun = match asked {
                ClientEvent::Identify(identify) => {
                    let begun = self.identify(&identify, params).await?;
                    due = in_time();
                    begun
                }
                ClientEvent::Resume(resume) => self.resume(&resume).await?,
                ClientEvent::Heartbeat | ClientEvent::RequestMembers(_) | ClientEvent::Ignored => {
                    return Err(Close::new(CloseCode::NotAuthenticated, "identify or resume first").into());
                }
            };
            let may_resume = match begun {
                Begun::Attached(attached) => return Ok(attached),
                Begun::Refused { may_resume } => may_resume,
            };
            if may_resume {
                // Some libraries try again at once.
                sleep(RESUME_LATER).await;
            }
            self.socket.send(&payload::control(op::INVALID_SESSION, &may_resume.to_string())).await?;
        }
    }

    /// The first payload that is no heartbeat. Clients may send heartbeats before they identify.
    async fn first(&mut self) -> Result<ClientEvent, End> {
        loop {
            match self.next().await? {
                ClientEvent::Heartbeat => self.acknowledge().await?,
                event => return Ok(event),
            }
        }
    }

    /// Keeps the connection's place from here on: a connection that begins or resumes a session must not be
    /// dropped half-way for a new one.
    fn keep_place(&mut self) -> Result<(), End> {
        if self.place.settle() { Ok(()) } else { Err(Close::fault("this gateway is full").into()) }
    }

    /// Begins a session. It is refused if the token identifies too often.
    async fn identify(&mut self, identify: &Identify, params: HandshakeParams) -> Result<Begun, End> {
        self.keep_place()?;
        let begun = identify::identify(&self.shared, identify, params.version, self.client).await?;
        let Some((mut attached, snapshots)) = begun else {
            return Ok(self.refuse(false));
        };
        self.socket.begin_session(attached.session.user_id());
        if identify.compress {
            self.socket.compress_payloads();
        }
        self.shared.metrics.identifies.inc();
        let shared = self.shared.clone();
        let session = attached.session.clone();
        let mut delivery = Delivery::new(&shared, &mut attached, &mut self.socket);
        match unless_taken_over(&session, delivery.send_ready(&snapshots)).await {
            Ok(()) => Ok(Begun::Attached(attached)),
            Err(Stop::Socket(error)) => Err(error.into()),
            Err(Stop::Invalid) => Err(Close::fault("the session could not be begun").into()),
        }
    }

    /// Refuses a session. The connection has none, so its place may be taken again.
    fn refuse(&mut self, may_resume: bool) -> Begun {
        self.place.unsettle();
        Begun::Refused { may_resume }
    }

    /// Resumes a session. It is refused if the session cannot be resumed, or not now.
    async fn resume(&mut self, resume: &Resume) -> Result<Begun, End> {
        let shared = self.shared.clone();
        let outcome = |outcome| shared.metrics.resumption(outcome);
        self.keep_place()?;
        let found = resume::resume(&shared, resume).await.inspect_err(|_| outcome(ResumeOutcome::Closed))?;
        let (mut attached, guilds_from) = match found {
            resume::Resumption::Continue { attached, guilds_from } => (attached, guilds_from),
            resume::Resumption::Invalid => {
                outcome(ResumeOutcome::Invalid);
                return Ok(self.refuse(false));
            }
            resume::Resumption::Later => {
                outcome(ResumeOutcome::Later);
                return Ok(self.refuse(true));
            }
        };
        self.socket.begin_session(attached.session.user_id());
        let session = attached.session.clone();
        let mut delivery = Delivery::new(&shared, &mut attached, &mut self.socket);
        delivery.member_lists.charge_user();
        let replay = async {
            if let Some(index) = guilds_from {
                delivery.send_remaining_guilds(index).await?;
            }
            delivery.replay().await
        };
        match unless_taken_over(&session, replay).await {
            Ok(()) => {
                outcome(ResumeOutcome::Resumed);
                Ok(Begun::Attached(attached))
            }
            Err(Stop::Invalid) => {
                outcome(ResumeOutcome::Invalid);
                shared.registry.end(&attached.session).await;
                Ok(self.refuse(false))
            }
            Err(Stop::Socket(error)) => {
                outcome(ResumeOutcome::Closed);
                Err(error.into())
            }
        }
    }

    async fn serve_session(&mut self, attached: &mut Attached) -> Served {
        let session = attached.session.clone();
        let mut takeover = pin!(session.takeover.notified());
        takeover.as_mut().enable();
        tokio::select! {
            served = self.serve_until_end(attached) => served,
            () = takeover => Served::Ended(Close::fault("resumed on another connection").into()),
        }
    }

    /// Asks the client to reconnect elsewhere. Its session stays.
    async fn leave(&mut self) -> End {
        match self.socket.send(&payload::control(op::RECONNECT, "null")).await {
            Ok(()) => Close::fault("the gateway is stopping: resume").into(),
            Err(error) => error.into(),
        }
    }

    async fn serve_until_end(&mut self, attached: &mut Attached) -> Served {
        let shared = self.shared.clone();
        let session = attached.session.clone();
        let mut silence = pin!(sleep_until(Instant::now() + shared.config.heartbeat_timeout));
        // Records that came while the session began were announced then, and are not announced again.
        session.subscriber.nudge();
        loop {
            tokio::select! {
                event = self.next() => match event {
                    Ok(ClientEvent::Heartbeat) => {
                        silence.as_mut().reset(Instant::now() + shared.config.heartbeat_timeout);
                        if let Err(error) = self.acknowledge().await {
                            return Served::Ended(error.into());
                        }
                    }
                    Ok(ClientEvent::RequestMembers(request)) => {
                        let answered = Box::pin(request_members::answer(
                            &shared,
                            attached,
                            &mut self.socket,
                            &request,
                        ))
                        .await;
                        if let Err(error) = answered {
                            return Served::Ended(error.into());
                        }
                    }
                    Ok(ClientEvent::Ignored) => {}
                    Ok(ClientEvent::Identify(_) | ClientEvent::Resume(_)) => {
                        let close = Close::new(CloseCode::AlreadyAuthenticated, "this connection has a session");
                        return Served::Ended(close.into());
                    }
                    Err(end) => return Served::Ended(end),
                },
                () = session.subscriber.woken() => {
                    let mut delivery = Delivery::new(&shared, attached, &mut self.socket);
                    if let Err(stop) = Box::pin(delivery.live()).await {
                        return stop.into();
                    }
                }
                // This stands here and not around the loop, so that no payload is left half written.
                () = shared.stop.cancelled() => return Served::Ended(self.leave().await),
                () = &mut silence => {
                    let close = Close::new(CloseCode::SessionTimedOut, "no heartbeat came in time");
                    return Served::Ended(close.into());
                }
            }
        }
    }

    async fn acknowledge(&mut self) -> Result<(), SocketError> {
        self.socket.send(&payload::control(op::HEARTBEAT_ACK, "null")).await
    }

    /// The next payload, counted and parsed. Control frames are counted like payloads.
    ///
    /// # Cancel safety
    /// Safe: no payload is lost.
    async fn next(&mut self) -> Result<ClientEvent, End> {
        loop {
            let received = self.socket.receive().await?;
            if let Inbound::Closed { done } = received {
                return Err(End::Gone { done });
            }
            if !self.inbound_limit.admit(Instant::now()) {
                return Err(Close::new(CloseCode::RateLimited, "too many payloads in a minute").into());
            }
            if let Inbound::Payload(text) = received {
                return Ok(payload::parse(&text)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task holds its future for as long as the connection lasts, so every idle client pays for its size.
    #[test]
    fn a_connection_is_small() {
        fn size<F: Future>(_: fn(Arc<Shared>, tokio::net::TcpStream, IpAddr, ConnectionPlace) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve);
        assert!(size <= 2 << 10, "{size}");
    }
}
