//! What of a fetch only the network has. Opens no connection; whether a copy is the right one shows when it is read.

use super::hub::Hub;
use super::{Fetch, Item, Source, origin};

/// Addresses of a stage's files that lie nowhere on this machine, as people may read them; by its bound configuration.
pub(crate) fn only_online(config: &str) -> Vec<String> {
    let fetch: Option<Fetch> = serde_json::from_str(config).ok();
    let hub = Hub::from_environment(|name| std::env::var(name).ok());
    fetch.map_or_else(Vec::new, |fetch| fetch.only_online(&hub))
}

impl Fetch {
    /// The same, each once.
    pub(super) fn only_online(&self, hub: &Hub) -> Vec<String> {
        let mut addresses = Vec::new();
        for item in self.items() {
            let address = origin::redact(self.asked(&item));
            if self.is_remote(&item, hub) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// What is really asked for: the mirror, where there is one.
    fn asked<'a>(&'a self, item: &'a Item) -> &'a str {
        self.settings
            .mirrors
            .get(&item.name)
            .unwrap_or(&item.address)
    }

    fn is_remote(&self, item: &Item, hub: &Hub) -> bool {
        let is_file = |address: &str| {
            let scheme = address.get(..5);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
        };
        let is_of_network = |address: &str| origin::is_url(address) && !is_file(address);
        if let Some(mirror) = self.settings.mirrors.get(&item.name) {
            return is_of_network(mirror);
        }
        match &item.source {
            Source::Url(url) => is_of_network(url),
            // Who has to put a file there needs no network of ours.
            Source::Put { .. } => false,
            Source::Hub { file } => {
                let repository = self.repository().expect("hub items have a repository");
                hub.find_cached(repository, file).is_none()
            }
        }
    }
}
