//! Whether the proxies are fast enough not to be what is measured.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::race::slow_proxy;
use super::raw::Client;
use super::support::docker_registry::DockerRegistry;

const CLIENTS: u32 = 8;
const REQUESTS: u32 = 500;

/// Requests a second straight to a registry and through a proxy, and how late a delayed one really is.
pub(crate) fn describe(delay: Duration) -> String {
    let registry = DockerRegistry::start();
    let direct = rate(registry.host(), REQUESTS);
    let through = rate(
        &slow_proxy(registry.host(), Duration::ZERO).host(),
        REQUESTS,
    );
    let few = 50;
    let delayed = rate(&slow_proxy(registry.host(), delay).host(), few);
    let late = f64::from(CLIENTS) / delayed * 1000.0;
    format!(
        "{CLIENTS} clients get {direct:.0} answers a second from a registry, {through:.0} through a proxy; \
         with {} ms of delay an answer takes {late:.1} ms",
        delay.as_millis()
    )
}

fn rate(host: &str, each: u32) -> f64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let began = Instant::now();
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let host = host.to_owned();
            clients.spawn(async move {
                let mut client = Client::connect(&host).await?;
                for _ in 0..each {
                    client.get("/v2/").await?;
                }
                Ok::<(), super::support::wire::BoxError>(())
            });
        }
        for ended in clients.join_all().await {
            ended.expect("a healthy registry answers");
        }
    });
    f64::from(CLIENTS * each) / began.elapsed().as_secs_f64()
}
