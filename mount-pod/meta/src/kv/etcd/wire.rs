//! Requests with a deadline, and what an error means for a retry.

use std::sync::Arc;

use carafe_types::Error;
use tonic::{Code, Response, Status};

use super::{
    dial::{Connection, said},
    proto::{
        RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
        kv_client::KvClient, maintenance_client::MaintenanceClient,
    },
    target::Target,
};
use crate::{engine::Terms, line::Line, retry::Failure};

/// The longest answer: a page of the longest lists of slices.
const LONGEST: usize = 64 << 20;

/// Requests over the line.
pub(super) struct Wire {
    pub(super) line: Arc<Line<Target>>,
}

impl Wire {
    pub(super) async fn range(
        &self,
        terms: Terms,
        request: RangeRequest,
    ) -> Result<RangeResponse, Failure> {
        self.ask(terms, async move |connection: Connection| {
            let mut client =
                KvClient::new(connection.channel.clone()).max_decoding_message_size(LONGEST);
            client.range(connection.request(request)).await
        })
        .await
    }

    pub(super) async fn transaction(
        &self,
        terms: Terms,
        request: TxnRequest,
    ) -> Result<TxnResponse, Failure> {
        self.ask(terms, async move |connection: Connection| {
            let mut client =
                KvClient::new(connection.channel.clone()).max_decoding_message_size(LONGEST);
            client.txn(connection.request(request)).await
        })
        .await
    }

    pub(super) async fn status(&self, terms: Terms) -> Result<StatusResponse, Failure> {
        self.ask(terms, async |connection: Connection| {
            let mut client = MaintenanceClient::new(connection.channel.clone());
            client.status(connection.request(StatusRequest {})).await
        })
        .await
    }

    /// Asks once on the connection that there is.
    async fn ask<T, F>(
        &self,
        terms: Terms,
        request: impl FnOnce(Connection) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (number, connection) = self.line.get(terms).await?;
        let asked = tokio::time::timeout_at(terms.deadline.into(), request(connection));
        let Ok(answer) = asked.await else {
            return Err(Failure::Final(Terms::timed_out("etcd did not answer")));
        };
        answer.map(Response::into_inner).map_err(|status| {
            let text = format!("etcd: {}", said(&status));
            let meaning = meaning(&status);
            if matches!(meaning, Meaning::Gone) {
                self.line.lost(number, &text);
            }
            match meaning {
                Meaning::Gone | Meaning::Later => Failure::Lost(text),
                Meaning::Full => Failure::Final(Error::NoSpace),
                Meaning::Never => Failure::Final(Error::Io(text)),
            }
        })
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Another connection, or another login, may do.
    Gone,
    /// The same may do later.
    Later,
    /// The database's file is at its limit.
    Full,
    /// It is no use to ask again.
    Never,
}

fn meaning(status: &Status) -> Meaning {
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        // It may know neither us nor our token any more.
        Code::InvalidArgument if says("user name is empty") || says("auth store is old") => {
            Meaning::Gone
        }
        Code::ResourceExhausted if says("database space exceeded") => Meaning::Full,
        // The revision that was looked at is compacted: the newest one may be read.
        Code::OutOfRange | Code::ResourceExhausted => Meaning::Later,
        Code::Unauthenticated
        | Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::Aborted
        | Code::DeadlineExceeded => Meaning::Gone,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::DataLoss => Meaning::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_asked_again() {
        for (code, text, expected) in [
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Meaning::Gone,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                Meaning::Gone,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Meaning::Gone,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Meaning::Later,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Meaning::Later,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Meaning::Full,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
                Meaning::Never,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Meaning::Never,
            ),
        ] {
            assert_eq!(meaning(&Status::new(code, text)), expected, "{text}");
        }
    }
}
