//! What is asked, and what is tried again: over a wire and in a world of these tests.
#![allow(clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::aws::fake::with;
use crate::calls::CompleteSnapshot;
use crate::calls::Id;
use crate::calls::NotYet;
use crate::digest::sha256;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Bucket;
use crate::http::Cut;
use crate::http::Phase;
use crate::http::Reply;
use crate::http::World as _;
use crate::http::fake::FakeWorld;
use crate::http::fake::Seen;
use crate::http::fake::broken;
use crate::http::fake::reply;

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "s")];
const CONTAINER: [(&str, &str); 1] = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")];

fn pending(world: &FakeWorld) -> Pending {
    Pending {
        snapshot_id: "snap-1".to_owned(),
        bucket: Bucket::new(1000, 8),
        not_yet: NotYet { errors: &["ResourceNotFoundException"], seconds: 120 },
        since: world.now(),
    }
}

fn put(aws: &Aws<'_, '_>, world: &FakeWorld) -> Result<()> {
    let bytes = vec![7; 524_288];
    aws.put_block("eu-west-1", &pending(world), 3, &sha256(&bytes), &bytes)
}

fn refused(status: u16, kind: &str, message: &str, reason: &str) -> Result<Reply, Cut> {
    let body = serde_json::json!({ "Message": message, "Reason": reason }).to_string();
    reply(status, &[("x-amzn-ErrorType", kind)], body.as_bytes())
}

