//! `serve aws`: a local EBS direct and EC2 over a store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Unread;
use crate::ami::is_account;
use crate::bundle::Bundle;
use crate::bundle::Snapshot;
use crate::bundle::VOLUME_DEVICE;
use crate::bundle::VolumeConfig;
use crate::bundle::Writer;
use crate::chunking::Source;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::instance_store::Machine;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_secret;
use crate::io::read_vec;
use crate::layout;
use crate::layout::Catalog;
use crate::layout::SharedLayout;
use crate::layout::Work;
use crate::layout::is_store;
use crate::layout::not_a_store;
use crate::lint::Finding;
use crate::lint::Subject;
use crate::lint::lint;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::instance_store::look_at_instance_store;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::packing::PackOne;
use crate::ops::shared::packing::pack_one;
use crate::ops::shared::store_names::for_output;
use crate::ops::shared::store_names::typed;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::pack::GroupCache;
use crate::serve::Address;
use crate::serve::Listener;
use crate::serve::aws::AccessKey;
use crate::serve::aws::DEFAULT_CONNECTIONS;
use crate::serve::aws::Event;
use crate::serve::aws::Faults;
use crate::serve::aws::Keeper;
use crate::serve::aws::Kept;
use crate::serve::aws::Served;
use crate::serve::aws::Settings;
use crate::units::ebs_gib;
use crate::volume::ReadVolume;
use crate::work::Unwatched;
use crate::work::Watch;
use crate::work::default_threads;

/// Account of callers that have no other.
const DEFAULT_ACCOUNT: &str = "123456789012";

/// Region of what was in the store before.
const DEFAULT_REGION: &str = "us-east-1";

/// Largest volume that peers may make, in bytes.
const DEFAULT_MAX_SIZE: u64 = 1 << 40;

/// Most bytes of a file of keys, or of faults.
const MOST_FILE: u64 = 1 << 20;

/// What is served, and how.
#[derive(Clone, Debug)]
pub struct AwsRequest {
    /// The store.
    pub store: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// A name beside those of loopback by which clients reach it.
    pub host: Option<String>,
    /// The account of callers that have no other.
    pub account: String,
    /// The region of what was in the store before.
    pub region: String,
    /// A file of keys: `ID SECRET [ACCOUNT]` a line. Any key signs without.
    pub keys: Option<PathBuf>,
    /// A file of what is to fail.
    pub faults: Option<PathBuf>,
    /// Largest volume that peers may make, in bytes.
    pub max_size: u64,
    /// Most connections at a time.
    pub connections: usize,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Threads to make snapshots with.
    pub threads: NonZero<usize>,
}

impl AwsRequest {
    /// Asks for a store at an address.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            store: store.into(),
            listen,
            host: None,
            account: DEFAULT_ACCOUNT.to_owned(),
            region: DEFAULT_REGION.to_owned(),
            keys: None,
            faults: None,
            max_size: DEFAULT_MAX_SIZE,
            connections: DEFAULT_CONNECTIONS,
            groups: Groups::default(),
            threads: default_threads(),
        }
    }
}

/// What is served, and where: known before the first peer connects.
#[derive(Clone, Debug, Serialize)]
pub struct AwsListening {
    /// The endpoint, for `--endpoint-url` and the like.
    pub url: String,
    /// Whether only this machine can connect.
    pub local: bool,
    /// The account of callers that have no other.
    pub account: String,
    /// The region of what was in the store before.
    pub region: String,
    /// Whether signatures are verified.
    pub signed: bool,
}

/// Serves a store until `watch` says to stop. `ready` hears where, once peers can connect; `hear` hears of each call.
///
/// # Errors
///
/// `Invalid` if there is no store, or for an account, keys or faults that are none; `Io` if the system refuses, or
/// another server has the store; whatever `ready` returns.
pub fn aws(
    request: &AwsRequest,
    watch: &dyn Watch,
    ready: &mut dyn FnMut(&AwsListening) -> Result<()>,
    hear: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Served> {
    if !is_store(&request.store)? {
        return Err(not_a_store(&request.store));
    }
    if !is_account(&request.account) {
        let text = format!("the account is {:?}, expected twelve digits", request.account);
        let example = DEFAULT_ACCOUNT.into();
        return Err(Error::invalid(text).advise(Advice::Give { setting: Setting::User, example }));
    }
    let keys = match &request.keys {
        Some(path) => keys(path, watch).map_err(|e| e.in_file(path))?,
        None => BTreeMap::new(),
    };
    let faults = match &request.faults {
        Some(path) => {
            let file = Input::open(path)?;
            let bytes = read_vec(&file, 0, file.len().min(MOST_FILE))?;
            Faults::parse(&bytes).map_err(|e| e.in_file(path))?
        }
        None => Faults::default(),
    };
    let listener = Listener::bind(Address::Tcp(request.listen))?;
    let local = listener.address().is_local();
    let url = match listener.address() {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(path) => path.display().to_string(),
    };
    let listening = AwsListening {
        url,
        local,
        account: request.account.clone(),
        region: request.region.clone(),
        signed: !keys.is_empty(),
    };
    let host = match (&request.host, local) {
        (Some(host), _) => Some(host.to_ascii_lowercase()),
        // What is asked for by its address is reached by it.
        (None, false) => Some(request.listen.ip().to_string()),
        (None, true) => None,
    };
    let settings = Settings {
        account: request.account.clone(),
        region: request.region.clone(),
        keys,
        host,
        max_size: request.max_size,
        connections: request.connections,
        faults,
    };
    let keeper = StoreKeeper {
        store: request.store.clone(),
        groups: request.groups,
        threads: request.threads,
        writing: Mutex::new(()),
        cache: Arc::default(),
    };
    crate::serve::aws::serve(
        &listener,
        &request.store,
        &keeper,
        settings,
        watch,
        &mut || ready(&listening),
        hear,
    )
}

/// Reads a file of keys.
fn keys(path: &Path, watch: &dyn Watch) -> Result<BTreeMap<String, AccessKey>> {
    let bytes = read_secret(path, MOST_FILE, watch)?;
    let mut keys = BTreeMap::new();
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (id, secret, account) = match words[..] {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            [id, secret] => (id, secret, None),
            [id, secret, account] if is_account(account) => (id, secret, Some(account)),
            _ => {
                let line = number.saturating_add(1);
                let text = format!("line {line} is not a key's ID, its secret and an account");
                return Err(Error::invalid(text));
            }
        };
        let account = account.map(str::to_owned);
        keys.insert(id.to_owned(), AccessKey { secret: secret.to_owned(), account });
    }
    if keys.is_empty() {
        return Err(Error::invalid("it has no key"));
    }
    Ok(keys)
}

