//! `dkms-repo serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Context, Failure};
use crate::serve::Server;

/// Serves the published tree over HTTP until it is stopped; prints its address as one line.
///
/// Plain HTTP is safe, because clients check signatures; others in the network can see what is fetched. Machines fetch from
/// another machine by plain HTTP only where `allow_plain_http` is set in their config.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address to listen on; the default is reachable from this machine only.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 8417)]
    port: u16,
}

/// Serves.
pub(super) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let public = context.repository()?.public_dir();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Failure::new(format!("start the server: {e}")))?;
    runtime.block_on(async {
        let server = Server::bind(&public, SocketAddr::new(args.address, args.port)).await?;
        let address = server.address()?;
        if context.json {
            anstream::println!("{}", serde_json::json!({"url": format!("http://{address}/")}));
        } else {
            anstream::println!("http://{address}/");
        }
        Ok(server.run().await?)
    })
}
