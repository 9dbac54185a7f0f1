//! One new connection to a member, and what a refusal means for the user.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Request, Status,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint, Uri},
};

use super::{
    proto::{AuthenticateRequest, RangeRequest, auth_client::AuthClient, kv_client::KvClient},
    target::{Target, Tls},
    tls,
};
use crate::{ConnectError, kv::keys, line};

/// What to do about a login that is missing or wrong.
const REMEDY: &str = "user and password in metaurl (etcd://user:password@host), or META_PASSWORD";
/// A member that is silent for this long is asked whether it is there; etcd takes more
/// often than every 5 s for an attack.
const PING: Duration = Duration::from_secs(10);
/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(5);

/// A connection to one member, logged in.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    token: Option<AsciiMetadataValue>,
}

impl Connection {
    /// A request that says as whom.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        request
    }
}

impl line::Target for Target {
    type Connection = Connection;

    fn place(&self) -> &str {
        &self.name
    }

    /// To the first member that answers, from a random one on: thousands of mounts
    /// spread over all of them.
    async fn dial(&self, patience: Duration) -> Result<Connection, ConnectError> {
        let count = self.members.len();
        let first = uuid::Uuid::new_v4().as_u128() as usize % count;
        let each = patience / count as u32;
        let mut failed = None;
        for at in 0..count {
            let member = &self.members[(first + at) % count];
            let connected = tokio::time::timeout(each, self.dial_member(member)).await;
            match connected.unwrap_or_else(|_| Err(self.silent(member, each))) {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| self.unreachable("it has no members")))
    }
}

impl Target {
    fn unreachable(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Unreachable {
            place: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn refused(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Refused {
            place: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn silent(&self, member: &str, patience: Duration) -> ConnectError {
        self.unreachable(format!(
            "{member}: no answer within {} s",
            patience.as_secs()
        ))
    }

    /// A member that wants a certificate of its clients ends the connection without a word.
    fn lost(&self, status: &Status) -> String {
        let said = said(status);
        let is_bare = self.tls.as_ref().is_some_and(|tls| tls.client.is_none());
        if is_bare && !status.message().starts_with("etcdserver") {
            format!("{said}; if it wants a certificate of its clients, give cert and key")
        } else {
            said
        }
    }

    async fn dial_member(&self, member: &str) -> Result<Connection, ConnectError> {
        let failed = |reason: String| self.unreachable(format!("{member}: {reason}"));
        let stream = open(member, self.tls.as_ref()).await.map_err(failed)?;
        let channel = channel(stream).await;
        let mut connection = Connection {
            channel: channel.map_err(|error| self.unreachable(chain(&error)))?,
            token: None,
        };
        connection.token = self.log_in(&connection).await?;
        self.settle(&connection).await?;
        Ok(connection)
    }

    async fn log_in(
        &self,
        connection: &Connection,
    ) -> Result<Option<AsciiMetadataValue>, ConnectError> {
        let Some((user, password)) = &self.login else {
            return Ok(None);
        };
        let request = AuthenticateRequest {
            name: user.clone(),
            password: password.expose().to_owned(),
        };
        let mut client = AuthClient::new(connection.channel.clone());
        match client.authenticate(request).await {
            Ok(answer) => {
                let unreadable = |_| self.unreachable("etcd's token is not readable");
                let token = answer.into_inner().token.parse();
                Ok(Some(token.map_err(unreadable)?))
            }
            // It lets everybody in.
            Err(status) if status.message().contains("authentication is not enabled") => Ok(None),
            Err(status) if status.code() == Code::InvalidArgument => Err(self.refused(format!(
                "the user or the password is wrong: correct {REMEDY}"
            ))),
            Err(status) => Err(self.unreachable(self.lost(&status))),
        }
    }

    /// Asks something in any case: a server that wants a login says so now.
    async fn settle(&self, connection: &Connection) -> Result<(), ConnectError> {
        let range = RangeRequest {
            key: [&self.prefix[..], keys::SETTING].concat(),
            keys_only: true,
            ..RangeRequest::default()
        };
        let mut client = KvClient::new(connection.channel.clone());
        match client.range(connection.request(range)).await {
            Ok(_) => Ok(()),
            Err(status) if status.message().contains("user name is empty") => {
                Err(self.refused(format!("it wants a login, and none is given: set {REMEDY}")))
            }
            Err(status) if status.code() == Code::PermissionDenied => Err(self.refused(format!(
                "the user may not read the keys that begin with {}: grant readwrite on them",
                String::from_utf8_lossy(&self.prefix[..self.prefix.len() - 1])
            ))),
            Err(status) => Err(self.unreachable(self.lost(&status))),
        }
    }
}

/// A stream of bytes, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn open(member: &str, tls: Option<&Tls>) -> Result<Box<dyn Stream>, String> {
    let stream = TcpStream::connect(member)
        .await
        .map_err(|error| error.to_string())?;
    // A request is small and waits for its answer.
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let host = member.rsplit_once(':').map_or(member, |(host, _)| host);
    let host = tls.server_name.as_deref().unwrap_or(host);
    let name = host.trim_matches(['[', ']']).to_owned().try_into();
    let name = name.map_err(|_| format!("{host:?} cannot be on a certificate"))?;
    let connector = TlsConnector::from(tls::config(tls)?);
    let stream = connector.connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| format!("TLS: {error}"))?))
}

/// gRPC over one stream: once that is lost, the channel is, and a new one is made.
async fn channel(stream: Box<dyn Stream>) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().take();
        std::future::ready(stream.ok_or_else(|| std::io::Error::other("the connection is lost")))
    });
    Endpoint::from_static("http://etcd")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .connect_with_connector(connector)
        .await
}

/// An answer's words; etcd's hold no password.
pub(super) fn said(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) if !status.message().starts_with("etcdserver") => chain(source),
        _ => status
            .message()
            .trim_start_matches("etcdserver: ")
            .to_owned(),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}
