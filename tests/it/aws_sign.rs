//! Signatures, held against botocore's: `sent.py`. `AMIKIT_BOTOCORE_PYTHON` names the Python that has it.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;

use amikit::internals::aws::Credentials;
use amikit::internals::aws::Payload;
use amikit::internals::aws::Scope;
use amikit::internals::aws::Unsigned;
use amikit::internals::aws::sign;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::botocore::python;
use crate::botocore::sent;
use crate::common::Random;

/// A request with all kinds of paths, queries, headers and bodies.
struct Made {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    service: &'static str,
    region: &'static str,
    token: Option<String>,
    time: String,
    unsigned: bool,
}

fn escaped(random: &mut Random, most: usize) -> String {
    let mut text = String::new();
    for _ in 0..=random.index(most) {
        match random.below(8) {
            0 => write!(text, "%{:02X}", random.below(256)).unwrap(),
            1 => text.push(['-', '.', '_', '~'][random.index(4)]),
            _ => text.push(char::from(b"abcXYZ019"[random.index(9)])),
        }
    }
    text
}

fn made(random: &mut Random) -> Made {
    let mut path = String::new();
    for _ in 0..random.below(5) {
        path.push('/');
        match random.below(8) {
            0 => path.push('.'),
            1 => path.push_str(".."),
            2 => {}
            _ => path.push_str(&escaped(random, 9)),
        }
    }
    if path.is_empty() || random.below(3) == 0 {
        path.push('/');
    }
    let pairs: Vec<String> = (0..random.below(6))
        .map(|_| {
            let name = escaped(random, 5);
            match random.below(4) {
                0 => name,
                1 => format!("{name}="),
                _ => format!("{name}={}", escaped(random, 12)),
            }
        })
        .collect();
    let mut headers = Vec::new();
    for name in ["Content-Type", "x-amz-Checksum", "User-Agent", "X-Amz-Target", "Expect"] {
        if random.below(2) == 0 {
            let blanks = " ".repeat(random.index(3));
            let value = format!("{}{blanks}{}", escaped(random, 9), escaped(random, 9));
            headers.push((name.to_owned(), value));
        }
    }
    let len = [0, 0, 1, 100, 5000][random.index(5)];
    let (day, hour) = (random.below(28) + 1, random.below(24));
    Made {
        method: ["GET", "PUT", "POST", "DELETE", "HEAD"][random.index(5)],
        path,
        query: pairs.join("&"),
        headers,
        body: random.bytes(len),
        service: ["ebs", "ec2", "sts", "s3"][random.index(4)],
        region: ["eu-central-1", "us-east-1", "cn-north-1"][random.index(3)],
        token: (random.below(2) == 0).then(|| STANDARD.encode(random.bytes(100))),
        time: format!("2026-{:02}-{day:02}T{hour:02}:59:07Z", random.below(12) + 1),
        unsigned: random.below(3) == 0,
    }
}

const HOST: &str = "ebs.example.amazonaws.com:8443";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

impl Made {
    fn line(&self) -> String {
        let question = if self.query.is_empty() { "" } else { "?" };
        serde_json::json!({
            "method": self.method,
            "url": format!("https://{HOST}{}{question}{}", self.path, self.query),
            "headers": self.headers,
            "body": STANDARD.encode(&self.body),
            "service": self.service,
            "region": self.region,
            "key": "AKIDEXAMPLE",
            "secret": SECRET,
            "token": self.token,
            "time": self.time,
            "unsigned": self.unsigned && self.service != "s3",
        })
        .to_string()
    }

    /// Returns the headers that sign it, by their names in small letters.
    fn signed(&self) -> Vec<(String, String)> {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, self.token.as_deref());
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let request = Unsigned {
            method: self.method,
            host: HOST,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            payload: if self.unsigned && self.service != "s3" {
                Payload::Unsigned
            } else {
                Payload::Signed(&self.body)
            },
        };
        let scope = Scope { region: self.region, service: self.service };
        sign(&request, scope, &credentials, self.time.parse().unwrap())
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect()
    }
}

#[test]
fn a_thousand_requests_are_signed_as_botocore_signs_them() {
    let Some(python) = python() else { return };
    let mut random = Random::new("signatures");
    let all: Vec<Made> = (0..1000).map(|_| made(&mut random)).collect();
    let lines: Vec<String> = all.iter().map(Made::line).collect();
    let answers = sent(&python, "signatures", &lines.join("\n"));
    assert_eq!(answers.len(), all.len());
    for (made, answer) in all.iter().zip(&answers) {
        for (name, value) in made.signed() {
            let theirs = answer.get(&name).and_then(Value::as_str);
            assert_eq!(theirs, Some(value.as_str()), "{name} of {}", made.line());
        }
    }
}
