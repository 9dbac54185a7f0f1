//! Pods that are threads: each speaks to the keeper as a mount pod's supervisor does.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use carafe_api::{
    MountArguments,
    handover::{
        Attach, Attached, Bundle, Client, FromKeeper, FromPod, HandoverError, Hello, Usage,
    },
};
use carafe_csi_driver::node::{Ensured, PodRef, Pods, PodsError};
use futures_util::{StreamExt, stream, stream::BoxStream};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::fuse;

const PATIENCE: Duration = Duration::from_secs(5);

/// What the pods do.
#[derive(Clone)]
pub(crate) enum Behaviour {
    Serve,
    Fail(String),
    Slow(Duration),
}

/// What a pod has seen.
#[derive(Default)]
pub(crate) struct PodState {
    pub(crate) arguments: Mutex<Option<MountArguments>>,
    pub(crate) told: Mutex<Vec<String>>,
    pub(crate) init: Mutex<Option<Vec<u8>>>,
    pub(crate) had_region: Mutex<bool>,
    pub(crate) clones: Mutex<usize>,
    /// The client shall say so at its next occasion.
    pub(crate) fails: AtomicBool,
    cache: Mutex<Option<OwnedFd>>,
    client: Mutex<Option<(Arc<AtomicBool>, JoinHandle<()>)>>,
}

impl PodState {
    /// Ends the client as SIGKILL would: its descriptors are closed.
    pub(crate) fn kill_client(&self) {
        if let Some((stop, thread)) = self.client.lock().take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        }
    }

    pub(crate) async fn wait_told(&self, count: usize) {
        for _ in 0..200 {
            if self.told.lock().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("told only {:?}", self.told.lock());
    }

    /// Whether `..` of the cache directory is the directory itself.
    pub(crate) fn cache_is_closed_in(&self) -> bool {
        let cache = self.cache.lock();
        let cache = cache.as_ref().expect("a cache directory came");
        let inode =
            |path: &str| rustix::fs::statat(cache, path, rustix::fs::AtFlags::empty()).unwrap();
        let (own, parent) = (inode("."), inode(".."));
        (own.st_ino, own.st_dev) == (parent.st_ino, parent.st_dev)
    }
}

struct FakePod {
    pod: Pod,
    state: Arc<PodState>,
}

/// The pods of a node.
pub(crate) struct FakePods {
    kubelet_dir: PathBuf,
    volume: &'static str,
    behaviour: Behaviour,
    pods: Mutex<HashMap<String, FakePod>>,
    made: Mutex<u32>,
    departed: broadcast::Sender<Pod>,
}

impl FakePods {
    pub(crate) fn new(kubelet_dir: PathBuf, volume: &'static str, behaviour: Behaviour) -> Self {
        Self {
            kubelet_dir,
            volume,
            behaviour,
            pods: Mutex::default(),
            made: Mutex::default(),
            departed: broadcast::Sender::new(8),
        }
    }

    pub(crate) fn made(&self) -> u32 {
        *self.made.lock()
    }

    pub(crate) fn running(&self) -> Vec<String> {
        self.pods.lock().keys().cloned().collect()
    }

    pub(crate) fn state(&self, volume: &str) -> Arc<PodState> {
        let pods = self.pods.lock();
        let pod = pods
            .values()
            .find(|pod| pod.pod.metadata.labels.as_ref().unwrap()["carafe.io/volume"] == volume);
        pod.expect("the volume has a pod").state.clone()
    }

    /// The volume's pod is deleted by force: it is gone, and its client with it.
    pub(crate) fn lose(&self, volume: &str) {
        self.state(volume).kill_client();
        let pods = std::mem::take(&mut *self.pods.lock());
        for pod in pods.into_values() {
            self.departed.send(pod.pod).unwrap();
        }
    }

    pub(crate) fn kill_all(&self) {
        let pods = std::mem::take(&mut *self.pods.lock());
        for pod in pods.into_values() {
            pod.state.kill_client();
        }
    }

