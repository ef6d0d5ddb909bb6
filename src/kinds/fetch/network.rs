//! What of a fetch is not on this machine. Opens no connection; whether a copy is the right one shows when it is read.

use std::path::Path;

use flow::kind::StageError;
use url::Url;

use super::hub::Hub;
use super::{Fetch, Item, Source, origin};

/// What a fetch without the network would fail on, each once and as people may read it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lacking {
    /// Addresses that only the network has.
    pub(crate) online: Vec<String>,
    /// Copies and files that should lie on this machine and do not, a fragment each.
    pub(crate) absent: Vec<String>,
}

impl Lacking {
    /// Adds what another configuration of the stage lacks.
    fn add(&mut self, other: Self) {
        for (known, new) in [
            (&mut self.online, other.online),
            (&mut self.absent, other.absent),
        ] {
            for one in new {
                if !known.contains(&one) {
                    known.push(one);
                }
            }
        }
    }
}

/// What a stage lacks in any of its bound configurations, of which one that hangs on a choice has several; paths are below
/// `root`.
pub(crate) fn lacking<'a>(configs: impl Iterator<Item = &'a str>, root: &Path) -> Lacking {
    let hub = Hub::from_environment(|name| std::env::var(name).ok());
    let mut lacking = Lacking::default();
    for config in configs {
        let fetch: Fetch = serde_json::from_str(config).expect("what was bound decodes");
        lacking.add(fetch.lacking(&hub, root));
    }
    lacking
}

impl Fetch {
    /// The same of one configuration.
    pub(super) fn lacking(&self, hub: &Hub, root: &Path) -> Lacking {
        let mut lacking = Lacking::default();
        for item in self.items() {
            lacking.add(self.lacks(&item, hub, root));
        }
        lacking
    }

    fn lacks(&self, item: &Item, hub: &Hub, root: &Path) -> Lacking {
        let online = |address: &str| Lacking {
            online: vec![origin::redact(address)],
            ..Lacking::default()
        };
        let absent = |error: StageError| {
            let mut line = error.diagnostic.message;
            if let Some(detail) = error.diagnostic.details.first() {
                line.push_str(&format!(" ({detail})"));
            }
            Lacking {
                absent: vec![line],
                ..Lacking::default()
            }
        };
        let by_url = |address: &str| match Url::parse(address) {
            Ok(url) if url.scheme() == "file" => {
                origin::local_file(&url).map_or_else(absent, |_| Lacking::default())
            }
            _ => online(address),
        };
        if let Some(mirror) = self.settings.mirrors.get(&item.name) {
            if origin::is_url(mirror) {
                return by_url(mirror);
            }
            let is_unpacked = item.spec.unpack.is_some();
            let found = origin::mirror_file(mirror, &item.address, root, is_unpacked);
            let fits = found.and_then(|path| match path.is_dir() {
                true => item.takes_folder(mirror),
                false => Ok(()),
            });
            return fits.map_or_else(absent, |()| Lacking::default());
        }
        match &item.source {
            Source::Url(url) => by_url(url),
            // Who has to put a file there is told by the run, with or without a network.
            Source::Put { .. } => Lacking::default(),
            Source::Hub { file } => {
                let repository = self.repository().expect("hub items have a repository");
                match hub.find_cached(repository, file) {
                    Some(_) => Lacking::default(),
                    None => online(&item.address),
                }
            }
        }
    }
}
