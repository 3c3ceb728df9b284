//! Similarities of texts against rouge-score, NLTK, jiwer, rapidfuzz, editdistance and SQuAD's F1.

use std::collections::BTreeMap;

use ocelli_reward::measure::rouge::{RougeScore, mean_rouge, rouge_l, rouge_n};
use ocelli_reward::measure::similarity::{
    anls, character_error_rate, levenshtein, levenshtein_ratio, levenshtein_similarity, token_f1,
    word_error_rate,
};
use ocelli_reward::measure::stemmer::stem;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    stems: BTreeMap<String, String>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    predicted: String,
    gold: String,
    other: String,
    rouge: [[f64; 3]; 3],
    rouge_stem: [[f64; 3]; 3],
    distance: usize,
    similarity: f64,
    ratio: f64,
    anls: f64,
    wer: f64,
    cer: f64,
    token_f1: f64,
}

fn golden() -> Golden {
    let golden: Golden = serde_json::from_str(include_str!("golden/similarity.json"))
        .expect("make_similarity.py writes what Golden reads");
    assert!(golden.rows.len() >= 150 && golden.stems.len() >= 1000);
    golden
}

const SMALL: &str = "the texts are short";

#[track_caller]
fn assert_near(name: &str, row: &Row, found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-8,
        "{name} of {:?} for {:?}: {found} is not {expected}",
        row.predicted,
        row.gold
    );
}

#[test]
fn stems_equal_nltk() {
    for (word, expected) in golden().stems {
        assert_eq!(stem(&word), expected, "{word}");
    }
}

#[test]
fn rouge_equals_rouge_score() {
    for row in golden().rows {
        for (stem, expected) in [(false, row.rouge), (true, row.rouge_stem)] {
            let found = [
                rouge_n(&row.predicted, &row.gold, 1, stem),
                rouge_n(&row.predicted, &row.gold, 2, stem),
                rouge_l(&row.predicted, &row.gold, stem).expect(SMALL),
            ];
            for (
                RougeScore {
                    precision,
                    recall,
                    f1,
                },
                expected,
            ) in found.into_iter().zip(expected)
            {
                for (found, expected) in [precision, recall, f1].into_iter().zip(expected) {
                    assert_near("rouge", &row, found, expected);
                }
            }
            let mean = expected.iter().map(|score| score[2]).sum::<f64>() / 3.0;
            let found = mean_rouge(&row.predicted, &row.gold, stem).expect(SMALL);
            assert_near("mean rouge", &row, found, mean);
        }
    }
}

#[test]
fn edit_distances_equal_their_packages() {
    for row in golden().rows {
        let (predicted, gold) = (row.predicted.as_str(), row.gold.as_str());
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(
            levenshtein(&letters(predicted), &letters(gold)),
            Ok(row.distance)
        );
        let similarity = levenshtein_similarity(predicted, gold).expect(SMALL);
        assert_near("similarity", &row, similarity, row.similarity);
        let ratio = levenshtein_ratio(predicted, gold).expect(SMALL);
        assert_near("ratio", &row, ratio, row.ratio);
        let found = anls(predicted, &[gold, &row.other], 0.5).expect(SMALL);
        assert_near("ANLS", &row, found, row.anls);
        let found = word_error_rate(predicted, gold).expect(SMALL);
        assert_near("WER", &row, found, row.wer);
        let found = character_error_rate(predicted, gold).expect(SMALL);
        assert_near("CER", &row, found, row.cer);
    }
}

#[test]
fn token_f1_equals_squad() {
    for row in golden().rows {
        let found = token_f1(&row.predicted, &row.gold);
        assert_near("F1", &row, found, row.token_f1);
    }
}
