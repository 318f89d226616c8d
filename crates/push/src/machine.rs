//! The addresses of this machine.

use std::{io, net::IpAddr};

/// All of them, as they are now: they come and go with interfaces. Whether an address can be bound
/// says nothing where `ip_nonlocal_bind` is set.
pub(crate) fn addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    Ok(interfaces.iter().map(if_addrs::Interface::ip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let addresses = addresses().unwrap();
        assert!(addresses.contains(&"127.0.0.1".parse().unwrap()));
        assert!(!addresses.contains(&"8.8.8.8".parse().unwrap()));
    }
}
