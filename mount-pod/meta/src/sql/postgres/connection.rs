//! A connection: statements go out together, and their answers are awaited in order.

use std::{collections::HashMap, pin::Pin, time::Duration};

use bytes::{BufMut, BytesMut};
use carafe_types::Error;
use futures_util::{future::maybe_done, poll};
use tokio::task::AbortHandle;
use tokio_postgres::{
    Client,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use crate::sql::{
    driver::{Connection, Failure},
    names::Names,
    statement::{Cell, Row, Rows, Statement, Value},
};

/// Texts that are prepared on one connection: more than this program has.
const PREPARED: usize = 512;
/// What lies open on the server when the network fails is undone there after this
/// time: its locks are in everybody's way.
const ABANDONED: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Session {
    client: Client,
    task: AbortHandle,
    /// Whether all that was sent was answered.
    is_idle: bool,
    names: Names,
    texts: HashMap<String, Text>,
    /// Whether statements may be prepared.
    is_direct: bool,
}

/// A text as this server takes it, and its preparation.
struct Text {
    text: String,
    prepared: Option<tokio_postgres::Statement>,
}

impl Session {
    /// A connection that was just made.
    pub(super) fn new(client: Client, task: AbortHandle, is_direct: bool, names: Names) -> Self {
        Self {
            client,
            task,
            is_idle: true,
            names,
            texts: HashMap::new(),
            is_direct,
        }
    }

    /// Prepares what is new, all in one round trip.
    async fn prepare(&mut self, statements: &[Statement]) -> Result<(), Failure> {
        if self.texts.len() > PREPARED {
            self.texts.clear();
        }
        let mut new: Vec<(&str, Vec<Type>, String)> = Vec::new();
        for statement in statements.iter().filter(|statement| !statement.once) {
            let text: &str = &statement.text;
            if !self.texts.contains_key(text) && !new.iter().any(|(known, ..)| *known == text) {
                let types = statement.values.iter().map(kind).collect();
                new.push((text, types, numbered(&self.names.render(text))));
            }
        }
        let client = &self.client;
        let prepared = if self.is_direct {
            let work = new
                .iter()
                .map(|(_, types, text)| client.prepare_typed(text, types));
            all(work).await.into_iter().map(Some).collect::<Vec<_>>()
        } else {
            new.iter().map(|_| None).collect()
        };
        for ((key, _, text), prepared) in new.into_iter().zip(prepared) {
            let prepared = prepared
                .transpose()
                .map_err(|error| failure(&error, None))?;
            self.texts.insert(key.to_owned(), Text { text, prepared });
        }
        Ok(())
    }

    /// Runs what `begin` opens, if it opens anything, the statements, and its end.
    async fn work(
        &mut self,
        statements: &[Statement],
        begin: Option<&str>,
    ) -> Result<Vec<Rows>, Failure> {
        self.prepare(statements).await?;
        let client = &self.client;
        let mut opening = Box::pin(maybe_done(async {
            match begin {
                Some(begin) => client.batch_execute(begin).await,
                None => Ok(()),
            }
        }));
        let _ = poll!(opening.as_mut());
        let mut running: Vec<_> = statements
            .iter()
            .map(|statement| Box::pin(maybe_done(self.one(statement))))
            .collect();
        // The first poll sends: that is the order on the wire.
        for one in &mut running {
            let _ = poll!(one.as_mut());
        }
        let mut ending = Box::pin(maybe_done(async {
            match begin {
                Some(_) => client.batch_execute("COMMIT").await,
                None => Ok(()),
            }
        }));
        let _ = poll!(ending.as_mut());
        let mut failed = None;
        opening.as_mut().await;
        if let Some(Err(error)) = opening.as_mut().take_output() {
            failed = Some(failure(&error, None));
        }
        let mut found = Vec::with_capacity(running.len());
        for (mut one, statement) in running.into_iter().zip(statements) {
            one.as_mut().await;
            match one.as_mut().take_output() {
                Some(Ok(rows)) => found.push(rows),
                // What follows the first failure only tells that there was one.
                Some(Err(error)) if failed.is_none() => {
                    failed = Some(failure(&error, Some(statement)));
                }
                _ => {}
            }
        }
        ending.as_mut().await;
        if let Some(Err(error)) = ending.as_mut().take_output()
            && failed.as_ref().is_none_or(|failed| !is_lost(failed))
        {
            // A commit that was not answered may have happened.
            let at_end = failure(&error, None);
            if failed.is_none() || is_lost(&at_end) {
                failed = Some(at_end);
            }
        }
        failed.map_or(Ok(found), Err)
    }

    async fn one(&self, statement: &Statement) -> Result<Rows, tokio_postgres::Error> {
        let parameters: Vec<&(dyn ToSql + Sync)> = statement
            .values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        let rows = match self.texts.get(&*statement.text) {
            Some(Text {
                prepared: Some(prepared),
                ..
            }) => self.client.query(prepared, &parameters).await?,
            known => {
                let typed: Vec<_> = parameters
                    .into_iter()
                    .zip(statement.values.iter().map(kind))
                    .collect();
                let fresh;
                let text = if let Some(known) = known {
                    &known.text
                } else {
                    fresh = numbered(&self.names.render(&statement.text));
                    &fresh
                };
                self.client.query_typed(text, &typed).await?
            }
        };
        rows.iter().map(row).collect()
    }
}

impl Connection for Session {
    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Rows>, Failure> {
        self.is_idle = false;
        let found = self.work(statements, None).await;
        self.is_idle = true;
        found
    }

    async fn commit(
        &mut self,
        statements: &[Statement],
        patience: Duration,
    ) -> Result<Vec<Rows>, Failure> {
        self.is_idle = false;
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            patience.as_millis().max(1),
            ABANDONED.as_millis(),
        );
        let found = self.work(statements, Some(&begin)).await;
        self.is_idle = true;
        found
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // An idle connection says goodbye; nobody waits for one that does not answer.
        if !self.is_idle {
            self.task.abort();
        }
    }
}

