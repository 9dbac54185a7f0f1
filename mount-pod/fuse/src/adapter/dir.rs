//! Listings.

use carafe_types::Result;

use super::{Adapter, Ask, Reply, body, given};
use crate::abi::{Body, dirent, direntplus};

/// The least that an entry takes in a listing: bounds how many are fetched for a reply.
const LEAST_ENTRY: usize = 32;
/// The least with attributes.
const LEAST_ENTRY_PLUS: usize = 160;

impl Adapter {
    pub(super) async fn opendir(&self, ask: &Ask<'_>) -> Result<Reply> {
        let opened = self.vfs.opendir(&ask.call, ask.ino()).await?;
        Ok(body(Body::default().opened(&opened)))
    }

    pub(super) async fn readdir(&self, ask: &Ask<'_>, plus: bool) -> Result<Reply> {
        let mut args = ask.args();
        let (handle, cookie, room) = (
            given(args.u64())?,
            given(args.u64())?,
            given(args.u32())? as usize,
        );
        let limit = room / if plus { LEAST_ENTRY_PLUS } else { LEAST_ENTRY };
        let items = self
            .vfs
            .readdir(&ask.call, ask.ino(), handle, cookie, limit.max(1), plus)
            .await?;
        let mut listing = Body::default();
        for item in &items {
            let added = if plus {
                direntplus(listing, item, room)
            } else {
                dirent(listing, item, room)
            };
            listing = match added {
                Ok(longer) => longer,
                Err(full) => return Ok(body(full)),
            };
            if let Some(entry) = item.entry.as_ref().filter(|_| plus) {
                self.told.tell(entry.ino, &entry.attr);
            }
        }
        Ok(body(listing))
    }

    pub(super) async fn releasedir(&self, ask: &Ask<'_>) -> Result<Reply> {
        self.vfs
            .releasedir(&ask.call, ask.ino(), given(ask.args().u64())?)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn fsyncdir(&self, ask: &Ask<'_>) -> Result<Reply> {
        self.vfs
            .fsyncdir(&ask.call, ask.ino(), given(ask.args().u64())?)
            .await?;
        Ok(Reply::Empty)
    }
}
