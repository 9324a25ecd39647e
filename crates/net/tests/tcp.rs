//! The real world beyond the contract: its tasks, names and dice.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use squall_net::catch_panic;
use squall_net::tcp::Tcp;

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

#[test]
fn a_panic_ends_its_own_task_only() {
    run(async {
        let host = Tcp::host();
        let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
        let held = done.clone();
        host.spawn("careless", async move {
            let _held = held;
            panic!("as planned");
        });
        host.spawn("careful", async move { done.send(()).expect("somebody listens") });
        assert_eq!(all_done.recv().await, Some(()));
        assert_eq!(all_done.recv().await, None, "what the careless task held is gone");
    });
}

#[test]
fn a_caught_panic_tells_its_message_and_drops_what_it_held() {
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    run(async {
        let dropped = Arc::new(AtomicBool::new(false));
        let held = Held(Arc::clone(&dropped));
        let caught = catch_panic::<()>(Box::pin(async move {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("{} of {}", 3, 4);
        }));
        assert_eq!(caught.await, Err("3 of 4".to_owned()));
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(catch_panic(Box::pin(async { 5 })).await, Ok(5));
    });
}

#[test]
fn an_address_resolves_to_itself() {
    run(async {
        let host = Tcp::host();
        for address in ["127.0.0.3", "10.1.2.3", "::1"] {
            let found = host.net().resolve(address).await.expect("an address is a name");
            assert_eq!(found, [address.parse::<IpAddr>().expect("an address")]);
        }
    });
}

#[test]
fn the_os_seeds_each_host_anew() {
    let draw = || Tcp::host().rng("test").bits();
    assert_ne!(draw(), draw());
}