    /// The node has evicted the volume's pod: its client is dead, its directory stays.
    pub(crate) fn evict(&self, volume: &str) {
        self.state(volume).kill_client();
        for pod in self.pods.lock().values_mut() {
            pod.pod.status = Some(PodStatus {
                phase: Some("Failed".into()),
                ..PodStatus::default()
            });
        }
    }

    /// The volume's pod runs, as kubelet says, and its client does not speak.
    pub(crate) fn silence(&self, volume: &str) {
        self.state(volume).kill_client();
        let running = serde_json::json!({"phase": "Running", "containerStatuses": [{
            "name": "mount", "image": "x", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}},
        }]});
        for pod in self.pods.lock().values_mut() {
            pod.pod.status = Some(serde_json::from_value(running.clone()).unwrap());
        }
    }

    fn dir(&self, uid: &str) -> PathBuf {
        self.kubelet_dir
            .join("pods")
            .join(uid)
            .join("volumes/kubernetes.io~empty-dir")
            .join(self.volume)
    }

    pub(crate) fn start_client(&self, volume: &str) {
        let state = self.state(volume);
        let uid = self
            .pods
            .lock()
            .values()
            .find(|pod| Arc::ptr_eq(&pod.state, &state))
            .unwrap()
            .pod
            .metadata
            .uid
            .clone()
            .unwrap();
        self.start(&uid, &state);
    }

    fn start(&self, uid: &str, state: &Arc<PodState>) {
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, behaviour) = (self.dir(uid), self.behaviour.clone());
        let (seen, stopped) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || supervise(&dir, &behaviour, &seen, &stopped));
        *state.client.lock() = Some((stop, thread));
    }
}

#[tonic::async_trait]
impl Pods for FakePods {
    async fn ensure(&self, pod: &Pod) -> Result<Ensured, PodsError> {
        let name = pod.metadata.name.clone().unwrap();
        self.pods.lock().retain(|_, pod| {
            pod.pod.status.is_none() || pod.pod.metadata.name != Some(name.clone())
        });
        if let Some(found) = self.find(&name).await? {
            return Ok(Ensured::Found(found));
        }
        *self.made.lock() += 1;
        let mut pod = pod.clone();
        let uid = format!("uid-{}-{}", self.made(), std::process::id());
        pod.metadata.uid = Some(uid.clone());
        let state = Arc::new(PodState::default());
        self.pods.lock().insert(
            name.clone(),
            FakePod {
                pod,
                state: state.clone(),
            },
        );
        let dir = self.dir(&uid);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::create_dir_all(dir).unwrap();
        });
        self.start(&uid, &state);
        Ok(Ensured::Made(PodRef { name, uid }))
    }

    async fn delete(&self, pod: &PodRef, grace: u32) -> Result<(), PodsError> {
        if grace == 0 {
            let gone = self.pods.lock().remove(&pod.name);
            gone.inspect(|pod| pod.state.kill_client());
        }
        Ok(())
    }

    async fn wait_gone(&self, pod: &PodRef) -> Result<(), PodsError> {
        let gone = self.pods.lock().remove(&pod.name);
        gone.inspect(|pod| pod.state.kill_client());
        let _ = std::fs::remove_dir_all(self.kubelet_dir.join("pods").join(&pod.uid));
        Ok(())
    }

    async fn find(&self, name: &str) -> Result<Option<PodRef>, PodsError> {
        let pods = self.pods.lock();
        Ok(pods.get(name).map(|pod| PodRef {
            name: name.to_owned(),
            uid: pod.pod.metadata.uid.clone().unwrap(),
        }))
    }

    async fn list(&self) -> Result<Vec<Pod>, PodsError> {
        Ok(self
            .pods
            .lock()
            .values()
            .map(|pod| pod.pod.clone())
            .collect())
    }

    async fn trouble(&self, _pod: &PodRef) -> String {
        std::future::pending().await
    }

    fn departures(&self) -> BoxStream<'static, Pod> {
        let departed = self.departed.subscribe();
        stream::unfold(departed, |mut departed| async {
            Some((departed.recv().await.ok()?, departed))
        })
        .boxed()
    }
}

