//! The steps of a sequence: a call, what the model says to it, and whether they agree.

use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;

use super::BLOCK_LEN;
use super::CALLERS;
use super::Given;
use super::INDEXES;
use super::OLD;
use super::PAGE_LEN;
use super::World;
use super::block;
use super::escaped;
use super::model::Changed;
use super::model::Start;
use super::model::State;
use super::model::Token;
use super::model::Who;
use crate::common::run_well;

impl World {
    pub(super) fn start(&mut self, who: Who) {
        let mut asked =
            Start { gib: self.pick(&[1, 1, 1, 1, 2, 2, 2, 0, 65_537]), ..Start::default() };
        if self.chance(60) {
            asked.parent = Some(self.id());
        }
        if self.chance(30) {
            asked.token = Some(self.pick(&["one", "two", "three"]).to_owned());
        }
        if self.chance(10) {
            asked.encrypted = Some(self.chance(50));
        }
        if self.chance(10) {
            asked.timeout = Some(self.pick(&[9, 10, 4320, 4321]));
        }
        let body = json!({ "VolumeSize": asked.gib, "ParentSnapshotId": asked.parent, "ClientToken": asked.token,
                           "Encrypted": asked.encrypted, "Timeout": asked.timeout });
        // A client leaves out what it does not say.
        let members = body.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        let body: serde_json::Map<String, Value> =
            members.map(|(name, value)| (name.clone(), value.clone())).collect();
        let body = Value::Object(body).to_string();
        let what = format!("{who:?} start {body}");
        self.log.push(what.clone());
        let answer = self.ask(who, "POST /snapshots", &[], body.as_bytes());
        let Some(before) = answer.like(self.model.start(who, &asked), &what) else { return };
        let found = answer.json();
        let id = found["SnapshotId"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 201);
        assert_eq!(found["ParentSnapshotId"].as_str(), asked.parent.as_deref(), "{what}");
        assert_eq!(
            (&found["VolumeSize"], &found["BlockSize"]),
            (&json!(asked.gib), &json!(BLOCK_LEN))
        );
        if let Some(before) = before {
            assert_eq!(id, before, "{what}");
        } else {
            self.model.started(who, &asked, &id);
            self.ids.push(id);
        }
    }

    pub(super) fn put(&mut self, who: Who) {
        let (id, index) = (self.id(), self.pick(&INDEXES));
        let content = u8::try_from(self.random.below(8)).unwrap();
        let mut body = block(content);
        let (mut len, mut algorithm) = ("524288", "SHA256");
        let mut checksum = STANDARD.encode(&self.digests[usize::from(content)]);
        let mut is_sound = Ok(());
        match self.random.below(60) {
            0 => (len, is_sound) = ("4096", Err("INVALID_PARAMETER_VALUE")),
            1 => (algorithm, is_sound) = ("MD5", Err("INVALID_PARAMETER_VALUE")),
            2 => {
                "AAAA".clone_into(&mut checksum);
                is_sound = Err("INVALID_PARAMETER_VALUE");
            }
            3..6 => {
                let byte = self.random.index(BLOCK_LEN);
                body[byte] ^= 1;
                is_sound = Err("INVALID_BLOCK");
            }
            6 => {
                body.pop();
                is_sound = Err("INVALID_BLOCK");
            }
            _ => {}
        }
        let what = format!("{who:?} put {id} {index} {content} {is_sound:?}");
        self.log.push(what.clone());
        let headers = [
            ("x-amz-Data-Length", len),
            ("x-amz-Checksum", &checksum),
            ("x-amz-Checksum-Algorithm", algorithm),
        ];
        let answer = self.ask(who, &format!("PUT /snapshots/{id}/blocks/{index}"), &headers, &body);
        let expected = self.model.put(who, &id, index, content, is_sound);
        if answer.like(expected, &what).is_some() {
            assert_eq!(
                (answer.status, &answer.headers["x-amz-checksum"]),
                (201, &checksum),
                "{what}"
            );
        }
    }

    pub(super) fn complete(&mut self, who: Who) {
        let id = self.id();
        let put = self.model.blocks_put(&id);
        let mut count = put.len();
        let mut linear = Sha256::new();
        for content in put.values() {
            linear.update(&self.digests[usize::from(*content)]);
        }
        let mut linear = Some(linear.finalize().to_vec());
        let flaw = self.random.below(12);
        match flaw {
            0 => count += 1,
            1 => linear.as_mut().unwrap()[7] ^= 8,
            2..5 => linear = None,
            _ => {}
        }
        let what = format!("{who:?} complete {id} {count} {flaw}");
        self.log.push(what.clone());
        let (count, linear) = (count.to_string(), linear.map(|it| STANDARD.encode(it)));
        let mut headers = vec![("x-amz-ChangedBlocksCount", &*count)];
        if let Some(linear) = &linear {
            headers.push(("x-amz-Checksum", linear));
            headers.push(("x-amz-Checksum-Algorithm", "SHA256"));
            headers.push(("x-amz-Checksum-Aggregation-Method", "LINEAR"));
        }
        let line = format!("POST /snapshots/completion/{id}");
        let answer = self.ask(who, &line, &headers, &[]);
        let expected = self.model.complete(who, &id, flaw > 1);
        if answer.like(expected, &what).is_none() {
            return;
        }
        assert_eq!(answer.status, 202, "{what}");
        // Twice is wrong at once, and later.
        if self.chance(30) {
            let again = self.ask(who, &line, &headers, &[]);
            again.like(self.model.complete(who, &id, true), &format!("{what}, again"));
        }
        self.settled(who, &id);
    }

