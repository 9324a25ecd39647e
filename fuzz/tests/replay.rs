//! What lies in `corpus/` goes through the functions that the fuzzers run, without a fuzzer; meshes and scenarios that are shipped do too.

use std::path::{Path, PathBuf};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("an entry of a folder that opened").path()) {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn replay(folder: &str, run: fn(&[u8])) {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} holds nothing");
    for file in found {
        // The test runner shows it where the bytes of this file fail.
        println!("{}", file.display());
        run(&std::fs::read(&file).expect("a file that was listed can be read"));
    }
}

#[test]
fn first_bytes_get_an_answer_that_holds() {
    replay("corpus/detect", squall_fuzz::detect::run);
}

#[test]
fn headers_of_the_proxy_protocol_are_read_or_refused() {
    replay("corpus/proxy_protocol", squall_fuzz::proxy_protocol::run);
}

#[test]
fn requests_each_end_once() {
    replay("corpus/exchange", squall_policy::harness::run);
}

#[test]
fn messages_of_ads_are_taken_or_refused() {
    replay("corpus/xds", squall_fuzz::xds::run);
}

#[test]
fn mesh_files_become_resources_or_mistakes() {
    replay("../scenarios", squall_fuzz::mesh::run);
}

#[test]
fn scenario_files_are_read_or_refused() {
    replay("../scenarios", squall_fuzz::scenario::run);
}
