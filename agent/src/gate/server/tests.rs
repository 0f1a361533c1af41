use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

use super::super::protocol::MAX_LINE_BYTES;
use super::*;

/// A client that speaks raw lines.
struct Raw {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Raw {
    async fn connect(path: &std::path::Path) -> Self {
        let (reader, writer) = UnixStream::connect(path).await.unwrap().into_split();
        let mut raw = Self { lines: BufReader::new(reader).lines(), writer };
        assert_eq!(raw.hear().await, json!({"hello": {"version": 1, "capacity": {"units": 100}}}));
        raw
    }

    async fn say(&mut self, message: &str) {
        self.writer.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn complaint(&mut self) -> String {
        self.hear().await["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// Runs `test` with the socket of a server of 100 units.
async fn with_server<F: Future>(test: impl FnOnce(std::path::PathBuf) -> F) -> F::Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { serve(&listener, Capacity::Units(100), unobserved()).await });
    let output = test(path).await;
    server.abort();
    output
}

#[tokio::test]
async fn two_clients_take_turns_as_documented() {
    with_server(async |path| {
        let (mut one, mut two) = (Raw::connect(&path).await, Raw::connect(&path).await);
        one.say(r#"{"acquire":{"id":1,"need":{"units":60}}}"#).await;
        assert_eq!(one.hear().await, json!({"granted": {"id": 1, "lanes": []}}));
        two.say(r#"{"acquire":{"id":1,"need":"quiet"}}"#).await;
        two.say(r#"{"acquire":{"id":1,"need":"quiet"}}"#).await;
        assert!(two.complaint().await.starts_with("id: 1: waits"), "so the first is in the line");
        one.say(r#"{"release":{"id":1}}"#).await;
        assert_eq!(two.hear().await, json!({"granted": {"id": 1, "lanes": []}}));
    })
    .await;
}

#[tokio::test]
async fn a_closed_connection_gives_back_what_it_holds_and_leaves_the_line() {
    with_server(async |path| {
        let (mut one, mut two) = (Raw::connect(&path).await, Raw::connect(&path).await);
        one.say(r#"{"acquire":{"id":1,"need":{"units":60}}}"#).await;
        one.hear().await;
        one.say(r#"{"acquire":{"id":2,"need":"quiet"}}"#).await;
        one.say("?").await;
        one.complaint().await;
        two.say(r#"{"acquire":{"id":7,"need":{"units":100}}}"#).await;
        drop(one);
        assert_eq!(two.hear().await, json!({"granted": {"id": 7, "lanes": []}}));
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_is_over_is_revoked_and_its_units_go_to_the_next() {
    with_server(async |path| {
        let (mut one, mut two) = (Raw::connect(&path).await, Raw::connect(&path).await);
        one.say(r#"{"acquire":{"id":1,"need":"quiet","leaseMs":1}}"#).await;
        assert_eq!(one.hear().await, json!({"granted": {"id": 1, "lanes": []}}));
        two.say(r#"{"acquire":{"id":1,"need":{"units":1},"leaseMs":null}}"#).await;
        assert_eq!(one.hear().await, json!({"revoked": {"id": 1}}));
        assert_eq!(two.hear().await, json!({"granted": {"id": 1, "lanes": []}}));
        one.say(r#"{"release":{"id":1}}"#).await;
        one.say(r#"{"acquire":{"id":2,"need":{"units":99}}}"#).await;
        assert_eq!(
            one.hear().await,
            json!({"granted": {"id": 2, "lanes": []}}),
            "a late release is no error"
        );
    })
    .await;
}

#[tokio::test]
async fn bad_input_is_answered_and_harms_nobody() {
    with_server(async |path| {
        let (mut bad, mut good) = (Raw::connect(&path).await, Raw::connect(&path).await);
        for (line, expected) in [
            ("", "not a request"),
            ("hello", "not a request"),
            ("[[[[", "not a request"),
            (r#"{"acquire":{"id":1,"need":"everything"}}"#, "unknown variant `everything`"),
            (r#"{"acquire":{"id":-1,"need":"quiet"}}"#, "integer `-1`"),
            (r#"{"acquire":{"id":1,"need":"quiet","lease":5}}"#, "unknown field `lease`"),
            (r#"{"steal":{"id":1}}"#, "unknown variant `steal`"),
        ] {
            bad.say(line).await;
            let complaint = bad.complaint().await;
            assert!(complaint.contains(expected), "{line:?}: {complaint}");
            assert!(complaint.contains("; send {"), "{line:?}: no way out in {complaint}");
        }
        bad.say(r#"{"acquire":{"id":3,"need":{"units":101}}}"#).await;
        let message = "need.units: 101: the gate has 100 units; ask for 1 to 100";
        assert_eq!(bad.hear().await, json!({"error": {"id": 3, "message": message}}));
        bad.writer.write_all(&[0xff, 0, b'\n']).await.unwrap();
        assert!(bad.complaint().await.contains("not a request"));
        bad.say(r#"{"acquire":{"id":4,"need":{"units":1}}}"#).await;
        assert_eq!(bad.hear().await["granted"]["id"], 4, "the connection still works");

        // The server may close before it has read all of this.
        let _ = bad.writer.write_all(&vec![b'x'; MAX_LINE_BYTES + 1]).await;
        assert!(bad.complaint().await.contains("is over 65536 bytes"));
        good.say(r#"{"acquire":{"id":1,"need":"quiet"}}"#).await;
        assert_eq!(good.hear().await["granted"]["id"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_requests() {
    with_server(async |path| {
        let mut raw = Raw::connect(&path).await;
        raw.say(r#"{"acquire":{"id":0,"need":"quiet"}}"#).await;
        raw.hear().await;
        for id in 1..=MAX_CLAIMS {
            raw.say(&format!(r#"{{"acquire":{{"id":{id},"need":"quiet"}}}}"#)).await;
        }
        let answer = raw.hear().await;
        assert_eq!(answer["error"]["id"], MAX_CLAIMS, "{answer}");
    })
    .await;
}