    /// Waits until a snapshot is made, or not.
    fn settled(&mut self, who: Who, id: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ec2(who, &format!("Action=DescribeSnapshots&SnapshotId.1={id}"));
            let text = String::from_utf8(answer.body).unwrap();
            let (_, rest) = text.split_once("<status>").unwrap_or_else(|| panic!("{text}"));
            let expected = match self.model.state(id).unwrap() {
                State::Completed => "completed",
                State::Error => "error",
                State::Pending => unreachable!("it was completed"),
            };
            match rest.split('<').next().unwrap() {
                "pending" => {
                    assert!(began.elapsed() < Duration::from_mins(1), "{id} stays pending");
                }
                state => return assert_eq!(state, expected, "{id}: {text}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Says where a list begins: at a block, or with a token, good or not.
    fn from(&mut self, of: &str) -> (u64, Option<(String, Token)>) {
        let start = if self.chance(30) { self.pick(&INDEXES) } else { 0 };
        if !self.chance(30) {
            return (start, None);
        }
        (start, self.some_token(of))
    }

    /// A token, mostly of what is asked for.
    fn some_token(&mut self, of: &str) -> Option<(String, Token)> {
        let any = self.chance(20);
        let fits: Vec<Given> = self.given.iter().filter(|it| any || it.of == of).cloned().collect();
        if fits.is_empty() {
            let wrong = Token { of: String::new(), is_expired: false, at: 0 };
            return self.chance(20).then(|| ("AAAA".to_owned(), wrong));
        }
        let given = &fits[self.random.index(fits.len())];
        given.token().map(|token| (given.text.clone(), token))
    }

    fn give(&mut self, text: &Value, of: String, at: u64) {
        let text = text.as_str().unwrap().to_owned();
        assert!(text.len() <= 256 && STANDARD.decode(&text).is_ok(), "{text}");
        self.given.push(Given { text, of, at, when: Instant::now() });
    }

    fn query(start: u64, token: Option<&str>, more: &str) -> String {
        let mut pairs = vec![format!("startingBlockIndex={start}")];
        pairs.extend(token.map(|it| format!("pageToken={}", escaped(it))));
        if !more.is_empty() {
            pairs.push(more.to_owned());
        }
        pairs.join("&")
    }

    pub(super) fn list(&mut self, who: Who) {
        let id = self.id();
        let of = format!("list {id}");
        let (start, mut token) = self.from(&of);
        loop {
            let text = token.as_ref().map(|(text, _)| text.as_str());
            let line = format!("GET /snapshots/{id}/blocks?{}", Self::query(start, text, ""));
            let expected = self.model.list(who, &id, start, token.as_ref().map(|it| &it.1));
            let what = format!("{who:?} list {id} {start} {token:?}");
            self.log.push(what.clone());
            let answer = self.ask(who, &line, &[], &[]);
            let Some(blocks) = answer.like(expected, &what) else { return };
            let found = answer.json();
            let page = found["Blocks"].as_array().unwrap();
            let indexes: Vec<u64> =
                page.iter().map(|it| it["BlockIndex"].as_u64().unwrap()).collect();
            assert_eq!(indexes, blocks[..blocks.len().min(PAGE_LEN)], "{what}");
            for entry in page {
                let index = &entry["BlockIndex"];
                self.give(&entry["BlockToken"], format!("block {id} {index}"), 0);
            }
            let Some(next) = self.next(&found, blocks.get(PAGE_LEN).copied(), &of) else { return };
            token = Some(next);
        }
    }

    /// Holds the token of the next page to what there is, and returns it if this one goes on.
    fn next(&mut self, found: &Value, at: Option<u64>, of: &str) -> Option<(String, Token)> {
        assert_eq!(found["NextToken"].is_string(), at.is_some(), "{of}: {found}");
        let at = at?;
        self.give(&found["NextToken"], of.to_owned(), at);
        let given = self.given.last().expect("it was given");
        let next = (given.text.clone(), given.token()?);
        self.chance(80).then_some(next)
    }

    pub(super) fn changed(&mut self, who: Who) {
        let new = self.id();
        let old = if self.chance(80) { Some(self.id()) } else { None };
        let of = format!("changed {} {new}", old.as_deref().unwrap_or("-"));
        let (start, mut token) = self.from(&of);
        let first = old.as_ref().map(|old| format!("firstSnapshotId={old}")).unwrap_or_default();
        loop {
            let text = token.as_ref().map(|(text, _)| text.as_str());
            let line =
                format!("GET /snapshots/{new}/changedblocks?{}", Self::query(start, text, &first));
            let token_of = token.as_ref().map(|it| &it.1);
            let expected = self.model.changed(who, old.as_deref(), &new, start, token_of);
            let what = format!("{who:?} {of} {start} {token:?}");
            self.log.push(what.clone());
            let answer = self.ask(who, &line, &[], &[]);
            let Some(blocks) = answer.like(expected, &what) else { return };
            let found = answer.json();
            let page = found["ChangedBlocks"].as_array().unwrap();
            let of_entry = |entry: &Value| -> Changed {
                let has = |name: &str| entry[name].is_string();
                (
                    entry["BlockIndex"].as_u64().unwrap(),
                    has("FirstBlockToken"),
                    has("SecondBlockToken"),
                )
            };
            let changes: Vec<Changed> = page.iter().map(of_entry).collect();
            assert_eq!(changes, blocks[..blocks.len().min(PAGE_LEN)], "{what}");
            for entry in page {
                let index = &entry["BlockIndex"];
                for (name, id) in
                    [("FirstBlockToken", old.as_ref()), ("SecondBlockToken", Some(&new))]
                {
                    if let (token @ Value::String(_), Some(id)) = (&entry[name], id) {
                        self.give(token, format!("block {id} {index}"), 0);
                    }
                }
            }
            let next = blocks.get(PAGE_LEN).map(|it| it.0);
            let Some(next) = self.next(&found, next, &of) else { return };
            token = Some(next);
        }
    }

    pub(super) fn get(&mut self, who: Who) {
        let (mut id, mut index) = (self.id(), self.pick(&INDEXES));
        let of_blocks = self.given.iter().rev().filter(|it| it.of.starts_with("block "));
        let last: Vec<String> = of_blocks.take(20).map(|it| it.of.clone()).collect();
        if !last.is_empty() && self.chance(85) {
            let words = last[self.random.index(last.len())].clone();
            let words: Vec<&str> = words.split(' ').collect();
            (id, index) = (words[1].to_owned(), words[2].parse().unwrap());
        }
        let Some((text, token)) = self.some_token(&format!("block {id} {index}")) else { return };
        self.get_with(who, &id, index, &text, &token);
    }

    fn get_with(&mut self, who: Who, id: &str, index: u64, text: &str, token: &Token) {
        let line = format!("GET /snapshots/{id}/blocks/{index}?blockToken={}", escaped(text));
        let what = format!("{who:?} get {id} {index} {token:?}");
        self.log.push(what.clone());
        let answer = self.ask(who, &line, &[], &[]);
        let Some(content) = answer.like(self.model.get(who, id, index, token), &what) else {
            return;
        };
        assert!(answer.body == block(content), "{what}: not {content}");
        let checksum = STANDARD.encode(&self.digests[usize::from(content)]);
        assert_eq!(answer.headers["x-amz-checksum"], checksum, "{what}");
        assert_eq!(answer.headers["x-amz-data-length"], "524288", "{what}");
    }

    pub(super) fn share(&mut self, who: Who) {
        let (id, add) = (self.id(), self.chance(70));
        let (with, _) = CALLERS[1];
        self.log.push(format!("{who:?} share {id} {add}"));
        let answer = self.ec2(
            who,
            &format!(
                "Action=ModifySnapshotAttribute&SnapshotId={id}&Attribute=createVolumePermission\
                 &OperationType={}&UserId.1={with}",
                if add { "add" } else { "remove" }
            ),
        );
        assert_eq!(answer.status == 200, self.model.share(who, &id, with, add), "{id}");
    }

    pub(super) fn delete(&mut self, who: Who) {
        let id = self.id();
        self.log.push(format!("{who:?} delete {id}"));
        let answer = self.ec2(who, &format!("Action=DeleteSnapshot&SnapshotId={id}"));
        assert_eq!(answer.status == 200, self.model.delete(who, &id), "{id}");
    }

    /// Uses tokens whose time is over, and reads all that there is.
    pub(super) fn look_at_everything(&mut self) {
        std::thread::sleep(OLD);
        let mut old = std::mem::take(&mut self.given);
        old.retain(|it| it.of.starts_with("block "));
        for given in old.iter().rev().take(20) {
            let words: Vec<&str> = given.of.split(' ').collect();
            let (id, index, token) = (words[1], words[2].parse().unwrap(), given.token().unwrap());
            self.get_with(CALLERS[0], id, index, &given.text, &token);
        }
        for id in self.ids.clone() {
            for who in CALLERS {
                let line = format!("GET /snapshots/{id}/blocks?maxResults=100");
                let answer = self.ask(who, &line, &[], &[]);
                let Some(blocks) = answer.like(self.model.list(who, &id, 0, None), &id) else {
                    continue;
                };
                for (entry, index) in answer.json()["Blocks"].as_array().unwrap().iter().zip(blocks)
                {
                    let of = format!("block {id} {index}");
                    self.give(&entry["BlockToken"], of.clone(), 0);
                    let token = Token { of, is_expired: false, at: 0 };
                    let text = self.given.last().unwrap().text.clone();
                    self.get_with(who, &id, index, &text, &token);
                }
            }
        }
        self.server = None;
        run_well(self.folder.path(), "store verify images");
    }
}
