//! Sessions: who has the volume mounted.

use carafe_types::{SessionId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a session says of itself: JuiceFS's JSON, so that its tools show ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SessionInfo {
    /// A version that the peer can parse: `1.3.1+<ours>`.
    pub version: String,
    /// The machine.
    pub host_name: String,
    /// The machine's addresses.
    #[serde(rename = "IPAddrs", skip_serializing_if = "Vec::is_empty")]
    pub ip_addrs: Vec<String>,
    /// Where it is mounted.
    pub mount_point: String,
    /// When it was mounted (RFC 3339).
    pub mount_time: String,
    /// The client's process.
    #[serde(rename = "ProcessID")]
    pub process_id: u32,
}

/// A session on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// When others may clean it.
    pub expires: Timestamp,
    /// What it says of itself; `None` if it is not readable.
    pub info: Option<SessionInfo>,
}
