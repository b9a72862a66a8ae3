//! The configuration, checked and in SI units.

use std::path::PathBuf;

use clap::ValueEnum as _;
use hedgerow_core::allocator::Wire;
use hedgerow_core::node::KvType;
use hedgerow_core::settings::{Padding, Protocol, Settings};
use hedgerow_core::time::Span;
use hedgerow_core::units::{BitsPerSecond, Bytes, Quality, Tokens};
use hedgerow_solver::Policy;
use hedgerow_workload::hint::hinted;

use super::accelerators::{DeviceChoice, GpuLayers};
use super::limits::LimitsConfig;
use super::raw::RawConfig;

/// The requested kernels: `engine.kernels`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelChoice {
    /// The fast ones if the check passes, the plain ones if not.
    #[default]
    Auto,
    /// The fast ones even if the check fails.
    Fast,
    /// The plain ones, unchecked.
    Plain,
}

/// The checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The section `[server]`: the address of the HTTP server, and whom it answers.
    pub server: ServerConfig,
    /// The section `[access]`: who may ask.
    pub access: AccessConfig,
    /// The section `[limits]`: what a client can take of this machine.
    pub limits: LimitsConfig,
    /// The section `[model]`: the model and the precisions to serve.
    pub model: ModelConfig,
    /// The section `[engine]`: sizes, threads, devices and kernels of the engine.
    pub engine: EngineConfig,
    /// The section `[planning]`, except the default deadline; prompts are never padded.
    pub settings: Settings,
    /// Default deadline of requests without one, from arrival.
    pub default_deadline: Option<Span>,
    /// The section `[link]`: the capacity of the link to the callers.
    pub link: LinkConfig,
    /// The section `[sampling]`: values of the parameters that a request does not set.
    pub sampling: SamplingDefaults,
    /// The section `[batch]`: where batches are stored, and their limits.
    pub batch: BatchConfig,
    /// The section `[log]`: what is logged and in which format.
    pub log: LogConfig,
}

/// The settings of the HTTP server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// An IP address or a name.
    pub host: String,
    pub port: u16,
    pub shutdown_grace: Span,
    /// The files of the certificate; `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// Names by which requests may name this machine besides its own.
    pub allowed_hosts: Vec<String>,
    /// Origins of the web pages that may use the API.
    pub allowed_origins: Vec<String>,
}

/// The files of a certificate, in PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessConfig {
    /// The file of the API keys; `None`: no keys are needed.
    pub keys_file: Option<PathBuf>,
    /// The most value of a request where no keys are needed.
    pub anonymous_value_max: u32,
}

/// The settings of the served model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub name: String,
    /// The model name that clients use, if not the model's own.
    pub alias: Option<String>,
    pub quality: Quality,
    /// Other precisions of the model to serve.
    pub also: Vec<AlsoServed>,
    /// Memory for weights; `None`: all precisions stay in memory.
    pub weights_limit: Option<Bytes>,
}

/// Another precision of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct AlsoServed {
    /// As [`ModelConfig::name`].
    pub name: String,
    /// `None`: the measured quality.
    pub quality: Option<Quality>,
}

/// The settings of the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    pub parallel: u32,
    /// Maximum tokens of one request.
    pub context: Tokens,
    /// Prefix caching: number of ended requests whose KV cache is retained.
    pub retained: u32,
    /// `None`: as many as [`crate::host::Cpus::threads`] says.
    pub threads: Option<u32>,
    pub micro_batch: u32,
    pub prefill_chunk: Tokens,
    pub kv_type: KvType,
    pub gpu_layers: GpuLayers,
    pub device: DeviceChoice,
    pub kernels: KernelChoice,
    /// `None`: the one that suits the CPU best.
    pub cpu_variant: Option<String>,
}

/// The capacity of the link to the callers, as far as it is managed.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// `None`: answers are not paced.
    pub wire: Option<Wire>,
    /// `None`: not known.
    pub uplink: Option<BitsPerSecond>,
    /// Assumed bytes of a streamed token until measured.
    pub bytes_per_token: f64,
}

/// The default sampling parameters of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingDefaults {
    /// `None`: as many as fit the context.
    pub max_tokens: Option<Tokens>,
    /// Softmax temperature; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Number of likeliest tokens to choose from; 0: all.
    pub top_k: u32,
    /// Total probability of the likeliest tokens to choose from; 1: all.
    pub top_p: f32,
    /// Minimum probability of a token, as a fraction of the likeliest token's; 0: no minimum.
    pub min_p: f32,
    /// Factor by which the logits of tokens in the window are lowered; 1: no penalty.
    pub repeat_penalty: f32,
    /// Subtracted from a token's logit for each time it occurs in the window; 0: no penalty.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of a token that occurs in the window; 0: no penalty.
    pub presence_penalty: f32,
    /// Number of last tokens that the penalties apply to: `sampling.repeat_last_n`.
    pub penalty_window: u32,
}

