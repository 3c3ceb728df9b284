//! Routes through a transit network, with RewardMap's partial credit.
//!
//! Names are compared as they stand; fold their spelling before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The stops of each line.
pub type Network = BTreeMap<String, BTreeSet<String>>;

/// One ride without a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub line: String,
    pub from: String,
    pub to: String,
}

impl Segment {
    /// Whether the line exists and has both stops.
    fn is_on(&self, network: &Network) -> bool {
        network
            .get(&self.line)
            .is_some_and(|stops| stops.contains(&self.from) && stops.contains(&self.to))
    }
}

/// Whether the route leads from `from` to `to`: the ends are right, both stops of each ride are on its line, and each
/// ride starts where the one before ended. An empty route leads nowhere.
pub fn is_valid_route(route: &[Segment], network: &Network, from: &str, to: &str) -> bool {
    ends_match(route, from, to)
        && route.iter().all(|segment| segment.is_on(network))
        && route.windows(2).all(|pair| pair[0].to == pair[1].from)
}

fn ends_match(route: &[Segment], from: &str, to: &str) -> bool {
    matches!((route.first(), route.last()), (Some(first), Some(last)) if first.from == from && last.to == to)
}

/// Which rides cost RewardMap's five points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuperfluousFrom {
    /// Ride number `changes + 1` already, as in the released code: every right route loses five points once.
    Released,
    /// Ride number `changes + 2`: the first one too many.
    Mended,
}

/// RewardMap's credit of a route's parts, at most 10 and without a lower bound; 0 unless both ends are right. 2 for
/// the ends; for each ride on a line that exists 3, or, when the gold route has no change, 4 if the line serves both
/// ends; 1 for each of the first `changes` changes between rides whose stops are on their line; −5 for each ride too
/// many.
pub fn route_detail(
    route: &[Segment],
    network: &Network,
    (from, to): (&str, &str),
    changes: usize,
    superfluous: SuperfluousFrom,
) -> f64 {
    if !ends_match(route, from, to) {
        return 0.0;
    }
    let allowed = match superfluous {
        SuperfluousFrom::Released => changes,
        SuperfluousFrom::Mended => changes + 1,
    };
    let mut score = 2.0 - 5.0 * route.len().saturating_sub(allowed) as f64;
    for (place, segment) in route.iter().enumerate() {
        let Some(stops) = network.get(&segment.line) else {
            continue;
        };
        score += match changes {
            0 if stops.contains(from) && stops.contains(to) => 4.0,
            0 => 0.0,
            _ => 3.0,
        };
        let next = route.get(place + 1);
        let chained = next.is_some_and(|next| next.from == segment.to);
        if chained && place < changes && segment.is_on(network) {
            score += 1.0;
        }
    }
    score.min(10.0)
}

/// RewardMap's weight of a map's difficulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapDifficulty {
    Easy,
    Middle,
    Hard,
}

/// RewardMap's reward of a planned route: `W · (10 · valid + .5 · detail)` with W 1, 1.2 or 1.5 by the map, and .5 more
/// when the gold route has a change.
pub fn reward_map_reward(
    valid: bool,
    detail: f64,
    difficulty: MapDifficulty,
    changes: usize,
) -> f64 {
    let map = match difficulty {
        MapDifficulty::Easy => 1.0,
        MapDifficulty::Middle => 1.2,
        MapDifficulty::Hard => 1.5,
    };
    let weight = map + if changes > 0 { 0.5 } else { 0.0 };
    weight * (10.0 * f64::from(u8::from(valid)) + 0.5 * detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let line = |name: &str, stops: &[&str]| {
            (
                name.to_owned(),
                stops.iter().map(|&stop| stop.to_owned()).collect(),
            )
        };
        Network::from([
            line("red", &["a", "b", "c"]),
            line("blue", &["c", "d", "e"]),
        ])
    }

    fn route(segments: &[(&str, &str, &str)]) -> Vec<Segment> {
        let owned = str::to_owned;
        segments
            .iter()
            .map(|&(line, from, to)| Segment {
                line: owned(line),
                from: owned(from),
                to: owned(to),
            })
            .collect()
    }

    #[test]
    fn reward_map_with_and_without_its_quirk() {
        let network = network();
        let right = route(&[("red", "a", "c"), ("blue", "c", "e")]);
        assert!(is_valid_route(&right, &network, "a", "e"));
        for (superfluous, detail, reward) in [
            (SuperfluousFrom::Released, 4.0, 24.0),
            (SuperfluousFrom::Mended, 9.0, 29.0),
        ] {
            let found = route_detail(&right, &network, ("a", "e"), 1, superfluous);
            assert_eq!(found, detail);
            assert_eq!(
                reward_map_reward(true, found, MapDifficulty::Hard, 1),
                reward
            );
        }
    }

    #[test]
    fn direct_routes() {
        let network = network();
        let direct = |line| {
            route_detail(
                &route(&[(line, "a", "c")]),
                &network,
                ("a", "c"),
                0,
                SuperfluousFrom::Mended,
            )
        };
        assert_eq!(
            [direct("red"), direct("blue"), direct("green")],
            [6.0, 2.0, 2.0]
        );
        let detour = route(&[("red", "a", "b"), ("red", "b", "c")]);
        assert!(is_valid_route(&detour, &network, "a", "c"));
        let found = route_detail(&detour, &network, ("a", "c"), 0, SuperfluousFrom::Mended);
        assert_eq!(found, 2.0 + 4.0 + 4.0 - 5.0);
        assert_eq!(reward_map_reward(false, 2.0, MapDifficulty::Middle, 0), 1.2);
    }

    #[test]
    fn routes_that_do_not_lead_there() {
        let network = network();
        for segments in [
            vec![],
            vec![("red", "a", "c")],
            vec![("red", "a", "e")],
            vec![("red", "a", "b"), ("blue", "c", "e")],
            vec![("green", "a", "e")],
        ] {
            assert!(
                !is_valid_route(&route(&segments), &network, "a", "e"),
                "{segments:?}"
            );
        }
        let elsewhere = route(&[("red", "b", "c"), ("blue", "c", "e")]);
        assert_eq!(
            route_detail(&elsewhere, &network, ("a", "e"), 1, SuperfluousFrom::Mended),
            0.0
        );
    }
}
