//! `floor MODE LISTEN UPSTREAM`: one of the minimal proxies of [`outrigger_benches::floor`], until it is killed.

use anyhow::Context;
use outrigger_benches::floor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().context("usage: floor http1|http2-hyper|http2-h2|h2-both LISTEN UPSTREAM");
    let (mode, listen, upstream) = (next()?, next()?, next()?);
    floor::run(mode.parse()?, listen.parse()?, upstream.parse()?)
}
