//! Who may depend on whom: arrows between our crates, licences, banned crates, duplicate versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::source::{parts, words};
use crate::{expect_none, root, rust_files};

/// The versions in the lock file that exist more than once, kept here so that a new one is seen in review.
const DUPLICATES: &str = include_str!("../duplicates.txt");

/// One platform, so that the answer is the same wherever the test runs.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Each crate of ours and the others of ours it may name, in any kind of dependency.
const ARROWS: [(&str, &[&str]); 7] = [
    ("policy", &[]),
    ("xds", &["policy"]),
    ("net", &["policy"]),
    ("proxy", &["policy", "xds", "net"]),
    ("control", &["policy", "xds", "net"]),
    ("sim", &["policy", "xds", "net", "proxy", "control"]),
    ("cli", &["policy", "xds", "net", "proxy", "control", "sim"]),
];

/// Crates that only these of ours may depend on, but for tests.
const OWNED: [(&str, &[&str]); 15] = [
    ("turmoil", &["sim"]),
    ("cel", &["sim"]),
    // The durations of CEL.
    ("chrono", &["sim"]),
    ("prost", &["xds"]),
    ("hyper", &["net"]),
    ("libc", &["net"]),
    ("rustls", &["net"]),
    ("socket2", &["net"]),
    ("tokio-rustls", &["net"]),
    ("rcgen", &["net", "control"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("miette", &["cli"]),
    ("quick-junit", &["cli"]),
    ("tracing-subscriber", &["cli"]),
];

/// Crates that nothing in the tree may bring, and why.
const BANNED: [(&str, &str); 10] = [
    ("openssl", "rustls does TLS; a C library would need the system's"),
    ("openssl-sys", "rustls does TLS; a C library would need the system's"),
    ("native-tls", "rustls does TLS, the same on every platform"),
    ("serde_yaml", "retired; serde-saphyr keeps the places"),
    ("hyper-util", "its pool and executor take tokio's clock and spawn"),
    ("tonic", "its transport takes tokio's clock and spawn"),
    ("tower", "its hedge, rate and peak EWMA take tokio's clock"),
    ("async-std", "one runtime is enough"),
    ("mad-turmoil", "replaces libc's clock for the whole process"),
    ("madsim", "replaces libc's clock for the whole process"),
];

/// Crates that others may bring, but ours may not name.
const NOT_OURS: [(&str, &str); 7] = [
    ("rand", "dice are named forks of `squall_policy::Rng`"),
    ("getrandom", "dice are named forks of `squall_policy::Rng`"),
    ("anyhow", "one error enum per operation"),
    ("dashmap", "unordered"),
    ("lazy_static", "everything lives in the world"),
    ("async-trait", "the seam's traits return `BoxFuture`"),
    ("rayon", "cli's threads are std's, one world each"),
];

const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let run = |more: &[&str]| {
        Command::new(&cargo)
            .current_dir(root())
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM])
            .args(more)
            .output()
            .expect("cargo can be started")
    };
    // Offline first: what was built is there, and then no network is needed.
    let mut out = run(&["--offline"]);
    if !out.status.success() {
        out = run(&[]);
    }
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Ours are those without a registry.
fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

fn short(name: &str) -> &str {
    name.strip_prefix("squall-").unwrap_or(name)
}

/// The root file of every target of ours, relative to the workspace.
pub(crate) fn target_roots() -> Vec<PathBuf> {
    let metadata = metadata();
    let ours = list(&metadata, "packages").iter().filter(|p| is_ours(p));
    ours.flat_map(|p| list(p, "targets"))
        .map(|t| {
            let path = Path::new(text(t, "src_path"));
            path.strip_prefix(root()).expect("our targets are in the workspace").to_path_buf()
        })
        .collect()
}

fn wrong_arrows(packages: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|p| is_ours(p)) {
        let from = short(text(package, "name"));
        if from == "tests" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            wrong.push(format!("`{from}` is a new crate; a new crate needs a rule in ARROWS"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let to = text(dependency, "name");
            if to.starts_with("squall-") && !allowed.contains(&short(to)) {
                wrong.push(format!("`{from}` → `{}` points up or sideways (see ARCHITECTURE.md)", short(to)));
            }
            // Tests may use what they need to stand on the other side.
            let only_tests = text(dependency, "kind") == "dev";
            let owners = OWNED.iter().find(|(name, _)| *name == to).map(|(_, owners)| owners);
            if let Some(owners) = owners.filter(|owners| !owners.contains(&from) && !only_tests) {
                wrong.push(format!("`{from}` depends on `{to}`, which only `{}` may", owners.join("` and `")));
            }
            if let Some((_, why)) = NOT_OURS.iter().find(|(name, _)| *name == to) {
                wrong.push(format!("`{from}` depends on `{to}`: {why}"));
            }
        }
    }
    wrong
}

/// Dependencies of ours that no source of the crate names: they only cost time to build.
fn unnamed(package: &Value, sources: &[String]) -> Vec<String> {
    let used = |name: &str| sources.iter().any(|code| words(code, &name.replace('-', "_")).next().is_some());
    let names = list(package, "dependencies").iter().map(|d| text(d, "name")).filter(|name| !used(name));
    names.map(|name| format!("`{}` never names `{name}`", short(text(package, "name")))).collect()
}

