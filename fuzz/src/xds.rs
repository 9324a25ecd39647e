//! What comes over ADS, whatever it is, is taken or refused, without harm; a mesh that was taken says the same when it is sent on.

use bytes::Bytes;
use squall_xds::{Feed, Kind, Resources, Subscription, decode, encode};

/// Runs the target on these bytes; panics where the claim does not hold.
pub fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 6 {
        4 => {
            let mut subscription = Subscription::new("sidecar~10.0.0.1~a-0.shop~shop.svc.cluster.local", "a.shop");
            subscription.on_connect();
            let _ = subscription.on_message(rest);
            while subscription.poll_send().is_some() || subscription.poll_event().is_some() {}
        }
        5 => {
            let mut feed = Feed::new();
            feed.set_resources(1, Resources::default());
            let _ = feed.on_message(rest);
            while feed.poll_send().is_some() || feed.poll_event().is_some() {}
        }
        kind => {
            let kind = [Kind::Cluster, Kind::Endpoints, Kind::Listener, Kind::Routes][usize::from(kind)];
            let mut resources = Resources::default();
            let map = match kind {
                Kind::Cluster => &mut resources.clusters,
                Kind::Endpoints => &mut resources.endpoints,
                Kind::Listener => &mut resources.listeners,
                Kind::Routes => &mut resources.routes,
            };
            map.insert("a".to_owned(), Bytes::copy_from_slice(rest));
            if let Ok(mesh) = decode(&resources) {
                // Once sent on it is in normal form.
                let sent = decode(&encode(&mesh)).expect("a mesh that was taken can be sent");
                assert_eq!(decode(&encode(&sent)).as_ref(), Ok(&sent));
            }
        }
    }
}
