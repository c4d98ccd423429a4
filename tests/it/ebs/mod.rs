//! `serve aws` against a model of EBS direct: random sequences of calls, of which each must be answered as the model
//! says. `SEED` repeats a run; `AMIKIT_ROUNDS=10000` makes so many sequences.
#![allow(clippy::arithmetic_side_effects)]

pub(crate) mod client;
mod model;
mod steps;

use std::fs;
use std::time::Duration;
use std::time::Instant;

use sha2::Digest as _;
use sha2::Sha256;

use crate::common::Random;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run_well;
use crate::common::sample;
use crate::serve_aws::Server;
use client::Answer;
use client::Client;
use model::Ebs;
use model::Token;
use model::Who;

const BLOCK_LEN: usize = 524_288;

/// Sequences that one server answers.
const SEQUENCES: usize = 100;

/// Blocks of a page, as `short_pages` has it.
const PAGE_LEN: usize = 7;

const CALLERS: [Who; 3] =
    [("123456789012", "us-east-1"), ("210987654321", "us-east-1"), ("123456789012", "eu-west-1")];

/// Indexes that are near each other, at the ends of volumes, and past them.
const INDEXES: [u64; 16] =
    [0, 1, 2, 3, 4, 5, 6, 7, 63, 64, 100, 2046, 2047, 2048, 4095, (1 << 27) - 1];

/// Tokens are good for two seconds: whether one still is, is certain below and above these ages.
const FRESH: Duration = Duration::from_secs(1);
const OLD: Duration = Duration::from_millis(3100);

const FAULTS: &str =
    r#"{"page_token_seconds":2,"block_token_seconds":2,"short_pages":true,"pending_ms":0}"#;

fn block(content: u8) -> Vec<u8> {
    vec![content; BLOCK_LEN]
}

fn digest(content: u8) -> Vec<u8> {
    Sha256::digest(block(content)).to_vec()
}

/// A token that a list gave.
#[derive(Clone)]
struct Given {
    text: String,
    of: String,
    at: u64,
    when: Instant,
}

impl Given {
    /// What the model must know of it, unless its time ends about now.
    fn token(&self) -> Option<Token> {
        let age = self.when.elapsed();
        let token = Token { of: self.of.clone(), is_expired: age > OLD, at: self.at };
        (!(FRESH..=OLD).contains(&age)).then_some(token)
    }
}

struct World {
    folder: tempfile::TempDir,
    server: Option<Server>,
    client: Option<Client>,
    random: Random,
    model: Ebs,
    ids: Vec<String>,
    given: Vec<Given>,
    digests: Vec<Vec<u8>>,
    calls: usize,
    /// What was done in this sequence.
    log: Vec<String>,
}

impl World {
    fn new(random: Random) -> Self {
        let folder = quick_folder();
        run_well(folder.path(), "store init images");
        fs::write(folder.path().join("faults.json"), FAULTS).unwrap();
        let digests = (0..8).map(digest).collect();
        let mut world = Self {
            folder,
            server: None,
            client: None,
            random,
            model: Ebs::default(),
            ids: Vec::new(),
            given: Vec::new(),
            digests,
            calls: 0,
            log: Vec::new(),
        };
        world.start_server();
        world
    }

    /// Kills the server, if there is one, and starts another: it knows what was answered, and no token.
    fn start_server(&mut self) {
        self.client = None;
        self.server = None;
        let server = Server::start_quietly(self.folder.path(), "--faults faults.json");
        self.client = Some(Client::new(&server.url));
        self.server = Some(server);
        for given in &mut self.given {
            "an earlier server".clone_into(&mut given.of);
        }
    }

    fn ask(&mut self, who: Who, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.calls += 1;
        self.client.as_mut().unwrap().ask(who, "ebs", line, headers, body)
    }

    fn ec2(&mut self, who: Who, form: &str) -> Answer {
        self.calls += 1;
        let form = format!("{form}&Version=2016-11-15");
        self.client.as_mut().unwrap().ask(who, "ec2", "POST /", &[], form.as_bytes())
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.index(from.len())]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn who(&mut self) -> Who {
        if self.chance(85) { CALLERS[0] } else { self.pick(&CALLERS) }
    }

    /// An id: mostly a late one, now and then one that is none.
    fn id(&mut self) -> String {
        let (count, kind) = (self.ids.len(), self.random.below(100));
        match kind {
            0..3 => "snap-0123456789abcdef0".to_owned(),
            3..5 => "snap-XYZ".to_owned(),
            _ if count == 0 => "snap-1".to_owned(),
            5..15 => self.ids[self.random.index(count)].clone(),
            _ => self.ids[count - 1 - self.random.index(count.min(5))].clone(),
        }
    }

    fn step(&mut self) {
        let who = self.who();
        match self.random.below(100) {
            0..14 => self.start(who),
            14..54 => self.put(who),
            54..66 => self.complete(who),
            66..76 => self.list(who),
            76..84 => self.changed(who),
            84..94 => self.get(who),
            94..97 => self.share(who),
            97..99 => self.delete(who),
            _ => {
                self.log.push("kill".to_owned());
                self.start_server();
            }
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[test]
fn random_sequences_of_calls_are_answered_as_the_model_says() {
    let mut random = Random::new("ebs");
    let all = rounds(sample(200));
    let (mut done, mut calls) = (0, 0);
    while done < all {
        let seed = random.next();
        let mut world = World::new(Random::with_seed(seed));
        for number in 0..SEQUENCES.min(all - done) {
            world.log.clear();
            let steps = 10 + world.random.below(30);
            let run = || (0..steps).for_each(|_| world.step());
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                println!("sequence {number} of {seed}:\n{}", world.log.join("\n"));
                std::panic::resume_unwind(panic);
            }
            done += 1;
        }
        world.look_at_everything();
        calls += world.calls;
    }
    println!("{done} sequences, {calls} calls");
    assert!(calls > all * 10, "{calls} calls");
}
