//! `carafe mount`: serves a volume at a directory of this host.

use std::path::{Path, PathBuf};

use carafe_api::{
    MountArguments, MountOptions, VolumeSecret,
    handover::{Attach, Bundle, PROTOCOL},
};
use carafe_types::Format;
use clap::Args;

use super::small_runtime;
use crate::{
    engine,
    failure::Failure,
    supervisor::{Held, Host, Readiness, start_in_background, supervise},
};

/// Mount a volume at a directory
#[derive(Args)]
pub(crate) struct MountArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
    /// The directory; it must exist
    mount_point: PathBuf,
    /// Return when the mount is served, and go on in the background
    #[arg(long, short = 'd', visible_alias = "background")]
    daemon: bool,
    /// Where a mount in the background logs
    #[arg(long, default_value = "/var/log/carafe.log")]
    log: PathBuf,
    /// Nothing may be changed through this mount
    #[arg(long)]
    read_only: bool,
    /// Mount this directory of the volume as the root
    #[arg(long, default_value = "")]
    subdir: String,
    /// Cache directories, several with `:` between them; `memory` for none
    #[arg(long)]
    cache_dir: Option<String>,
    /// The size of the caches in MiB, or with a unit
    #[arg(long)]
    cache_size: Option<String>,
    /// Read and write buffers together, in MiB or with a unit
    #[arg(long)]
    buffer_size: Option<String>,
    /// No background work (trash, deleted files) in this mount
    #[arg(long)]
    no_bgjob: bool,
    /// Further options as `juicefs mount` has them, e.g. -o attr-cache=5,entry-cache=5
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Set by `-d` for the process that stays
    #[arg(long, hide = true)]
    in_background: bool,
}

impl MountArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let arguments = self.arguments()?;
        if self.daemon && !self.in_background {
            return start_in_background(&self.log);
        }
        let readiness = Readiness::new(self.in_background);
        small_runtime(self.serve(arguments, readiness))
    }

    async fn serve(
        self,
        arguments: MountArguments,
        mut readiness: Readiness,
    ) -> Result<(), Failure> {
        let secret = engine::secret_of(&self.meta_url);
        let mounted = async {
            let format = check(&secret).await?;
            mount_device(&self.mount_point, &format, &arguments)
        };
        let bundle = mounted
            .await
            .inspect_err(|failure| readiness.failed(&failure.to_string()))?;
        let attach = Attach {
            protocol: PROTOCOL,
            epoch: 1,
            arguments,
            secret,
            ..Attach::default()
        };
        let host = Host::new(self.mount_point, readiness)?;
        supervise(
            host,
            Held {
                attach,
                bundle,
                serving: false,
                explained: false,
            },
        )
        .await
    }

    fn arguments(&self) -> Result<MountArguments, Failure> {
        let mut options = self.options()?;
        for ignored in std::mem::take(&mut options.ignored) {
            tracing::warn!("the mount option {ignored} changes nothing here");
        }
        let mount_point =
            std::path::absolute(&self.mount_point).map_err(Failure::system("mount point"))?;
        Ok(MountArguments {
            subdir: if self.subdir.is_empty() {
                options.subdir.clone()
            } else {
                self.subdir.clone()
            },
            read_only: self.read_only || options.read_only,
            mount_point: mount_point.display().to_string(),
            node: super::host_name(),
            options,
            ..MountArguments::default()
        })
    }

    fn options(&self) -> Result<MountOptions, Failure> {
        let named = [
            ("cache-dir", self.cache_dir.clone()),
            ("cache-size", self.cache_size.clone()),
            ("buffer-size", self.buffer_size.clone()),
            ("no-bgjob", self.no_bgjob.then(|| "true".to_owned())),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        MountOptions::parse(self.options.iter().cloned().chain(named))
            .map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// Asks the engine before anything is mounted, so that a user's error is said at once.
async fn check(secret: &VolumeSecret) -> Result<Format, Failure> {
    let meta = engine::connect_with(secret).await?;
    for warning in engine::warnings(meta.as_ref()).await? {
        eprintln!("carafe: warning: {warning}");
    }
    engine::load(meta.as_ref()).await
}

fn mount_device(
    mount_point: &Path,
    format: &Format,
    arguments: &MountArguments,
) -> Result<Bundle, Failure> {
    let options = carafe_fuse::mount::MountOptions {
        source: format!("carafe:{}", format.name),
        read_only: arguments.read_only,
        default_permissions: !arguments.options.squashes(),
        ..Default::default()
    };
    let mount = carafe_fuse::mount::mount(mount_point, &options);
    let device =
        mount.map_err(|error| Failure::Mount(format!("{}: {error}", mount_point.display())))?;
    Ok(Bundle {
        device: Some(device),
        ..Bundle::default()
    })
}
