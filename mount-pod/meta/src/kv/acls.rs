//! Access control lists: a key each, behind a counter.

use std::ops::ControlFlow;

use carafe_types::{Acl, Error, Result};

use super::{
    keys, lists, steady,
    store::{Commit, Found, Guard, Query, Seen, Store, Transaction},
};
use crate::{
    engine::Terms,
    retry::{CONTENDED, Failure, Pause},
};

/// The list with this number.
pub(super) async fn list<S: Store>(store: &S, terms: Terms, number: u32) -> Result<Option<Acl>> {
    let seen = get(store, terms, keys::acl(number)).await?;
    Ok(seen.value.and_then(|value| Acl::decode(&value)))
}

/// The number of a list, which is added if it is not there. All who add one count it
/// first: while the counter stands still, none is there that was not seen.
pub(super) async fn number<S: Store>(store: &S, terms: Terms, list: &Acl) -> Result<u32> {
    let mut pause = Pause::default();
    loop {
        let last = get(store, terms, keys::LAST_ACL.to_vec()).await?;
        if let Some(number) = find(store, terms, list).await? {
            return Ok(number);
        }
        let (number, addition) = addition(last, list)?;
        match store.commit(terms, &addition).await {
            Ok(Commit::Done(_)) => return Ok(number),
            Ok(Commit::Conflict(..)) => pause.yield_to_others(terms, CONTENDED).await?,
            Err(Failure::Lost(reason)) => pause.wait(terms, &reason).await?,
            Err(Failure::Final(error)) => return Err(error),
        }
    }
}

async fn get<S: Store>(store: &S, terms: Terms, key: Vec<u8>) -> Result<Seen> {
    match steady(store, terms, &[Query::Get(key)]).await?.pop() {
        Some(Found::One(seen)) => Ok(seen),
        _ => Err(lists::unreadable()),
    }
}

async fn find<S: Store>(store: &S, terms: Terms, list: &Acl) -> Result<Option<u32>> {
    let bytes = list.encode();
    let mut found = None;
    let all = keys::under(keys::ACLS);
    lists::scan(store, terms, all, lists::VALUES, |key, value| {
        if value != bytes {
            return Ok(ControlFlow::Continue(()));
        }
        found = keys::parse_acl(key);
        Ok(ControlFlow::Break(()))
    })
    .await?;
    Ok(found)
}

/// What adds a list behind the last one, and its number.
fn addition(last: Seen, list: &Acl) -> Result<(u32, Transaction)> {
    let number = last
        .value
        .as_ref()
        .map_or(Some(0), |value| keys::sum(value));
    let number = number.and_then(|last| u32::try_from(last + 1).ok());
    let number = number.ok_or_else(|| Error::Io("the counter aclMaxId is damaged".into()))?;
    let (counter, key) = (keys::LAST_ACL.to_vec(), keys::acl(number));
    let counted = i64::from(number).to_le_bytes().to_vec();
    let addition = Transaction {
        guards: vec![Guard::Same(counter.clone(), last)],
        writes: vec![
            (counter, Some(counted.into())),
            (key, Some(list.encode().into())),
        ],
    };
    Ok((number, addition))
}
