//! What is said is what is understood.

mod common;

use proptest::prelude::*;
use squall_policy::Mesh;
use squall_xds::{CertificateRequest, CertificateResponse, decode, encode};

proptest! {
    #[test]
    fn a_mesh_comes_back_as_it_was(mesh in common::mesh()) {
        prop_assert_eq!(decode(&encode(&mesh)), Ok(mesh));
    }

    #[test]
    fn encoding_is_a_function_of_the_mesh(mesh in common::mesh()) {
        prop_assert_eq!(encode(&mesh), encode(&mesh.clone()));
    }

    #[test]
    fn damaged_resources_are_refused_or_read_but_never_panic(
        mesh in common::mesh(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut resources = encode(&mesh);
        let clusters = resources.clusters.values_mut();
        let routes = resources.routes.values_mut();
        for resource in clusters.chain(routes).chain(resources.listeners.values_mut()) {
            let mut damaged = resource.to_vec();
            let index = at.index(damaged.len());
            damaged[index] = byte;
            *resource = damaged.into();
        }
        let _ = decode(&resources);
    }

    #[test]
    fn certificate_messages_come_back_as_they_were(
        der in any::<Vec<u8>>(),
        token in ".{0,9}",
        not_after_s in any::<u64>(),
    ) {
        let request = CertificateRequest { csr_der: der.clone().into(), token };
        prop_assert_eq!(CertificateRequest::from_wire(&request.to_wire()), Ok(request));
        let response = CertificateResponse { chain: vec![der.clone().into()], roots: vec![der.into()], not_after_s };
        prop_assert_eq!(CertificateResponse::from_wire(&response.to_wire()), Ok(response));
    }
}

#[test]
fn an_empty_mesh_is_said_too() {
    assert_eq!(decode(&encode(&Mesh::default())), Ok(Mesh::default()));
}
