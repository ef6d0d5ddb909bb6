//! One HTTP request with its redirects: the only door to `ureq`. Knows nothing of files, retries or hubs.

use std::time::Duration;

use base64::Engine as _;
use flow::kind::StageError;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use url::Url;

use super::origin::redact;

/// Redirects followed before giving up.
const MAX_REDIRECTS: usize = 10;

/// How long to wait, and whether proxies of the environment count.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientOptions {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes of an answer; a slow transfer that keeps coming is never cut off.
    pub idle: Duration,
    /// Whether `http_proxy`, `https_proxy` and `no_proxy` are followed.
    pub proxies: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            proxies: true,
        }
    }
}

/// Sends requests.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
}

/// An answer whose body was not read yet.
pub(super) struct Reply {
    /// The status code.
    pub status: u16,
    /// Where the answer came from, after redirects.
    pub url: Url,
    /// Headers of the last answer, and those of redirects on the way that it does not have; names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Box<dyn std::io::Read>,
}

impl Reply {
    /// The value of a header; `name` in lower case.
    #[must_use]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names a file that holds no certificates.
    pub(super) fn new(options: ClientOptions) -> Result<Self, StageError> {
        let mut builder = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pipeline/", env!("CARGO_PKG_VERSION")))
            .accept("*/*")
            .timeout_connect(Some(options.connect))
            .timeout_resolve(Some(options.connect))
            .timeout_per_read(Some(options.idle))
            .timeout_per_write(Some(options.idle));
        if !options.proxies {
            builder = builder.proxy(None);
        }
        if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            let certificates: Vec<_> = ureq::tls::parse_pem(&fs_err::read(&path)?)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(StageError::new(
                    "fetch::network",
                    format!("`{}` holds no certificates", path.display()),
                )
                .environment()
                .help("`SSL_CERT_FILE` must name a file of PEM certificates; unset it to use the built-in ones"));
            }
            builder = builder.tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::from(certificates.into_iter()))
                    .build(),
            );
        }
        Ok(Self {
            agent: builder.build().into(),
        })
    }

    /// Asks for `url`, following redirects. User and password in the URL become a header, `headers` go along
    /// everywhere, `bearer` only to the host that was asked first.
    ///
    /// # Errors
    /// Failures on the way (`may_pass`) and redirects that lead nowhere or to where they must not. Any status is an answer.
    pub(super) fn get(
        &self,
        url: &Url,
        headers: &[(&str, String)],
        bearer: Option<&str>,
    ) -> Result<Reply, StageError> {
        let mut at = url.clone();
        let mut passed: Vec<(String, String)> = Vec::new();
        for _ in 0..=MAX_REDIRECTS {
            let mut bare = at.clone();
            let _ = bare.set_username("");
            let _ = bare.set_password(None);
            bare.set_fragment(None);
            let mut request = self
                .agent
                .get(bare.as_str())
                .header("accept-encoding", "identity");
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            match (bearer, at.origin() == url.origin()) {
                (Some(token), true) => {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                _ => {
                    if let Some(basic) = basic_authorization(&at) {
                        request = request.header("authorization", basic);
                    }
                }
            }
            let response = request.call().map_err(|error| explain(&error, &at))?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let mut fresh: Vec<(String, String)> = parts
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                })
                .collect();
            let location = fresh.iter().find(|(name, _)| name == "location");
            if let (301 | 302 | 303 | 307 | 308, Some((_, location))) = (status, location) {
                at = redirect(&at, location)?;
                fresh.retain(|(name, _)| name.starts_with("x-"));
                passed.extend(fresh);
                continue;
            }
            fresh.extend(passed);
            return Ok(Reply {
                status,
                url: at,
                headers: fresh,
                body: Box::new(body.into_reader()),
            });
        }
        Err(StageError::new(
            "fetch::redirect",
            format!(
                "`{}` leads through more than {MAX_REDIRECTS} redirects",
                redact(url.as_str())
            ),
        )
        .environment()
        .help("open it in a browser and use the address it ends at"))
    }
}

fn basic_authorization(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decode = |text: &str| super::origin::decode_percent(text);
    let pair = format!(
        "{}:{}",
        decode(url.username()),
        decode(url.password().unwrap_or_default())
    );
    let code = base64::engine::general_purpose::STANDARD.encode(pair);
    Some(format!("Basic {code}"))
}

fn redirect(from: &Url, location: &str) -> Result<Url, StageError> {
    let refuse = |why: &str| {
        StageError::new(
            "fetch::redirect",
            format!(
                "`{}` redirects to `{}`, {why}",
                redact(from.as_str()),
                redact(location)
            ),
        )
        .environment()
    };
    let Ok(to) = from.join(location) else {
        return Err(refuse("which is not a URL").help("use another address of the file"));
    };
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err(refuse("away from `https:`").help(
            "use an address that stays on `https:`, or name the `http:` address yourself and pin the file with `sha256:`",
        )),
        (_, "http" | "https") => Ok(to),
        _ => Err(refuse("which is not on the web").help("use another address of the file")),
    }
}

fn explain(error: &ureq::Error, url: &Url) -> StageError {
    let host = url.host_str().unwrap_or_default();
    let shown = redact(url.as_str());
    let failure = |text: String| StageError::new("fetch::network", text).environment();
    let no_network =
        "look at the network and the proxy settings; without a network use `--mirrors FILE`";
    match error {
        ureq::Error::HostNotFound => {
            failure(format!("the host `{host}` of `{shown}` is not known"))
                .help(no_network)
                .may_pass()
        }
        ureq::Error::Timeout(_) => failure(format!("`{shown}` does not answer in time"))
            .help("try again later, or use `--mirror PREFIX=DIR_OR_URL`")
            .may_pass(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            failure(format!("no safe connection to `{host}`"))
                .detail(error.to_string())
                .help("where a proxy signs with its own certificate, name it in `SSL_CERT_FILE`")
        }
        ureq::Error::Io(source) if source.to_string().contains("certificate") => {
            failure(format!("no safe connection to `{host}`"))
                .detail(source.to_string())
                .help("where a proxy signs with its own certificate, name it in `SSL_CERT_FILE`")
        }
        ureq::Error::Io(source) => failure(format!("no connection to `{shown}`"))
            .detail(source.to_string())
            .help(no_network)
            .may_pass(),
        other => failure(format!("no answer from `{shown}`"))
            .detail(other.to_string())
            .help(no_network)
            .may_pass(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_to_the_web_and_to_safety() {
        let to = |from: &str, place: &str| {
            let from = Url::parse(from).expect("a URL");
            redirect(&from, place)
                .map(String::from)
                .map_err(|error| error.diagnostic.message)
        };
        assert_eq!(to("https://a/b/c", "../d").as_deref(), Ok("https://a/d"));
        assert_eq!(to("http://a/b", "https://c/").as_deref(), Ok("https://c/"));
        assert_eq!(
            to("https://a/b", "http://u:pw@a/b?token=x"),
            Err(
                "`https://a/b` redirects to `http://***@a/b?token=***`, away from `https:`"
                    .to_owned()
            )
        );
        assert_eq!(
            to("https://a/b", "ftp://a/b"),
            Err("`https://a/b` redirects to `ftp://a/b`, which is not on the web".to_owned())
        );
    }
}