/// Whether an SPDX expression can be satisfied with allowed licences only. `/` is the old way to say OR.
fn licence_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = either(&tokens, &mut at);
    allowed && at == tokens.len()
}

fn either(tokens: &[&str], at: &mut usize) -> bool {
    let mut allowed = both(tokens, at);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= both(tokens, at);
    }
    allowed
}

fn both(tokens: &[&str], at: &mut usize) -> bool {
    let mut allowed = one(tokens, at);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= one(tokens, at);
    }
    allowed
}

fn one(tokens: &[&str], at: &mut usize) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let allowed = either(tokens, at);
        let closed = tokens.get(*at) == Some(&")");
        *at += 1;
        return allowed && closed;
    }
    let mut name = (*token).to_string();
    if tokens.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    LICENCES.contains(&name.as_str())
}

/// `name 1.2.3, 2.0.0`, for each name with more than one version.
fn duplicates(packages: &[Value]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    versions
        .into_iter()
        .filter(|(_, v)| v.len() > 1)
        .map(|(name, v)| format!("{name} {}", v.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}

#[test]
fn arrows_between_crates_point_down() {
    expect_none("wrong dependencies", wrong_arrows(list(&metadata(), "packages")));
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    let files = rust_files();
    let mut mistakes = Vec::new();
    for package in list(&metadata, "packages").iter().filter(|p| is_ours(p)) {
        let path = Path::new(text(package, "manifest_path"));
        let dir = path.parent().and_then(|p| p.strip_prefix(root()).ok()).expect("our manifests are in the workspace");
        // The root package's own sources are those of no crate.
        let mine = |path: &Path| if dir == Path::new("") { !path.starts_with("crates") } else { path.starts_with(dir) };
        let sources: Vec<String> =
            files.iter().filter(|(path, _)| mine(path)).map(|(_, text)| parts(text).code).collect();
        mistakes.extend(unnamed(package, &sources));
    }
    expect_none("unused dependencies", mistakes);
}

#[test]
fn every_licence_is_one_we_can_ship() {
    let metadata = metadata();
    let mistakes = list(&metadata, "packages").iter().filter(|p| !licence_allowed(text(p, "license")));
    let mistakes = mistakes.map(|p| format!("{} {}: `{}`", text(p, "name"), text(p, "version"), text(p, "license")));
    expect_none("licences outside the list", mistakes.collect());
}

#[test]
fn nothing_brings_a_banned_crate() {
    let metadata = metadata();
    let names: BTreeSet<&str> = list(&metadata, "packages").iter().map(|p| text(p, "name")).collect();
    let found = BANNED.iter().filter(|(name, _)| names.contains(name)).map(|(name, why)| format!("{name}: {why}"));
    expect_none("banned crates (`cargo tree -i NAME` shows who brings it)", found.collect());
}

#[test]
fn every_duplicate_version_is_known() {
    let metadata = metadata();
    let found = duplicates(list(&metadata, "packages"));
    println!("versions that exist more than once:\n  {}", found.join("\n  "));
    let known: Vec<&str> = DUPLICATES.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    let new = found.iter().filter(|f| !known.contains(&f.as_str())).map(|f| format!("new: {f}"));
    let gone = known.iter().filter(|k| !found.iter().any(|f| f == *k)).map(|k| format!("gone: {k}"));
    expect_none(
        "differences from tests/duplicates.txt (merge the versions, or write the line there)",
        new.chain(gone).collect(),
    );
}

mod the_checker {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[&str]) -> Value {
        let dependencies: Vec<Value> = dependencies.iter().map(|d| json!({"name": d})).collect();
        json!({"name": name, "version": "1.0.0", "source": null, "dependencies": dependencies})
    }

    #[test]
    fn sees_an_arrow_that_points_up() {
        assert_eq!(wrong_arrows(&[package("squall-proxy", &["squall-net", "squall-policy", "bytes"])]).len(), 0);
        assert_eq!(wrong_arrows(&[package("squall-proxy", &["squall-control"])]).len(), 1);
        assert_eq!(wrong_arrows(&[package("squall-policy", &["squall-net"])]).len(), 1);
        assert_eq!(wrong_arrows(&[package("squall-proxy", &["turmoil", "rand"])]).len(), 2);
        assert_eq!(wrong_arrows(&[package("squall-extra", &[])]).len(), 1);
    }

    #[test]
    fn sees_a_dependency_that_nothing_names() {
        let package = package("squall-proxy", &["http-body", "bytes"]);
        let sources = ["use http_body::Body; // bytes".to_string()].map(|text| parts(&text).code);
        assert_eq!(unnamed(&package, &sources), ["`proxy` never names `bytes`"]);
    }

    #[test]
    fn reads_licence_expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 AND (ISC OR GPL-2.0)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(licence_allowed(good), "{good}");
        }
        for bad in
            ["GPL-3.0", "MIT AND GPL-3.0", "", "(MIT", "Apache-2.0 AND (GPL-2.0 OR MPL-2.0)", "MIT WITH odd", "MIT ISC"]
        {
            assert!(!licence_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn sees_two_versions_of_one_crate() {
        let mut second = package("a", &[]);
        second["version"] = json!("2.0.0");
        assert_eq!(duplicates(&[package("a", &[]), package("b", &[]), second]), ["a 1.0.0, 2.0.0"]);
    }
}
