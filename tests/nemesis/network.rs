//! A network between the nodes that can lose packets: a namespace for each node, and one for the bridge between them. The
//! network of the machine is in none of them.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use crate::bank::NAMES;
use crate::process::Place;

/// Where `ip netns` keeps them.
const DIRECTORY: &str = "/var/run/netns";
const HUB: &str = "hub";
/// The interface that each node has.
const WIRE: &str = "eth0";

/// What happens to packets that a node gets from another, or from anybody, or sends.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// They vanish: neither side hears of it.
    Drop {
        at: &'static str,
        from: &'static str,
    },
    /// The sender is told that there is no such connection.
    Reset {
        at: &'static str,
        from: &'static str,
    },
    DropAllIn {
        at: &'static str,
    },
    DropAllOut {
        at: &'static str,
    },
}

impl Rule {
    fn at(self) -> &'static str {
        match self {
            Self::Drop { at, .. } | Self::Reset { at, .. } | Self::DropAllIn { at } | Self::DropAllOut { at } => at,
        }
    }

    fn words(self) -> Vec<String> {
        let text = match self {
            Self::Drop { from, .. } => format!("INPUT -s {} -j DROP", host(from)),
            Self::Reset { from, .. } => format!("INPUT -s {} -p tcp -j REJECT --reject-with tcp-reset", host(from)),
            Self::DropAllIn { .. } => "INPUT -j DROP".to_owned(),
            Self::DropAllOut { .. } => "OUTPUT -j DROP".to_owned(),
        };
        text.split(' ').map(str::to_owned).collect()
    }
}

fn host(name: &str) -> String {
    let index = NAMES.iter().position(|other| *other == name).map_or(254, |index| index + 1);
    format!("10.0.0.{index}")
}

/// All its namespaces end with it.
pub struct Network(());

impl Network {
    /// Makes one, unless something is missing: that is told.
    pub fn new() -> Result<Self, String> {
        let network = Self(());
        network.make()?;
        // What is needed later is tried now: from then on, whatever fails is a fault.
        for rule in
            [Rule::Drop { at: "A", from: "B" }, Rule::Reset { at: "A", from: "B" }, Rule::DropAllOut { at: "A" }]
        {
            network.changed("-A", rule)?;
            network.changed("-D", rule)?;
        }
        on_a_thread(|| network.enter())?;
        Ok(network)
    }

    /// What a kernel may not have, or not allow, is told; anything else that fails is a fault here.
    fn make(&self) -> Result<(), String> {
        let hub = space(HUB);
        run(&["ip", "netns", "add", &hub])?;
        self.ip(HUB, "link add bridge type bridge")?;
        self.ip(HUB, &format!("addr add {}/24 dev bridge", host(HUB))).unwrap();
        for interface in ["lo", "bridge"] {
            self.ip(HUB, &format!("link set {interface} up")).unwrap();
        }
        for name in NAMES {
            run(&["ip", "netns", "add", &space(name)])?;
            self.ip(HUB, &format!("link add {name} type veth peer name {WIRE} netns {}", space(name)))?;
            self.ip(HUB, &format!("link set {name} master bridge up")).unwrap();
            self.ip(name, &format!("addr add {}/24 dev {WIRE}", host(name))).unwrap();
            for interface in ["lo", WIRE] {
                self.ip(name, &format!("link set {interface} up")).unwrap();
            }
        }
        Ok(())
    }

    /// Runs `ip` on what is in a namespace.
    fn ip(&self, name: &str, words: &str) -> Result<String, String> {
        let space = space(name);
        run(&["ip", "-n", &space].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
    }

    fn iptables(&self, name: &str, words: &[&str]) -> Result<String, String> {
        let space = space(name);
        // It waits for whoever is at work on tables, in another namespace it may be.
        run(&[&["ip", "netns", "exec", &space, "iptables", "-w"], words].concat())
    }

    fn changed(&self, how: &str, rule: Rule) -> Result<String, String> {
        let words = rule.words();
        self.iptables(rule.at(), &[&[how], &*words.iter().map(String::as_str).collect::<Vec<_>>()].concat())
    }

    pub fn add(&self, rule: Rule) {
        self.changed("-A", rule).unwrap();
    }

    pub fn remove(&self, rule: Rule) {
        self.changed("-D", rule).unwrap();
    }

    /// How many packets met a rule of this node.
    pub fn met(&self, name: &str) -> u64 {
        let rules = self.iptables(name, &["-v", "-S"]).unwrap();
        let count = |rule: &str| rule.split(" -c ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        rules.lines().filter(|rule| rule.starts_with("-A")).filter_map(count).sum()
    }

    /// Takes the link of a node away, or brings it back.
    pub fn set_link(&self, name: &str, up: bool) {
        self.ip(name, &format!("link set {WIRE} {}", if up { "up" } else { "down" })).unwrap();
    }

    /// Where a node runs.
    pub fn place(&self, name: &str) -> Place {
        let enter = ["ip", "netns", "exec", &space(name)].map(str::to_owned).into();
        Place { enter, host: Some(host(name)), ..Place::default() }
    }

    /// Runs something where the bridge is, from where every node is reached; what it starts is there too.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            self.enter().unwrap();
            work()
        })
    }

    /// Takes this thread there for good. The others stay where they are.
    fn enter(&self) -> Result<(), String> {
        let hub = File::open(Path::new(DIRECTORY).join(space(HUB))).map_err(|error| error.to_string())?;
        setns(hub, CloneFlags::CLONE_NEWNET).map_err(|error| format!("a thread cannot enter a namespace: {error}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in NAMES.into_iter().chain([HUB]).filter(|name| Path::new(DIRECTORY).join(space(name)).exists()) {
            if let Err(why) = run(&["ip", "netns", "del", &space(name)]) {
                eprintln!("{why}");
            }
        }
    }
}

/// The name of a namespace, which no other test program uses meanwhile.
fn space(name: &str) -> String {
    format!("paxbank-{}-{name}", std::process::id())
}

/// Whatever it does to its thread ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a command that is over at once; what went wrong is said in one line.
fn run(words: &[&str]) -> Result<String, String> {
    let told = Command::new(words[0]).args(&words[1..]).output();
    let told = told.map_err(|error| format!("{} cannot be run: {error}", words[0]))?;
    let why = String::from_utf8_lossy(&told.stderr);
    if told.status.success() {
        return Ok(String::from_utf8_lossy(&told.stdout).into_owned());
    }
    Err(format!("`{}`: {}", words.join(" "), why.lines().next().unwrap_or("it fails, and says nothing")))
}