/// What a supervisor does, for one container's life.
fn supervise(
    dir: &std::path::Path,
    behaviour: &Behaviour,
    state: &PodState,
    stop: &Arc<AtomicBool>,
) {
    if let Behaviour::Slow(pause) = behaviour {
        let end = std::time::Instant::now() + *pause;
        while std::time::Instant::now() < end && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut holds = Bundle::default();
    let mut given = None::<Attach>;
    let mut threads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(client) = Client::connect(dir) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let hello = Hello {
            serving: given.is_some(),
            epoch: given.as_ref().map_or(0, |given| given.epoch),
            attached: given.clone().map(Box::new),
            ..Hello::default()
        };
        let Ok(Attached { attach, bundle }) = client.hello(&hello, &holds, PATIENCE) else {
            continue;
        };
        if given.is_none() {
            if let Behaviour::Fail(reason) = behaviour {
                client
                    .send(&FromPod::Failed {
                        reason: reason.clone(),
                        lasting: true,
                    })
                    .unwrap();
            } else {
                threads = begin(&client, &attach, &bundle, state, stop);
                holds = bundle;
            }
        }
        given = Some(Attach {
            init: Some(vec![1, 2, 3]),
            ..attach
        });
        if converse(&client, state, stop) {
            drop(holds);
            break;
        }
    }
    for thread in threads {
        let thread: JoinHandle<()> = thread;
        thread.join().unwrap();
    }
}

fn begin(
    client: &Client,
    attach: &Attach,
    bundle: &Bundle,
    state: &PodState,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    *state.arguments.lock() = Some(attach.arguments.clone());
    state.init.lock().clone_from(&attach.init);
    *state.had_region.lock() = bundle.region.is_some();
    *state.clones.lock() = bundle.clones.len();
    *state.cache.lock() = bundle
        .caches
        .first()
        .map(|cache| cache.try_clone().unwrap());
    let devices = bundle.device.iter().chain(&bundle.clones);
    let serve = |device: &OwnedFd| {
        let (device, stop) = (device.try_clone().unwrap(), stop.clone());
        std::thread::spawn(move || fuse::serve(&device, &stop))
    };
    let threads = devices.map(serve).collect();
    // A keeper that has hung up hears nothing of it.
    if bundle.region.is_none() {
        let region = rustix::fs::memfd_create("region", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let _ = client.send_region(region.as_fd());
        let blob = vec![1, 2, 3];
        let _ = client.send(&FromPod::InitDone { blob });
    }
    let _ = client.send(&FromPod::Ready);
    threads
}

/// Answers the keeper; `true` when the mount has ended.
fn converse(client: &Client, state: &PodState, stop: &AtomicBool) -> bool {
    let tell = |text: String| state.told.lock().push(text);
    while !stop.load(Ordering::Relaxed) {
        if state.fails.swap(false, Ordering::Relaxed) {
            let failed = FromPod::Failed {
                reason: "the key was refused".into(),
                lasting: false,
            };
            client.send(&failed).unwrap();
        }
        match client.receive(Some(Duration::from_millis(20))) {
            Ok(Some((FromKeeper::Secret { secret }, _))) => {
                tell(format!("secret {}", secret.secret_key.expose()));
            }
            Ok(Some((FromKeeper::Release, _))) => {
                tell("release".into());
                client.send(&FromPod::Released).unwrap();
            }
            Ok(Some((FromKeeper::Stats { id }, _))) => {
                let usage = Usage {
                    total_bytes: 100,
                    free_bytes: 60,
                    used_inodes: 3,
                    free_inodes: 7,
                };
                client.send(&FromPod::Stats { id, usage }).unwrap();
            }
            Ok(Some((FromKeeper::End, _))) => {
                tell("end".into());
                return true;
            }
            Ok(Some(_) | None) => {}
            Err(HandoverError::Closed) => return false,
            Err(error) => panic!("{error}"),
        }
    }
    false
}
