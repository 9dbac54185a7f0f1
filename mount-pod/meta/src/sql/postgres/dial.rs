//! One new connection, and what a server's refusal means for the user.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{Client, Config, NoTls};

use super::{
    connection::Session,
    target::{Address, Postgres},
    tls::Stream,
};
use crate::{ConnectError, sql::driver::Target};

/// What to do about a login that is missing or wrong.
const REMEDY: &str =
    "META_PASSWORD, or the password in metaurl (postgres://user:password@host:5432/database)";
/// A dead peer is noticed after about a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A new connection, logged in.
pub(super) async fn dial(target: &Postgres, patience: Duration) -> Result<Session, ConnectError> {
    match tokio::time::timeout(patience, connect(target)).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectError::Unreachable {
            place: target.common().place.clone(),
            reason: format!("no answer within {} s", patience.as_secs()),
        }),
    }
}

async fn connect(target: &Postgres) -> Result<Session, ConnectError> {
    let unreachable = |reason: String| ConnectError::Unreachable {
        place: target.common().place.clone(),
        reason,
    };
    let (stream, host) = open(&target.address)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let stream = target.tls.wrap(stream, host).await.map_err(unreachable)?;
    let explained = |error: tokio_postgres::Error| explain(target, &error);
    let connected = config(target).connect_raw(stream, NoTls).await;
    let (client, connection) = connected.map_err(explained)?;
    let task = tokio::spawn(async move {
        // Whoever waits for an answer is told of the error.
        let _ = connection.await;
    });
    let task = task.abort_handle();
    let is_direct = is_direct(&client).await.map_err(explained)?;
    Ok(Session::new(
        client,
        task,
        is_direct,
        target.common().names.clone(),
    ))
}

async fn open(address: &Address) -> std::io::Result<(Box<dyn Stream>, &str)> {
    Ok(match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
            sockopt::set_tcp_keepintvl(&stream, KEEPALIVE / 2)?;
            (Box::new(stream), host)
        }
        Address::Unix(path) => (Box::new(UnixStream::connect(path).await?), ""),
    })
}

fn config(target: &Postgres) -> Config {
    let mut config = Config::new();
    config
        .dbname(&target.database)
        .application_name("carafe")
        // The stream is encrypted already, as far as it is to be.
        .ssl_mode(tokio_postgres::config::SslMode::Disable);
    if let Some(user) = &target.user {
        config.user(user);
    }
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    config
}

/// Whether the server itself is at the other end, not a proxy that may give each
/// transaction to another one: the process that a cancellation would name is the one
/// that answers. Only there a prepared statement is found again.
async fn is_direct(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let row = client.query_typed("SELECT pg_backend_pid()", &[]).await?;
    let answering: Option<i32> = row.first().map(|row| row.try_get(0)).transpose()?;
    let (near, mut far) = tokio::io::duplex(64);
    client.cancel_token().cancel_query_raw(near, NoTls).await?;
    // The message's length and code, the process, its secret.
    let mut message = [0; 16];
    if far.read_exact(&mut message).await.is_err() {
        return Ok(false);
    }
    let named = i32::from_be_bytes([message[8], message[9], message[10], message[11]]);
    Ok(answering == Some(named))
}

fn explain(target: &Postgres, error: &tokio_postgres::Error) -> ConnectError {
    let place = target.common().place.clone();
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error);
        let reason = source.map_or_else(|| error.to_string(), ToString::to_string);
        if reason.contains("password missing") {
            let reason = format!("it wants a password, and none is given: set {REMEDY}");
            return ConnectError::Refused { place, reason };
        }
        return ConnectError::Unreachable { place, reason };
    };
    let code = said.code().code();
    if code == "28P01" || said.message().contains("authentication failed") {
        let reason = format!("the user or the password is wrong: correct {REMEDY}");
        return ConnectError::Refused { place, reason };
    }
    let reason = said.message().to_owned();
    if code.starts_with("28") || code == "42501" {
        return ConnectError::Refused { place, reason };
    }
    ConnectError::Unreachable { place, reason }
}
