//! Background work of a volume, as one library.
//!
//! A **round** does each **chore** once: end sessions that expired, expire the trash
//! and tombstones, take deleted files apart, delete the objects of dead slices. A
//! chore works in **steps** of bounded size, until nothing is left, the round's
//! budget is spent, or it is cancelled; each step is whole by itself, so a round can
//! stop after any. Who does the work at a time is settled by leases in the database:
//! as many clients as like may run rounds.
//!
//! To **format** a volume, too, takes an engine and a store together. So does its
//! administration: `gc` looks for what is held for nobody, `fsck` for what is missing,
//! `restore` puts the trash's entries back, a **summary** says what a tree holds.
//!
//! A mount on a host runs rounds unless told not to; on Kubernetes one process does
//! for each volume, and mount pods do not.

mod chores;
mod dirs;
mod format;
mod fsck;
mod gc;
mod index;
mod restore;
mod round;
mod schedule;
mod summary;

pub use chores::Chore;
pub use dirs::{DirCheck, DirOptions, Finding, Wrong};
pub use format::{FormatFailure, Formatting, format_volume};
pub use fsck::{DataCheck, DataReport, LostBlock};
pub use gc::{Count, Gc, GcOptions, GcReport};
pub use restore::{Restored, restore};
pub use round::{Budget, Jobs, Report};
pub use schedule::{Schedule, run_rounds};
pub use summary::{Summary, SummaryOptions, summarise};
