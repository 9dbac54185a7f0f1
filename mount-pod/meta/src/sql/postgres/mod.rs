//! PostgreSQL.

mod connection;
mod dial;
mod schema;
mod target;
mod tls;

use std::time::Duration;

use self::{connection::Session, target::Postgres as Target};
use super::{
    driver::{Connection, Driver, Failure},
    rows,
    statement::{Dialect, Statement},
};
use crate::ConnectError;

/// The family of servers.
pub(crate) struct Postgres;

impl Driver for Postgres {
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];
    const DIALECT: Dialect = Dialect {
        holds: ["SELECT 1/count(*) FROM (", ") held"],
        lacks: [
            "SELECT 1/(CASE WHEN count(*) = 0 THEN 1 ELSE 0 END) FROM (",
            ") held",
        ],
        // Neither waits for the other while both only make entries.
        share: " FOR KEY SHARE",
        concat: |first, second| format!("{first} || {second}"),
        or_update: |key| format!(" ON CONFLICT ({key}) DO UPDATE SET "),
        excluded: |column| format!("excluded.{column}"),
        group: "\"group\"",
    };
    const TABLES: &'static [(&'static str, &'static [&'static str])] = schema::TABLES;
    const LIST_TABLES: &'static str = schema::LIST;
    const SNAPSHOT: &'static [&'static str] = &[
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        // What a client that is gone left open keeps dead rows alive.
        "SET LOCAL idle_in_transaction_session_timeout = 60000",
    ];

    type Target = Target;
    type Connection = Session;

    async fn dial(target: &Target, patience: Duration) -> Result<Session, ConnectError> {
        dial::dial(target, patience).await
    }

    async fn preflight(connection: &mut Session) -> Result<Vec<String>, Failure> {
        let text = "SELECT name, setting FROM pg_settings WHERE setting = 'off' \
                    AND name IN ('fsync', 'full_page_writes', 'synchronous_commit')";
        let off = connection.run(&[Statement::new(text, Vec::new())]).await?;
        let off = off.concat();
        let names = off
            .iter()
            .map(|row| rows::text(row, 0).map_err(Failure::Final));
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        let is_off = |name: &str| names.iter().any(|found| found == name);
        let mut warnings = Vec::new();
        for name in ["fsync", "full_page_writes"] {
            if is_off(name) {
                warnings.push(format!(
                    "PostgreSQL runs with {name} = off, so that a power failure or a crash of its machine can destroy the volume: set {name} = on"
                ));
            }
        }
        if is_off("synchronous_commit") {
            warnings.push("PostgreSQL runs with synchronous_commit = off, so that a crash of the server can lose the last operations that no fsync confirmed: set synchronous_commit = on".to_owned());
        }
        Ok(warnings)
    }

    /// A transaction that writes anything makes all before it durable, if its commit
    /// waits for the disk.
    async fn flush(connection: &mut Session) -> Result<(), Failure> {
        let text =
            "SELECT 1 FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'";
        let lazy = connection.run(&[Statement::new(text, Vec::new())]).await?;
        if lazy.concat().is_empty() {
            return Ok(());
        }
        let statements = [
            "SELECT set_config('synchronous_commit', 'on', true)",
            "SELECT CAST(txid_current() AS bigint)",
        ];
        let statements = statements.map(|text| Statement::new(text, Vec::new()));
        let patience = Duration::from_mins(1);
        connection.commit(&statements, patience).await.map(|_| ())
    }
}
