//! Configuration files: no text may cause a panic, values are in range or their default, and each problem
//! names what it is about.

use std::time::Duration;

use weir_fuzz::{CASES_DEFAULT, run, text};

use super::RawConfig;

const FILE: &str = r#"[data]
store_timeout = "250ms" # comment
cache = "64MiB"
channels_in_memory = 100_000
[listen]
api = "127.0.0.1:8080"
[log]
format = true
[gateway]
trusted_proxies = ["10.0.0.0/8", "::1"]
"#;
const DOTTED: &str = "data.store_timeout = \"1.5s\"\ndata = { cache = \"1GiB\" }\nlisten.api = \"[::1]:0\"\n";

#[test]
fn files() {
    run("weir.toml", CASES_DEFAULT, &text([FILE, DOTTED]), |input| {
        let Ok(input) = String::from_utf8(input) else { return };
        let mut raw = RawConfig::default();
        raw.file("weir.toml", &input);
        raw.flag("data.flagged", "--flagged", input.clone());
        let mut reader = raw.into_reader();
        let ms = Duration::from_millis;
        let timeout = reader.duration("data.store_timeout", ms(500), ms(1)..=ms(60_000));
        let cache = reader.size("data.cache", 32 << 20, 0..=1 << 40);
        let channels = reader.u64("data.channels_in_memory", 7, 1..=1_000_000);
        let flagged = reader.optional_size("data.flagged", 1..=10);
        assert!((ms(1)..=ms(60_000)).contains(&timeout) && cache <= 1 << 40);
        assert!((1..=1_000_000).contains(&channels) && flagged.is_none_or(|size| (1..=10).contains(&size)));
        reader.addr("listen.api", ([127, 0, 0, 1], 8080).into());
        reader.list("gateway.trusted_proxies");
        match reader.finish() {
            Ok(effective) => assert!(effective.to_json().is_object()),
            Err(problems) => assert!(problems.iter().count() > 0 && !problems.to_string().is_empty()),
        }
    });
}
