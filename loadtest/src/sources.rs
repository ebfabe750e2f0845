//! Where the connections come from: enough source addresses for the ports they need.

use std::net::{IpAddr, SocketAddr};

use ringwire::ring::socket;
use rustix::io::Errno;

use crate::addresses::{AddressRange, SourceChoice, SourcePart};
use crate::args::{Common, Target};
use crate::fault::Fault;
use crate::host::{Host, Ports};

/// Connections per source address while addresses are free to choose: `connect(2)` searches the
/// port range from one end to the other, and slows down as it fills.
const PER_ADDRESS_COMFORTABLE: u32 = 8_000;

/// Addresses that are missing, of which each is named.
const MISSING_NAMED_MAX: usize = 8;

/// The source addresses of all connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sources {
    /// Empty when the kernel chooses.
    addresses: Vec<SocketAddr>,
    /// Ports of each, towards the target that has the fewest.
    pub(crate) ports: u32,
}

impl Sources {
    /// Addresses for what the user asks, on this host.
    ///
    /// # Errors
    /// What is missing: a route, an interface, addresses, ports.
    pub(crate) fn choose(common: &Common, host: &Host) -> Result<Self, Vec<Fault>> {
        let target = common.url[0].address;
        if let Err(error) = &host.route {
            let ip = target.ip();
            let fault = Fault::new(format!("there is no route to {ip}: {error}"));
            let fault = fault.mend_if(ip.is_loopback(), || "ip link set lo up".to_owned());
            return Err(vec![
                fault.mend_if(!ip.is_loopback(), || format!("ip route add {ip} via GATEWAY")),
            ]);
        }
        let (busiest, connections) = busiest(&common.url, common.connections);
        let ports = ports_towards(&host.ports, busiest, host);
        let wanted = connections.div_ceil(comfortable(ports)) as usize;
        let addresses = match &common.source {
            SourceChoice::Auto => automatic(common, host, connections, ports, wanted),
            SourceChoice::Listed(parts) => listed(parts, target, host, wanted)?,
        };
        let available = (addresses.len() as u32).max(1);
        if u64::from(available) * u64::from(ports) < connections.into() {
            return Err(vec![ports_missing(common, host, busiest, connections, available)]);
        }
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Ok(Self { addresses, ports })
    }

    /// How many there are; 0 when the kernel chooses.
    pub(crate) const fn count(&self) -> usize {
        self.addresses.len()
    }

    /// The address with this index, any port.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.addresses[index]
    }

    /// The first and last, if there are any.
    pub(crate) fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        Some((self.addresses.first()?.ip(), self.addresses.last()?.ip()))
    }

    /// Tries every address before the first connection does. Gives back what is missing.
    pub(crate) fn check(&self, interface: Option<&str>) -> Vec<Fault> {
        let interface = interface.unwrap_or("INTERFACE");
        let add = |ip: IpAddr| {
            let length = if ip.is_ipv4() { 32 } else { 128 };
            format!("ip address add {ip}/{length} dev {interface}")
        };
        let mut faults = Vec::new();
        let mut missing = Vec::new();
        for &address in &self.addresses {
            match socket::listen_alone(address, 1).map_err(|error| (error.raw_os_error(), error)) {
                Ok(_) => {}
                // All ports are bound, which says nothing about those towards the target.
                Err((Some(code), _)) if code == Errno::ADDRINUSE.raw_os_error() => {}
                Err((Some(code), _)) if code == Errno::ADDRNOTAVAIL.raw_os_error() => {
                    missing.push(address.ip());
                }
                Err((_, error)) => {
                    faults.push(Fault::new(format!("--source {}: {error}", address.ip())));
                }
            }
        }
        if let Some(first) = missing.first() {
            let count = missing.len();
            let what = match count {
                1 => format!("the source address {first} is not of this host"),
                _ => format!("{count} source addresses are not of this host, {first} the first"),
            };
            let named = missing.iter().take(MISSING_NAMED_MAX);
            let mut commands: Vec<String> = named.map(|&ip| add(ip)).collect();
            if count > MISSING_NAMED_MAX {
                commands.push(format!("…; the same for {} more", count - MISSING_NAMED_MAX));
            }
            faults.push(Fault::new(what).mend(commands.join("; ")));
        }
        faults
    }
}

/// The address that most connections go to, and how many: URLs may differ in their path only.
fn busiest(targets: &[Target], connections: u32) -> (SocketAddr, u32) {
    let count = targets.len() as u32;
    let share =
        |index: usize| connections / count + u32::from((index as u32) < connections % count);
    let load_of = |address: SocketAddr| {
        let same = targets.iter().enumerate().filter(move |(_, target)| target.address == address);
        same.map(|(index, _)| share(index)).sum::<u32>()
    };
    let loads = targets.iter().map(|target| (target.address, load_of(target.address)));
    loads.max_by_key(|&(_, load)| load).expect("the command line has a target")
}

