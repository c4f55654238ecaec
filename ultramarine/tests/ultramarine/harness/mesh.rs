//! Machines that are not there: a network namespace for each node, and a pair of virtual links for each edge. Where an
//! edge is missing, no packet finds a way.
//!
//! Nothing of it has a name in the system. The kernel takes a namespace back, with its links, once no descriptor and no
//! process is left in it: so it is gone however a test ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use ultramarine_node::home::network::{Addresses, NodePlan};
use ultramarine_types::host::Host;

/// If this variable is 1, a test fails where it could make no namespaces.
const REQUIRED: &str = "ULTRAMARINE_REQUIRE_NETNS";

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine(Arc<File>);

impl Machine {
    /// Makes a namespace by a child, because a thread that makes its own would need unsafe code.
    fn new() -> io::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut answer = [0];
        let mut output = child.stdout.take().expect("it is piped");
        let entered = output.read_exact(&mut answer);
        let namespace = File::open(format!("/proc/{}/ns/net", child.id()));
        // It reads until its input ends.
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        if entered.is_err() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        namespace.map(|file| Self(Arc::new(file)))
    }

    /// Moves this thread into the machine for good. What it starts is there as well.
    pub fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("it was made for us");
    }

    /// Does something in the machine.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let act = || {
            self.enter();
            act()
        };
        std::thread::scope(|scope| scope.spawn(act).join())
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    }

    /// Runs `ip` in it with these words.
    fn ip(&self, words: &str) -> io::Result<()> {
        let run = || Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).output();
        let output = self.inside(run)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("ip {words}: {said}")))
    }

    /// The namespace, as `ip` takes it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// Some machines, each joined to most of the others.
#[derive(Debug)]
pub struct Mesh {
    pub machines: Vec<Machine>,
}

impl Mesh {
    /// Makes so many machines and all edges but these. `None`, and a line that says so, where the system lets us make
    /// none.
    pub fn without(count: usize, missing: &[(usize, usize)]) -> Option<Self> {
        match Self::new(count, missing) {
            Ok(mesh) => Some(mesh),
            Err(error) => {
                let required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
                assert!(!required, "network namespaces are required: {error}");
                let _ = writeln!(io::stderr(), "SKIPPED a test with network namespaces: {error}");
                None
            }
        }
    }

    fn new(count: usize, missing: &[(usize, usize)]) -> io::Result<Self> {
        let machines = (0..count).map(|_| Machine::new()).collect::<io::Result<Vec<_>>>()?;
        for (id, machine) in machines.iter().enumerate() {
            machine.ip("link set lo up")?;
            machine.ip(&format!("address add {}/32 dev lo", address(id)))?;
        }
        for one in 0..count {
            for other in one + 1..count {
                if !missing.contains(&(one, other)) {
                    join((one, &machines[one]), (other, &machines[other]))?;
                }
            }
        }
        Ok(Self { machines })
    }

    /// A node on each machine.
    pub fn plans(&self) -> Vec<NodePlan> {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let plan = |id| NodePlan {
            host: Host::Address(address(id)),
            addresses: Addresses {
                quic: SocketAddr::new(address(id), 26_650),
                http: loopback(8580),
                engine_http: loopback(8545),
                engine_auth: loopback(8551),
            },
        };
        (0..self.machines.len()).map(plan).collect()
    }
}

/// Each machine has one, on whatever link a packet comes.
fn address(id: usize) -> IpAddr {
    let last = u8::try_from(id + 1).expect("few machines");
    Ipv4Addr::new(10, 77, 0, last).into()
}

/// An edge: a link that leads from each to the other alone.
fn join((one, at_one): (usize, &Machine), (other, at_other): (usize, &Machine)) -> io::Result<()> {
    let far = at_other.path();
    at_one.ip(&format!("link add to{other} type veth peer name to{one} netns {far}"))?;
    for (here, there, machine) in [(one, other, at_one), (other, one, at_other)] {
        machine.ip(&format!("link set to{there} up"))?;
        let (ours, theirs) = (address(here), address(there));
        machine.ip(&format!("route add {theirs}/32 dev to{there} src {ours}"))?;
    }
    Ok(())
}
