//! Kubernetes YAML, whatever it is, becomes resources or mistakes, without harm; each mistake says where, and prints. A mesh that is
//! made of resources can be sent, and means the same where it arrives.

use squall_control::{Mistake, NodeInfo, RegistrySnapshot, Resources, compile};
use squall_xds::{decode, encode};

/// Runs the target on these bytes; panics where the claim does not hold.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let node = NodeInfo { namespace: "shop".to_owned(), pod: "front-0".to_owned() };
    let read = Resources::read(&[("mesh.yaml", text)]);
    match read.and_then(|resources| compile(&resources, &RegistrySnapshot::default(), &node)) {
        Ok(mesh) => {
            let sent = decode(&encode(&mesh)).expect("a mesh that was compiled can be sent");
            assert_eq!(decode(&encode(&sent)).as_ref(), Ok(&sent));
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            mistakes.iter().for_each(|mistake| check(mistake, text));
        }
    }
}

fn check(Mistake { place, message, .. }: &Mistake, text: &str) {
    assert_eq!(&*place.file, "mesh.yaml");
    assert!(place.start <= place.end && text.get(place.start..place.end).is_some(), "{place:?}");
    assert!(!message.is_empty());
}
