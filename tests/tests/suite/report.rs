//! The page of a load in a browser: narrow and wide, light and dark.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tests::{Browser, Seen, Test, TestServer, tests};

use crate::background::{Background, Finished};
use crate::books::{execute, insert_account};

/// The run says at its beginning and end if there is no browser.
pub(crate) fn tests() -> Vec<Test> {
    let none = tests![
        a_page_that_cannot_be_written_is_told_before_the_load,
        a_load_that_is_refused_leaves_the_page_before_it,
        the_page_about_a_broken_bank_says_so_with_the_evidence,
    ];
    let page = tests![the_page_shows_what_is_answered_and_asks_for_nothing];
    if Browser::find().is_some() { [page, none].concat() } else { none }
}

async fn a_page_that_cannot_be_written_is_told_before_the_load(server: &TestServer) {
    let test = server.database().await;
    let told = Background::start(&test, &["workload", "--report", "/no/such/folder/page.html"]).end().await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.failure().contains("/no/such/folder/page.html cannot be written"), "{told:?}");
}

/// Without accounts the earlier page stays.
async fn a_load_that_is_refused_leaves_the_page_before_it(server: &TestServer) {
    let test = server.database().await;
    let folder = TempDir::with_prefix("seabank-report-").expect("a folder can be made");
    let page = folder.path().join("page.html");
    fs::write(&page, "of another load").expect("it can be written");
    let told =
        Background::start(&test, &["workload", "--report", page.to_str().expect("a name")]).end().await;
    assert_eq!((told.code, &told.answer["kind"]), (Some(1), &"too_few_accounts".into()), "{told:?}");
    assert_eq!(fs::read_to_string(&page).expect("it is there"), "of another load");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing half written stays");
}

