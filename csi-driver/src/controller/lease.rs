//! Leader election by a Lease: of several controllers one cleans up.
//!
//! Losing a lease unseen does no harm, since each step of the clean-up is idempotent
//! and takes a lease in the database too; the election only saves double work.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

/// A candidate for a lease.
#[derive(Clone)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
}

impl Elector {
    /// A candidate that calls itself `identity`. What it wins holds for `duration`.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        duration: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration,
        }
    }

    /// Takes or renews the lease; `false` if somebody else has it.
    pub async fn acquire(&self) -> Result<bool, kube::Error> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = self.lease(now);
            return held(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.get_or_insert_default();
        let mine = spec.holder_identity.as_deref() == Some(&self.identity);
        if !mine && !is_over(spec, now) {
            return Ok(false);
        }
        if !mine {
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(self.seconds());
        // The resource version makes this fail if somebody else was faster.
        held(
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await,
        )
    }

    fn lease(&self, now: Timestamp) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                lease_duration_seconds: Some(self.seconds()),
                ..LeaseSpec::default()
            }),
        }
    }

    fn seconds(&self) -> i32 {
        i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)
    }
}

fn held(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn is_over(spec: &LeaseSpec, now: Timestamp) -> bool {
    let Some(MicroTime(renewed)) = spec.renew_time else {
        return true;
    };
    let lasts = i64::from(spec.lease_duration_seconds.unwrap_or_default());
    now.as_second() > renewed.as_second().saturating_add(lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(age: i64) -> LeaseSpec {
        let renewed = Timestamp::from_second(Timestamp::now().as_second() - age).unwrap();
        LeaseSpec {
            renew_time: Some(MicroTime(renewed)),
            lease_duration_seconds: Some(60),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_over_after_its_time() {
        assert!(!is_over(&spec(30), Timestamp::now()));
        assert!(is_over(&spec(90), Timestamp::now()));
        assert!(is_over(&LeaseSpec::default(), Timestamp::now()));
    }
}
