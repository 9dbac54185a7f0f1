//! `carafe status`: what a volume is, who has it mounted, what it uses.

use carafe_meta::{Call, Meta, SessionRecord};
use carafe_types::{Format, Ino, Secret};
use clap::Args;
use serde_json::{Value, json};

use crate::{engine, failure::Failure};

/// Show a volume's setting, sessions and usage as JSON
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The metadata engine
    #[arg(value_name = "META-URL")]
    meta_url: String,
}

impl StatusArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let meta = engine::connect(&self.meta_url).await?;
        let report = report(meta.as_ref()).await?;
        println!("{report:#}");
        Ok(())
    }
}

async fn report(meta: &dyn Meta) -> Result<Value, Failure> {
    let call = Call::internal();
    let format = engine::load(meta).await?;
    let sessions = meta.sessions(&call).await?;
    let usage = meta.statfs(&call, Ino::ROOT).await?;
    let warnings = engine::warnings(meta).await?;
    Ok(json!({
        "Setting": without_secrets(format),
        "Engine": { "Name": meta.name(), "Warnings": warnings },
        "Sessions": sessions.iter().map(session).collect::<Vec<_>>(),
        "Statistic": {
            "UsedSpace": usage.total_bytes - usage.free_bytes,
            "AvailableSpace": usage.free_bytes,
            "UsedInodes": usage.used_inodes,
            "AvailableInodes": usage.free_inodes,
        },
    }))
}

pub(super) fn without_secrets(mut format: Format) -> Value {
    for secret in [
        &mut format.secret_key,
        &mut format.session_token,
        &mut format.encrypt_key,
    ] {
        if !secret.is_empty() {
            *secret = Secret::new("removed");
        }
    }
    serde_json::to_value(format).unwrap_or_default()
}

fn session(record: &SessionRecord) -> Value {
    let mut shown = serde_json::to_value(&record.info).unwrap_or_default();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("Sid".into(), record.id.0.into());
        fields.insert("Expire".into(), record.expires.secs.into());
    }
    shown
}
