//! The candidate sets of precisions: those that fit the memory and meet every quality floor.

use hedgerow_core::node::Node;
use hedgerow_core::units::{Bytes, Quality};
use hedgerow_loadgen::Class;
use hedgerow_node::catalogue::Figure;
use hedgerow_workload::hint::hinted;

use super::{Candidate, Mix};

/// A precision that could be held.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) name: String,
    /// The size of its weights.
    pub(crate) weights: Bytes,
    /// `f` by perplexity; `None` if unknown.
    pub(crate) quality: Option<Figure>,
}

impl Held {
    /// Returns the quality to compare with a request's floor; an unknown quality meets no floor.
    pub(super) fn known_quality(&self) -> Quality {
        self.quality.as_ref().and_then(|figure| Quality::new(figure.value)).unwrap_or_default()
    }
}

/// The sets that were considered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sets {
    pub(crate) candidates: Vec<Candidate>,
    /// The sets that are not simulated, and why.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A set that is not simulated.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    pub(crate) set: Vec<usize>,
    pub(crate) why: String,
}

/// Returns all sets of at most `most` precisions that a node can hold and that meet every floor of the mix. `node_of`
/// builds the node that holds a set.
///
/// # Errors
///
/// When there is none; the error names the limit that all of them violate.
pub(crate) fn candidates(
    known: &[Held],
    most: usize,
    mix: &Mix,
    memory: Bytes,
    node_of: impl Fn(&[usize]) -> anyhow::Result<Node>,
) -> anyhow::Result<Sets> {
    let all: Vec<usize> = (0..known.len()).collect();
    unmet_floor(known, &all, mix.classes()).map_or(Ok(()), |unmet| Err(unmet.error(known)))?;
    let mut sets = Sets::default();
    for set in subsets(known.len(), most) {
        let why = match unmet_floor(known, &set, mix.classes()) {
            Some(unmet) => Some(unmet.to_string()),
            None => {
                let node = node_of(&set)?;
                let why = too_small(&node, mix, memory);
                if why.is_none() {
                    sets.candidates.push(Candidate { set: set.clone(), node });
                }
                why
            }
        };
        sets.left_out.extend(why.map(|why| LeftOut { set, why }));
    }
    if !sets.candidates.is_empty() {
        return Ok(sets);
    }
    let is_floor = |left_out: &&LeftOut| unmet_floor(known, &left_out.set, mix.classes()).is_some();
    let (of_floors, of_memory): (Vec<_>, Vec<_>) = sets.left_out.iter().partition(is_floor);
    match (of_memory.last(), of_floors.last()) {
        (Some(LeftOut { set, why }), _) => Err(hinted(
            format!("{} does not fit: {why}", names(known, set)),
            "raise --memory-gb or --accelerators, choose smaller precisions by --precisions, or lower --ctx-size",
        )),
        (None, Some(LeftOut { why, .. })) => {
            Err(hinted(why, "hold more precisions at once by --at-once, or lower the mix's `min_quality`"))
        }
        (None, None) => Err(hinted("no precision is known", "name some by --precisions")),
    }
}

/// Returns the names of a set's precisions.
pub(crate) fn names(known: &[Held], set: &[usize]) -> String {
    set.iter().map(|&index| known[index].name.as_str()).collect::<Vec<_>>().join(" + ")
}

/// Lists the sets of one precision, then those of two, and so on; within each size in lexicographic order.
fn subsets(count: usize, most: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = (1..1_u64 << count.min(20))
        .map(|bits| (0..count).filter(|index| bits >> index & 1 == 1).collect())
        .filter(|set: &Vec<usize>| set.len() <= most)
        .collect();
    all.sort_by(|one, other| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    all
}

/// A quality floor that no precision of a set meets.
struct Unmet<'a> {
    class: &'a str,
    floor: f64,
    best: Quality,
}

impl std::fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { class, floor, best } = self;
        write!(f, "class `{class}` asks for a quality of {floor}, but the best held is {:.4}", best.get())
    }
}

impl Unmet<'_> {
    fn error(&self, known: &[Held]) -> anyhow::Error {
        let unknown: Vec<&str> =
            known.iter().filter(|held| held.quality.is_none()).map(|held| held.name.as_str()).collect();
        let way_out = "lower its `min_quality`, or add a better precision";
        let hint = match unknown.as_slice() {
            [] => way_out.to_owned(),
            names => format!(
                "{way_out}; the quality of {} is unknown here: `hedgerow evaluate` measures it",
                names.join(", ")
            ),
        };
        hinted(self, hint)
    }
}

/// Returns the highest floor that a set does not meet.
fn unmet_floor<'a>(known: &[Held], set: &[usize], classes: &'a [Class]) -> Option<Unmet<'a>> {
    let best = set.iter().map(|&index| known[index].known_quality());
    let best = best.fold(Quality::NONE, |best, quality| if quality > best { quality } else { best });
    let floors = classes.iter().filter_map(|class| Some((class, class.min_quality?)));
    let (class, floor) =
        floors.filter(|(_, floor)| *floor > best.get()).max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(Unmet { class: &class.name, floor, best })
}

/// Returns why a node cannot serve the mix at all.
fn too_small(node: &Node, mix: &Mix, memory: Bytes) -> Option<String> {
    let (weights, needed) = (node.weights_memory(), node.kv_memory_of(mix.longest()));
    let there = gigabytes(memory);
    if weights >= memory {
        return Some(format!("its weights take {}, and there are {there}", gigabytes(weights)));
    }
    if node.memory > memory {
        return Some(format!(
            "its weights take {} and its KV caches {}, and there are {there}",
            gigabytes(weights),
            gigabytes(node.kv_memory())
        ));
    }
    if node.kv_memory() < needed {
        return Some(format!(
            "beside weights of {} there are {} for KV caches, and the longest request of the mix needs {}",
            gigabytes(weights),
            gigabytes(node.kv_memory()),
            gigabytes(needed)
        ));
    }
    (mix.longest() > node.context).then(|| {
        format!("a request may hold {}, and the longest of the mix has {}", node.context, mix.longest())
    })
}

/// Formats an amount of memory in gigabytes.
fn gigabytes(bytes: Bytes) -> String {
    format!("{:.2} GB", bytes.0 as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_listed_once_and_small_ones_first() {
        let sets = subsets(3, 2);
        assert_eq!(sets, [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2]]);
        assert_eq!(subsets(3, 3).len(), 7);
        assert!(subsets(0, 2).is_empty());
    }
}
