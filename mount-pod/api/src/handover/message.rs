//! The messages.

use serde::{Deserialize, Serialize};

use crate::{MountArguments, VolumeSecret};

use super::Descriptors;

/// What a mount pod says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromPod {
    /// The first message of a connection.
    Hello(Box<Hello>),
    /// One descriptor comes along: the memfd that outlives the worker.
    Region,
    /// The kernel's INIT was answered.
    InitDone {
        /// What was agreed, as the worker's successor wants to read it.
        blob: Vec<u8>,
    },
    /// A worker serves.
    Ready,
    /// No worker can serve.
    Failed {
        /// Why, for a person: what is wrong and what to do. Never holds a secret.
        reason: String,
        /// Whether trying again with the same arguments makes no sense.
        #[serde(default)]
        lasting: bool,
    },
    /// All that was written is committed; the kernel may still send its last pages
    /// when it unmounts, which the worker serves and commits before it exits.
    Released,
    /// The answer to `Ping`.
    Pong {
        /// The question's number.
        id: u64,
        /// Whether a worker serves at the moment.
        #[serde(default)]
        serving: bool,
    },
    /// The answer to `Stats`.
    Stats {
        /// The question's number.
        id: u64,
        /// What statfs(2) on the mount would say.
        usage: Usage,
    },
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// What the keeper says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromKeeper {
    /// Serve this; the descriptors come along.
    Attach(Box<Attach>),
    /// This pod gets nothing, now or later: exit.
    Refused {
        /// Why.
        reason: String,
    },
    /// The Secret has changed: use this one from now on.
    Secret {
        /// All of it.
        secret: Box<VolumeSecret>,
    },
    /// The last user is gone: commit all that is written, serve on, say `Released`.
    Release,
    /// The kernel has unmounted: commit what came last, and exit.
    End,
    /// Are you there?
    Ping {
        /// To be repeated in the answer.
        id: u64,
    },
    /// How full is it?
    Stats {
        /// To be repeated in the answer.
        id: u64,
    },
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// Who connects, and what it still holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The newest conversation that it speaks.
    pub protocol: u32,
    /// The product's version, for people.
    pub version: String,
    /// The pod's name, for people.
    pub pod: String,
    /// The highest epoch that it was given; 0 if none.
    pub epoch: u64,
    /// Whether a worker serves at the moment.
    pub serving: bool,
    /// What comes along: empty for a pod that was never attached.
    pub holds: Descriptors,
    /// What it was given before.
    pub attached: Option<Box<Attach>>,
}

/// What a pod is to serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// The conversation to speak: the lower of both sides'.
    pub protocol: u32,
    /// Grows with each attachment of a mount. A worker stamps its writes with it.
    pub epoch: u64,
    /// What to serve.
    pub arguments: MountArguments,
    /// How to reach database and store.
    pub secret: VolumeSecret,
    /// What the kernel and the first worker agreed on; `None` if INIT is still to
    /// be answered.
    pub init: Option<Vec<u8>>,
    /// What comes along.
    pub descriptors: Descriptors,
}

/// What statfs(2) says, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All bytes that the volume may have.
    pub total_bytes: u64,
    /// Bytes left.
    pub free_bytes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Inodes left.
    pub free_inodes: u64,
}
