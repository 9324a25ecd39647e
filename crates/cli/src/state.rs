//! What a control plane keeps on disk: the root of its mesh, and beside it a new one while it is changed. `root.pem` is for everybody,
//! the keys are for nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use squall_control::Authority;
use squall_net::tls::{KeyAlgorithm, PrivateKey};
use squall_net::{Host, after, pem};

/// The root certificate, which proxies are given as `--trust`.
pub(crate) const ROOT: &str = "root.pem";
const KEY: &str = "root-key.pem";

/// The key of a new root, while the root is being changed.
const NEXT_KEY: &str = "next-root-key.pem";

/// The authority whose roots are kept in `directory`; made and kept there if there is none.
///
/// # Errors
/// What is wrong, in words, with advice.
pub(crate) fn authority(directory: &Path, host: &Host, life: Duration) -> Result<Authority, String> {
    let wall = host.wall().clone();
    let (root, key) = (directory.join(ROOT), directory.join(KEY));
    match (root.exists(), key.exists()) {
        (true, true) => {
            let text = fs::read_to_string(&root).map_err(|error| format!("{}: {error}", at(&root)))?;
            let certificates = pem::certificates(&text).map_err(|error| format!("{}: {error}", at(&root)))?;
            let next = directory.join(NEXT_KEY);
            let mut keys = vec![secret(&key)?];
            if next.exists() {
                keys.push(secret(&next)?);
            }
            // Files are written one after the other, and a stop in between may leave a key too many, or the older certificate of
            // which the key is gone already: it is the certificates that count, and at least one key must be of one of them.
            let good = |root: &Vec<u8>, key: &PrivateKey| {
                let one = vec![(root.clone(), key.clone())];
                Authority::with_roots(one, KeyAlgorithm::P256, wall.clone(), life).is_ok()
            };
            let roots: Vec<_> = certificates
                .iter()
                .filter_map(|root| keys.iter().find(|key| good(root, key)).map(|key| (root.clone(), key.clone())))
                .collect();
            if certificates.len() > 2 {
                return Err(format!(
                    "{} must hold one or two certificates, it holds {}",
                    at(&root),
                    certificates.len()
                ));
            }
            if certificates.last() != roots.last().map(|(root, _)| root) {
                return Err(format!("{}: the key is not that of the root certificate", at(directory)));
            }
            Authority::with_roots(roots, KeyAlgorithm::P256, wall, life)
                .map_err(|error| format!("{}: {error}", at(directory)))
        }
        (false, false) => {
            let made = Authority::new(KeyAlgorithm::P256, wall, host.rng("authority"), life);
            let authority = made.map_err(|error| error.to_string())?;
            let kept = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            kept.and_then(|()| keep(directory, &authority)).map_err(|error| not_kept(directory, &error))?;
            tracing::info!(root = at(&root), "made a new root; proxies trust it with --trust");
            Ok(authority)
        }
        (true, false) => Err(format!(
            "{} is missing, but {} is there: put the key back, or remove both to begin anew",
            at(&key),
            at(&root)
        )),
        (false, true) => Err(format!(
            "{} is missing, but {} is there: put it back, or remove both to begin anew",
            at(&root),
            at(&key)
        )),
    }
}

fn at(path: &Path) -> String {
    path.display().to_string()
}

fn not_kept(directory: &Path, error: &io::Error) -> String {
    format!("cannot keep the root in {}: {error}", at(directory))
}

fn secret(key: &Path) -> Result<PrivateKey, String> {
    let wrong = |error: io::Error| format!("{}: {error}", at(key));
    let mode = fs::metadata(key).map_err(wrong)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("{} can be read by others (mode {:o}): chmod 600 {0}", at(key), mode & 0o777));
    }
    pem::private_key(&fs::read_to_string(key).map_err(wrong)?).map_err(|error| format!("{}: {error}", at(key)))
}

/// Writes the roots that are in force. Keys first: a certificate that is there has its key.
fn keep(directory: &Path, authority: &Authority) -> io::Result<()> {
    let (roots, next) = (authority.root_keys(), directory.join(NEXT_KEY));
    for ((_, key), name) in roots.iter().zip([KEY, NEXT_KEY]) {
        write(&directory.join(name), &pem::encode("PRIVATE KEY", key.as_pkcs8()), 0o600)?;
    }
    let certificates: Vec<String> = roots.iter().map(|(root, _)| pem::encode("CERTIFICATE", root)).collect();
    write(&directory.join(ROOT), &certificates.concat(), 0o644)?;
    if roots.len() < 2 && next.exists() {
        fs::remove_file(next)?;
    }
    Ok(())
}

/// Begins to change the root, and keeps the new one.
///
/// # Errors
/// Why not, in words; nothing has changed then, or it is not on disk and said so.
pub(crate) fn change_root(directory: &Path, authority: &Authority, host: &Host) -> Result<(), String> {
    authority.change_root(host.rng("authority")).map_err(|error| error.to_string())?;
    keep(directory, authority).map_err(|error| not_kept(directory, &error))?;
    tracing::info!(
        "the root is being changed: a new one is trusted from now on, and signs after one life of a certificate"
    );
    Ok(())
}

/// How often [`follow`] looks.
const LOOK: Duration = Duration::from_secs(1);

/// Changes a root that is older than `root_life`, and forgets an old one on disk too when its time is over.
pub(crate) async fn follow(directory: PathBuf, authority: Arc<Authority>, host: Host, root_life: Option<Duration>) {
    let mut was_changing = authority.changes_until().is_some();
    loop {
        after(host.clock().as_ref(), LOOK).await;
        let is_changing = authority.changes_until().is_some();
        if was_changing && !is_changing {
            match keep(&directory, &authority) {
                Ok(()) => tracing::info!("the old root is forgotten"),
                // The next look tries again.
                Err(error) => {
                    tracing::error!("{}", not_kept(&directory, &error));
                    continue;
                }
            }
        }
        was_changing = is_changing;
        if !is_changing && root_life.is_some_and(|life| authority.root_age() >= life) {
            match change_root(&directory, &authority, &host) {
                Ok(()) => was_changing = true,
                Err(why) => tracing::error!("{why}"),
            }
        }
    }
}

/// Writes a new file beside its place and puts it there whole, readable by whom `mode` says from its first byte on.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
