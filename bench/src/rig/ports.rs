//! Ports for brokers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};

/// So many ports of 127.0.0.1 that are free now, each another one.
///
/// # Errors
/// If there are none.
pub fn free_ports<const COUNT: usize>() -> std::io::Result<[u16; COUNT]> {
    // All are held until all are found.
    let mut held = Vec::new();
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_differ_and_can_be_had() {
        let [a, b] = free_ports().unwrap();
        assert!(a != b && a != 0);
        TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
    }
}
