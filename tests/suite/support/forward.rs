//! A proxy as companies have it: CONNECT and plain requests of HTTP, and SOCKS5, on one port. Whatever
//! host it is asked for, it leads to one server, so that tests can make names up.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A running proxy; dropped, it is gone.
pub(crate) struct ForwardProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    refuses_tunnels: AtomicBool,
    wants_login: AtomicBool,
}

/// One connection through it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `CONNECT`, `GET` and the like, or `SOCKS5`.
    pub(crate) how: String,
    /// `HOST:PORT`, or the URL of a plain request.
    pub(crate) target: String,
    /// `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl ForwardProxy {
    /// A proxy that leads to `upstream` (`127.0.0.1:PORT`).
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::default();
        let (upstream, all) = (upstream.to_owned(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be made").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, upstream, all) => {}
                }
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Every connection so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock().expect("no holder panicked");
        asked.clone()
    }

    /// Answers 403 to every CONNECT from now on, as squid does to ports other than 443.
    pub(crate) fn refuse_tunnels(&self) {
        self.shared.refuses_tunnels.store(true, Ordering::Relaxed);
    }

    /// Answers 407 to everything without a login from now on.
    pub(crate) fn want_login(&self) {
        self.shared.wants_login.store(true, Ordering::Relaxed);
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed already.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, upstream: String, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((near, _)) = accepted else { continue };
        let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
        connections.spawn(async move { serve(near, &upstream, &shared).await });
    }
}

async fn serve(mut near: TcpStream, upstream: &str, shared: &Shared) -> io::Result<()> {
    let note = |asked| shared.asked.lock().expect("no holder panicked").push(asked);
    let mut first = [0];
    near.peek(&mut first).await?;
    let mut beginning = Vec::new();
    if first[0] == 5 {
        note(socks(&mut near).await?);
    } else {
        let head = head(&mut near).await?;
        let asked = http(&head);
        let is_tunnel = asked.how == "CONNECT";
        if asked.authorization.is_none() && shared.wants_login.load(Ordering::Relaxed) {
            note(asked);
            let refusal =
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            return near.write_all(refusal).await;
        }
        if is_tunnel && shared.refuses_tunnels.load(Ordering::Relaxed) {
            note(asked);
            let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            return near.write_all(refusal).await;
        }
        if is_tunnel {
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        } else {
            beginning = head;
        }
        note(asked);
    }
    let mut far = TcpStream::connect(upstream).await?;
    far.write_all(&beginning).await?;
    copy_bidirectional(&mut near, &mut far).await.map(|_| ())
}

async fn head(near: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await?);
    }
    Ok(head)
}

fn http(head: &[u8]) -> Asked {
    let text = String::from_utf8_lossy(head);
    let mut words = text.split(' ').map(str::to_owned);
    let authorization = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| value.to_owned())
    });
    Asked {
        how: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        authorization,
    }
}

/// RFC 1928, without authentication.
async fn socks(near: &mut TcpStream) -> io::Result<Asked> {
    near.read_u8().await?;
    let mut methods = vec![0; near.read_u8().await?.into()];
    near.read_exact(&mut methods).await?;
    near.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    near.read_exact(&mut request).await?;
    let name = match request[3] {
        1 => std::net::Ipv4Addr::from(near.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; near.read_u8().await?.into()];
            near.read_exact(&mut name).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let port = near.read_u16().await?;
    near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(Asked {
        how: "SOCKS5".into(),
        target: format!("{name}:{port}"),
        authorization: None,
    })
}
