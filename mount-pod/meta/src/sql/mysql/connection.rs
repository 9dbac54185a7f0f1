//! A connection: statements go out as one text, and their answers come in order.
//!
//! The protocol answers one message before it takes the next, so that prepared
//! statements would cost a round trip each. One text of several statements costs one,
//! and ends at the first that fails. Parameters are written into it as numbers and
//! hexadecimal digits, which need no escaping.

use std::{fmt::Write as _, time::Duration};

use carafe_types::Error;
use mysql_async::{Conn, DriverError, prelude::Queryable};

use crate::sql::{
    driver::{Connection, Failure},
    names::Names,
    statement::{Cell, Row, Rows, Statement, Unmet, Value},
};

/// What opens a transaction: the next one's isolation, since a session's would not
/// follow it through a proxy.
const BEGIN: [&str; 2] = [
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "START TRANSACTION",
];

/// One connection.
pub(crate) struct Session {
    /// Gone once this is dropped.
    connection: Option<Conn>,
    names: Names,
    is_broken: bool,
}

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

impl Session {
    /// A connection that was just made.
    pub(super) fn new(connection: Conn, names: Names) -> Self {
        Self {
            connection: Some(connection),
            names,
            is_broken: false,
        }
    }

    /// Runs a text of several statements; what each found, as far as they came, and the
    /// error that ended them.
    async fn query(&mut self, text: &str) -> (Vec<Rows>, Option<mysql_async::Error>) {
        let mut found = Vec::new();
        let gone = || mysql_async::Error::Driver(DriverError::ConnectionClosed);
        let Some(connection) = &mut self.connection else {
            return (found, Some(gone()));
        };
        let mut result = match connection.query_iter(text).await {
            Ok(result) => result,
            Err(error) => return (found, Some(error)),
        };
        loop {
            match result.collect::<mysql_async::Row>().await {
                Ok(rows) => found.push(rows.into_iter().map(row).collect()),
                Err(error) => return (found, Some(error)),
            }
            if result.is_empty() {
                // An error of the next statement waits to be fetched.
                return (found, result.drop_result().await.err());
            }
        }
    }

    fn text(&self, statements: &[Statement]) -> String {
        let mut out = String::with_capacity(statements.len() * 128);
        for statement in statements {
            if !out.is_empty() {
                out.push(';');
            }
            write(
                &self.names.render(&statement.text),
                &statement.values,
                &mut out,
            );
        }
        out
    }
}

impl Connection for Session {
    fn is_closed(&self) -> bool {
        self.is_broken
    }

    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<Rows>, Failure> {
        let text = self.text(statements);
        match self.query(&text).await {
            (mut found, None) => {
                // The end of what finds nothing is not told.
                found.resize(statements.len(), Rows::new());
                Ok(found)
            }
            (_, Some(error)) => Err(failure(&error, None)),
        }
    }

    async fn commit(
        &mut self,
        statements: &[Statement],
        _patience: Duration,
    ) -> Result<Vec<Rows>, Failure> {
        let [isolation, start] = BEGIN;
        let text = format!("{isolation};{start};{};COMMIT", self.text(statements));
        match self.query(&text).await {
            (mut found, None) => {
                found.drain(..BEGIN.len().min(found.len()));
                found.resize(statements.len(), Rows::new());
                Ok(found)
            }
            (found, Some(error)) => {
                let at = found.len().checked_sub(BEGIN.len());
                let failed = at.and_then(|at| statements.get(at));
                let failure = failure(&error, failed.and_then(|statement| statement.unmet));
                if !matches!(failure, Failure::Lost(_)) {
                    self.is_broken = self.query("ROLLBACK").await.1.is_some();
                }
                Err(failure)
            }
        }
    }
}

/// The library would wait without end for what a hung server still owes.
impl Drop for Session {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(connection), Ok(runtime)) = (self.connection.take(), runtime) {
            let goodbye = connection.disconnect();
            runtime.spawn(tokio::time::timeout(GOODBYE, goodbye));
        }
    }
}

/// Writes a text with its parameters in their places.
fn write(text: &str, values: &[Value], out: &mut String) {
    let mut parts = text.split('?');
    *out += parts.next().unwrap_or_default();
    for (part, value) in parts.zip(values) {
        let _ = match value {
            Value::Int(number) => write!(out, "{number}"),
            Value::Short(number) => write!(out, "{number}"),
            Value::Bytes(bytes) => write!(out, "x'{}'", Hex(bytes)),
            Value::Text(bytes) => write!(out, "_utf8mb4 x'{}'", Hex(bytes)),
        };
        *out += part;
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            for half in [byte >> 4, byte & 15] {
                out.write_char(DIGITS[usize::from(half)] as char)?;
            }
        }
        Ok(())
    }
}

fn row(row: mysql_async::Row) -> Row {
    let columns = row.columns();
    let is_number = columns
        .iter()
        .map(|column| column.column_type().is_numeric_type());
    let cells = row.unwrap_raw().into_iter().zip(is_number);
    cells
        .map(|(value, is_number)| cell(value, is_number))
        .collect()
}

/// Numbers come as decimal digits.
fn cell(value: Option<mysql_async::Value>, is_number: bool) -> Cell {
    match value {
        Some(mysql_async::Value::Bytes(bytes)) if is_number => {
            let number = std::str::from_utf8(&bytes).ok();
            let number = number.and_then(|text| text.parse().ok());
            number.map_or(Cell::Bytes(bytes), Cell::Int)
        }
        Some(mysql_async::Value::Bytes(bytes)) => Cell::Bytes(bytes),
        Some(mysql_async::Value::Int(number)) => Cell::Int(number),
        Some(mysql_async::Value::UInt(number)) => Cell::Int(number as i64),
        _ => Cell::Null,
    }
}

/// What an error means, and `unmet` if it is that of a check. The server's words may
/// repeat a key, no secret.
fn failure(error: &mysql_async::Error, unmet: Option<Unmet>) -> Failure {
    let mysql_async::Error::Server(said) = error else {
        return Failure::Lost(error.to_string());
    };
    let reason = said.message.clone();
    match said.code {
        // A check asks for one row and gets two.
        1242 => unmet.map_or(Failure::Lost(reason), Failure::Unmet),
        // Deadlock, a lock that was not to be had, a key that somebody else took, a table
        // that somebody else made, a statement that was stopped.
        1213 | 1205 | 1062 | 1050 | 1020 | 1317 => Failure::Again(reason),
        1146 => Failure::NoTable(reason),
        // Shutting down, too many connections, killed, a cluster that is not ready.
        1053 | 1040 | 1203 | 1927 | 3169 | 1047 => Failure::Lost(reason),
        1290 | 1792 | 1836 => Failure::Final(Error::ReadOnly),
        // No text, or a number that the column is too narrow for.
        1300 | 1366 | 1264 => Failure::Final(Error::Invalid),
        1406 if reason.contains("slices") => Failure::Final(Error::Io(
            "mysql: the chunk's slice list is full until it is compacted".to_owned(),
        )),
        1406 | 1021 | 1114 => Failure::Final(Error::NoSpace),
        code => Failure::Final(Error::Io(format!("mysql: {reason} ({code})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::values;

    #[test]
    fn parameters_are_written_without_quotes_of_their_own() {
        let mut out = String::new();
        let values = values![-1_i64, vec![0_u8, 39, 255], "a'?"];
        write("a = ? AND b = ? AND c = ?;", &values, &mut out);
        assert_eq!(out, "a = -1 AND b = x'0027ff' AND c = _utf8mb4 x'61273f';");
    }
}