/// The settings of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Where the database is.
    pub folder: BatchFolder,
    /// Maximum bytes of a file.
    pub file_bytes: u64,
    /// Maximum lines of a batch.
    pub lines: u64,
    /// Maximum bytes of all files and results.
    pub stored_bytes: u64,
    /// Maximum number of unfinished batches.
    pub unfinished: u64,
}

/// The folder of the batches' database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchFolder {
    /// The user's or the service's folder for state.
    Usual,
    /// This one.
    Folder(PathBuf),
    /// There are no batches.
    None,
}

/// The settings of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// A level, or a filter such as `hedgerow=debug`; the variable `RUST_LOG` overrides it.
    pub filter: String,
    /// Whether lines are for people or for machines.
    pub format: LogFormat,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text, with colors on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Returns the source of a key's value, for error messages.
type SourceOf<'a> = &'a dyn Fn(&str, &str) -> String;

impl Config {
    /// Checks every value and converts it to SI units.
    pub(super) fn check(raw: &RawConfig, source_of: SourceOf<'_>) -> anyhow::Result<Self> {
        let check = Check { source_of };
        let (server, model, engine) = (&raw.server, &raw.model, &raw.engine);
        let parallel = check.whole("engine", "parallel", engine.parallel, 1, 4096)? as u32;
        let ctx_size =
            check.whole("engine", "ctx_size", engine.ctx_size, i64::from(parallel), 1 << 30)? as u32;
        let threads = check.whole("engine", "threads", engine.threads, 0, 1024)? as u32;
        let host = text(&server.host);
        let alias = text(&model.alias);
        let kv_name = text(&engine.kv_type);
        let kv_type = KvType::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(&kv_name));
        let kernels = text(&engine.kernels);
        let quality = check.number("model", "quality", model.quality, 0.0, 1.0)?;
        let (gpu_layers, device) = check.accelerators(raw)?;
        Ok(Self {
            server: ServerConfig {
                host: check.host(&host)?,
                port: check.whole("server", "port", server.port, 0, 65_535)? as u16,
                shutdown_grace: Span::from_seconds(check.number(
                    "server",
                    "shutdown_grace_s",
                    server.shutdown_grace_s,
                    0.0,
                    86_400.0,
                )?),
                tls: check.tls(&text(&server.tls_certificate), &text(&server.tls_key))?,
                allowed_hosts: listed(&text(&server.allowed_hosts)),
                allowed_origins: check.origins(&text(&server.allowed_origins))?,
            },
            access: AccessConfig {
                keys_file: Some(text(&raw.access.keys_file))
                    .filter(|file| !file.is_empty())
                    .map(PathBuf::from),
                anonymous_value_max: check.whole(
                    "access",
                    "anonymous_value_max",
                    raw.access.anonymous_value_max,
                    1,
                    1000,
                )? as u32,
            },
            limits: check.limits(&raw.limits)?,
            model: ModelConfig {
                name: text(&model.name),
                alias: Some(alias).filter(|alias| !alias.is_empty()),
                quality: Quality::new(quality).expect("it was checked"),
                also: check.also(&text(&model.also))?,
                weights_limit: Some(check.number("model", "weights_gb", model.weights_gb, 0.0, 1e6)?)
                    .filter(|&gb| gb > 0.0)
                    .map(|gb| Bytes((gb * 1e9) as u64)),
            },
            engine: EngineConfig {
                parallel,
                context: Tokens(ctx_size / parallel),
                retained: check.whole("engine", "retained", engine.retained, 0, 4096)? as u32,
                threads: (threads > 0).then_some(threads),
                micro_batch: check.whole("engine", "ubatch_size", engine.ubatch_size, 1, 65_536)? as u32,
                prefill_chunk: Tokens(check.whole(
                    "engine",
                    "prefill_chunk",
                    engine.prefill_chunk,
                    1,
                    65_536,
                )? as u32),
                kv_type: kv_type
                    .ok_or_else(|| check.wrong("engine", "kv_type", &kv_name, "must be f16, q8_0 or q4_0"))?,
                gpu_layers,
                device,
                kernels: KernelChoice::from_str(&kernels, true)
                    .map_err(|_| check.wrong("engine", "kernels", &kernels, "must be auto, fast or plain"))?,
                cpu_variant: Some(text(&engine.cpu_variant)).filter(|name| !name.is_empty()),
            },
            settings: check.settings(raw)?,
            default_deadline: Some(check.number(
                "planning",
                "default_deadline_ms",
                raw.planning.default_deadline_ms,
                0.0,
                86_400_000.0,
            )?)
            .filter(|&ms| ms > 0.0)
            .map(|ms| Span::from_seconds(ms / 1e3)),
            link: check.link(raw)?,
            sampling: check.sampling(raw)?,
            batch: check.batch(raw)?,
            log: LogConfig {
                filter: text(&raw.log.level),
                format: match text(&raw.log.format).as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => return Err(check.wrong("log", "format", other, "must be text or json")),
                },
            },
        })
    }
}

