//! What clippy cannot check about this workspace.