/// Connections per address that leave a tenth of its ports to others.
fn comfortable(ports: u32) -> u32 {
    (ports - ports / 10).clamp(1, PER_ADDRESS_COMFORTABLE)
}

fn ports_towards(ports: &Ports, target: SocketAddr, host: &Host) -> u32 {
    ports.count(host.owns(target.ip()).then_some(target.port()))
}

fn automatic(
    common: &Common,
    host: &Host,
    connections: u32,
    ports: u32,
    wanted: usize,
) -> Vec<IpAddr> {
    let target = common.url[0].address;
    let is_loopback = |target: &Target| target.address.ip().is_loopback();
    if target.is_ipv4() && common.url.iter().all(is_loopback) {
        if connections <= comfortable(ports) {
            return Vec::new();
        }
        return AddressRange::LOOPBACK.addresses().take(wanted).collect();
    }
    match host.interface() {
        Some(interface) if connections > ports => host.addresses_of(interface, target.is_ipv4()),
        _ => Vec::new(),
    }
}

fn listed(
    parts: &[SourcePart],
    target: SocketAddr,
    host: &Host,
    wanted: usize,
) -> Result<Vec<IpAddr>, Vec<Fault>> {
    let mut addresses = Vec::new();
    let mut faults = Vec::new();
    for part in parts {
        match part {
            SourcePart::Network(range) | SourcePart::Addresses(range)
                if range.is_ipv4() != target.is_ipv4() =>
            {
                let ip = target.ip();
                faults.push(Fault::new(format!("--source and {ip} differ in their IP version")));
            }
            SourcePart::Network(range) => addresses.extend(of_network(*range, host).take(wanted)),
            SourcePart::Addresses(range) => addresses.extend(range.addresses()),
            SourcePart::Interface(name) => {
                let own = host.addresses_of(name, target.is_ipv4());
                if own.is_empty() {
                    faults.push(no_address(name, target, host));
                }
                addresses.extend(own);
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|&address| seen.insert(address));
    if faults.is_empty() { Ok(addresses) } else { Err(faults) }
}

/// The addresses of a network, those that an interface of this host has first.
fn of_network(range: AddressRange, host: &Host) -> impl Iterator<Item = IpAddr> {
    let own = host.addresses.iter().map(|own| own.ip);
    let mut first: Vec<IpAddr> = own.filter(|&ip| range.contains(ip)).collect();
    first.sort_unstable();
    let others = range.addresses().filter(|&ip| host.interface_of(ip).is_none());
    first.into_iter().chain(others)
}

fn no_address(interface: &str, target: SocketAddr, host: &Host) -> Fault {
    let version = if target.is_ipv4() { "IPv4" } else { "IPv6" };
    if host.addresses.iter().any(|own| own.interface == interface) {
        let what = format!("the interface {interface} has no {version} address");
        return Fault::new(what).mend(format!("ip address add ADDRESS dev {interface}"));
    }
    let mut names: Vec<&str> = host.addresses.iter().map(|own| own.interface.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let what = format!("there is no interface {interface} with an address on this host");
    Fault::new(what).mend(format!("--source with one of {}", names.join(", ")))
}

fn ports_missing(
    common: &Common,
    host: &Host,
    target: SocketAddr,
    connections: u32,
    available: u32,
) -> Fault {
    let ports = ports_towards(&host.ports, target, host);
    let wide = ports_towards(&host.ports.widest(), target, host).max(1);
    let (first, last) = host.ports.range;
    let widen = "sysctl -w net.ipv4.ip_local_port_range='1024 65535'";
    let (needed, needed_wide) = (connections.div_ceil(ports.max(1)), connections.div_ceil(wide));
    let addresses = if available == 1 { "address" } else { "addresses" };
    let what = format!(
        "{connections} connections to {target} need as many ports; {available} source {addresses} \
         of {ports} ports each ({first} to {last}, without reserved ones) have {}",
        u64::from(available) * u64::from(ports)
    );
    let fault = Fault::new(what).mend_if(needed_wide <= available, || widen.to_owned());
    if target.ip().is_loopback() && target.is_ipv4() {
        let is_enough = ports > 0;
        return fault.mend_if(is_enough, || "--source 127.0.0.0/8".to_owned());
    }
    let interface = host.interface().unwrap_or("INTERFACE");
    let length = if target.is_ipv4() { 32 } else { 128 };
    let add = |count: u32| {
        let command = format!("ip address add ADDRESS/{length} dev {interface}");
        let source = match &common.source {
            SourceChoice::Auto => String::new(),
            SourceChoice::Listed(_) => " and name it in --source".to_owned(),
        };
        format!("{command}{source}, for {count} more addresses")
    };
    fault
        .mend_if(needed_wide > available && wide > ports, || {
            format!("{widen} and {}", add(needed_wide - available))
        })
        .mend_if(ports > 0, || add(needed - available))
        .mend("let the server listen on more ports, and name all: --url URL,URL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::synthetic::{common, host};

    const PORTS: u32 = 28_232;

    fn choose(flags: &str) -> Result<Sources, String> {
        let common = common(flags);
        let mut host = host();
        if !common.url[0].address.ip().is_loopback() {
            host.route = Ok([10, 0, 0, 5].into());
        }
        let show = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect();
        Sources::choose(&common, &host).map_err(show)
    }

    fn count(flags: &str) -> usize {
        choose(flags).expect(flags).count()
    }

    #[test]
    fn few_connections_take_the_address_the_kernel_gives() {
        assert_eq!(count("--url ws://127.0.0.1:80 --connections 8000"), 0);
        assert_eq!(count(&format!("--url ws://10.1.2.3:80 --connections {PORTS}")), 0);
    }

    #[test]
    fn an_interface_gives_all_its_addresses_when_one_is_not_enough() {
        assert_eq!(count(&format!("--url ws://10.1.2.3:80 --connections {}", PORTS + 1)), 3);
        assert_eq!(count("--url ws://10.1.2.3:80 --connections 1 --source eth0"), 3);
        assert_eq!(count("--url ws://[fd00::9]:80 --connections 1 --source eth0"), 1);
        let error = choose("--url ws://10.1.2.3:80 --connections 1 --source eth7,lo,wg0");
        let error = error.expect_err("no such interface");
        assert!(error.contains("no interface eth7") && error.contains("eth0, lo"), "{error}");
        assert!(error.contains("wg0 has no IPv4 address"), "{error}");
    }

    #[test]
    fn networks_give_the_addresses_of_this_host_first() {
        let sources = choose("--url ws://10.1.2.3:80 --connections 30000 --source 10.0.0.0/24");
        let ips: Vec<String> = sources
            .expect("sources")
            .addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        assert_eq!(ips, ["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.1"]);
    }

    #[test]
    fn too_few_ports_are_a_fault_that_counts() {
        let error = choose("--url ws://127.0.0.1:80 --connections 30000 --source 127.0.0.1");
        let error = error.expect_err("28,232 ports");
        assert!(error.contains("sysctl -w net.ipv4.ip_local_port_range='1024 65535'"), "{error}");
        assert!(error.contains("--source 127.0.0.0/8") && error.contains("28232"), "{error}");
        let error = choose("--url ws://10.1.2.3:80 --connections 300000").expect_err("3 addresses");
        assert!(
            error.contains("65535' and ip address add ADDRESS/32 dev eth0, for 2 more"),
            "{error}"
        );
        assert!(error.contains("or: ip address add ADDRESS/32 dev eth0, for 8 more"), "{error}");
        assert!(choose("--url ws://[::1]:80 --connections 30000").is_err());
    }

    #[test]
    fn each_target_has_all_ports() {
        let urls = "--url ws://10.1.2.3:80,ws://10.1.2.3:81/a";
        assert_eq!(count(&format!("{urls} --connections {}", 2 * PORTS)), 0);
        let same = "--url ws://10.1.2.3:80 --url ws://10.1.2.3:80/a";
        assert_eq!(count(&format!("{same} --connections {}", 2 * PORTS)), 3);
    }

    #[test]
    fn a_listening_port_in_the_range_is_no_port_of_a_client() {
        let flags = format!("--connections {PORTS} --source 127.0.0.1 --url ws://127.0.0.1");
        assert!(choose(&format!("{flags}:80")).is_ok());
        assert!(choose(&format!("{flags}:40000")).is_err());
    }

    #[test]
    fn addresses_of_this_host_are_checked() {
        let check = |flags: &str| {
            let faults = choose(flags).expect(flags).check(Some("eth0"));
            faults.iter().map(Fault::to_string).collect::<Vec<_>>()
        };
        let flags = "--url ws://127.0.0.1:80 --connections 1 --source";
        assert!(check(&format!("{flags} 127.9.8.7")).is_empty());
        let missing = check(&format!("{flags} 192.0.2.101-120"));
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("ip address add 192.0.2.101/32 dev eth0; "), "{missing:?}");
        assert!(missing[0].contains("for 12 more"), "{missing:?}");
        assert!(choose(&format!("{flags} ::1")).is_err());
    }
}
