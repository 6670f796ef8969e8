//! The servers of a Redis Cluster: a connection to each master, and which of them has what.
//!
//! The map of slots is fetched from any of them, again whenever a connection is lost or a server says that it is not the one;
//! what a server says of one slot (`MOVED`) is believed at once. A call that is on the wrong server was not done there, so it
//! is sent again until its deadline.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use redis::{Arg, Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::call::Call;
use super::error::CoordinatorError;
use super::link::{Declined, Link};
use super::slot_map::{SLOTS, SlotMap, slot_of};
use super::target::{Source, Target, Traffic, connection_info, refused};
use super::tls::Tls;
use crate::sync::Mutex;

/// Between two looks at the map, and until it is looked at though nobody has asked.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// Until a call is tried again whose keys are being moved.
const PAUSE: Duration = Duration::from_millis(2);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Cluster {
    /// How to talk to each; the address is another.
    info: ConnectionInfo,
    target: Target,
    /// Where to ask when nothing is known.
    seeds: Vec<String>,
    links: Mutex<BTreeMap<String, Member>>,
    map: watch::Sender<Arc<SlotMap>>,
    /// Somebody has seen that the map is wrong, or may be.
    stale: Notify,
}

/// A server that is connected to.
#[derive(Debug)]
struct Member {
    link: Arc<Link>,
    keeps: AbortHandle,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.keeps.abort();
    }
}

