//! The ports the demo listens on.

use std::net::TcpListener;

use anyhow::{Result, bail};

/// One port for each listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) relay: u16,
    pub(super) admin: u16,
    pub(super) panel: u16,
    pub(super) receiver: u16,
}

impl Ports {
    /// Ports that the system chooses.
    pub(super) const ANY: Self = Self {
        relay: 0,
        admin: 0,
        panel: 0,
        receiver: 0,
    };

    /// The ports that the documentation names.
    pub(super) const USUAL: Self = Self {
        relay: 8080,
        admin: 8081,
        panel: 8600,
        receiver: 8700,
    };

    /// Four ports in a row.
    pub(super) const fn from_base(base: u16) -> Self {
        Self {
            relay: base,
            admin: base + 1,
            panel: base + 2,
            receiver: base + 3,
        }
    }

    /// Fails if something listens on a port already.
    pub(super) fn check(self, with_receiver: bool) -> Result<()> {
        let mut wanted = vec![
            ("relay", self.relay),
            ("admin page", self.admin),
            ("demo panel", self.panel),
        ];
        if with_receiver {
            wanted.push(("receiver", self.receiver));
        }
        for (what, port) in wanted {
            if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                bail!(
                    "port {port} for the {what} cannot be used: {error}.\n\
                     Choose others with `cargo xtask demo --port-base 9000`: it takes 9000 to 9003."
                );
            }
        }
        Ok(())
    }
}

/// The address to give to `--listen`.
pub(super) fn listen(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
