//! An S3 server in the test's process: `s3s` with `s3s-fs`, made atomic, and able to fail.
//!
//! `s3s-fs` checks and then renames, so two conditional creates can both win. Here one request is handled at a time,
//! behind an async mutex, which makes its conditional writes as atomic as the real ones. A [`Fault`] is applied outside
//! of that, where a network would: before the request takes effect, or after. The faults are those of
//! [`esker_bench::store`].
//!
//! ```text
//! broker -> TCP -> fault? -> mutex { s3s (SigV4) -> s3s-fs } -> fault? -> answer
//! ```
//!
//! The server has a thread and a runtime of its own, since a test may block while it waits for the broker.

use super::Options;
use esker_bench::store::spoil::{self, Broken, Spoiled};
use esker_bench::store::{Asked, Fault, Faults};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::oneshot;

const KEY: &str = "esker-test";
const SECRET: &str = "esker-test-secret";
const BUCKET: &str = "bucket";

/// The largest request body.
const MAX_BODY: usize = 256 << 20;

/// A request that came, whatever became of it.
pub type Seen = Asked;

/// The server; it ends when this is dropped.
pub struct S3 {
    port: u16,
    faults: Arc<Faults>,
    seen: Arc<Mutex<Vec<Seen>>>,
    folder: TempDir,
    _stop: oneshot::Sender<()>,
}

impl S3 {
    /// Starts a server with one empty bucket.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("esker-s3-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("a file system");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("bound").port();
        let (faults, seen) = (Arc::<Faults>::default(), Arc::<Mutex<Vec<Seen>>>::default());
        let (stop, stopped) = oneshot::channel();
        let server = Server { service, gate: Arc::default(), faults: Arc::clone(&faults), seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = server.run(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port, faults, seen, folder, _stop: stop }
    }

    /// The store's URL for a broker.
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/cluster")
    }

    /// What a client of this server has in its environment.
    pub fn credentials(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
        ]
    }

    /// `options` with this server as the store, and its credentials.
    pub fn serve(&self, options: Options) -> Options {
        let options = options.store(&self.url());
        self.credentials().into_iter().fold(options, |options, (key, value)| options.env(key, &value))
    }

    /// From now on `plan` decides each request's fault.
    pub fn set_faults(&self, plan: impl FnMut(&Asked) -> Option<Fault> + Send + 'static) {
        self.faults.decide(plan);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults.set(None);
    }

    /// Every request so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Where an object lies on the server's disk.
    pub fn file(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    /// The keys of all objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        let root = self.folder.path().join(BUCKET);
        let mut pending = vec![root.clone()];
        let mut keys = Vec::new();
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    pending.push(path);
                } else if let Ok(key) = path.strip_prefix(&root) {
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort();
        keys
    }
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3(port {})", self.port)
    }
}

#[derive(Clone)]
struct Server {
    service: S3Service,
    gate: Arc<tokio::sync::Mutex<()>>,
    faults: Arc<Faults>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn run(self, listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                let handle = service_fn(move |request| server.clone().handle(request));
                // An error here is a broker that went away, or a fault of ours.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
            });
        }
    }

    async fn handle(self, request: Request<Incoming>) -> Result<Response<Spoiled<Body>>, Broken> {
        let asked = Asked::of(&request);
        self.seen.lock().push(asked.clone());
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, Body::from(spoil::collect(body, MAX_BODY).await?));
        let serve = async {
            let _one_at_a_time = self.gate.lock().await;
            self.service.call(request).await.map_err(|error| format!("{error:?}"))
        };
        spoil::answer(&self.faults, &asked, serve).await
    }
}
