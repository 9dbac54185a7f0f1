//! Plans that may need access control lists: run again until all are known.

use std::sync::Arc;

use carafe_types::{Error, Result};

use super::Client;
use crate::{
    engine::{Engine, Terms},
    ops::{
        Ctx, Plan, Read, Reads,
        acl::{View, Wanted},
    },
    record::Recorded,
};

/// A plan asks for three lists at most, unless others change them meanwhile.
const ROUNDS: usize = 16;

impl<E: Engine> Client<E> {
    /// As [`Client::plan`], for a plan that may need lists.
    pub(super) async fn plan_with_acls<T: Recorded>(
        &self,
        terms: Terms,
        ctx: &Ctx,
        plan: impl Fn(&dyn Reads) -> Plan<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let plan = Arc::new(plan);
        for _ in 0..ROUNDS {
            let once = Arc::clone(&plan);
            let done = self.plan(terms, move |reads| once(reads)).await;
            match wanted(ctx.acls.as_deref(), &done) {
                Some(wanted) => self.fetch_acl(terms, wanted).await?,
                None => return done,
            }
        }
        Err(Terms::timed_out("access control lists change too fast"))
    }

    /// As [`Client::look`], likewise.
    pub(super) async fn look_with_acls<T: Send + 'static>(
        &self,
        terms: Terms,
        ctx: &Ctx,
        look: impl Fn(&dyn Reads) -> Read<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let look = Arc::new(look);
        for _ in 0..ROUNDS {
            let once = Arc::clone(&look);
            let done = self.look(terms, move |reads| once(reads)).await;
            match wanted(ctx.acls.as_deref(), &done) {
                Some(wanted) => self.fetch_acl(terms, wanted).await?,
                None => return done,
            }
        }
        Err(Terms::timed_out("access control lists change too fast"))
    }

    async fn fetch_acl(&self, terms: Terms, wanted: Wanted) -> Result<()> {
        let (number, list) = match wanted {
            Wanted::List(number) => {
                let gone = || Error::Io(format!("access control list {number} is not on record"));
                (
                    number,
                    self.engine.acl(terms, number).await?.ok_or_else(gone)?,
                )
            }
            Wanted::Number(list) => (self.engine.acl_number(terms, list.clone()).await?, list),
        };
        self.acls.lock().learn(number, list);
        Ok(())
    }
}

/// What a run that failed asked for.
fn wanted<T>(view: Option<&View>, done: &Result<T>) -> Option<Wanted> {
    let wanted = view?.take_wanted();
    wanted.filter(|_| done.is_err())
}
