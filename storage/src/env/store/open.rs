//! From a `store=` URL to a [`Store`].
//!
//! | URL | service | credentials |
//! | --- | --- | --- |
//! | `s3://bucket/prefix` | S3 and what speaks its protocol | `AWS_*`, web identity, ECS, EKS, instance metadata |
//! | `gs://bucket/prefix` | Google Cloud Storage | `GOOGLE_*`, application default, metadata server |
//! | `az://container/prefix` | Azure Blob Storage | `AZURE_*`, managed identity, workload identity |
//! | `file:///path` | a directory | |
//! | `memory://` | this process's memory: gone with it | |
//!
//! `AWS_ENDPOINT_URL`, `AZURE_STORAGE_ENDPOINT` and their kin name a compatible server; plain `http` is then allowed
//! if the endpoint's URL says so.

use super::directory::Directory;
use super::object::{COMMIT_TIMEOUT, Handles, LARGEST_WRITE, Listing, ObjectBacked, write_limit};
use super::runtime::StoreRuntime;
use super::{MemoryStore, Store, StoreError};
use crate::env::{Env, RealDisk, create_dir_durably};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Repetitions of a bulk request, below which the uploader and the readers have back-offs of their own.
const BULK_RETRIES: usize = 4;
/// How long a bulk transfer may stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the store that `url` names. Contacts nothing yet, except that a directory is created.
///
/// # Errors
/// [`StoreError::Refused`] for a URL that is no store's, or credentials that cannot be understood.
pub fn open(url: &str, env: &Env) -> Result<Arc<dyn Store>, StoreError> {
    let parsed = Url::parse(url).map_err(|error| refused(format!("{url} is not a URL: {error}")))?;
    if parsed.scheme() == "memory" {
        return Ok(Arc::new(MemoryStore::new(Arc::clone(&env.clock))));
    }
    let handles = match parsed.scheme() {
        "s3" | "s3a" => s3(&parsed)?,
        "gs" => google(&parsed)?,
        "az" | "abfs" | "abfss" => azure(&parsed)?,
        "file" if url.starts_with("file:///") => directory(&parsed)?,
        "file" => return Err(refused(format!("{url} is not an absolute path: use file:///path"))),
        scheme => return Err(refused(format!("{scheme}:// names no store: use s3, gs, az, file or memory"))),
    };
    let no_threads = |error| refused(format!("no threads for the store: {error}"));
    let runtime = StoreRuntime::start().map_err(no_threads)?;
    let history = StoreRuntime::start_for_history().map_err(no_threads)?;
    Ok(Arc::new(ObjectBacked::new(handles, runtime, history)))
}

fn refused(reason: impl ToString) -> StoreError {
    StoreError::Refused { reason: reason.to_string() }
}

/// Which of a store's handles is built.
#[derive(Clone, Copy)]
enum Handle {
    Commits,
    Writes,
    Bulk,
    Ranges,
}

impl Handle {
    fn client(self, allow_http: bool) -> ClientOptions {
        let options = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_allow_http(allow_http);
        match self {
            Handle::Commits => options.with_timeout(COMMIT_TIMEOUT),
            // A client's time begins when it sends, however much that is.
            Handle::Writes => options.with_timeout_disabled().with_read_timeout(write_limit(LARGEST_WRITE)),
            Handle::Bulk | Handle::Ranges => options.with_timeout_disabled().with_read_timeout(READ_TIMEOUT),
        }
    }

    fn retry(self) -> RetryConfig {
        match self {
            Handle::Commits => RetryConfig { max_retries: 0, ..RetryConfig::default() },
            Handle::Writes | Handle::Bulk | Handle::Ranges => RetryConfig {
                max_retries: BULK_RETRIES,
                retry_timeout: Duration::from_secs(60),
                backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
            },
        }
    }
}

fn cloud(
    url: &Url,
    build: impl Fn(Handle) -> object_store::Result<Arc<dyn ObjectStore>>,
) -> Result<Handles, StoreError> {
    let prefix = Path::from_url_path(url.path()).map_err(refused)?;
    Ok(Handles {
        commits: build(Handle::Commits).map_err(refused)?,
        writes: build(Handle::Writes).map_err(refused)?,
        bulk: build(Handle::Bulk).map_err(refused)?,
        ranges: build(Handle::Ranges).map_err(refused)?,
        prefix,
        directory: None,
        listing: Listing::Ordered,
    })
}

/// The bucket or container of a URL.
fn bucket(url: &Url) -> Result<&str, StoreError> {
    url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refused(format!("{url} names no bucket")))
}

fn is_http(endpoint: Option<&String>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn s3(url: &Url) -> Result<Handles, StoreError> {
    let bucket = bucket(url)?;
    cloud(url, |handle| {
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let mut builder =
            builder.with_client_options(handle.client(is_http(endpoint.as_ref()))).with_retry(handle.retry());
        if endpoint.is_none() {
            // Over TLS a cheap checksum does what signing every byte by SHA-256 would; other servers may not know it.
            builder = builder.with_unsigned_payload(true).with_checksum_algorithm(Checksum::CRC64NVME);
        }
        Ok(Arc::new(builder.build()?) as Arc<dyn ObjectStore>)
    })
}

fn google(url: &Url) -> Result<Handles, StoreError> {
    let bucket = bucket(url)?;
    cloud(url, |handle| {
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(handle.client(false))
            .with_retry(handle.retry());
        Ok(Arc::new(builder.build()?) as Arc<dyn ObjectStore>)
    })
}

fn azure(url: &Url) -> Result<Handles, StoreError> {
    let container = bucket(url)?;
    cloud(url, |handle| {
        let builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
        let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
        let emulated = builder.get_config_value(&AzureConfigKey::UseEmulator).is_some_and(|value| value == "true");
        let builder = builder
            .with_client_options(handle.client(emulated || is_http(endpoint.as_ref())))
            .with_retry(handle.retry());
        Ok(Arc::new(builder.build()?) as Arc<dyn ObjectStore>)
    })
}

fn directory(url: &Url) -> Result<Handles, StoreError> {
    let path = url.to_file_path().map_err(|()| refused(format!("{url} is not an absolute path: use file:///path")))?;
    create_dir_durably(&RealDisk, &path).map_err(|error| refused(format!("{}: {error}", path.display())))?;
    let files: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(&path).map_err(refused)?.with_fsync(true));
    Ok(Handles {
        commits: Arc::clone(&files),
        writes: Arc::clone(&files),
        bulk: Arc::clone(&files),
        ranges: files,
        prefix: Path::default(),
        directory: Some(Directory::open(path).map_err(refused)?),
        listing: Listing::Unordered,
    })
}
