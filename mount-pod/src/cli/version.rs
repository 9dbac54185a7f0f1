//! `carafe version`: what this is.

use carafe_types::META_VERSION;
use clap::Args;

/// Show the version of this program and of the format that it speaks
#[derive(Args)]
pub(crate) struct VersionArgs {}

impl VersionArgs {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(crate) fn run(self) {
        println!(
            "carafe version {} (MetaVersion {META_VERSION}, as JuiceFS 1.3 writes it)",
            env!("CARGO_PKG_VERSION")
        );
    }
}
