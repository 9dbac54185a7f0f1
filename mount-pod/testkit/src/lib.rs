//! Real servers for tests: each starts on a free loopback port with its data in a
//! temporary directory, and ends when its handle is dropped.
//!
//! What cannot start panics and says what to install: a test is never skipped.

mod certificate;
mod cluster;
mod etcd;
mod fault;
mod kept;
mod mariadb;
mod pgbouncer;
mod postgres;
mod process;
mod redis;
mod relay;
mod s3;
mod sanity;
mod sentinel;
mod tools;

pub use certificate::Certificate;
pub use cluster::RedisCluster;
pub use etcd::Etcd;
pub use fault::Faulty;
pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use process::{Server, free_port};
pub use redis::Redis;
pub use s3::S3;
pub use sanity::csi_sanity_secrets;
pub use sentinel::Sentinel;
pub use tools::{csi_sanity, juicefs, juicefs_version, tool};