impl Cluster {
    /// Of the servers at these URLs and those that they know of. The first says how to talk to all of them.
    pub(super) fn of(urls: &[String], tls: Option<&Tls>, target: Target) -> Result<Self, CoordinatorError> {
        let infos = urls.iter().map(|url| connection_info(url, tls)).collect::<Result<Vec<_>, _>>()?;
        let address = |info: &ConnectionInfo| match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Ok(format!("{host}:{port}")),
            other => Err(CoordinatorError::Refused { detail: format!("{other}: no address of a cluster's server") }),
        };
        let seeds = infos.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        let first = infos.into_iter().next();
        let info = first.ok_or_else(|| CoordinatorError::Refused { detail: "no server is named".to_owned() })?;
        let (map, _) = watch::channel(Arc::default());
        Ok(Self { info, target, seeds, links: Mutex::default(), map, stale: Notify::new() })
    }

    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.target.traffic
    }

    fn links(&self) -> crate::sync::MutexGuard<'_, BTreeMap<String, Member>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch_keys(&self) -> Vec<String> {
        self.links().values().filter_map(|member| member.link.epoch_key()).collect()
    }

    /// The connection to the server at this address.
    fn link(&self, address: &str) -> Result<Arc<Link>, CoordinatorError> {
        let mut links = self.links();
        if let Some(member) = links.get(address) {
            return Ok(member.link.clone());
        }
        let unknown = || CoordinatorError::Unreachable { detail: format!("not an address: {address}") };
        let (host, port) = address.rsplit_once(':').ok_or_else(unknown)?;
        let port = port.parse().map_err(|_| unknown())?;
        let host = host.to_owned();
        let there = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = Client::open(self.info.clone().set_addr(there)).map_err(|error| refused(&error))?;
        let link = Arc::new(Link::new(Target { source: Source::Member(Box::new(client)), ..self.target.clone() }));
        let kept = link.clone();
        let keeps = tokio::spawn(async move { kept.keep().await }).abort_handle();
        links.insert(address.to_owned(), Member { link: link.clone(), keeps });
        Ok(link)
    }

    /// Keeps the map, and a connection to each server that has something of ours.
    pub(super) async fn keep(&self) {
        loop {
            let links: Vec<_> = self.links().values().map(|member| member.link.clone()).collect();
            let mut is_well = !links.is_empty();
            let mut known = None;
            for link in &links {
                if link.is_up() {
                    known = known.or(link.slots(Instant::now() + self.target.connect_timeout).await);
                } else {
                    // It may have said before it was found to be no master.
                    known = known.or(link.last_slots());
                    is_well = false;
                }
            }
            match known {
                Some(known) => self.learn(known),
                None => {
                    is_well = false;
                    for seed in &self.seeds {
                        if let Err(error) = self.link(seed) {
                            tracing::warn!(%error, seed, "a server of the cluster cannot be asked");
                        }
                    }
                }
            }
            sleep(LOOKS.0).await;
            let _ = timeout(if is_well { LOOKS.1 } else { LOOKS.0 }, self.stale.notified()).await;
        }
    }

    /// The slots that have keys of ours.
    fn ours(&self) -> impl Iterator<Item = u16> {
        let keys = &self.target.keys;
        let one = slot_of(keys.nodes().as_bytes());
        if keys.are_spread() { 0..SLOTS } else { one..one + 1 }
    }

    fn learn(&self, map: SlotMap) {
        let masters = map.masters(self.ours());
        if masters.is_empty() {
            return;
        }
        self.map.send_if_modified(|there| {
            let is_new = **there != map;
            *there = Arc::new(map);
            is_new
        });
        for address in &masters {
            if let Err(error) = self.link(address) {
                tracing::warn!(%error, address, "a server of the cluster cannot be asked");
            }
        }
        self.links().retain(|address, _| masters.contains(address));
    }

    /// Waits until each server can be asked.
    pub(super) async fn connected(&self, deadline: Instant) -> Result<(), CoordinatorError> {
        for slot in self.ours() {
            self.owner(slot, deadline).await?;
        }
        Ok(())
    }

    /// The connection to whoever has a slot.
    async fn owner(&self, slot: u16, deadline: Instant) -> Result<Arc<Link>, CoordinatorError> {
        let mut maps = self.map.subscribe();
        loop {
            let map = maps.borrow_and_update().clone();
            let Some(address) = map.owner(slot) else {
                self.stale.notify_one();
                match timeout_at(deadline, maps.changed()).await {
                    Ok(Ok(())) => continue,
                    _ => {
                        let detail = format!("no server is known that has slot {slot}{}", self.why());
                        return Err(CoordinatorError::Unreachable { detail });
                    }
                }
            };
            let link = self.link(address)?;
            if link.is_up() {
                return Ok(link);
            }
            self.stale.notify_one();
            let (connected, changed) = (pin!(link.connected(deadline)), pin!(maps.changed()));
            match select(connected, changed).await {
                Either::Left((connected, _)) => return connected.map(|()| link.clone()),
                // Another may have its slots by now.
                Either::Right(_) => {}
            }
        }
    }

    /// The address of whoever has a key, as far as is known.
    pub(super) fn home(&self, key: &str) -> String {
        self.map.borrow().owner(slot_of(key.as_bytes())).unwrap_or_default().to_owned()
    }

    /// What is wrong with the connections, if there is none.
    fn why(&self) -> String {
        let links = self.links();
        let why = |(address, member): (&String, &Member)| Some(format!("; {address}: {}", member.link.down()?));
        links.iter().find_map(why).unwrap_or_default()
    }

    /// Has the server do it that has the slot, wherever that turns out to be.
    async fn redirected<T, F>(
        &self,
        slot: u16,
        deadline: Instant,
        ask: impl Fn(Arc<Link>, bool) -> F,
    ) -> Result<T, CoordinatorError>
    where
        F: Future<Output = Result<T, Declined>> + Send,
    {
        let (mut once, mut turns) = (None, 0);
        loop {
            turns += 1;
            let (link, asking) = match once.take() {
                Some(link) => (link, true),
                None => (self.owner(slot, deadline).await?, false),
            };
            let declined = match ask(link, asking).await {
                Ok(answer) => return Ok(answer),
                Err(declined) => declined,
            };
            let why = format!("{declined:?}");
            match declined {
                Declined::Failed(error) => {
                    if error.is_transient() {
                        self.stale.notify_one();
                    }
                    return Err(error);
                }
                Declined::Moved(address) => {
                    self.map.send_modify(|map| Arc::make_mut(map).moved(slot, &address));
                    self.stale.notify_one();
                }
                Declined::Ask(address) => {
                    let link = self.link(&address)?;
                    link.connected(deadline).await?;
                    once = Some(link);
                }
                Declined::NotYet => turns += 2,
            }
            // While a slot changes hands, each of the two may say that it is the other's.
            if turns > 2 {
                sleep(PAUSE).await;
            }
            if Instant::now() >= deadline {
                let detail = format!("slot {slot} was on its way from one server to another for too long: {why}");
                return Err(CoordinatorError::Unreachable { detail });
            }
        }
    }

    pub(super) async fn call<C: Call + Sync>(
        &self,
        call: &C,
        deadline: Instant,
    ) -> Result<C::Answer, CoordinatorError> {
        let slot = slot_of(call.home(&self.target.keys).as_bytes());
        self.redirected(slot, deadline, async |link, asking| link.call(call, deadline, asking).await).await
    }

    /// Sends a plain command, once.
    pub(super) async fn command(&self, command: &Cmd, deadline: Instant) -> Result<Value, CoordinatorError> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command.clone());
        let slot = key_of(command).map_or(0, slot_of);
        let ask = async |link: Arc<Link>, asking| link.plain(&pipeline, deadline, asking).await;
        Ok(self.redirected(slot, deadline, ask).await?.into_iter().next().unwrap_or(Value::Nil))
    }

    /// Sends plain commands that may be done twice, those of one server together.
    pub(super) async fn plain(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CoordinatorError> {
        let map = self.map.borrow().clone();
        let mut groups: BTreeMap<Option<&str>, (u16, Vec<usize>, Pipeline)> = BTreeMap::new();
        let mut slot = 0;
        for (place, command) in pipeline.cmd_iter().enumerate() {
            slot = key_of(command).map_or(slot, slot_of);
            let (_, places, commands) = groups.entry(map.owner(slot)).or_insert((slot, Vec::new(), Pipeline::new()));
            places.push(place);
            commands.add_command(command.clone());
        }
        let mut answers = vec![Value::Nil; pipeline.len()];
        let groups = groups.into_values().map(|(slot, places, commands)| async move {
            let link = self.owner(slot, deadline).await?;
            let found = match link.plain(&commands, deadline, false).await {
                Err(Declined::Failed(error)) => return Err(error),
                Ok(found) => found,
                // Some of them are elsewhere.
                Err(_) => self.one_by_one(&commands, deadline).await?,
            };
            Ok((places, found))
        });
        for group in join_all(groups).await {
            let (places, found) = group?;
            for (place, answer) in places.into_iter().zip(found) {
                answers[place] = answer;
            }
        }
        Ok(answers)
    }

    async fn one_by_one(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CoordinatorError> {
        let mut answers = Vec::with_capacity(pipeline.len());
        for command in pipeline.cmd_iter() {
            answers.push(self.command(command, deadline).await?);
        }
        Ok(answers)
    }
}

/// What a plain command is about: its first argument.
fn key_of(command: &Cmd) -> Option<&[u8]> {
    match command.args_iter().nth(1) {
        Some(Arg::Simple(key)) => Some(key),
        _ => None,
    }
}
