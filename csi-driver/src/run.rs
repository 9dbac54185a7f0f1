//! Wiring: from the command line to running services.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{
    api_server::within,
    config::{Cli, Common, ControllerArgs, NodeArgs, Role},
    controller::{ControllerService, Elector, Engines, KubeClaimTags, Reclaimer},
    health::{self, Health, Progress},
    identity::IdentityService,
    node::{KubeClaims, KubePods, NodeIdentity, NodeService, Stager},
    proto::{
        csi::{
            controller_server::ControllerServer, identity_server::IdentityServer,
            node_server::NodeServer,
        },
        registration::registration_server::RegistrationServer,
    },
    registration::{RegistrationService, registration_socket},
    server,
};

/// How often the API server is asked again when the plugin starts before it.
const RETRY: Duration = Duration::from_secs(2);
/// How often leftovers are looked for: mounts that nobody serves, mount pods that serve
/// nothing.
const SWEEP: Duration = Duration::from_mins(2);
/// The same, after the plugin's start.
const FIRST_SWEEP: Duration = Duration::from_secs(20);

/// Runs the plugin until it is told to stop.
pub async fn run(cli: Cli) -> Result<()> {
    let client = Client::try_default()
        .await
        .context("cannot find the API server")?;
    let stop = stop_on_signal()?;
    let health = Health::new(cli.common.endpoint.clone());
    if let Some(address) = cli.common.health_address {
        let listener = health::listen(address)
            .await
            .with_context(|| format!("cannot answer probes at {address}"))?;
        tokio::spawn(health::serve(listener, health.clone()));
    }
    match cli.role {
        Role::Controller(args) => controller(cli.common, args, client, health, stop).await,
        Role::Node(args) => node(cli.common, *args, client, health, stop).await,
    }
}

async fn controller(
    common: Common,
    args: ControllerArgs,
    client: Client,
    health: Health,
    stop: CancellationToken,
) -> Result<()> {
    let engines = Arc::new(Engines::new(args.timeout));
    let service = ControllerService::new(engines.clone(), Arc::new(KubeClaimTags(client.clone())));
    if !args.reclaim_interval.is_zero() {
        let lasts = args.reclaim_interval * 3;
        let elector = Elector::new(
            client.clone(),
            &args.namespace,
            "carafe-reclaim",
            &args.pod_name,
            lasts,
        );
        tokio::spawn(
            Reclaimer::new(engines, client, common.driver_name.clone(), elector)
                .run(args.reclaim_interval),
        );
    }
    let router = Server::builder()
        .add_service(IdentityServer::new(IdentityService {
            driver_name: common.driver_name,
        }))
        .add_service(ControllerServer::new(service));
    let listener = server::listen(&common.endpoint).context("cannot listen on the CSI socket")?;
    health.set(Progress::Ready);
    Ok(server::serve(router, listener, stop.cancelled_owned()).await?)
}

async fn node(
    common: Common,
    args: NodeArgs,
    client: Client,
    health: Health,
    stop: CancellationToken,
) -> Result<()> {
    let registry = registration_socket(&args.kubelet_dir, &common.driver_name);
    let registration = RegistrationService {
        driver_name: common.driver_name.clone(),
        endpoint: kubelet_endpoint(&common, &args),
        health: health.clone(),
    };
    let starting = stager(&common, args, client, &health);
    let Some(stager) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let service = NodeService::new(stager);
    tokio::spawn(sweep(service.clone()));
    tokio::spawn(service.clone().replace_lost_pods());
    let router = Server::builder()
        .add_service(IdentityServer::new(IdentityService {
            driver_name: common.driver_name,
        }))
        .add_service(NodeServer::new(service));
    let listener = server::listen(&common.endpoint).context("cannot listen on the CSI socket")?;
    health.set(Progress::Unregistered);
    let register = Server::builder().add_service(RegistrationServer::new(registration));
    let registrations =
        server::listen(&registry).context("cannot listen in kubelet's plugins_registry")?;
    let inode = server::inode(&registry);
    tracing::info!(socket = %registry.display(), "waiting for kubelet to register the driver");
    tokio::try_join!(
        server::serve(router, listener, stop.clone().cancelled_owned()),
        server::serve(register, registrations, async {
            stop.cancelled_owned().await;
            // Kubelet forgets a driver whose socket is gone, also one that was removed.
            server::remove_own(&registry, inode);
        }),
    )?;
    Ok(())
}

/// The stager, once the API server has said what it must know before the first call:
/// the node's uid, and each mount of another life.
async fn stager(common: &Common, args: NodeArgs, client: Client, health: &Health) -> Arc<Stager> {
    health.set(Progress::Starting(
        "waiting for the API server to answer about this node",
    ));
    let identity = identity(&client, &args.node_name).await;
    let pods = KubePods::new(client.clone(), &args.mount_pod.namespace, &args.node_name);
    let claims = KubeClaims::new(client, &common.driver_name, &args.node_name);
    let stager = Stager::new(
        args,
        common.driver_name.clone(),
        identity,
        Arc::new(pods),
        Arc::new(claims),
    );
    health.set(Progress::Starting(
        "waiting for the API server to list this node's mount pods",
    ));
    recover(&stager).await;
    Arc::new(stager)
}

/// The CSI socket as kubelet sees it: below its own directory, unless told otherwise.
fn kubelet_endpoint(common: &Common, args: &NodeArgs) -> PathBuf {
    args.kubelet_endpoint.clone().unwrap_or_else(|| {
        let name = common.endpoint.file_name().unwrap_or_default();
        args.kubelet_dir
            .join("plugins")
            .join(&common.driver_name)
            .join(name)
    })
}

/// The node's uid, as soon as the API server says it.
async fn identity(client: &Client, name: &str) -> NodeIdentity {
    let api = Api::<Node>::all(client.clone());
    loop {
        match within(api.get_metadata(name)).await {
            Ok(node) => {
                let uid = node.metadata.uid.unwrap_or_default();
                return NodeIdentity {
                    name: name.to_owned(),
                    uid,
                };
            }
            Err(error) => {
                tracing::warn!(node = name, %error, "the node cannot be read; trying again");
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Before the first call: each mount of another life must be known by then.
async fn recover(stager: &Stager) {
    loop {
        match stager.recover().await {
            Ok(0) => return,
            Ok(mounts) => {
                return tracing::info!(
                    mounts,
                    "waiting for mount pods to give back what they hold"
                );
            }
            Err(error) => tracing::warn!(%error, "the mount pods cannot be listed; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Ends with the process.
async fn sweep(service: NodeService) {
    // After a restart, as soon as the mount pods have had time to come back.
    let mut pause = FIRST_SWEEP;
    loop {
        tokio::time::sleep(pause).await;
        pause = SWEEP;
        if let Err(error) = service.sweep().await {
            tracing::warn!(%error, "the sweep did not finish: mounts that nobody serves may be left");
        }
    }
}

fn stop_on_signal() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; mounts are served on by their pods");
        stop.cancel();
    });
    Ok(token)
}
