//! MySQL and MariaDB.

mod connection;
mod dial;
mod schema;
mod target;

use std::time::Duration;

use self::{connection::Session, target::MySql as Target};
use super::{
    driver::{Connection, Driver, Failure},
    rows,
    statement::{Dialect, Row, Statement},
};
use crate::ConnectError;

/// The family of servers.
pub(crate) struct MySql;

impl Driver for MySql {
    const SCHEMES: &'static [&'static str] = &["mysql"];
    const DIALECT: Dialect = Dialect {
        holds: ["SELECT IF(EXISTS(", "), 1, (SELECT 1 UNION SELECT 2))"],
        lacks: ["SELECT IF(EXISTS(", "), (SELECT 1 UNION SELECT 2), 1)"],
        // A shared lock would have to grow when the directory's times change, and two
        // that grow wait for each other.
        share: " FOR UPDATE",
        concat: |first, second| format!("CONCAT({first}, {second})"),
        or_update: |_| " ON DUPLICATE KEY UPDATE ".to_owned(),
        excluded: |column| format!("VALUES({column})"),
        group: "`group`",
    };
    const TABLES: &'static [(&'static str, &'static [&'static str])] = schema::TABLES;
    const LIST_TABLES: &'static str = schema::LIST;
    const SNAPSHOT: &'static [&'static str] = &[
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ];

    type Target = Target;
    type Connection = Session;

    async fn dial(target: &Target, patience: Duration) -> Result<Session, ConnectError> {
        dial::dial(target, patience).await
    }

    async fn preflight(connection: &mut Session) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        let [flush, binary_log, sync] = durability(connection).await?;
        if flush != 1 {
            warnings.push(format!(
                "MySQL runs with innodb_flush_log_at_trx_commit = {flush}, so that a crash of its machine can lose the last operations: set it to 1"
            ));
        }
        if binary_log != 0 && sync != 1 {
            warnings.push(format!(
                "MySQL runs with sync_binlog = {sync}, so that a crash of its machine can part it from its replicas: set it to 1"
            ));
        }
        let text = "SELECT table_name FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND engine <> 'InnoDB'";
        let others = connection.run(&[Statement::new(text, Vec::new())]).await?;
        let ours = others.concat().into_iter().filter(is_ours).count();
        if ours > 0 {
            warnings.push(format!(
                "{ours} of the volume's tables are not of InnoDB, which alone has transactions: convert them with ALTER TABLE … ENGINE=InnoDB"
            ));
        }
        Ok(warnings)
    }

    /// As far as the login may.
    async fn flush(connection: &mut Session) -> Result<(), Failure> {
        let [flush, ..] = durability(connection).await?;
        if flush == 1 {
            return Ok(());
        }
        let flush = Statement::new("FLUSH ENGINE LOGS", Vec::new());
        match connection.run(&[flush]).await {
            Err(Failure::Lost(reason)) => Err(Failure::Lost(reason)),
            // Only an administrator may: the warning of the preflight stands.
            _ => Ok(()),
        }
    }
}

fn is_ours(row: &Row) -> bool {
    rows::text(row, 0).is_ok_and(|name| name.starts_with("jfs_") || name.starts_with("carafe_"))
}

/// How the log is flushed at a commit, whether there is a binary log, and how often
/// that is flushed.
async fn durability(connection: &mut Session) -> Result<[i64; 3], Failure> {
    let text = "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog";
    let found = connection.run(&[Statement::new(text, Vec::new())]).await?;
    let found = found.concat();
    let row = found.first().cloned().unwrap_or_default();
    let number = |at| rows::int(&row, at).map_err(Failure::Final);
    Ok([number(0)?, number(1)?, number(2)?])
}