async fn the_page_about_a_broken_bank_says_so_with_the_evidence(server: &TestServer) {
    let test = server.database().await;
    let database = test.connect().await;
    for id in [1, 2] {
        insert_account(&database, id, 1000).await;
    }
    execute(&database, "INSERT INTO accounts (id, balance, opening_balance) VALUES (99, 5, 4)").await;
    let folder = TempDir::with_prefix("seabank-report-").expect("a folder can be made");
    let page = folder.path().join("page.html");
    let load = ["workload", "--max-ops", "5", "--audit-every", "0s", "--report"];
    let told = Background::start(&test, &[&load[..], &[page.to_str().expect("a name")]].concat()).end().await;
    assert_eq!(told.code, Some(3), "{told:?}");
    let text = fs::read_to_string(&page).expect("it is written");
    for words in ["The bank is broken.", "the balances do not add up", told.failure()] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// Shows the page in a frame, and writes what it measured into the document.
const LOOK: &str = r#"<!doctype html>
<iframe src="page.html" style="width: WIDTHpx; height: 900px; border: 0; color-scheme: SCHEME"></iframe>
<script id="found" type="application/json"></script>
<script>
onload = () => {
  const page = frames[0].document;
  const all = (selector, within = page) => [...within.querySelectorAll(selector)];
  const style = element => frames[0].getComputedStyle(element);
  const texts = (selector, key) => Object.fromEntries(all(selector).map(it => [it.dataset[key], it.textContent]));
  document.getElementById('found').textContent = JSON.stringify({
    title: page.title,
    width: page.documentElement.clientWidth,
    contentWidth: page.documentElement.scrollWidth,
    asked: frames[0].performance.getEntriesByType('resource').map(it => it.name),
    shown: texts('[data-key]', 'key'),
    values: Object.fromEntries(all('[data-key] data').map(it => [it.parentNode.dataset.key, it.value])),
    retries: texts('[data-sqlstate]', 'sqlstate'),
    audit: texts('[data-audit]', 'audit'),
    text: page.body.textContent,
    colours: [style(page.body).backgroundColor, style(page.body).color],
    figures: all('figure').map(figure => {
      const picture = figure.querySelector('[role=img] svg'), box = picture.getBoundingClientRect();
      const word = picture.querySelector('text');
      return {
        caption: figure.querySelector('figcaption').textContent,
        width: box.width,
        height: box.height,
        shapes: all('rect, polyline', picture).length,
        word: word.getBoundingClientRect().height,
        colours: [style(figure).backgroundColor, style(word).fill],
        head: all('th', figure).map(it => it.textContent),
        rows: all('tbody tr', figure).map(row => all('data', row).map(it => Number(it.value))),
      };
    }),
  });
};
</script>
"#;

async fn the_page_shows_what_is_answered_and_asks_for_nothing(server: &TestServer) {
    let browser = Browser::find().expect("it was there when the tests were listed");
    let folder = TempDir::with_prefix("seabank-report-").expect("a folder can be made");
    let page = folder.path().join("page.html");
    let told = loaded(server, &page).await;

    for (width, scheme) in [(360, "light"), (360, "dark"), (1100, "dark")] {
        let look = LOOK.replace("WIDTH", &width.to_string()).replace("SCHEME", scheme);
        let (found, seen) = look_at(&browser, folder.path(), &look);
        assert_eq!(seen.console, Vec::<String>::new());
        assert_eq!(found["asked"], Value::Array(Vec::new()));
        assert_numbers(&found, &told, &server.version);
        assert_pictures(&found, &told);

        let number = |key: &str| found[key].as_f64().expect("a number");
        assert!(number("contentWidth") <= number("width"), "it has to be moved sideways: {found}");
        let (ground, ink) = (luminance(&found["colours"][0]), luminance(&found["colours"][1]));
        assert_eq!(ground < ink, scheme == "dark", "{found}");
        assert_readable(&found["colours"]);
        for figure in found["figures"].as_array().expect("a list") {
            assert!(
                figure["width"].as_f64() > Some(280.0) && figure["height"].as_f64() > Some(140.0),
                "{figure}"
            );
            assert!(figure["word"].as_f64() > Some(9.0), "its words are too small: {figure}");
            assert_readable(&figure["colours"]);
        }
    }

    // A request of the page would be seen.
    let text = fs::read_to_string(&page).expect("it was written");
    let asking = text.replace("</body>", "<img src=\"http://127.0.0.1:9/picture.png\"></body>");
    fs::write(&page, asking).expect("it can be written");
    let (_, seen) = look_at(&browser, folder.path(), LOOK);
    assert!(seen.console.iter().any(|line| line.contains("Content Security Policy")), "{:?}", seen.console);
}

/// A load with audits, and on a server with conflicts.
async fn loaded(server: &TestServer, page: &Path) -> Finished {
    let test = server.database().await;
    let database = test.connect().await;
    for id in 1..=4 {
        insert_account(&database, id, 1000).await;
    }
    let load =
        ["workload", "--max-ops", "600", "--style", "orm", "--concurrency", "6", "--audit-every", "20ms"];
    let report = ["--display-every", "50ms", "--report", page.to_str().expect("a name")];
    let told = Background::start(&test, &[&load[..], &report].concat()).end().await;
    assert_eq!(told.code, Some(0), "{told:?}");
    told
}

fn look_at(browser: &Browser, folder: &Path, look: &str) -> (Value, Seen) {
    let path = folder.join("look.html");
    fs::write(&path, look).expect("it can be written");
    let seen = browser.open(&path);
    let found = seen.document.split_once(r#"<script id="found" type="application/json">"#);
    let found = found.and_then(|(_, rest)| rest.split("</script>").next()).unwrap_or_default();
    let found = serde_json::from_str(found).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
    (found, seen)
}

/// The page shows the numbers of the answer.
fn assert_numbers(found: &Value, told: &Finished, version: &str) {
    let shown = found["shown"].as_object().expect("an object");
    assert_eq!(shown.len(), 11, "{found}");
    for (key, text) in shown {
        let answered = told.answer[key].as_f64().unwrap_or_else(|| panic!("{key}: {told:?}"));
        let value: f64 = found["values"][key].as_str().and_then(|it| it.parse().ok()).expect("a number");
        assert!((value - answered).abs() < 1e-9, "{key}: {value}, {answered}");
        let text: f64 = text.as_str().expect("a text").replace(',', "").parse().expect("a number");
        assert!((text - answered).abs() <= 0.005 + 1e-9, "{key}: {text}, {answered}");
    }
    for key in ["accounts", "transfers", "balance_total", "opening_total"] {
        let answered = &told.answer["audit"][key];
        let answered = answered.as_str().map_or_else(|| answered.to_string(), str::to_owned);
        assert_eq!(found["audit"][key], answered.as_str(), "{found}");
    }
    let retries = told.answer["retries_by_sqlstate"].as_object().expect("an object");
    assert_eq!(found["retries"].as_object().map(serde_json::Map::len), Some(retries.len()), "{found}");
    for (code, count) in retries {
        let text = found["retries"][code].as_str().expect("a text");
        assert_eq!(text.replace(',', ""), format!("{code}: {count}"));
    }
    let text = found["text"].as_str().expect("a text");
    for words in [version, "The bank is whole.", told.answer["run"].as_str().expect("an id")] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// Each table adds up to the answer, and each chart has shapes.
fn assert_pictures(found: &Value, told: &Finished) {
    let figures = found["figures"].as_array().expect("a list");
    let captions: Vec<_> = figures.iter().map(|it| it["caption"].as_str().expect("a text")).collect();
    assert_eq!(figures.len(), 4, "{captions:?}");
    for figure in figures {
        let rows = figure["rows"].as_array().expect("a list");
        assert!(!rows.is_empty(), "{figure}");
        let head = figure["head"].as_array().expect("a list");
        assert!(rows.iter().all(|row| row.as_array().map(Vec::len) == Some(head.len())), "{figure}");
        let sum = |name: &str| -> Option<u64> {
            let column = head.iter().position(|it| it == name)?;
            Some(rows.iter().map(|row| row[column].as_f64().expect("a number")).sum::<f64>() as u64)
        };
        for key in ["transfers", "retries", "skipped"] {
            assert_eq!(sum(key).unwrap_or(told.count(key)), told.count(key), "{key}: {figure}");
        }
        // The last audit comes after the last interval.
        assert!(sum("audits").is_none_or(|audits| audits < told.count("audits")), "{figure}");
        assert!(figure["shapes"].as_u64() >= Some(4), "{figure}");
    }
}

/// Contrast of at least 4.5 to 1. <https://www.w3.org/TR/WCAG21/#contrast-minimum>
fn assert_readable(colours: &Value) {
    let (one, other) = (luminance(&colours[0]), luminance(&colours[1]));
    let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
    assert!(contrast >= 4.5, "{contrast}: {colours}");
}

/// Relative luminance. <https://www.w3.org/TR/WCAG21/#dfn-relative-luminance>
fn luminance(colour: &Value) -> f64 {
    let text = colour.as_str().expect("a colour");
    let text = text.trim_start_matches("rgb").trim_start_matches('a').trim_matches(['(', ')']);
    let parts = text.split(',').take(3).map(|part| {
        let part = part.trim().parse::<f64>().unwrap_or_else(|error| panic!("{error}: {colour}")) / 255.0;
        if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    parts.zip([0.2126, 0.7152, 0.0722]).map(|(part, weight)| part * weight).sum()
}
