//! The metadata engine that both clients are given, each with a volume of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use carafe_testkit::Redis;
use clap::ValueEnum;
use serde::Serialize;

use crate::client;

/// How many databases a Redis server has: a volume takes the one of its predecessor's
/// predecessor.
const DATABASES: u32 = 16;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    /// One Redis server for both, a database for each.
    Redis,
    /// A file for each.
    Sqlite,
}

/// A running engine.
pub(crate) enum Engine {
    Redis { server: Redis, database: u32 },
    Sqlite,
}

impl Engine {
    pub(crate) fn start(kind: EngineKind) -> Self {
        match kind {
            EngineKind::Redis => Self::Redis {
                server: Redis::start(),
                database: 0,
            },
            EngineKind::Sqlite => Self::Sqlite,
        }
    }

    /// The URL of a volume that nothing is in; `dir` is its own.
    pub(crate) fn fresh(&mut self, dir: &Path) -> Result<String> {
        match self {
            Self::Redis { server, database } => {
                *database = (*database + 1) % DATABASES;
                flush(&server.address(), *database)?;
                Ok(server.url(*database))
            }
            Self::Sqlite => Ok(format!("sqlite3://{}", dir.join("meta.db").display())),
        }
    }
}

fn flush(address: &str, database: u32) -> Result<()> {
    let (host, port) = address.split_once(':').context("host:port")?;
    let mut command = Command::new("redis-cli");
    command.args(["-h", host, "-p", port, "-n", &database.to_string()]);
    client::run(command.arg("FLUSHDB"))
}
