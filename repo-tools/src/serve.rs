//! A small web server for the published tree: for trying things out, and for a network of one's own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no published tree.
    #[error("there is no published repository in {}", .0.display())]
    Unpublished(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address and port.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server stopped.
    #[error("the server stopped: {0}")]
    Serve(io::Error),
}

impl ServeError {
    /// Suggested fix.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unpublished(_) => Some("`dkms-repo init` and `dkms-repo publish` make one".to_owned()),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("choose another port with --port, or any free one with --port 0".to_owned())
            }
            Self::Listen { .. } | Self::Serve(_) => None,
        }
    }
}

/// A bound socket and what it will serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    public: PathBuf,
}

impl Server {
    /// Binds. Connections are accepted (by the kernel) from here on.
    pub async fn bind(public: &Path, address: SocketAddr) -> Result<Self, ServeError> {
        if !public.join("metadata/timestamp.json").is_file() {
            return Err(ServeError::Unpublished(public.to_owned()));
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        Ok(Self {
            listener,
            public: public.to_owned(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener.local_addr().map_err(ServeError::Serve)
    }

    /// Serves until the process ends. Only the published tree, only GET and HEAD, with ranges.
    pub async fn run(self) -> Result<(), ServeError> {
        let app = Router::new()
            .fallback_service(ServeDir::new(&self.public))
            .layer(middleware::from_fn(cache_control));
        axum::serve(self.listener, app).await.map_err(ServeError::Serve)
    }
}

/// All files but `timestamp.json` never change under their name; what is absent may come.
async fn cache_control(request: Request, next: Next) -> Response {
    let mutable = request.uri().path().ends_with("/timestamp.json");
    let mut response = next.run(request).await;
    let value = match response.status().is_success() && !mutable {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
    response
}
