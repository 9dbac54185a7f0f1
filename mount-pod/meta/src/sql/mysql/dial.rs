//! One new connection, and what a server's refusal means for the user.

use std::time::Duration;

use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};

use super::{
    connection::Session,
    target::{Address, MySql as Target, Tls},
};
use crate::{ConnectError, sql::driver::Target as _};

/// What to do about a login that is missing or wrong.
const REMEDY: &str =
    "META_PASSWORD, or the password in metaurl (mysql://user:password@(host:3306)/database)";
/// A dead peer is noticed after some minutes.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// For every connection. A value that is too long is an error, not cut; who waits for a
/// lock gives up before whoever waits for it.
const SETUP: &str = "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES'), \
     SESSION innodb_lock_wait_timeout = 10, autocommit = 1";
/// What the client would ask the server for; its statements are far shorter.
const PACKET: usize = 64 << 20;

/// A new connection, logged in.
pub(super) async fn dial(target: &Target, patience: Duration) -> Result<Session, ConnectError> {
    // Whoever uses this library may have chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let unreachable = |reason| ConnectError::Unreachable {
        place: target.common().place.clone(),
        reason,
    };
    match tokio::time::timeout(patience, connect(target)).await {
        Ok(Ok(connection)) => Ok(Session::new(connection, target.common().names.clone())),
        Ok(Err(error)) => Err(explain(target, &error)),
        Err(_) => Err(unreachable(format!(
            "no answer within {} s",
            patience.as_secs()
        ))),
    }
}

async fn connect(target: &Target) -> mysql_async::Result<Conn> {
    match Conn::new(options(target, target.tls)).await {
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
            if target.tls == Tls::Preferred =>
        {
            Conn::new(options(target, Tls::Off)).await
        }
        other => other,
    }
}

fn options(target: &Target, tls: Tls) -> Opts {
    let options = match &target.address {
        Address::Tcp(host, port) => OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(*port)
            .prefer_socket(false),
        Address::Unix(path) => OptsBuilder::default().socket(Some(path)),
    };
    let password = target.password.as_ref();
    options
        .user(Some(&target.user).filter(|user| !user.is_empty()))
        .pass(password.map(carafe_types::Secret::expose))
        .db_name(Some(&target.database))
        .tcp_keepalive(Some(KEEPALIVE))
        .max_allowed_packet(Some(PACKET))
        .wait_timeout(Some(28_800))
        .stmt_cache_size(0)
        .init(vec![SETUP])
        .ssl_opts(ssl(tls))
        .into()
}

fn ssl(tls: Tls) -> Option<SslOpts> {
    match tls {
        Tls::Off => None,
        Tls::Preferred | Tls::SkipVerify => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        Tls::On => {
            let trusted = rustls_native_certs::load_native_certs().certs;
            let trusted = trusted.into_iter().map(|root| root.to_vec().into());
            Some(
                SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(trusted.collect()),
            )
        }
    }
}

fn explain(target: &Target, error: &Error) -> ConnectError {
    let place = target.common().place.clone();
    let reason = match error {
        Error::Server(said) if matches!(said.code, 1045 | 1698) => {
            let given = if target.password.is_some() {
                "the user or the password is wrong: correct"
            } else {
                "it wants a password, and none is given: set"
            };
            let reason = format!("{given} {REMEDY}");
            return ConnectError::Refused { place, reason };
        }
        Error::Server(said) if matches!(said.code, 1044 | 1130 | 1142 | 1251) => {
            let reason = said.message.clone();
            return ConnectError::Refused { place, reason };
        }
        Error::Server(said) => said.message.clone(),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            "the server does not speak TLS: turn it on there, or use tls=false".to_owned()
        }
        other => other.to_string(),
    };
    ConnectError::Unreachable { place, reason }
}