/// The store, for the server.
#[derive(Debug)]
struct StoreKeeper {
    store: PathBuf,
    groups: Groups,
    threads: NonZero<usize>,
    /// One snapshot or AMI is made at a time: each takes all threads, and shares with the one before.
    writing: Mutex<()>,
    /// Decompressed groups of all snapshots that are open: peers choose how many that are.
    cache: Arc<GroupCache>,
}

impl StoreKeeper {
    fn bundle(&self, name: &str) -> Result<Bundle> {
        Bundle::open_any(&self.store, Some(name))
    }
}

impl Keeper for StoreKeeper {
    fn list(&self) -> Result<Vec<Kept>> {
        let store = layout::open(&self.store)?;
        let mut kept = Vec::new();
        for entry in Catalog::read(&*store)?.entries {
            let Some(name) = entry.name().map(str::to_owned) else { continue };
            let digest = entry.descriptor.digest;
            // What is none of ours is none of the server's.
            let Ok(bundle) = Bundle::open_entry(Arc::clone(&store), entry.descriptor) else {
                continue;
            };
            let mut volumes = Vec::new();
            for layer in bundle.snapshots() {
                let size = bundle.manifest(layer)?.volume_size();
                volumes.push((layer.device.clone(), layer.root, size));
            }
            let bare = bundle.is_bare();
            kept.push(Kept {
                name,
                digest,
                description: bundle.ami().description.clone().filter(|_| bare),
                ami: (!bare).then(|| bundle.ami().clone()),
                volumes,
            });
        }
        Ok(kept)
    }

    fn open(&self, name: &str, device: &str) -> Result<Arc<Snapshot>> {
        self.bundle(name)?.snapshot_sharing(Some(device), &self.cache).map(Arc::new)
    }

    fn keep(
        &self,
        name: &str,
        volume: &dyn ReadVolume,
        base: Option<&(String, String)>,
        description: Option<String>,
    ) -> Result<Digest> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer =
            Writer::create(&for_output(&self.store, name), DEFAULT_PACK_SIZE, &Unwatched)?;
        let opened = match base {
            Some((base, device)) => {
                let mut request = VolumeRequest::new(&typed(&self.store, base));
                request.image.member = Some(device.clone());
                let base = BaseRequest::new(request);
                Some(OpenedBase::open(&base, VOLUME_DEVICE, &mut writer, self.threads, &Unwatched)?)
            }
            None => None,
        };
        let base = match &opened {
            Some(opened) => opened.of_device(VOLUME_DEVICE)?,
            None => None,
        };
        let known = RwLock::default();
        let one = PackOne {
            device: VOLUME_DEVICE,
            base,
            index: None,
            groups: self.groups,
            threads: self.groups.threads(self.threads),
            states: States::default(),
            free: None,
            known: &known,
        };
        let written = pack_one(&mut writer, Source::Volume(volume), &one, &Unwatched)?;
        let root = written.summary.root;
        let config = VolumeConfig {
            snapshot_digest: Some(root),
            volume_size: ebs_gib(written.summary.volume_size),
            description,
        };
        writer.finish_bare(&config, name, &Unwatched)?;
        Ok(root)
    }

    fn register(
        &self,
        name: &str,
        ami: &Ami,
        volumes: &[(String, (String, String))],
    ) -> Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer =
            Writer::create(&for_output(&self.store, name), DEFAULT_PACK_SIZE, &Unwatched)?;
        let mut volumes = volumes.to_vec();
        volumes.sort();
        for (device, (from, its)) in &volumes {
            let bundle = self.bundle(from)?;
            writer.adopt(&bundle, bundle.find(Some(its))?, device, &Unwatched)?;
        }
        writer.finish(ami, &Unwatched)?;
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let layout = SharedLayout::open(&self.store, Work::Add, &Unwatched)?;
        layout.change(&Unwatched, |catalog| {
            let there = catalog.remove(name).is_some();
            Ok(((), there))
        })
    }

    fn instance_store(&self, name: &str) -> Result<Option<Machine>> {
        look_at_instance_store(&self.store, name)
    }

    fn refusals(
        &self,
        ami: &Ami,
        _volumes: &[(String, (String, String))],
        unread: &[Unread],
    ) -> Result<Vec<Finding>> {
        Ok(lint(&Subject { unread, ..Subject::of(ami) }, &[]))
    }
}