#[test]
fn a_put_is_tried_again_as_the_table_says_and_never_else() {
    let again = [
        (500, "InternalServerException", "", ""),
        (503, "", "", ""),
        (400, "ThrottlingException", "", "ACCOUNT_THROTTLED"),
        (400, "RequestThrottledException", "", "RESOURCE_LEVEL_THROTTLE"),
        (400, "RequestThrottledException:http://internal.amazon.com/x", "", ""),
        (400, "ValidationException", "Failed to read block data", "INVALID_PARAMETER_VALUE"),
        (404, "ResourceNotFoundException", "The snapshot does not exist.", "SNAPSHOT_NOT_FOUND"),
    ];
    for (status, kind, message, reason) in again {
        let (done, count) = with(
            &KEYS,
            move |number, _| match number {
                0 => refused(status, kind, message, reason),
                _ => reply(201, &[], b"{}"),
            },
            put,
        );
        assert!(done.is_ok(), "{kind}: {done:?}");
        assert_eq!(count, 2, "{kind}");
    }
    let never = [
        (400, "ValidationException", "The block is wrong", "INVALID_BLOCK"),
        (400, "ValidationException", "it is being written", "CONFLICTING_BLOCK_UPDATE"),
        (400, "ExpiredTokenException", "", ""),
        (402, "ServiceQuotaExceededException", "", "DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
        (403, "AccessDeniedException", "", "UNAUTHORIZED_ACCOUNT"),
        (409, "ConflictException", "", ""),
    ];
    for (status, kind, message, reason) in never {
        let (done, count) = with(&KEYS, move |_, _| refused(status, kind, message, reason), put);
        let error = done.unwrap_err();
        assert_eq!((error.kind(), count), (Kind::Invalid, 1), "{kind}: {error}");
        assert!(error.to_string().contains(kind), "{error}");
    }
}

#[test]
fn a_block_that_is_being_written_is_waited_for_if_the_answer_before_was_lost() {
    let (done, count) = with(
        &KEYS,
        |number, _| match number {
            0 => Err(broken(Phase::FirstByte)),
            1 | 2 => refused(400, "ValidationException", "", "CONFLICTING_BLOCK_UPDATE"),
            _ => reply(201, &[], b"{}"),
        },
        put,
    );
    assert!(done.is_ok() && count == 4, "{done:?} {count}");
}

#[test]
fn where_nothing_ever_answers_it_ends_soon_and_what_answered_once_is_waited_for() {
    let waited = |world: &FakeWorld| world.naps().iter().sum::<Duration>().as_secs();
    let (done, count) = with(
        &KEYS,
        |_, _| Err(broken(Phase::Connect)),
        |aws, world| (put(aws, world), waited(world)),
    );
    assert_eq!(done.0.unwrap_err().kind(), Kind::Io);
    assert!(count == 8 && done.1 <= 32, "{count} {}", done.1);
    let (done, count) = with(
        &KEYS,
        |number, _| match number {
            0 | 20 => reply(201, &[], b"{}"),
            _ => Err(broken(Phase::Connect)),
        },
        |aws, world| put(aws, world).and_then(|()| put(aws, world)),
    );
    assert!(done.is_ok() && count == 21, "{done:?} {count}");
}

#[test]
fn a_new_snapshot_may_be_unknown_for_two_minutes_and_no_longer() {
    let (done, count) = with(
        &KEYS,
        |_, _| refused(404, "ResourceNotFoundException", "does not exist", "SNAPSHOT_NOT_FOUND"),
        |aws, world| (put(aws, world), world.naps().iter().sum::<Duration>()),
    );
    let (done, waited) = done;
    assert!(done.unwrap_err().to_string().contains("ResourceNotFoundException"));
    assert!((120..160).contains(&waited.as_secs()) && count > 5, "{waited:?} {count}");
}

#[test]
fn a_put_says_its_checksum_and_signs_it() {
    let seen: Arc<Mutex<Option<Seen>>> = Arc::default();
    let taken = Arc::clone(&seen);
    let (done, _) = with(
        &KEYS,
        move |_, it| {
            *taken.lock().unwrap() = Some(it);
            reply(201, &[], b"{}")
        },
        put,
    );
    done.unwrap();
    let seen = seen.lock().unwrap().take().unwrap();
    assert_eq!(
        seen.url.to_string(),
        "https://ebs.eu-west-1.amazonaws.com/snapshots/snap-1/blocks/3"
    );
    assert_eq!(seen.headers.get("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_eq!(seen.headers.get("x-amz-data-length"), Some("524288"));
    let signed = seen.headers.get("authorization").unwrap();
    assert!(signed.contains("/eu-west-1/ebs/aws4_request"), "{signed}");
    assert!(signed.contains("x-amz-checksum;x-amz-checksum-algorithm;"), "{signed}");
    assert_eq!(seen.body.len(), 524_288);
}

#[test]
fn an_expired_key_is_replaced_once_if_there_is_another() {
    let answer = |_: usize, seen: Seen| match seen.headers.get("authorization") {
        Some(signed) if signed.contains("KEY1/") => reply(201, &[], b"{}"),
        _ => refused(403, "ExpiredTokenException", "The security token has expired", ""),
    };
    let (done, count) = with(&CONTAINER, answer, put);
    assert!(done.is_ok() && count == 2, "{done:?} {count}");
    let never = |_: usize, _: Seen| refused(403, "ExpiredTokenException", "", "");
    let (done, count) = with(&CONTAINER, never, put);
    assert!(done.is_err() && count == 2, "{done:?} {count}");
}

#[test]
fn a_wrong_clock_is_named() {
    let answer = |_: usize, _: Seen| {
        let body = r#"{"message":"Signature expired"}"#;
        let headers = [
            ("x-amzn-ErrorType", "InvalidSignatureException"),
            ("Date", "Mon, 30 Nov 2026 12:00:00 GMT"),
        ];
        reply(403, &headers, body.as_bytes())
    };
    let (done, _) = with(&KEYS, answer, put);
    let text = done.unwrap_err().to_string();
    assert!(text.contains("clock") && text.contains("ebs.eu-west-1.amazonaws.com"), "{text}");
}

#[test]
fn a_refusal_of_ec2_is_read_and_throttling_is_not_one() {
    let error = |code: &str| {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>it &lt;says&gt;</Message></Error></Errors>\
             <RequestID>r-1</RequestID></Response>"
        )
    };
    let text = "<DescribeImagesResponse><imagesSet/></DescribeImagesResponse>";
    let (done, count) = with(
        &KEYS,
        move |number, _| match number {
            0 => reply(503, &[], error("RequestLimitExceeded").as_bytes()),
            1 => reply(400, &[], error("Throttling").as_bytes()),
            _ => reply(200, &[], text.as_bytes()),
        },
        |aws, _| aws.ec2("eu-west-1", "DescribeImages", &serde_json::json!({}), None),
    );
    assert_eq!(done.unwrap().unwrap()["Images"], serde_json::json!([]));
    assert_eq!(count, 3);
    let (done, _) = with(
        &KEYS,
        move |_, _| reply(400, &[], error("InvalidAMIName.Duplicate").as_bytes()),
        |aws, _| aws.ec2("eu-west-1", "RegisterImage", &serde_json::json!({}), None),
    );
    let refusal = done.unwrap().unwrap_err();
    assert_eq!(refusal.request_id.as_deref(), Some("r-1"));
    let text =
        "RegisterImage in eu-west-1 was refused: InvalidAMIName.Duplicate: it <says> (request r-1)";
    assert_eq!(refusal.to_string(), text);
    let (done, _) =
        with(&KEYS, |_, _| reply(200, &[], b"<html></html>"), |aws, _| aws.account("eu-west-1"));
    assert_eq!(done.unwrap_err().kind(), Kind::Io);
}

#[test]
fn a_block_is_what_its_checksum_says_or_an_error() {
    let block = vec![9; 524_288];
    let right = sha256(&block).base64();
    let wrong = sha256(b"other").base64();
    for (body, checksum, is_right) in [
        (block.clone(), right.clone(), true),
        (block.clone(), wrong, false),
        (block[1..].to_vec(), right.clone(), false),
        (block, "no base64".to_owned(), false),
    ] {
        let (done, _) = with(
            &KEYS,
            move |_, _| reply(200, &[("x-amz-Checksum", &checksum)], &body),
            |aws, _| aws.get_block("eu-west-1", "snap-1", 0, "token+/="),
        );
        assert_eq!(done.is_ok(), is_right);
        if let Err(error) = done {
            assert_eq!(error.kind(), Kind::Mismatch, "{error}");
        }
    }
}

#[test]
fn lists_that_run_in_a_circle_or_backwards_end() {
    let page = |blocks: &str, next: &str| {
        format!("{{\"Blocks\":[{blocks}],\"VolumeSize\":1,\"BlockSize\":524288{next}}}")
    };
    let block = |index: u32| format!("{{\"BlockIndex\":{index},\"BlockToken\":\"t\"}}");
    let of = |pages: Vec<String>| {
        let (done, _) = with(
            &KEYS,
            move |number, _| reply(200, &[], pages[number.min(pages.len() - 1)].as_bytes()),
            |aws, _| {
                let mut list = BlockList::new(aws, "eu-west-1", "snap-1", None, 0);
                let found: Result<Vec<u32>> = list.by_ref().map(|it| Ok(it?.block_index)).collect();
                assert!(list.next().is_none(), "it ends after an error");
                found.map(|found| (list.gib(), found))
            },
        );
        done
    };
    let next = ",\"NextToken\":\"n\"";
    // A page may be empty although more follow.
    let sound = of(vec![page("", next), page(&block(1), "")]);
    assert_eq!(sound.unwrap(), (1, vec![1]));
    assert!(of(vec![page(&block(1), next), page(&block(1), next)]).is_err());
    assert!(of(vec![page("", next)]).is_err());
    assert!(of(vec![page(&block(5), ",\"NextToken\":\"m\""), page(&block(4), "")]).is_err());
    assert!(of(vec![page("", "").replace("524288", "512")]).is_err());
}

/// A page is remembered for an hour, and a fetch of its blocks can take longer.
#[test]
fn a_page_that_is_forgotten_is_asked_for_by_its_first_block() {
    let page = |blocks: &[u32], next: &str| {
        let blocks: Vec<_> = blocks.iter().map(|it| json!({ "BlockIndex": it })).collect();
        let mut page = json!({ "Blocks": blocks, "VolumeSize": 1, "BlockSize": 524_288 });
        if !next.is_empty() {
            page["NextToken"] = json!(next);
        }
        page.to_string()
    };
    let forgotten = || refused(400, "ValidationException", "it has expired", "INVALID_PAGE_TOKEN");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let answer = move |number: usize, seen: Seen| {
        heard.lock().unwrap().push(seen.url.query().unwrap_or_default().to_owned());
        match number {
            0 => reply(200, &[], page(&[7, 8], "one").as_bytes()),
            2 => reply(200, &[], page(&[9], "two").as_bytes()),
            _ => forgotten(),
        }
    };
    let (found, _) = with(&KEYS, answer, |aws, _| {
        let list = BlockList::new(aws, "eu-west-1", "snap-1", Some("snap-0"), 7);
        list.map(|it| it.map(|it| it.block_index)).collect::<Vec<_>>()
    });
    // What is refused without a token, too, is an error.
    let indexes: Vec<_> = found.iter().map(|it| it.as_ref().ok().copied()).collect();
    assert_eq!(indexes, [Some(7), Some(8), Some(9), None], "{found:?}");
    let asked = asked.lock().unwrap().clone();
    let by = |name: &str, value: &str| format!("{name}={value}");
    for (query, by) in asked.iter().zip([
        by("startingBlockIndex", "7"),
        by("pageToken", "one"),
        by("startingBlockIndex", "9"),
        by("pageToken", "two"),
        by("startingBlockIndex", "10"),
    ]) {
        assert!(query.contains(&by), "{query}, expected {by}");
        assert!(query.contains("firstSnapshotId=snap-0"), "{query}");
        assert!(!(query.contains("pageToken") && query.contains("starting")), "{query}");
    }
    assert_eq!(asked.len(), 5);
}

#[test]
fn a_completion_that_is_refused_is_told_from_a_failure() {
    let call = CompleteSnapshot {
        snapshot_id: Id::Known("snap-1".to_owned()),
        changed_blocks_count: 1,
        checksum: "x".to_owned(),
        checksum_algorithm: "SHA256",
        checksum_aggregation_method: "LINEAR",
    };
    let (done, _) = with(
        &KEYS,
        |_, _| refused(400, "ValidationException", "not pending", "INVALID_SNAPSHOT_ID"),
        |aws, world| aws.complete_snapshot("eu-west-1", &pending(world), &call),
    );
    let refusal = done.unwrap().unwrap_err();
    assert_eq!(refusal.reason.as_deref(), Some("INVALID_SNAPSHOT_ID"));
}
