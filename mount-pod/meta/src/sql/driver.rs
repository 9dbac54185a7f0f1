//! What the engine needs of a server's driver.

use std::time::Duration;

use carafe_types::{Error, Secret};

use super::{
    names::Names,
    statement::{Dialect, Rows, Statement, Unmet},
};
use crate::ConnectError;

/// Why statements were not run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was lost: what was to be done may or may not have been.
    Lost(String),
    /// Nothing was done, and another try may succeed: other clients were in the way.
    Again(String),
    /// A check failed, and nothing was done.
    Unmet(Unmet),
    /// A table is not there.
    NoTable(String),
    /// It was refused.
    Final(Error),
}

/// A server's name and way in.
pub(crate) trait Target: PartialEq + Send + Sync + 'static {
    /// Reads a URL. No error repeats it: it may hold a password.
    fn parse(url: &str, password: Option<&Secret>) -> Result<Self, ConnectError>
    where
        Self: Sized;

    /// What a pool needs to know.
    fn common(&self) -> &Common;
}

/// What every server's URL says.
#[derive(Clone, PartialEq)]
pub(crate) struct Common {
    /// The place without secrets, for people; two logins of one place have the same.
    pub(crate) place: String,
    /// What the tables are called.
    pub(crate) names: Names,
    /// How many connections there may be.
    pub(crate) connections: usize,
}

impl Common {
    /// Connections that a client opens at most, unless the URL says how many.
    const CONNECTIONS: usize = 16;

    /// `max_open_conns` is the URL's; 0 says nothing.
    pub(crate) fn new(
        place: String,
        names: Names,
        max_open_conns: Option<&str>,
    ) -> Result<Self, String> {
        let connections = match max_open_conns.map_or(Ok(0), str::parse) {
            Ok(0) => Self::CONNECTIONS,
            Ok(count) => count,
            Err(_) => return Err("max_open_conns is not a number".to_owned()),
        };
        Ok(Self {
            place,
            names,
            connections,
        })
    }
}

/// A family of servers.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// What its URLs begin with.
    const SCHEMES: &'static [&'static str];
    /// How it spells.
    const DIALECT: Dialect;
    /// The tables in the order in which they are made, each with what makes it.
    const TABLES: &'static [(&'static str, &'static [&'static str])];
    /// Lists the tables that are there, one a row; its parameter is the schema, or empty.
    const LIST_TABLES: &'static str;

    /// Opens a transaction that reads one state of the database, whoever writes meanwhile.
    const SNAPSHOT: &'static [&'static str];

    /// Where and as whom.
    type Target: Target;
    /// A connection.
    type Connection: Connection;

    /// A new connection.
    fn dial(
        target: &Self::Target,
        patience: Duration,
    ) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;

    /// What the server promises less than a user would expect.
    fn preflight(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;

    /// Makes durable what was committed before, if commits alone do not.
    fn flush(connection: &mut Self::Connection)
    -> impl Future<Output = Result<(), Failure>> + Send;
}

/// One connection. After a call that did not end, or lost it, it is of no more use.
pub(crate) trait Connection: Send + 'static {
    /// Whether the other end was seen to be gone.
    fn is_closed(&self) -> bool;

    /// Runs statements, each for itself; what each found.
    fn run(
        &mut self,
        statements: &[Statement],
    ) -> impl Future<Output = Result<Vec<Rows>, Failure>> + Send;

    /// Runs statements in one transaction, all or nothing. The server gives up on its
    /// own after about `patience`.
    fn commit(
        &mut self,
        statements: &[Statement],
        patience: Duration,
    ) -> impl Future<Output = Result<Vec<Rows>, Failure>> + Send;
}