pub(super) struct Check<'a> {
    source_of: SourceOf<'a>,
}

impl Check<'_> {
    /// Checks an address or a name; the name is resolved later, when the server starts to listen.
    fn host(&self, host: &str) -> anyhow::Result<String> {
        // An IPv6 address in brackets, as in a URL.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_usual = |letter: char| letter.is_ascii_alphanumeric() || ".-_:%".contains(letter);
        if bare.is_empty() || !bare.chars().all(is_usual) {
            return Err(self.wrong("server", "host", host, "must be an IP address or the name of a host"));
        }
        Ok(bare.to_owned())
    }

    fn tls(&self, certificate: &str, key: &str) -> anyhow::Result<Option<TlsFiles>> {
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => {
                Ok(Some(TlsFiles { certificate: PathBuf::from(certificate), key: PathBuf::from(key) }))
            }
            (true, false) => Err(self.wrong("server", "tls_certificate", "", "`server.tls_key` is set")),
            (false, true) => Err(self.wrong("server", "tls_key", "", "`server.tls_certificate` is set")),
        }
    }

    /// Checks that each is a scheme and a host, perhaps with a port, as browsers send them.
    fn origins(&self, origins: &str) -> anyhow::Result<Vec<String>> {
        let origins = listed(origins);
        let is_origin = |origin: &String| {
            origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*', ' '])
            })
        };
        match origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(origins),
            Some(wrong) => {
                let limit = "must list origins such as https://chat.example.org, without a path";
                Err(self.wrong("server", "allowed_origins", wrong, limit))
            }
        }
    }

    fn also(&self, listed: &str) -> anyhow::Result<Vec<AlsoServed>> {
        let names = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|one| {
                let Some((name, quality)) = one.rsplit_once('=') else {
                    return Ok(AlsoServed { name: one.to_owned(), quality: None });
                };
                let quality = quality.parse().ok().and_then(Quality::new);
                let quality = quality.ok_or_else(|| {
                    self.wrong(
                        "model",
                        "also",
                        one,
                        "must be FILE or FILE=QUALITY, with a quality from 0 to 1",
                    )
                })?;
                Ok(AlsoServed { name: name.to_owned(), quality: Some(quality) })
            })
            .collect()
    }

    fn accelerators(&self, raw: &RawConfig) -> anyhow::Result<(GpuLayers, DeviceChoice)> {
        let (layers, device) = (text(&raw.engine.gpu_layers), text(&raw.engine.device));
        let limit = "must be a whole number, all or auto";
        let gpu_layers: GpuLayers =
            layers.parse().map_err(|()| self.wrong("engine", "gpu_layers", &layers, limit))?;
        let choice = DeviceChoice::from(device.as_str());
        if choice == DeviceChoice::None && gpu_layers.asks_for_some() {
            let limit = format!("must be auto or 0 where `engine.device` is `{device}`");
            return Err(self.wrong("engine", "gpu_layers", &layers, &limit));
        }
        Ok((gpu_layers, choice))
    }

    fn settings(&self, raw: &RawConfig) -> anyhow::Result<Settings> {
        let planning = &raw.planning;
        let policy = text(&planning.policy);
        let length = Span::from_seconds(
            self.number("planning", "epoch_ms", planning.epoch_ms, 1.0, 3_600_000.0)? / 1e3,
        );
        Ok(Settings {
            protocol: match text(&planning.protocol).as_str() {
                "continuous" => Protocol::Continuous,
                // A wired node needs no time for radio transmission: the compute slot is the whole epoch.
                "epoch" => Protocol::Epoch { length, compute_slot: length },
                other => {
                    return Err(self.wrong("planning", "protocol", other, "must be continuous or epoch"));
                }
            },
            policy: policy.parse().map_err(|_| {
                self.wrong("planning", "policy", &policy, &format!("must be one of {}", Policy::NAMES))
            })?,
            queue_capacity: self.whole("planning", "max_queue", planning.max_queue, 1, 1_000_000)? as usize,
            node_limit: self.whole("planning", "node_limit", planning.node_limit, 1, i64::MAX)? as u64,
            margin: self.number("planning", "margin", planning.margin, 0.0, 10.0)?,
            confidence: self.number("planning", "confidence", planning.confidence, 0.5, 1.0)?,
            best_effort_share: self.number(
                "planning",
                "best_effort_share",
                planning.best_effort_share,
                0.0,
                0.9,
            )?,
            padding: Padding::None,
        })
    }

    fn link(&self, raw: &RawConfig) -> anyhow::Result<LinkConfig> {
        let link = &raw.link;
        let rate = |key, value, least_kbps| {
            let kbps = self.whole("link", key, value, least_kbps, 1_000_000_000)?;
            anyhow::Ok(BitsPerSecond::new(kbps as f64 * 1e3))
        };
        let is_managed = |rate: &BitsPerSecond| rate.get() > 0.0;
        let downlink = Some(rate("downlink_kbps", link.downlink_kbps, 0)?).filter(is_managed);
        let least = rate("least_kbps", link.least_kbps, 1)?;
        if let Some(downlink) = downlink.filter(|downlink| least > *downlink) {
            let limit = format!("must be at most `link.downlink_kbps`, {}", downlink.get() / 1e3);
            return Err(self.wrong("link", "least_kbps", least.get() / 1e3, &limit));
        }
        Ok(LinkConfig {
            wire: downlink.map(|downlink| Wire { downlink, least }),
            uplink: Some(rate("uplink_kbps", link.uplink_kbps, 0)?).filter(is_managed),
            bytes_per_token: self.number("link", "bytes_per_token", link.bytes_per_token, 1.0, 65_536.0)?,
        })
    }

    fn sampling(&self, raw: &RawConfig) -> anyhow::Result<SamplingDefaults> {
        let sampling = &raw.sampling;
        let number = |key, value, least, most| {
            self.number("sampling", key, value, least, most).map(|number| number as f32)
        };
        let max_tokens = self.whole("sampling", "max_tokens", sampling.max_tokens, 0, 1 << 30)? as u32;
        Ok(SamplingDefaults {
            max_tokens: (max_tokens > 0).then_some(Tokens(max_tokens)),
            temperature: number("temperature", sampling.temperature, 0.0, 100.0)?,
            top_k: self.whole("sampling", "top_k", sampling.top_k, 0, 1 << 30)? as u32,
            top_p: number("top_p", sampling.top_p, 0.0, 1.0)?,
            min_p: number("min_p", sampling.min_p, 0.0, 1.0)?,
            repeat_penalty: number("repeat_penalty", sampling.repeat_penalty, 0.01, 100.0)?,
            frequency_penalty: number("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?,
            presence_penalty: number("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?,
            penalty_window: self.whole("sampling", "repeat_last_n", sampling.repeat_last_n, 0, 1 << 30)?
                as u32,
        })
    }

    fn batch(&self, raw: &RawConfig) -> anyhow::Result<BatchConfig> {
        let batch = &raw.batch;
        let mib =
            |key, value| self.number("batch", key, value, 0.001, 1e9).map(|mib| (mib * 1_048_576.0) as u64);
        let count = |key, value, most| self.whole("batch", key, value, 1, most).map(i64::unsigned_abs);
        Ok(BatchConfig {
            folder: match text(&batch.folder).as_str() {
                "" => BatchFolder::Usual,
                "none" => BatchFolder::None,
                folder => BatchFolder::Folder(folder.into()),
            },
            file_bytes: mib("max_file_mib", batch.max_file_mib)?,
            lines: count("max_lines", batch.max_lines, 10_000_000)?,
            stored_bytes: mib("max_stored_mib", batch.max_stored_mib)?,
            unfinished: count("max_unfinished", batch.max_unfinished, 100_000)?,
        })
    }

    pub(super) fn whole(
        &self,
        section: &str,
        key: &str,
        value: Option<i64>,
        least: i64,
        most: i64,
    ) -> anyhow::Result<i64> {
        let value = value.expect("config/default.toml has every key");
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(section, key, value, &format!("must be from {least} to {most}")))
        }
    }

    pub(super) fn number(
        &self,
        section: &str,
        key: &str,
        value: Option<f64>,
        least: f64,
        most: f64,
    ) -> anyhow::Result<f64> {
        let value = value.expect("config/default.toml has every key");
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(section, key, value, &format!("must be from {least} to {most}")))
        }
    }

    fn wrong(&self, section: &str, key: &str, value: impl std::fmt::Display, limit: &str) -> anyhow::Error {
        let source = (self.source_of)(section, key);
        hinted(
            format!("`{section}.{key}` is `{value}` (from {source}), but {limit}"),
            format!("change `{key}` in the section [{section}], or the flag that stands for it"),
        )
    }
}

fn text(value: &Option<String>) -> String {
    value.clone().expect("config/default.toml has every key")
}

/// The items of a list with commas, in lower case.
fn listed(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_lowercase()).filter(|item| !item.is_empty()).collect()
}
