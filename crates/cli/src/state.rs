//! What a control plane keeps on disk: the root of its mesh. `root.pem` is for everybody, `root-key.pem` for nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use squall_control::Authority;
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, pem};

/// The root certificate, which proxies are given as `--trust`.
pub(crate) const ROOT: &str = "root.pem";
const KEY: &str = "root-key.pem";

/// The authority whose root is kept in `directory`; made and kept there if there is none.
///
/// # Errors
/// What is wrong, in words, with advice.
pub(crate) fn authority(directory: &Path, host: &Host, life: Duration) -> Result<Authority, String> {
    let wall = host.wall().clone();
    let (root, key) = (directory.join(ROOT), directory.join(KEY));
    let at = |path: &Path| path.display().to_string();
    match (root.exists(), key.exists()) {
        (true, true) => {
            let mode = fs::metadata(&key).map_err(|error| format!("{}: {error}", at(&key)))?.permissions().mode();
            if mode & 0o077 != 0 {
                let shown = mode & 0o777;
                return Err(format!("{} can be read by others (mode {shown:o}): chmod 600 {0}", at(&key)));
            }
            let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", at(path)));
            let certificates = pem::certificates(&read(&root)?).map_err(|error| format!("{}: {error}", at(&root)))?;
            let [certificate] = certificates.as_slice() else {
                return Err(format!("{} must hold one certificate, it holds {}", at(&root), certificates.len()));
            };
            let secret = pem::private_key(&read(&key)?).map_err(|error| format!("{}: {error}", at(&key)))?;
            Authority::with_root(certificate.clone(), &secret, KeyAlgorithm::P256, wall, life)
                .map_err(|error| format!("{}: {error}", at(directory)))
        }
        (false, false) => {
            let made = Authority::new(KeyAlgorithm::P256, wall, host.rng("authority"), life);
            let authority = made.map_err(|error| error.to_string())?;
            let kept = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).and_then(|()| {
                let [certificate] = authority.roots().try_into().map_err(|_| io::Error::other("one root"))?;
                // The certificate last: where it is, its key is.
                write(&key, &pem::encode("PRIVATE KEY", authority.root_key().as_pkcs8()), 0o600)?;
                write(&root, &pem::encode("CERTIFICATE", &certificate), 0o644)
            });
            kept.map_err(|error| format!("cannot keep the root in {}: {error}", at(directory)))?;
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

/// Writes a new file beside its place and puts it there whole, readable by whom `mode` says from its first byte on.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
