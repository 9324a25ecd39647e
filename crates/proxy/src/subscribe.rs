//! Follows the control plane: a certificate first, if there is to be one, renewed before it ends; then the mesh, in a stream.
//!
//! What is in force stays in force: a control plane that is gone, a mesh that is refused and a certificate that is not renewed
//! change nothing until something better comes.

use std::sync::Arc;
use std::time::Duration;

use squall_net::after;
use squall_net::tls::{Identity, KeyAlgorithm, make_csr, make_key};
use squall_policy::Instant;
use squall_xds::{ADS_PATH, CertificateRequest, CertificateResponse, SIGN_PATH, Subscription, SubscriptionEvent};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::control::{self, Lost, Outbox};
use crate::core::Core;
use crate::identity::{Keyring, Secrets};
use crate::snapshot::View;
use crate::{ControlSource, Node, Record};

/// What follows a control plane.
pub(crate) struct Follower {
    pub(crate) core: Arc<Core>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) view: Arc<View>,
    pub(crate) source: ControlSource,
    pub(crate) node: Node,
    pub(crate) algorithm: KeyAlgorithm,
    /// The certificate comes from the control plane.
    pub(crate) certified: bool,
}

impl Follower {
    /// Keeps a certificate in force.
    pub(crate) async fn keep_identity(self: Arc<Self>) {
        let mut backoff = Backoff::new(self.core.host.rng("proxy identity"));
        let mut dice = self.core.host.rng("proxy renewal");
        loop {
            match self.sign().await {
                Ok(identity) => {
                    backoff.reset();
                    let now = self.core.host.now();
                    let left = self.left(&identity);
                    // Half its life, give or take a tenth of it, so that pods made together do not renew together.
                    let renew_at = now + dice.between(left * 2 / 5, left * 3 / 5);
                    let not_after_s = identity.not_after_s;
                    if let Err(error) = self.put(identity) {
                        self.wait(&mut backoff, &Lost::from(error)).await;
                        continue;
                    }
                    let id = self.node.spiffe_id();
                    self.core.record(now, &Record::CertificateIssued { identity: &id, not_after_s, renew_at });
                    self.core.host.clock().sleep_until(renew_at).await;
                }
                Err(lost) => self.wait(&mut backoff, &lost).await,
            }
        }
    }

    /// How long the certificate lives. At least a moment: a control plane with an odd clock is not asked without end.
    fn left(&self, identity: &Identity) -> Duration {
        let ends = Duration::from_secs(identity.not_after_s);
        ends.saturating_sub(self.core.host.wall().since_epoch()).max(Duration::from_secs(1))
    }

    fn put(&self, identity: Identity) -> Result<(), squall_net::tls::TlsError> {
        self.keyring.put(Secrets::new(&self.core.host, identity)?);
        Ok(())
    }

    /// Asks for a certificate for a new key.
    async fn sign(&self) -> Result<Identity, Lost> {
        let host = &self.core.host;
        let key = make_key(self.algorithm, &mut host.rng("proxy key"))?;
        let csr_der = make_csr(&key, &self.node.spiffe_id())?.into();
        let token = self.source.token.as_ref().map(|token| token()).transpose();
        let token = token.map_err(Lost::Token)?.unwrap_or_default();
        let request = CertificateRequest { csr_der, token };
        let mut sender = control::connect(host, &self.source, self.own(), self.roots(), self.algorithm).await?;
        let answer = control::unary(host, &mut sender, &self.source, SIGN_PATH, request.to_wire()).await?;
        let answer = CertificateResponse::from_wire(&answer).map_err(|error| Lost::Protocol(error.to_string()))?;
        Ok(Identity {
            chain: answer.chain.iter().map(|der| der.to_vec()).collect(),
            key,
            roots: answer.roots.iter().map(|der| der.to_vec()).collect(),
            algorithm: self.algorithm,
            not_after_s: answer.not_after_s,
            issued_at: host.now(),
        })
    }

    /// Who we are now; `None`: nobody yet, or no longer.
    fn own(&self) -> Option<Identity> {
        let secrets = self.keyring.current()?;
        let now = self.core.host.wall().since_epoch();
        (Duration::from_secs(secrets.identity.not_after_s) > now).then(|| secrets.identity.clone())
    }

    /// Whom we trust by the latest word of the control plane, though our own certificate may have ended; `None`: it has told us nothing.
    fn roots(&self) -> Option<Vec<Vec<u8>>> {
        self.keyring.current().map(|secrets| secrets.identity.roots.clone())
    }

    /// Keeps a stream of meshes.
    pub(crate) async fn keep_mesh(self: Arc<Self>) {
        if self.certified {
            self.keyring.wait().await;
        }
        let mut backoff = Backoff::new(self.core.host.rng("proxy subscribe"));
        let cluster = format!("{}.{}", self.node.service_account, self.node.namespace);
        let mut subscription = Subscription::new(&self.node.id(), &cluster);
        loop {
            let lost = match self.stream(&mut subscription, &mut backoff).await {
                Ok(()) => Lost::Ended,
                Err(lost) => lost,
            };
            self.wait(&mut backoff, &lost).await;
        }
    }

    /// One stream, to its end.
    async fn stream(&self, subscription: &mut Subscription, backoff: &mut Backoff) -> Result<(), Lost> {
        let host = &self.core.host;
        let mut sender = control::connect(host, &self.source, self.own(), self.roots(), self.algorithm).await?;
        subscription.on_connect();
        let (outbox, body) = Outbox::stream();
        // Before the call: a server may send its head only when it has read something.
        send(subscription, &outbox)?;
        let mut inbox = control::call(host, &mut sender, &self.source, ADS_PATH, body).await?;
        self.core.record(host.now(), &Record::ControlConnected { address: self.source.address });
        while let Some(message) = inbox.next().await? {
            backoff.reset();
            let understood = subscription.on_message(&message);
            while let Some(event) = subscription.poll_event() {
                match event {
                    SubscriptionEvent::Mesh { mesh, version } => self.view.apply(&mesh, &version),
                    SubscriptionEvent::Refused(nack) => self.refused(host.now(), &nack.to_string()),
                }
            }
            understood.map_err(|nack| Lost::Protocol(nack.to_string()))?;
            send(subscription, &outbox)?;
        }
        Ok(())
    }

    fn refused(&self, now: Instant, why: &str) {
        self.core.record(now, &Record::MeshRefused { why });
    }

    async fn wait(&self, backoff: &mut Backoff, lost: &Lost) {
        let retry_in = backoff.next();
        let why = lost.to_string();
        self.core.record(self.core.host.now(), &Record::ControlLost { why: &why, retry_in });
        after(self.core.host.clock().as_ref(), retry_in).await;
    }
}

/// Sends what the subscription wants to say.
fn send(subscription: &mut Subscription, outbox: &mpsc::Sender<bytes::Bytes>) -> Result<(), Lost> {
    while let Some(message) = subscription.poll_send() {
        outbox.try_send(message).map_err(|_| Lost::Deaf)?;
    }
    Ok(())
}