/// Runs all at once, sent in their order; the answers in the same.
async fn all<F: Future>(work: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<_>>> = work.map(|one| Box::pin(maybe_done(one))).collect();
    for one in &mut running {
        let _ = poll!(one.as_mut());
    }
    let mut answers = Vec::with_capacity(running.len());
    for mut one in running {
        one.as_mut().await;
        answers.extend(one.as_mut().take_output());
    }
    answers
}

/// `?` becomes `$1` and so on.
fn numbered(text: &str) -> String {
    let mut parts = text.split('?');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        out.push('$');
        out += &(number + 1).to_string();
        out += part;
    }
    out
}

fn kind(value: &Value) -> Type {
    match value {
        Value::Int(_) => Type::INT8,
        Value::Short(_) => Type::INT4,
        Value::Bytes(_) => Type::BYTEA,
        Value::Text(_) => Type::TEXT,
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        _kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(value) => out.put_i64(*value),
            Self::Short(value) => out.put_i32(*value),
            Self::Bytes(bytes) | Self::Text(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BYTEA | Type::TEXT)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(
        kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            _ => Self::Bytes(raw.to_vec()),
        })
    }

    fn from_sql_null(_kind: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(
            *kind,
            Type::INT4 | Type::INT8 | Type::BYTEA | Type::TEXT | Type::VARCHAR
        )
    }
}

fn row(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::Lost(_))
}

/// What an error means for the statement that it stopped. The server's words hold
/// names and numbers, no parameters.
fn failure(error: &tokio_postgres::Error, statement: Option<&Statement>) -> Failure {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error);
        return Failure::Lost(source.map_or_else(|| error.to_string(), ToString::to_string));
    };
    let reason = said.message().to_owned();
    match said.code().code() {
        // A check divides by the rows it finds.
        "22012" => statement
            .and_then(|statement| statement.unmet)
            .map_or(Failure::Lost(reason), Failure::Unmet),
        // Serialisation, deadlock, a lock that was not to be had, a key that somebody
        // else took, a table that somebody else made; the time that the server was told.
        "40001" | "40P01" | "55P03" | "23505" | "42P07" | "42710" | "57014" => {
            Failure::Again(reason)
        }
        "42P01" | "3F000" => Failure::NoTable(reason),
        // No text, or a number that the column is too narrow for.
        "22021" | "22003" | "22001" => Failure::Final(Error::Invalid),
        "53100" => Failure::Final(Error::NoSpace),
        "25006" => Failure::Final(Error::ReadOnly),
        // Shutting down, or starting; the connection or the session is at an end.
        code if code.starts_with("57P") || code.starts_with("08") || code.starts_with("25P") => {
            Failure::Lost(reason)
        }
        "53300" => Failure::Lost(reason),
        code => Failure::Final(Error::Io(format!("postgres: {reason} ({code})"))),
    }
}
